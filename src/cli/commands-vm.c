#include "cli/commands.h"

#include "cli/actions.h"
#include "cli/point.h"
#include "cli/session.h"
#include "cli/settings.h"
#include "cli/values.h"

#include <string.h>

#define MODE_REPLICA          2
#define MODE_TEST_REPLICA     3
#define STATE_WAITING_INITIAL 2
#define STATE_REPLICATING     3
#define STATE_PREPARED        4
#define STATE_SUSPENDED       7
#define STATE_RESYNCHRONIZING 10
#define STATE_DISK_UPDATE          15
#define STATE_DISK_UPDATE_CRITICAL 16
/* Requests that lead elsewhere than their number says */
#define CANCEL_INITIAL 1
#define CANCEL_RESYNC  9
#define POWER_RUNNING         2
#define POWER_OFF             3
#define POWER_SHUT_DOWN       4
#define MODE_NONE             0
#define INITIAL_BY_NETWORK    "1"
#define INITIAL_BY_EXPORT     "2"
#define INITIAL_BY_SEED       "3"
#define SHUTDOWN_TIMEOUT_SEC  120
#define SHUTDOWN_TIMEOUT_MAX  86400

/* ---- shared ---- */

static WsmanReference *
replication_service(void)
{
    WsmanReference *service = wsman_reference_new("Msvm_ReplicationService");

    wsman_reference_add(service, "CreationClassName", "Msvm_ReplicationService");
    wsman_reference_add(service, "Name", "replicasvc");
    return service;
}

/* The VM, with the relationship to a third host when --extended says so. */
static SessionVm *
find_related(Session *session, const CommandLine *line, GError **error)
{
    SessionVm *vm = session_find_vm(session, command_line_word(line, 0), error);

    if (vm != NULL && command_line_switch(line, "extended"))
        vm->relationship = 1;
    return vm;
}

/* The VM, with the relationship in which it is sent from here: a replica is sent to a third host. */
static SessionVm *
find_sent(Session *session, const CommandLine *line, GError **error)
{
    SessionVm *vm = session_find_vm(session, command_line_word(line, 0), error);

    if (vm != NULL && wsman_instance_number(vm->system, "ReplicationMode", 0) == MODE_REPLICA)
        vm->relationship = 1;
    return vm;
}

/* A method of the replication service about one VM; @arguments get the VM in front of their own. */
static CallResult
call_service(Session *session, const SessionVm *vm, const CommandLine *line, const char *method, const char *verb,
             const char *needs, WsmanArguments *arguments, GError **error)
{
    g_autoptr(WsmanReference) service = replication_service();
    g_autofree char *title = g_strdup_printf("%s '%s'", verb, vm->name);
    SessionCall call = { service, method, title, needs, vm, command_line_switch(line, "detach") };

    wsman_arguments_add_reference(arguments, "ComputerSystem", vm->reference);
    return session_call(session, &call, arguments, error);
}

/* Asks for a power state; the title is "Starting 'web1'". */
static CallResult
change_power(Session *session, const SessionVm *vm, unsigned requested, bool detach, const char *verb, const char *needs,
             GError **error)
{
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autofree char *number = g_strdup_printf("%u", requested);
    g_autofree char *title = g_strdup_printf("%s '%s'", verb, vm->name);
    SessionCall call = { vm->reference, "RequestStateChange", title, needs, vm, detach };

    wsman_arguments_add_text(arguments, "RequestedState", number);
    wsman_arguments_add_text(arguments, "TimeoutPeriod", NULL);
    return session_call(session, &call, arguments, error);
}

static bool
change_replication_state(Session *session, const CommandLine *line, const SessionVm *vm, unsigned requested, const char *verb,
                         const char *needs, const char *done, GError **error)
{
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autofree char *number = g_strdup_printf("%u", requested);
    g_autofree char *relationship = NULL, *title = NULL;
    SessionCall call = { .method = "RequestReplicationStateChangeEx", .needs = needs };
    CallResult result;

    relationship = session_embedded_relationship(vm);
    title = g_strdup_printf("%s '%s'", verb, vm->name);
    call.target = vm->reference;
    call.title = title;
    call.vm = vm;
    call.detach = command_line_switch(line, "detach");
    wsman_arguments_add_text(arguments, "ReplicationRelationship", relationship);
    wsman_arguments_add_text(arguments, "RequestedState", number);
    wsman_arguments_add_text(arguments, "TimeoutPeriod", NULL);
    result = session_call(session, &call, arguments, error);
    if (result == CALL_DONE)
        session_say(session, vm->relationship > 0 ? "Extended replication of VM '%s' is %s" : "Replication of VM '%s' is %s", vm->name, done);
    return result != CALL_FAILED;
}

/* ---- setting up ---- */

bool
command_enable(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = NULL;
    g_autoptr(WsmanInstance) current = NULL;
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autoptr(WsmanEmbedded) settings = NULL;
    g_autofree char *text = NULL;
    CallResult result;

    if (!settings_check_line(line, error))
        return false;
    vm = find_sent(session, line, error);
    current = vm != NULL ? session_settings(session, vm, error) : NULL;
    settings = current != NULL ? settings_from_line(current, line, error) : NULL;
    if (settings == NULL)
        return false;
    text = wsman_embedded_text(settings);
    wsman_arguments_add_text(arguments, "ReplicationSettingData", text);
    result = call_service(session, vm, line, "CreateReplicationRelationship", "Enabling replication of",
                          "A VM that replicates already must be removed first ('virt-replica remove')", arguments, error);
    if (result == CALL_DONE)
        session_say(session, "Replication of VM '%s' to %s is enabled; 'virt-replica start-initial %s' copies it", vm->name,
                    command_line_value(line, "to"), vm->name);
    return result != CALL_FAILED;
}

bool
command_modify(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = NULL;
    g_autoptr(WsmanInstance) current = NULL;
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autoptr(WsmanEmbedded) settings = NULL;
    g_autofree char *text = NULL;
    CallResult result;

    if (!settings_check_changes(line, error))
        return false;
    vm = find_related(session, line, error);
    current = vm != NULL ? session_settings(session, vm, error) : NULL;
    settings = current != NULL ? settings_changes(current, line, error) : NULL;
    if (settings == NULL)
        return false;
    text = wsman_embedded_text(settings);
    wsman_arguments_add_text(arguments, "ReplicationSettingData", text);
    result = call_service(session, vm, line, "ModifyReplicationSettings", "Changing the settings of",
                          "They are changed on the primary, while it does not change its role", arguments, error);
    if (result == CALL_DONE)
        session_say(session, "The settings of VM '%s' are changed; a replica server that is away gets them when it is back", vm->name);
    return result != CALL_FAILED;
}

/* The job that started the copy has ended, or was the whole copy: the relationship's state tells. */
static bool
wait_for_initial(Session *session, const SessionVm *vm, GError **error)
{
    g_autofree char *what = g_strdup_printf("The copying of '%s' goes on; 'virt-replica status %s' shows it", vm->name,
                                            vm->name);

    for (;;) {
        g_autoptr(WsmanInstance) relationship = session_relationship(session, vm, error);
        uint64_t state;

        if (relationship == NULL)
            return false;
        state = wsman_instance_number(relationship, "ReplicationState", 0);
        if (state == STATE_REPLICATING)
            return true;
        if (state != STATE_WAITING_INITIAL) {
            g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED,
                        "The initial replication of '%s' is not complete: state %s, health %s; 'virt-replica status %s' and "
                        "the journal of virt-replicad tell more", vm->name, value_replication_state(state),
                        value_health(wsman_instance_number(relationship, "ReplicationHealth", 0)), vm->name);
            return false;
        }
        if (!session_pause(what, error))
            return false;
    }
}

/* --at; without it the parameter is null. */
static bool
add_start_time(WsmanArguments *arguments, const CommandLine *line, GError **error)
{
    const char *at = command_line_value(line, "at");
    g_autofree char *text = NULL;
    int64_t usec;

    if (at != NULL) {
        if (!value_parse_time(at, g_get_real_time(), &usec, error))
            return false;
        if (usec < g_get_real_time()) {
            g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "--at: '%s' is over; give the day too, or +8h", at);
            return false;
        }
        text = value_time_utc(usec);
    }
    wsman_arguments_add_text(arguments, "StartTime", text);
    return true;
}

/* --export, --seeded or neither: the kind of the first copy. */
static bool
add_initial_type(WsmanArguments *arguments, const CommandLine *line, GError **error)
{
    const char *folder = command_line_value(line, "export");
    bool seeded = command_line_switch(line, "seeded");

    if (folder != NULL && (seeded || command_line_value(line, "at") != NULL)) {
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "--export: it begins at once, and goes without --seeded and --at");
        return false;
    }
    wsman_arguments_add_text(arguments, "InitialReplicationType",
                             folder != NULL ? INITIAL_BY_EXPORT : seeded ? INITIAL_BY_SEED : INITIAL_BY_NETWORK);
    wsman_arguments_add_text(arguments, "InitialReplicationExportLocation", folder);
    return true;
}

bool
command_start_initial(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autoptr(SessionVm) vm = add_initial_type(arguments, line, error) ? find_sent(session, line, error) : NULL;
    CallResult result;

    if (vm == NULL)
        return false;
    if (!add_start_time(arguments, line, error))
        return false;
    result = call_service(session, vm, line, "StartReplication", "Initial replication of",
                          "It starts once, on the primary, after 'virt-replica enable'", arguments, error);
    if (result != CALL_DONE || command_line_value(line, "export") != NULL)
        return result != CALL_FAILED;
    if (!wait_for_initial(session, vm, error))
        return false;
    session_say(session, "The initial replication of VM '%s' is complete; it replicates from now on", vm->name);
    return true;
}

bool
command_import_initial(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    CallResult result;

    if (vm == NULL)
        return false;
    wsman_arguments_add_text(arguments, "InitialReplicationImportLocation", command_line_word(line, 1));
    result = call_service(session, vm, line, "ImportInitialReplica", "Importing the first copy of",
                          "That is done on the replica, while it waits for its first copy", arguments, error);
    if (result == CALL_DONE)
        session_say(session, "The first copy of VM '%s' is imported; its primary sends what changed since the export", vm->name);
    return result != CALL_FAILED;
}

bool
command_suspend(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = find_related(session, line, error);

    return vm != NULL && change_replication_state(session, line, vm, STATE_SUSPENDED, "Suspending replication of",
                                                  "Only replication that runs can be suspended", "suspended", error);
}

bool
command_resume(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = find_related(session, line, error);
    g_autoptr(WsmanInstance) relationship = vm != NULL ? session_relationship(session, vm, error) : NULL;

    if (relationship == NULL)
        return false;
    if (wsman_instance_number(relationship, "ReplicationState", 0) == STATE_DISK_UPDATE_CRITICAL)
        return change_replication_state(session, line, vm, STATE_DISK_UPDATE, "Changing the disks of",
                                        "Only a change of disks that has failed can be tried again", "replicating with the new disks", error);
    return change_replication_state(session, line, vm, STATE_REPLICATING, "Resuming replication of",
                                    "Only replication that is suspended or critical can be resumed", "resumed", error);
}

static bool
is_changing_disks(const WsmanInstance *relationship)
{
    uint64_t state = wsman_instance_number(relationship, "ReplicationState", 0);

    return state == STATE_DISK_UPDATE || state == STATE_DISK_UPDATE_CRITICAL;
}

/* The state says what is under way. */
bool
command_cancel(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = find_related(session, line, error);
    g_autoptr(WsmanInstance) relationship = vm != NULL ? session_relationship(session, vm, error) : NULL;

    if (relationship == NULL)
        return false;
    if (wsman_instance_number(relationship, "ReplicationState", 0) == STATE_RESYNCHRONIZING)
        return change_replication_state(session, line, vm, CANCEL_RESYNC, "Cancelling the resynchronization of",
                                        "Only a resynchronization that runs can be cancelled",
                                        "waiting for a resynchronization; 'virt-replica resync' starts it again", error);
    if (is_changing_disks(relationship))
        return change_replication_state(session, line, vm, STATE_REPLICATING, "Cancelling the change of the disks of",
                                        "Only a change of disks under way, or one that has failed, can be cancelled",
                                        "replicating with the disks of before", error);
    return change_replication_state(session, line, vm, CANCEL_INITIAL, "Cancelling the first copy of",
                                    "Only a copy under way can be cancelled, on the primary",
                                    "ready for its first copy; 'virt-replica start-initial' starts it again", error);
}

bool
command_resync(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = find_sent(session, line, error);
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    CallResult result;

    if (vm == NULL)
        return false;
    if (!add_start_time(arguments, line, error))
        return false;
    result = call_service(session, vm, line, "Resynchronize", "Resynchronizing",
                          "It starts on the primary, when a resynchronization is needed or replication is suspended", arguments,
                          error);
    if (result == CALL_DONE)
        session_say(session, "VM '%s' is resynchronized; it replicates from now on", vm->name);
    return result != CALL_FAILED;
}

bool
command_remove(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = find_related(session, line, error);
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autofree char *relationship = NULL;
    CallResult result;

    if (vm == NULL)
        return false;
    relationship = session_embedded_relationship(vm);
    wsman_arguments_add_text(arguments, "ReplicationRelationship", relationship);
    result = call_service(session, vm, line, "RemoveReplicationRelationshipEx", "Removing replication of",
                          "The VM must have replication", arguments, error);
    if (result == CALL_DONE)
        session_say(session, "Replication of VM '%s' is removed on this host; remove it on the other host too", vm->name);
    return result != CALL_FAILED;
}

/* ---- failover ---- */

typedef struct {
    WsmanReference *reference; /* NULL: the latest point */
    char           *name;      /* for messages */
} Target;

static void
target_clear(Target *target)
{
    wsman_reference_free(target->reference);
    g_free(target->name);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Target, target_clear)

static const WsmanInstance *
pick_point(const GPtrArray *points, const CommandLine *line, GError **error)
{
    const char *at = command_line_value(line, "at");
    int64_t usec;

    if (at == NULL)
        return point_find(points, command_line_value(line, "point"), error);
    if (!value_parse_time(at, g_get_real_time(), &usec, error))
        return NULL;
    return point_find_at(points, usec, error);
}

static bool
choose_target(Session *session, const SessionVm *vm, const CommandLine *line, Target *ret_target, GError **error)
{
    g_autoptr(GPtrArray) points = NULL;
    g_autofree char *taken = NULL;
    const WsmanInstance *point;

    if (command_line_value(line, "point") == NULL && command_line_value(line, "at") == NULL) {
        ret_target->name = g_strdup("its latest state");
        return true;
    }
    points = session_points(session, vm, error);
    point = points != NULL ? pick_point(points, line, error) : NULL;
    if (point == NULL)
        return false;
    taken = value_time_local(wsman_instance_time(point, "CreationTime"));
    ret_target->name = g_strdup_printf("the point %s of %s", point_id(point), taken);
    ret_target->reference = wsman_reference_new("Msvm_VirtualSystemSettingData");
    wsman_reference_add(ret_target->reference, "InstanceID", wsman_instance_text(point, "InstanceID"));
    return true;
}

static bool
check_failover_line(const CommandLine *line, GError **error)
{
    const char *wrong = NULL;

    if (command_line_value(line, "point") != NULL && command_line_value(line, "at") != NULL)
        wrong = "--point and --at both choose the recovery point; give one of them";
    else if (command_line_switch(line, "start") && command_line_switch(line, "detach"))
        wrong = "--start needs the end of the failover, and --detach does not wait for it";
    if (wrong != NULL)
        g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, wrong);
    return wrong == NULL;
}

static bool
start_vm(Session *session, const SessionVm *vm, bool detach, GError **error)
{
    CallResult result = change_power(session, vm, POWER_RUNNING, detach, "Starting",
                                     "A replica starts only after 'virt-replica failover'", error);

    if (result == CALL_DONE)
        session_say(session, "VM '%s' is started", vm->name);
    return result != CALL_FAILED;
}

bool
command_failover(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = NULL;
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_auto(Target) target = { NULL };
    bool start = command_line_switch(line, "start");
    CallResult result;

    if (!check_failover_line(line, error))
        return false;
    vm = session_find_vm(session, command_line_word(line, 0), error);
    if (vm == NULL || !choose_target(session, vm, line, &target, error))
        return false;
    wsman_arguments_add_reference(arguments, "SnapshotSettingData", target.reference);
    result = call_service(session, vm, line, "InitiateFailover", "Failover of",
                          "It is done on the replica's host, when the VM is off and has received a replication; "
                          "'virt-replica revert' takes an earlier failover back", arguments, error);
    if (result != CALL_DONE)
        return result != CALL_FAILED;
    session_say(session, "VM '%s' is failed over to %s%s", vm->name, target.name, start ? "" : "; it may be started now");
    return !start || start_vm(session, vm, false, error);
}

/* ---- test failover ---- */

/* The VM of the test failover of @replica, or @replica itself when it is one. */
static SessionVm *
find_test_vm(Session *session, const SessionVm *replica, GError **error)
{
    g_autoptr(GPtrArray) pairs = NULL;

    if (wsman_instance_number(replica->system, "ReplicationMode", 0) == MODE_TEST_REPLICA)
        return session_find_vm(session, replica->uuid, error);
    pairs = wsman_client_enumerate(session_client(session), "Msvm_ReplicaSystemDependency", NULL, error);
    for (guint i = 0; pairs != NULL && i < pairs->len; i++) {
        const WsmanReference *of = wsman_instance_reference(pairs->pdata[i], "Antecedent");
        const WsmanReference *test = wsman_instance_reference(pairs->pdata[i], "Dependent");
        const char *name = of != NULL ? wsman_reference_selector(of, "Name") : NULL;

        if (test != NULL && name != NULL && g_ascii_strcasecmp(name, replica->uuid) == 0)
            return session_find_vm(session, wsman_reference_selector(test, "Name"), error);
    }
    if (pairs != NULL)
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED,
                    "There is no test failover of VM '%s' on this host; 'virt-replica test %s' makes one", replica->name,
                    replica->name);
    return NULL;
}

static bool
start_test_vm(Session *session, const SessionVm *replica, GError **error)
{
    g_autoptr(SessionVm) test = find_test_vm(session, replica, error);

    return test != NULL && start_vm(session, test, false, error);
}

bool
command_test(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = NULL;
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_auto(Target) target = { NULL };
    bool start = command_line_switch(line, "start");
    CallResult result;

    if (!check_failover_line(line, error))
        return false;
    vm = session_find_vm(session, command_line_word(line, 0), error);
    if (vm == NULL || !choose_target(session, vm, line, &target, error))
        return false;
    wsman_arguments_add_reference(arguments, "SnapshotSettingData", target.reference);
    result = call_service(session, vm, line, "TestReplicaSystem", "Test failover of",
                          "It is done on the replica's host, one at a time, when the replica is off and replicates; "
                          "'virt-replica test-end' ends an earlier one", arguments, error);
    if (result != CALL_DONE)
        return result != CALL_FAILED;
    session_say(session, "VM '%s - Test' is made of %s%s; 'virt-replica test-end %s' removes it", vm->name,
                target.name, start ? "" : " and may be started", vm->name);
    return !start || start_test_vm(session, vm, error);
}

static bool
destroy_system(Session *session, const SessionVm *test, bool detach, CallResult *ret_result, GError **error)
{
    g_autoptr(WsmanReference) service = wsman_reference_new("Msvm_VirtualSystemManagementService");
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autofree char *title = g_strdup_printf("Removing '%s'", test->name);
    SessionCall call = { service, "DestroySystem", title, "It must be off", test, detach };

    wsman_reference_add(service, "CreationClassName", "Msvm_VirtualSystemManagementService");
    wsman_reference_add(service, "Name", "vmms");
    wsman_arguments_add_reference(arguments, "AffectedSystem", test->reference);
    *ret_result = session_call(session, &call, arguments, error);
    return *ret_result != CALL_FAILED;
}

static bool
turn_off(Session *session, const SessionVm *vm, GError **error)
{
    if (wsman_instance_number(vm->system, "EnabledState", POWER_OFF) == POWER_OFF)
        return true;
    return change_power(session, vm, POWER_OFF, false, "Turning off", NULL, error) == CALL_DONE;
}

bool
command_test_end(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);
    g_autoptr(SessionVm) test = vm != NULL ? find_test_vm(session, vm, error) : NULL;
    CallResult result;

    if (test == NULL || !turn_off(session, test, error) ||
        !destroy_system(session, test, command_line_switch(line, "detach"), &result, error))
        return false;
    if (result == CALL_DONE)
        session_say(session, "VM '%s' is removed; what was received meanwhile is applied", test->name);
    return true;
}

/* ---- and back ---- */

bool
command_revert(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    CallResult result;

    if (vm == NULL)
        return false;
    result = call_service(session, vm, line, "RevertFailover", "Reverting the failover of",
                          "The VM must be failed over, and off ('virt-replica stop --force')", arguments, error);
    if (result == CALL_DONE)
        session_say(session, "The failover of VM '%s' is reverted; it receives replication again", vm->name);
    return result != CALL_FAILED;
}

bool
command_commit(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    CallResult result;

    if (vm == NULL)
        return false;
    result = call_service(session, vm, line, "CommitFailover", "Committing the failover of", "The VM must be failed over", arguments,
                          error);
    if (result == CALL_DONE)
        session_say(session, "The failover of VM '%s' is committed; there is no way back", vm->name);
    return result != CALL_FAILED;
}

bool
command_prepare(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = find_related(session, line, error);

    return vm != NULL && change_replication_state(session, line, vm, STATE_PREPARED, "Preparing the planned failover of",
                                                  "The VM must replicate, and be off ('virt-replica shutdown')",
                                                  "prepared: its last changes are on the replica, and the VM is locked", error);
}

bool
command_continue(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autofree char *relationship = NULL;
    CallResult result;

    if (vm == NULL)
        return false;
    vm->relationship = 1;
    relationship = session_embedded_relationship(vm);
    wsman_arguments_add_text(arguments, "ReplicationRelationship", relationship);
    result = call_service(session, vm, line, "ChangeReplicationModeToPrimary", "Making a primary of",
                          "Its failover must be committed ('virt-replica commit'), and its replication extended to a third host", arguments, error);
    if (result == CALL_DONE)
        session_say(session, "VM '%s' is the primary here from now on, and replicates to the third host", vm->name);
    return result != CALL_FAILED;
}

bool
command_as_replica(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);

    if (vm == NULL)
        return false;
    if (wsman_instance_number(vm->system, "ReplicationMode", MODE_NONE) == MODE_NONE)
        return change_replication_state(session, line, vm, STATE_WAITING_INITIAL, "Offering the images of",
                                        "The VM must be off", "awaited: 'virt-replica enable' for the VM with the same UUID on the "
                                        "primary makes this one its replica, and 'virt-replica start-initial --seeded' there sends what "
                                        "differs into its images; 'virt-replica remove' here takes that back", error);
    return change_replication_state(session, line, vm, STATE_WAITING_INITIAL, "Giving up the role of the primary for",
                                    "The VM must be off; its replica must have been failed over",
                                    "handed over: 'virt-replica reverse' on the other host makes this VM its replica", error);
}

bool
command_reverse(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);
    g_autoptr(WsmanInstance) current = vm != NULL ? session_settings(session, vm, error) : NULL;
    g_autoptr(WsmanEmbedded) settings = current != NULL ? settings_for_reverse(current, line, error) : NULL;
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autofree char *text = NULL;
    CallResult result;

    if (settings == NULL)
        return false;
    text = wsman_embedded_text(settings);
    wsman_arguments_add_text(arguments, "ReplicationSettingData", text);
    result = call_service(session, vm, line, "ReverseReplicationRelationship", "Reversing the replication of",
                          "The VM must be failed over; its former primary must have been prepared, or handed over with "
                          "'virt-replica as-replica'", arguments, error);
    if (result == CALL_DONE)
        session_say(session, "VM '%s' is the primary here from now on, and replicates back", vm->name);
    return result != CALL_FAILED;
}

/* ---- power ---- */

bool
command_start(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);

    return vm != NULL && start_vm(session, vm, command_line_switch(line, "detach"), error);
}

/* The guest was asked; it alone decides when it is off. */
static bool
wait_until_off(Session *session, const SessionVm *vm, uint64_t timeout_sec, GError **error)
{
    gint64 end = g_get_monotonic_time() + (gint64)timeout_sec * G_USEC_PER_SEC;

    for (;;) {
        g_autoptr(WsmanInstance) system = wsman_client_get(session_client(session), vm->reference, error);

        if (system == NULL)
            return false;
        if (wsman_instance_number(system, "EnabledState", 0) == POWER_OFF)
            return true;
        if (g_get_monotonic_time() > end) {
            g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED,
                        "The guest of VM '%s' was asked to shut down and did not within %" G_GUINT64_FORMAT
                        " s; 'virt-replica stop --force %s' cuts its power", vm->name, timeout_sec, vm->name);
            return false;
        }
        if (!session_pause("The guest was asked to shut down and may still do so", error))
            return false;
    }
}

static bool
shut_down(Session *session, const CommandLine *line, const SessionVm *vm, GError **error)
{
    const char *given = command_line_value(line, "timeout");
    uint64_t timeout_sec = SHUTDOWN_TIMEOUT_SEC;
    CallResult result;

    if (given != NULL && !value_parse_number(given, 1, SHUTDOWN_TIMEOUT_MAX, &timeout_sec, error))
        return false;
    result = change_power(session, vm, POWER_SHUT_DOWN, command_line_switch(line, "detach"), "Shutting down",
                          "Only a running VM can be shut down", error);
    if (result != CALL_DONE)
        return result != CALL_FAILED;
    if (!command_line_switch(line, "detach") && !wait_until_off(session, vm, timeout_sec, error))
        return false;
    session_say(session, command_line_switch(line, "detach") ? "The guest of VM '%s' was asked to shut down"
                                                             : "VM '%s' is off", vm->name);
    return true;
}

bool
command_shutdown(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);

    return vm != NULL && shut_down(session, line, vm, error);
}

bool
command_stop(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);
    CallResult result;

    if (vm == NULL)
        return false;
    if (!command_line_switch(line, "force"))
        return shut_down(session, line, vm, error);
    result = change_power(session, vm, POWER_OFF, command_line_switch(line, "detach"), "Stopping",
                          "Only a running VM can be stopped", error);
    if (result == CALL_DONE)
        session_say(session, "VM '%s' is off", vm->name);
    return result != CALL_FAILED;
}

/* ---- for sequences ---- */

bool
action_shut_down(Session *session, const SessionVm *vm, uint64_t timeout_sec, GError **error)
{
    return change_power(session, vm, POWER_SHUT_DOWN, false, "Shutting down", "Only a running VM can be shut down", error) == CALL_DONE &&
           wait_until_off(session, vm, timeout_sec, error);
}

bool
action_start(Session *session, const SessionVm *vm, GError **error)
{
    return start_vm(session, vm, false, error);
}

bool
action_prepare(Session *session, const SessionVm *vm, GError **error)
{
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autofree char *relationship = session_embedded_relationship(vm), *requested = g_strdup_printf("%u", STATE_PREPARED);
    g_autofree char *title = g_strdup_printf("Preparing the planned failover of '%s'", vm->name);
    SessionCall call = { vm->reference, "RequestReplicationStateChangeEx", title, "The VM must replicate, and be off", vm, false };

    wsman_arguments_add_text(arguments, "ReplicationRelationship", relationship);
    wsman_arguments_add_text(arguments, "RequestedState", requested);
    wsman_arguments_add_text(arguments, "TimeoutPeriod", NULL);
    return session_call(session, &call, arguments, error) == CALL_DONE;
}

bool
action_service(Session *session, const SessionVm *vm, const char *method, const char *verb, WsmanArguments *arguments, GError **error)
{
    g_autoptr(WsmanReference) service = replication_service();
    g_autofree char *title = g_strdup_printf("%s '%s'", verb, vm->name);
    SessionCall call = { service, method, title, NULL, vm, false };

    wsman_arguments_add_reference(arguments, "ComputerSystem", vm->reference);
    return session_call(session, &call, arguments, error) == CALL_DONE;
}
