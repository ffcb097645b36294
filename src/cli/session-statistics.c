/* GetReplicationStatistics and ResetReplicationStatistics. */
#include "cli/session.h"

#include "cli/values.h"

static WsmanReference *
replication_service(void)
{
    WsmanReference *service = wsman_reference_new("Msvm_ReplicationService");

    wsman_reference_add(service, "CreationClassName", "Msvm_ReplicationService");
    wsman_reference_add(service, "Name", "replicasvc");
    return service;
}

static WsmanInstance *
ask(Session *self, const SessionVm *vm, GError **error)
{
    g_autoptr(WsmanReference) service = replication_service();
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autoptr(WsmanInstance) output = NULL;
    g_autofree char *message = NULL, *relationship = session_embedded_relationship(vm);
    uint64_t code;

    wsman_arguments_add_reference(arguments, "ComputerSystem", vm->reference);
    wsman_arguments_add_text(arguments, "ReplicationRelationship", relationship);
    output = wsman_client_invoke(session_client(self), service, "GetReplicationStatisticsEx", arguments, &message, error);
    if (output == NULL)
        return NULL;
    code = wsman_instance_number(output, "ReturnValue", G_MAXUINT64);
    if (code == 0)
        return g_steal_pointer(&output);
    g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED,
                "There are no statistics of '%s': code %" G_GUINT64_FORMAT ": %s", vm->name, code,
                message != NULL ? message : value_return_code(code));
    return NULL;
}

static GPtrArray *
read_issues(const WsmanInstance *output, GError **error)
{
    g_autoptr(GPtrArray) issues = g_ptr_array_new_with_free_func(g_free);
    const GPtrArray *texts = wsman_instance_values(output, "ReplicationHealthIssues");

    for (guint i = 0; texts != NULL && i < texts->len; i++) {
        g_autoptr(WsmanInstance) issue = wsman_instance_from_embedded(texts->pdata[i], error);

        if (issue == NULL)
            return NULL;
        g_ptr_array_add(issues, g_strdup(wsman_instance_text(issue, "Message")));
    }
    return g_steal_pointer(&issues);
}

WsmanInstance *
session_statistics(Session *self, const SessionVm *vm, GPtrArray **ret_issues, GError **error)
{
    g_autoptr(WsmanInstance) output = ask(self, vm, error);
    g_autoptr(WsmanInstance) statistics = NULL;
    const char *text;

    if (output == NULL)
        return NULL;
    text = wsman_instance_text(output, "ReplicationStatistics");
    statistics = wsman_instance_from_embedded(text != NULL ? text : "", error);
    if (statistics == NULL)
        return NULL;
    *ret_issues = read_issues(output, error);
    return *ret_issues != NULL ? g_steal_pointer(&statistics) : NULL;
}

bool
session_reset_statistics(Session *self, const SessionVm *vm, GError **error)
{
    g_autoptr(WsmanReference) service = replication_service();
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autofree char *relationship = session_embedded_relationship(vm);
    SessionCall call = { .target = service, .method = "ResetReplicationStatisticsEx", .title = "Resetting the statistics",
                         .needs = "Only a VM that replicates has statistics", .vm = vm };

    wsman_arguments_add_reference(arguments, "ComputerSystem", vm->reference);
    wsman_arguments_add_text(arguments, "ReplicationRelationship", relationship);
    return session_call(self, &call, arguments, error) == CALL_DONE;
}
