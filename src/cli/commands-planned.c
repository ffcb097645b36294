/* planned-failover: the whole sequence on both hosts, with a stop at the first step that fails and a word on how to go on from there. */
#include "cli/commands.h"

#include "cli/actions.h"
#include "cli/settings.h"
#include "cli/values.h"

#define STATE_REPLICATING  3
#define MODE_PRIMARY       1
#define MODE_REPLICA       2
#define POWER_OFF          3
#define TIMEOUT_SEC        120
#define TIMEOUT_MAX_SEC    86400

typedef struct {
    Session            *primary, *replica;
    SessionVm          *here, *there; /* the VM on both */
    const CommandLine  *line;
    uint64_t            timeout_sec;
} Sequence;

static void
sequence_clear(Sequence *self)
{
    if (self->replica != NULL)
        session_close(self->replica);
    session_vm_free(self->here);
    session_vm_free(self->there);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Sequence, sequence_clear)

/* ---- the steps ---- */

static bool
shut_down(Sequence *self, GError **error)
{
    if (wsman_instance_number(self->here->system, "EnabledState", 0) == POWER_OFF)
        return true;
    return action_shut_down(self->primary, self->here, self->timeout_sec, error);
}

static bool
prepare(Sequence *self, GError **error)
{
    return action_prepare(self->primary, self->here, error);
}

static bool
fail_over(Sequence *self, GError **error)
{
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();

    wsman_arguments_add_reference(arguments, "SnapshotSettingData", NULL);
    return action_service(self->replica, self->there, "InitiateFailover", "Failover of", arguments, error);
}

static bool
start(Sequence *self, GError **error)
{
    return action_start(self->replica, self->there, error);
}

static bool
reverse(Sequence *self, GError **error)
{
    g_autoptr(WsmanInstance) current = session_settings(self->replica, self->there, error);
    g_autoptr(WsmanEmbedded) settings = current != NULL ? settings_for_reverse(current, self->line, error) : NULL;
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autofree char *text = NULL;

    if (settings == NULL)
        return false;
    text = wsman_embedded_text(settings);
    wsman_arguments_add_text(arguments, "ReplicationSettingData", text);
    return action_service(self->replica, self->there, "ReverseReplicationRelationship", "Reversing the replication of", arguments, error);
}

static const struct {
    const char *what;   /* "VM 'web1' on the primary: WHAT" */
    const char *cure;   /* when it fails */
    const char *option; /* (nullable): a switch that leaves it out */
    bool       (*run)(Sequence *self, GError **error);
} steps[] = {
    { "shut down on the primary",
      "Nothing has changed but that its guest was asked to shut down; shut it down by other means and run this again", NULL, shut_down },
    { "send the last changes and lock it on the primary",
      "The VM is off; 'virt-replica start' on the primary starts it again", NULL, prepare },
    { "fail over on the replica's host",
      "The VM is off and locked on the primary; 'virt-replica revert' there cancels the planned failover, then it can be started again", NULL,
      fail_over },
    { "start on the replica's host",
      "The VM is failed over; start it there with 'virt-replica start', or go back: 'virt-replica revert' there, then on the primary",
      "no-start", start },
    { "reverse the replication",
      "The VM is failed over and may run, and nothing is replicated now; run 'virt-replica reverse' on its host when the cause is mended",
      "no-reverse", reverse },
};

/* ---- before anything is done ---- */

static bool
check_side(Session *session, const SessionVm *vm, unsigned mode, const char *where, GError **error)
{
    g_autoptr(WsmanInstance) relationship = session_relationship(session, vm, error);
    uint64_t state;

    if (relationship == NULL)
        return false;
    state = wsman_instance_number(relationship, "ReplicationState", 0);
    if (wsman_instance_number(vm->system, "ReplicationMode", 0) == mode && state == STATE_REPLICATING)
        return true;
    g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED,
                "VM '%s' %s is not a %s that replicates (state: %s); nothing was done", vm->name, where,
                mode == MODE_PRIMARY ? "primary" : "replica", value_replication_state(state));
    return false;
}

static bool
open_both(Sequence *self, Session *session, GError **error)
{
    SessionOptions options = { .uri = command_line_value(self->line, "replica"), .ca_file = command_line_value(self->line, "replica-ca"),
                               .quiet = session_quiet(session) };
    const char *timeout = command_line_value(self->line, "timeout");

    if (options.uri == NULL) {
        g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "--replica URI is missing: the service on the replica's host");
        return false;
    }
    self->timeout_sec = TIMEOUT_SEC;
    if (timeout != NULL && !value_parse_number(timeout, 1, TIMEOUT_MAX_SEC, &self->timeout_sec, error))
        return false;
    self->primary = session;
    self->replica = session_open(&options, error);
    self->here = self->replica != NULL ? session_find_vm(session, command_line_word(self->line, 0), error) : NULL;
    self->there = self->here != NULL ? session_find_vm(self->replica, self->here->uuid, error) : NULL;
    return self->there != NULL && check_side(session, self->here, MODE_PRIMARY, "on the primary", error) &&
           check_side(self->replica, self->there, MODE_REPLICA, "on the replica's host", error);
}

bool
command_planned_failover(Session *session, const CommandLine *line, GError **error)
{
    g_auto(Sequence) self = { .line = line };
    bool dry = command_line_switch(line, "dry-run");

    if (!open_both(&self, session, error))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        if (steps[i].option != NULL && command_line_switch(line, steps[i].option))
            continue;
        session_say(session, "%s %zu: %s", dry ? "Would do step" : "Step", i + 1, steps[i].what);
        if (dry || steps[i].run(&self, error))
            continue;
        if (error != NULL && *error != NULL) {
            g_autofree char *text = g_strdup_printf("Step %zu (%s) failed: %s. %s", i + 1, steps[i].what, (*error)->message, steps[i].cure);

            g_free((*error)->message);
            (*error)->message = g_steal_pointer(&text);
        }
        return false;
    }
    session_say(session, dry ? "Nothing was done" : "The planned failover of VM '%s' is complete", self.here->name);
    return true;
}
