/* Extended replication: what a replica needs to be sent on to a third host, and what it cannot do meanwhile. */
#include "replication/service-private.h"

#include "replication/replica-folder.h"
#include "replication/settings.h"
#include "util/log.h"

#include <string.h>

static bool
check_replica(const VirtDomain *domain, const StoreRelationship *row, GError **error)
{
    if (row->mode == MODE_EXTENDED_REPLICA)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot extend replication: VM '%s' is an extended replica itself; a chain has three hosts at most", domain->name);
    if (row->mode != MODE_REPLICA)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot extend replication: VM '%s' is no replica here; extend it on the host that holds its replica",
                                  domain->name);
    if (row->state == STATE_RECOVERED || row->state == STATE_COMMITTED || row->state == STATE_FAILOVER_RUNNING)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot extend replication: VM '%s' is failed over; reverse its replication to the third host instead, or revert "
                                  "the failover first", domain->name);
    if (row->state == STATE_DISK_UPDATE)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot extend replication: the disks of VM '%s' that replicate are being changed; wait for its end", domain->name);
    return (row->initial_complete && row->folder != NULL) ||
           replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                              "cannot extend replication: the first copy of VM '%s' is not complete; wait for its end", domain->name);
}

/* The third host gets all disks that the replica has. */
static bool
check_disks(const StoreRelationship *row, const RelationshipSettings *settings, GError **error)
{
    if (settings->included_disks == NULL)
        return true;
    GError *cause = NULL;
    g_autofree char *blobs = replica_blob_folder(row->folder);
    g_auto(GStrv) ids = replica_set_of_state(row, blobs, &cause);
    if (ids == NULL)
        return service_fail(cause, error);
    bool same = g_strv_length(ids) == g_strv_length(settings->included_disks);
    for (char **id = ids; *id != NULL && same; id++)
        same = g_strv_contains((const char *const *)settings->included_disks, *id);
    return same || replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                      "IncludedDisks: a third host gets all disks that the replica has; leave it out");
}

bool
service_check_extended(ReplicationService *self, const StoreRelationship *row, const RelationshipSettings *wanted, GError **error)
{
    g_autoptr(Member) first = service_find_member(self, row->vm_uuid);
    g_autoptr(RelationshipSettings) upstream = first != NULL ? relationship_settings(first->relationship) : relationship_settings_new();
    unsigned least = relationship_settings_interval(upstream), interval = relationship_settings_interval(wanted);
    if (relationship_settings_consistent_interval(wanted) > 0)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  "ApplicationConsistentSnapshotInterval must be 0 in extended replication: the guest does not run here");
    if (interval == wanted->replication_interval_sec && interval < 300)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  "ReplicationInterval must be 300 or 900 s in extended replication, not %u; for any other give AdditionalSettings "
                                  "interval=SECONDS", interval);
    if (interval < least)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  "the interval of %u s is shorter than the one of %u s in which the replica here gets changes", interval, least);
    return check_disks(row, wanted, error);
}

StoreRelationship *
service_extended_row(ReplicationService *self, const VirtDomain *domain, RelationshipSettings *settings, GError **error)
{
    g_autoptr(Member) first = service_find_member(self, domain->uuid);
    g_autoptr(Member) present = service_find_member_at(self, domain->uuid, 1);
    if (first == NULL) {
        replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                           "cannot extend replication: VM '%s' does not replicate; enable it on its primary host first", domain->name);
        return NULL;
    }
    if (present != NULL) {
        replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "replication of VM '%s' is extended already; its state: %s", domain->name,
                           replication_state_name(relationship_state(present->relationship)));
        return NULL;
    }
    g_autoptr(StoreRelationship) upstream = relationship_row(first->relationship);
    if (!check_replica(domain, upstream, error) || !service_check_extended(self, upstream, settings, error))
        return NULL;
    g_clear_pointer(&settings->included_disks, g_strfreev);
    StoreRelationship *row = store_relationship_new(domain->uuid, 1);
    row->folder = g_strdup(upstream->folder);
    return row;
}

bool
service_refuse_extended(Member *member, const char *what, GError **error)
{
    g_autoptr(Member) onward = service_find_member_at(member->service, relationship_vm(member->relationship), 1);
    if (onward == NULL || onward == member)
        return true;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                              "cannot %s: VM '%s' is sent on to a third host; remove that first with 'virt-replica remove --extended %s'", what,
                              row->vm_name, row->vm_name);
}

/* ---- planned failover to the third host ---- */

/* Only then is the VM off on its primary, and stays so until this host agrees that it may run there again. */
bool
service_check_extended_planned(Member *member, GError **error)
{
    g_autoptr(Member) first = service_find_member(member->service, relationship_vm(member->relationship));
    g_autoptr(StoreRelationship) row = first != NULL ? relationship_row(first->relationship) : NULL;
    if (row == NULL)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "the VM is no replica here any more");
    if (row->last_kind == POINT_KIND_PLANNED && row->failed_over_kind == POINT_KIND_NONE)
        return true;
    return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                              "cannot prepare a planned failover to the third host: VM '%s' is not prepared on its primary; do it there first with "
                              "'virt-replica prepare %s', or fail over on the third host without", row->vm_name, row->vm_name);
}

/* Who has the operation of relationship 0 keeps a new one from being sent; one that is under way has given way, or is there. */
bool
service_check_not_prepared(Member *member, GError **error)
{
    g_autoptr(Member) onward = service_find_member_at(member->service, relationship_vm(member->relationship), 1);
    if (onward == NULL || onward == member)
        return true;
    relationship_wait_for_work(onward->relationship);
    g_autoptr(StoreRelationship) row = relationship_row(onward->relationship);
    if (row->state != STATE_PREPARED && row->last_kind != POINT_KIND_PLANNED && !primary_is_unclear(onward->primary))
        return true;
    return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                              "VM '%s' is prepared for a planned failover to a third host; cancel that first with 'virt-replica resume --extended "
                              "%s'", row->vm_name, row->vm_name);
}
