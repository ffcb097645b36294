#include "cli/commands.h"

#include "cli/output.h"
#include "cli/session.h"
#include "cli/values.h"

static const struct {
    const char *property, *title, *json;
} numbers[] = {
    { "ReplicationSuccessCount", "Cycles", "cycles" },
    { "ReplicationMissCount", "Missed", "missed" },
    { "ReplicationFailureCount", "Failed", "failed" },
    { "NetworkFailureCount", "Failed by the network", "network_failed" },
    { "ReplicationSize", "Bytes", "bytes" },
    { "MaxReplicationSize", "Bytes at most", "max_bytes" },
    { "PendingReplicationSize", "Bytes pending", "pending_bytes" },
    { "ReplicationLatency", "Seconds", "latency_sec" },
    { "MaxReplicationLatency", "Seconds at most", "max_latency_sec" },
    { "ApplicationConsistentSnapshotFailureCount", "Consistent points failed", "application_consistent_failed" },
};

static uint64_t
number_of(const WsmanInstance *statistics, const char *property)
{
    return wsman_instance_number(statistics, property, 0);
}

/* NULL without a cycle. */
static char *
average(const WsmanInstance *statistics, const char *property)
{
    uint64_t cycles = number_of(statistics, "ReplicationSuccessCount");

    return cycles > 0 ? g_strdup_printf("%.1f", (double)number_of(statistics, property) / (double)cycles) : NULL;
}

static void
show_text(const SessionVm *vm, const WsmanInstance *statistics, const GPtrArray *issues)
{
    g_autofree char *start = value_time_local(wsman_instance_time(statistics, "StartStatisticTime"));
    g_autofree char *end = value_time_local(wsman_instance_time(statistics, "EndStatisticTime"));
    g_autofree char *test = value_time_local(wsman_instance_time(statistics, "LastTestFailoverTime"));
    g_autofree char *bytes = average(statistics, "ReplicationSize"),
                    *seconds = average(statistics, "ReplicationLatency");

    output_field("Name", vm->name);
    output_field("From", start);
    output_field("To", end);
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, number_of(statistics, numbers[i].property));

        output_field(numbers[i].title, text);
    }
    output_field("Bytes on average", bytes);
    output_field("Seconds on average", seconds);
    output_field("Last test failover", test);
    output_field("Health", value_health(number_of(statistics, "ReplicationHealth")));
    for (guint i = 0; i < issues->len; i++)
        output_field("Issue", issues->pdata[i]);
}

static void
json_time(JsonBuilder *builder, const char *name, const WsmanInstance *statistics, const char *property)
{
    g_autofree char *text = value_time_utc(wsman_instance_time(statistics, property));

    output_json_string(builder, name, text);
}

static void
show_json(const SessionVm *vm, const WsmanInstance *statistics, const GPtrArray *issues)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    uint64_t health = number_of(statistics, "ReplicationHealth");

    json_builder_begin_object(builder);
    output_json_string(builder, "name", vm->name);
    output_json_string(builder, "uuid", vm->uuid);
    json_time(builder, "start", statistics, "StartStatisticTime");
    json_time(builder, "end", statistics, "EndStatisticTime");
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        output_json_number(builder, numbers[i].json, (int64_t)number_of(statistics, numbers[i].property));
    json_time(builder, "last_test_failover", statistics, "LastTestFailoverTime");
    output_json_string(builder, "health", health != 0 ? value_health(health) : "not applicable");
    output_json_number(builder, "health_number", (int64_t)health);
    output_json_strings(builder, "health_issues", issues);
    json_builder_end_object(builder);
    output_json_print(builder);
}

bool
command_statistics(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);
    g_autoptr(WsmanInstance) statistics = NULL;
    g_autoptr(GPtrArray) issues = NULL;

    if (vm == NULL)
        return false;
    vm->relationship = command_line_switch(line, "extended") ? 1 : 0;
    if (command_line_switch(line, "reset") && !session_reset_statistics(session, vm, error))
        return false;
    statistics = session_statistics(session, vm, &issues, error);
    if (statistics == NULL)
        return false;
    if (command_line_switch(line, "json"))
        show_json(vm, statistics, issues);
    else
        show_text(vm, statistics, issues);
    return true;
}
