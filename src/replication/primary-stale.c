/* A primary whose replica is failed over. It overwrites nothing over there: it says so, says whether the VM runs on both hosts, and, where its
 * administrator wants that, ends its own. */
#include "replication/primary-private.h"

#include "util/log.h"

static bool
runs_here(Primary *self)
{
    g_autoptr(VirtDomain) domain = virt_host_find(self->context->virt, relationship_vm(self->relationship), NULL);
    return domain != NULL && domain->state != VIRT_OFF && domain->state != VIRT_CRASHED && domain->state != VIRT_SAVED;
}

bool
primary_is_failed_over(const LinkPosition *position)
{
    return position->state == STATE_FAILOVER_RUNNING || position->state == STATE_RECOVERED || position->state == STATE_COMMITTED;
}

static void
end_ours(Primary *self)
{
    StaleAction action = self->context->stale_action;
    const char *vm = relationship_vm(self->relationship);
    g_autoptr(GError) error = NULL;
    if (action == STALE_LEAVE || self->upstream != NULL) /* a replica runs when its administrator failed it over */
        return;
    log_warning("stale", vm, "runs here and as a failed-over replica, too; it is %s here, as [failover] stale-primary says",
                action == STALE_SHUT_DOWN ? "shut down" : "turned off");
    if (!(action == STALE_SHUT_DOWN ? virt_host_shutdown : virt_host_stop)(self->context->virt, vm, &error))
        log_error("stale", vm, "%s", error->message);
}

static bool
tell_failed_over(Primary *self, bool runs, const LinkPosition *position, GError **error)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    const char *host = settings->recovery_connection_point;
    bool both = runs && position->vm_runs;
    relationship_set_runs_twice(self->relationship, both);
    if (both)
        end_ours(self);
    g_set_error(error, LINK_ERROR, LINK_ERROR_STATE, "it is failed over on '%s'%s: changes are held back until that is reverted there, or "
                "the replication is reversed", host, both ? " and runs on both hosts" : position->vm_runs ? " and runs there" : "");
    return false;
}

bool
primary_ask_progress(Primary *self, LinkPosition *ret_position, GError **error)
{
    bool runs = runs_here(self);
    if (!link_client_position(self->client, relationship_vm(self->relationship), runs, ret_position, error))
        return false;
    if (primary_is_failed_over(ret_position))
        return tell_failed_over(self, runs, ret_position, error);
    relationship_set_runs_twice(self->relationship, false);
    return true;
}
