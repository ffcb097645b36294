#include "cli/commands.h"

#include "cli/adapters.h"
#include "cli/output.h"
#include "cli/point.h"
#include "cli/session.h"
#include "cli/settings.h"
#include "cli/values.h"

#include "config.h"

#include <string.h>

/* ---- shared ---- */

/* Seconds that would be lost now: the age of the newest replication. -1: there was none. */
static int64_t
lag_sec(const WsmanInstance *relationship)
{
    int64_t last = wsman_instance_time(relationship, "LastReplicationTime");

    return last != 0 ? MAX(0, (g_get_real_time() - last) / G_USEC_PER_SEC) : -1;
}

static char *
lag_text(const WsmanInstance *relationship)
{
    int64_t lag = lag_sec(relationship);

    return lag >= 0 ? value_duration(lag) : NULL;
}

static void
json_time(JsonBuilder *builder, const char *name, const WsmanInstance *instance, const char *property)
{
    g_autofree char *text = value_time_utc(wsman_instance_time(instance, property));

    output_json_string(builder, name, text);
}

static void
json_named(JsonBuilder *builder, const char *name, uint64_t number, const char *text)
{
    g_autofree char *number_name = g_strconcat(name, "_number", NULL);

    output_json_string(builder, name, text);
    output_json_number(builder, number_name, (int64_t)number);
}

/* What list and status have in common; @relationship NULL: it has none. */
static void
json_vm(JsonBuilder *builder, const WsmanInstance *system, const WsmanInstance *relationship)
{
    uint64_t mode = wsman_instance_number(system, "ReplicationMode", 0);
    uint64_t power = wsman_instance_number(system, "EnabledState", 0);
    const WsmanInstance *source = relationship != NULL ? relationship : system;
    uint64_t state = wsman_instance_number(source, "ReplicationState", 0);
    uint64_t health = wsman_instance_number(source, "ReplicationHealth", 0);
    g_autofree char *uuid = g_ascii_strdown(wsman_instance_text(system, "Name"), -1);

    output_json_string(builder, "name", wsman_instance_text(system, "ElementName"));
    output_json_string(builder, "uuid", uuid);
    json_named(builder, "power", power, value_power(power));
    json_named(builder, "mode", mode, mode != 0 ? value_mode(mode) : "none");
    json_named(builder, "state", state, value_replication_state(state));
    json_named(builder, "health", health, health != 0 ? value_health(health) : "not applicable");
    json_time(builder, "last_replication", source, "LastReplicationTime");
    json_builder_set_member_name(builder, "lag_sec");
    if (lag_sec(source) >= 0)
        json_builder_add_int_value(builder, lag_sec(source));
    else
        json_builder_add_null_value(builder);
}

/* ---- list ---- */

static bool
is_vm(const WsmanInstance *system)
{
    const char *uuid = wsman_instance_text(system, "Name");

    return uuid != NULL && g_uuid_string_is_valid(uuid); /* the host has a name of another kind */
}

static const WsmanInstance *
find_relationship(const GPtrArray *relationships, const char *uuid)
{
    g_autofree char *id = g_strdup_printf("Microsoft:%s\\HVR\\0", uuid);

    for (guint i = 0; i < relationships->len; i++) {
        const char *candidate = wsman_instance_text(relationships->pdata[i], "InstanceID");

        if (candidate != NULL && g_ascii_strcasecmp(candidate, id) == 0)
            return relationships->pdata[i];
    }
    return NULL;
}

static void
list_table(const GPtrArray *systems, const GPtrArray *relationships)
{
    static const char *const titles[] = { "Name", "Power", "Mode", "State", "Health", "Lag", NULL };
    g_autoptr(OutputTable) table = output_table_new(titles);

    for (guint i = 0; i < systems->len; i++) {
        const WsmanInstance *system = systems->pdata[i];
        const WsmanInstance *relationship = find_relationship(relationships, wsman_instance_text(system, "Name"));
        const WsmanInstance *source = relationship != NULL ? relationship : system;
        g_autofree char *lag = lag_text(source);

        output_table_add(table, wsman_instance_text(system, "ElementName"));
        output_table_add(table, value_power(wsman_instance_number(system, "EnabledState", 0)));
        output_table_add(table, value_mode(wsman_instance_number(system, "ReplicationMode", 0)));
        output_table_add(table, value_replication_state(wsman_instance_number(source, "ReplicationState", 0)));
        output_table_add(table, value_health(wsman_instance_number(source, "ReplicationHealth", 0)));
        output_table_add(table, lag);
    }
    output_table_print(table);
}

static void
list_json(const GPtrArray *systems, const GPtrArray *relationships)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_array(builder);
    for (guint i = 0; i < systems->len; i++) {
        json_builder_begin_object(builder);
        json_vm(builder, systems->pdata[i], find_relationship(relationships, wsman_instance_text(systems->pdata[i], "Name")));
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
    output_json_print(builder);
}

static gint
compare_names(gconstpointer a, gconstpointer b)
{
    return g_strcmp0(wsman_instance_text(*(WsmanInstance *const *)a, "ElementName"),
                     wsman_instance_text(*(WsmanInstance *const *)b, "ElementName"));
}

bool
command_list(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(GPtrArray) systems = wsman_client_enumerate(session_client(session), "Msvm_ComputerSystem", NULL, error);
    g_autoptr(GPtrArray) relationships = NULL;

    if (systems == NULL)
        return false;
    relationships = wsman_client_enumerate(session_client(session), "Msvm_ReplicationRelationship", NULL, error);
    if (relationships == NULL)
        return false;
    for (guint i = systems->len; i > 0; i--) {
        if (!is_vm(systems->pdata[i - 1]))
            g_ptr_array_remove_index(systems, i - 1);
    }
    g_ptr_array_sort(systems, compare_names);
    if (command_line_switch(line, "json"))
        list_json(systems, relationships);
    else
        list_table(systems, relationships);
    return true;
}

/* ---- status ---- */

static void
time_field(const char *name, const WsmanInstance *instance, const char *property)
{
    g_autofree char *text = value_time_local(wsman_instance_time(instance, property));

    output_field(name, text);
}

static void
status_replica_fields(const WsmanInstance *relationship, const GPtrArray *points)
{
    g_autofree char *count = g_strdup_printf("%u", points->len);
    uint64_t kind = wsman_instance_number(relationship, "FailedOverReplicationType", 0);

    time_field("Last apply", relationship, "LastApplyTime");
    output_field("Recovery points", count);
    if (kind != 0)
        output_field("Failed over to", value_point_kind(kind));
}

static void
status_settings_fields(const WsmanInstance *settings)
{
    const char *host = wsman_instance_text(settings, "RecoveryConnectionPoint");
    g_autofree char *interval = value_duration(settings_interval(settings));
    g_autofree char *server = g_strdup_printf("%s:%" G_GUINT64_FORMAT, host != NULL ? host : "",
                                              wsman_instance_number(settings, "RecoveryServerPortNumber", 0));

    output_field("Primary host", wsman_instance_text(settings, "PrimaryHostSystem"));
    output_field("Replica server", host != NULL ? server : NULL);
    output_field("Interval", interval);
    output_field("Hourly points kept", wsman_instance_text(settings, "RecoveryHistory"));
    output_field("Additional settings", wsman_instance_text(settings, "AdditionalSettings"));
    output_field("Compression", wsman_instance_flag(settings, "CompressionEnabled") ? "yes" : "no");
}

static void
issue_fields(const GPtrArray *issues)
{
    for (guint i = 0; i < issues->len; i++)
        output_field("Issue", issues->pdata[i]);
}

static void
adapter_fields(const GPtrArray *adapters)
{
    for (guint i = 0; i < adapters->len; i++) {
        g_autofree char *addresses = adapters_addresses(adapters->pdata[i]);
        g_autofree char *text = addresses == NULL ? NULL : g_strdup_printf("%s: %s", wsman_instance_text(adapters->pdata[i], "ElementName"),
                                                                           addresses);

        if (text != NULL)
            output_field("After a failover", text);
    }
}

static void
json_adapters(JsonBuilder *builder, const GPtrArray *adapters)
{
    json_builder_set_member_name(builder, "failover_network");
    json_builder_begin_array(builder);
    for (guint i = 0; i < adapters->len; i++) {
        json_builder_begin_object(builder);
        output_json_string(builder, "mac", wsman_instance_text(adapters->pdata[i], "ElementName"));
        adapters_json(builder, adapters->pdata[i]);
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
}

static void
status_text(const SessionVm *vm, const WsmanInstance *relationship, const WsmanInstance *settings, const GPtrArray *points,
            const GPtrArray *issues, const GPtrArray *adapters)
{
    uint64_t mode = wsman_instance_number(vm->system, "ReplicationMode", 0);
    g_autofree char *lag = lag_text(relationship);

    output_field("Name", vm->name);
    output_field("UUID", vm->uuid);
    output_field("Power", value_power(wsman_instance_number(vm->system, "EnabledState", 0)));
    output_field("Mode", value_mode(mode));
    output_field("State", value_replication_state(wsman_instance_number(relationship, "ReplicationState", 0)));
    if (mode == 0)
        return;
    output_field("Health", value_health(wsman_instance_number(relationship, "ReplicationHealth", 0)));
    issue_fields(issues);
    output_field("Lag", lag);
    time_field("Last replication", relationship, "LastReplicationTime");
    if (points != NULL)
        status_replica_fields(relationship, points);
    status_settings_fields(settings);
    adapter_fields(adapters);
}

static void
json_settings(JsonBuilder *builder, const WsmanInstance *settings)
{
    output_json_string(builder, "primary_host", wsman_instance_text(settings, "PrimaryHostSystem"));
    output_json_string(builder, "replica_server", wsman_instance_text(settings, "RecoveryConnectionPoint"));
    output_json_number(builder, "replica_port", (int64_t)wsman_instance_number(settings, "RecoveryServerPortNumber", 0));
    output_json_number(builder, "interval_sec", settings_interval(settings));
    output_json_number(builder, "recovery_history", (int64_t)wsman_instance_number(settings, "RecoveryHistory", 0));
    output_json_string(builder, "additional_settings", wsman_instance_text(settings, "AdditionalSettings"));
    output_json_flag(builder, "compression", wsman_instance_flag(settings, "CompressionEnabled"));
}

static void
status_json(const SessionVm *vm, const WsmanInstance *relationship, const WsmanInstance *settings, const GPtrArray *points,
            const GPtrArray *issues, const GPtrArray *adapters)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    uint64_t kind = wsman_instance_number(relationship, "FailedOverReplicationType", 0);

    json_builder_begin_object(builder);
    json_vm(builder, vm->system, relationship);
    json_time(builder, "last_apply", relationship, "LastApplyTime");
    output_json_number(builder, "recovery_points", points != NULL ? points->len : 0);
    json_named(builder, "failed_over_to", kind, value_point_kind(kind));
    json_settings(builder, settings);
    output_json_strings(builder, "health_issues", issues);
    json_adapters(builder, adapters);
    json_builder_end_object(builder);
    output_json_print(builder);
}

bool
command_status(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);
    g_autoptr(WsmanInstance) relationship = NULL, settings = NULL, statistics = NULL;
    g_autoptr(GPtrArray) points = NULL, issues = NULL, adapters = NULL;
    uint64_t mode;

    if (vm == NULL)
        return false;
    vm->relationship = command_line_switch(line, "extended") ? 1 : 0;
    relationship = session_relationship(session, vm, error);
    settings = relationship != NULL ? session_settings(session, vm, error) : NULL;
    if (settings == NULL)
        return false;
    mode = wsman_instance_number(vm->system, "ReplicationMode", 0);
    if (mode != 0)
        statistics = session_statistics(session, vm, &issues, NULL); /* status is more than that: shown without, if need be */
    if (issues == NULL)
        issues = g_ptr_array_new();
    adapters = session_adapters(session, vm, "Msvm_FailoverNetworkAdapterSettingData", NULL); /* likewise */
    if (adapters == NULL)
        adapters = g_ptr_array_new();
    if (mode == 2 || mode == 4) {
        points = session_points(session, vm, error);
        if (points == NULL)
            return false;
    }
    if (command_line_switch(line, "json"))
        status_json(vm, relationship, settings, points, issues, adapters);
    else
        status_text(vm, relationship, settings, points, issues, adapters);
    return true;
}

/* ---- points ---- */

static void
points_table(const GPtrArray *points)
{
    static const char *const titles[] = { "Point", "Taken", "Age", "Kind", NULL };
    g_autoptr(OutputTable) table = output_table_new(titles);

    for (guint i = 0; i < points->len; i++) {
        int64_t taken = wsman_instance_time(points->pdata[i], "CreationTime");
        g_autofree char *time = value_time_local(taken);
        g_autofree char *age = value_duration(MAX(0, (g_get_real_time() - taken) / G_USEC_PER_SEC));

        output_table_add(table, point_id(points->pdata[i]));
        output_table_add(table, time);
        output_table_add(table, age);
        output_table_add(table, value_point_type(wsman_instance_text(points->pdata[i], "VirtualSystemType")));
    }
    output_table_print(table);
}

static void
points_json(const GPtrArray *points)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_array(builder);
    for (guint i = 0; i < points->len; i++) {
        const WsmanInstance *point = points->pdata[i];

        json_builder_begin_object(builder);
        output_json_string(builder, "id", point_id(point));
        output_json_string(builder, "instance_id", wsman_instance_text(point, "InstanceID"));
        output_json_string(builder, "name", wsman_instance_text(point, "ElementName"));
        output_json_string(builder, "kind", value_point_type(wsman_instance_text(point, "VirtualSystemType")));
        json_time(builder, "taken", point, "CreationTime");
        output_json_number(builder, "taken_usec", wsman_instance_time(point, "CreationTime"));
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
    output_json_print(builder);
}

bool
command_points(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(SessionVm) vm = session_find_vm(session, command_line_word(line, 0), error);
    g_autoptr(GPtrArray) points = vm != NULL ? session_points(session, vm, error) : NULL;

    if (points == NULL)
        return false;
    if (command_line_switch(line, "json"))
        points_json(points);
    else
        points_table(points);
    return true;
}

/* ---- jobs ---- */

static void
jobs_table(const GPtrArray *jobs)
{
    static const char *const titles[] = { "Job", "Type", "State", "Done", "Description", NULL };
    g_autoptr(OutputTable) table = output_table_new(titles);

    for (guint i = 0; i < jobs->len; i++) {
        const WsmanInstance *job = jobs->pdata[i];
        g_autofree char *percent = g_strdup_printf("%" G_GUINT64_FORMAT " %%", wsman_instance_number(job, "PercentComplete", 0));

        output_table_add(table, wsman_instance_text(job, "InstanceID"));
        output_table_add(table, value_job_type(wsman_instance_number(job, "JobType", 0)));
        output_table_add(table, value_job_state(wsman_instance_number(job, "JobState", 0)));
        output_table_add(table, percent);
        output_table_add(table, wsman_instance_text(job, "Description"));
    }
    output_table_print(table);
}

static void
json_job(JsonBuilder *builder, const WsmanInstance *job)
{
    uint64_t type = wsman_instance_number(job, "JobType", 0);
    uint64_t state = wsman_instance_number(job, "JobState", 0);

    json_builder_begin_object(builder);
    output_json_string(builder, "id", wsman_instance_text(job, "InstanceID"));
    json_named(builder, "type", type, value_job_type(type));
    json_named(builder, "state", state, value_job_state(state));
    output_json_number(builder, "percent", (int64_t)wsman_instance_number(job, "PercentComplete", 0));
    output_json_string(builder, "description", wsman_instance_text(job, "Description"));
    output_json_string(builder, "owner", wsman_instance_text(job, "Owner"));
    output_json_number(builder, "error_code", (int64_t)wsman_instance_number(job, "ErrorCode", 0));
    output_json_string(builder, "error", wsman_instance_text(job, "ErrorDescription"));
    json_time(builder, "started", job, "StartTime");
    json_builder_end_object(builder);
}

static void
jobs_json(const GPtrArray *jobs)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_array(builder);
    for (guint i = 0; i < jobs->len; i++)
        json_job(builder, jobs->pdata[i]);
    json_builder_end_array(builder);
    output_json_print(builder);
}

static void
show_job(const WsmanInstance *job)
{
    g_autofree char *percent = g_strdup_printf("%" G_GUINT64_FORMAT " %%", wsman_instance_number(job, "PercentComplete", 0));
    const char *failure = wsman_instance_text(job, "ErrorDescription");

    output_field("Job", wsman_instance_text(job, "InstanceID"));
    output_field("Type", value_job_type(wsman_instance_number(job, "JobType", 0)));
    output_field("State", value_job_state(wsman_instance_number(job, "JobState", 0)));
    output_field("Done", percent);
    output_field("Description", wsman_instance_text(job, "Description"));
    output_field("Owner", wsman_instance_text(job, "Owner"));
    time_field("Started", job, "StartTime");
    if (failure != NULL && *failure != '\0')
        output_field("Error", failure);
}

static bool
show_one_job(Session *session, const CommandLine *line, const char *id, GError **error)
{
    g_autoptr(WsmanReference) reference = wsman_reference_new("Msvm_ConcreteJob");
    g_autofree char *title = g_strdup_printf("Job %s", id);
    g_autoptr(WsmanInstance) job = NULL;
    g_autoptr(JsonBuilder) builder = json_builder_new();

    wsman_reference_add(reference, "InstanceID", id);
    if (command_line_switch(line, "wait") && !session_wait_job(session, reference, title, error))
        return false;
    job = wsman_client_get(session_client(session), reference, error);
    if (job == NULL)
        return false;
    if (!command_line_switch(line, "json")) {
        show_job(job);
        return true;
    }
    json_job(builder, job);
    output_json_print(builder);
    return true;
}

bool
command_jobs(Session *session, const CommandLine *line, GError **error)
{
    const char *id = command_line_word(line, 0);
    g_autoptr(GPtrArray) jobs = NULL;

    if (id != NULL)
        return show_one_job(session, line, id, error);
    if (command_line_switch(line, "wait")) {
        g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "--wait needs the id of a job");
        return false;
    }
    jobs = wsman_client_enumerate(session_client(session), "Msvm_ConcreteJob", NULL, error);
    if (jobs == NULL)
        return false;
    if (command_line_switch(line, "json"))
        jobs_json(jobs);
    else
        jobs_table(jobs);
    return true;
}

/* ---- version ---- */

bool
command_version(Session *session, const CommandLine *line, GError **error)
{
    g_autoptr(WsmanInstance) service = wsman_client_identify(session_client(session), error);
    g_autoptr(JsonBuilder) builder = json_builder_new();

    if (service == NULL)
        return false;
    if (command_line_switch(line, "json")) {
        json_builder_begin_object(builder);
        output_json_string(builder, "client", VERSION);
        output_json_string(builder, "service", wsman_instance_text(service, "ProductVersion"));
        output_json_string(builder, "vendor", wsman_instance_text(service, "ProductVendor"));
        json_builder_end_object(builder);
        output_json_print(builder);
        return true;
    }
    output_field("virt-replica", VERSION);
    output_field("Service", wsman_instance_text(service, "ProductVersion"));
    output_field("Vendor", wsman_instance_text(service, "ProductVendor"));
    return true;
}
