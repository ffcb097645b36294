#include "cim/test-service.h"

#include "replication/connection-test.h"

#include <string.h>

#define TEST_TIME (INT64_C(1714558830) * G_USEC_PER_SEC) /* 2024-05-01 10:20:30 UTC */

struct ReplicationService {
    GPtrArray *vms, *points, *entries; /* of views */
    ServiceSettings settings;
    JobList   *jobs;
    TestCall   call;
    bool       has_answer;
    int        answer;
};

/* ---- views ---- */

static RelationshipView *
relationship_copy(const RelationshipView *self)
{
    RelationshipView *copy;

    if (self == NULL)
        return NULL;
    copy = g_memdup2(self, sizeof *self);
    copy->vm_uuid = g_strdup(self->vm_uuid);
    copy->vm_name = g_strdup(self->vm_name);
    copy->settings = relationship_settings_copy(self->settings);
    return copy;
}

static VmView *
vm_copy(const VmView *self)
{
    VmView *copy = g_memdup2(self, sizeof *self);

    copy->uuid = g_strdup(self->uuid);
    copy->name = g_strdup(self->name);
    copy->test_vm_uuid = g_strdup(self->test_vm_uuid);
    copy->replica_vm_uuid = g_strdup(self->replica_vm_uuid);
    copy->relationships[0] = relationship_copy(self->relationships[0]);
    copy->relationships[1] = relationship_copy(self->relationships[1]);
    return copy;
}

static PointView *
point_copy(const PointView *self)
{
    PointView *copy = g_memdup2(self, sizeof *self);

    copy->id = g_strdup(self->id);
    copy->vm_uuid = g_strdup(self->vm_uuid);
    copy->vm_name = g_strdup(self->vm_name);
    copy->parent_id = g_strdup(self->parent_id);
    return copy;
}

/* ---- content ---- */

static void
add_vm(ReplicationService *self, const char *uuid, const char *name, ReplicationMode mode, ReplicationState state, PowerState power,
       unsigned n_relationships)
{
    VmView *vm = g_new0(VmView, 1);

    vm->uuid = g_strdup(uuid);
    vm->name = g_strdup(name);
    vm->mode = mode;
    vm->power = power;
    vm->created_usec = TEST_TIME;
    vm->process_id = power == POWER_RUNNING ? 4711 : 0;
    vm->started_usec = power == POWER_RUNNING ? TEST_TIME : 0;
    vm->n_relationships = n_relationships;
    for (unsigned i = 0; i < n_relationships; i++) {
        RelationshipView *view = vm->relationships[i] = g_new0(RelationshipView, 1);
        view->vm_uuid = g_strdup(uuid);
        view->vm_name = g_strdup(name);
        view->index = i;
        view->state = i == 0 ? state : STATE_DISABLED;
        view->health = view->state == STATE_DISABLED ? HEALTH_NOT_APPLICABLE : HEALTH_OK;
        view->last_replication_usec = view->state == STATE_DISABLED ? 0 : TEST_TIME;
        view->settings = relationship_settings_new();
    }
    g_ptr_array_add(self->vms, vm);
}

static void
add_point(ReplicationService *self, const char *id, const char *parent_id, PointKind kind, unsigned position, bool latest)
{
    PointView *point = g_new0(PointView, 1);

    *point = (PointView) {
        .id = g_strdup(id), .vm_uuid = g_strdup(TEST_REPLICA), .vm_name = g_strdup("db"), .kind = kind, .position = position,
        .taken_usec = TEST_TIME + (int64_t) position * 3600 * G_USEC_PER_SEC, .latest = latest, .parent_id = g_strdup(parent_id),
    };
    g_ptr_array_add(self->points, point);
}

ReplicationService *
test_service_new(void)
{
    ReplicationService *self = g_new0(ReplicationService, 1);

    self->vms = g_ptr_array_new_with_free_func((GDestroyNotify) vm_view_free);
    self->points = g_ptr_array_new_with_free_func((GDestroyNotify) point_view_free);
    self->entries = g_ptr_array_new_with_free_func((GDestroyNotify) authorization_entry_free);
    self->jobs = job_list_new();
    self->settings = (ServiceSettings) { .allowed_authentication_type = 2, .http_port = 80, .https_port = 443,
                                         .monitoring_interval_sec = 43200, .monitoring_start_sec = 32400 };
    add_vm(self, TEST_PRIMARY, "web", MODE_PRIMARY, STATE_REPLICATING, POWER_RUNNING, 1);
    add_vm(self, TEST_REPLICA, "db", MODE_REPLICA, STATE_REPLICATING, POWER_OFF, 2);
    add_vm(self, TEST_IDLE, "idle", MODE_NONE, STATE_DISABLED, POWER_OFF, 1);
    add_point(self, TEST_POINT_1, NULL, POINT_KIND_STANDARD, 1, false);
    add_point(self, TEST_POINT_2, TEST_POINT_1, POINT_KIND_APPLICATION_CONSISTENT, 2, false);
    add_point(self, TEST_POINT_3, TEST_POINT_2, POINT_KIND_STANDARD, 3, true);
    return self;
}

void
test_service_add_test_vm(ReplicationService *self)
{
    for (unsigned i = 0; i < self->vms->len; i++) {
        VmView *vm = self->vms->pdata[i];
        if (strcmp(vm->uuid, TEST_REPLICA) == 0)
            vm->test_vm_uuid = g_strdup(TEST_TEST_VM);
    }
    add_vm(self, TEST_TEST_VM, "db - Test", MODE_TEST_REPLICA, STATE_DISABLED, POWER_OFF, 1);
    ((VmView *) self->vms->pdata[self->vms->len - 1])->replica_vm_uuid = g_strdup(TEST_REPLICA);
}

static void
call_clear(TestCall *call)
{
    g_free(call->user);
    g_free(call->vm_uuid);
    g_free(call->text);
    relationship_settings_free(call->settings);
    g_clear_pointer(&call->adapters, g_ptr_array_unref);
    memset(call, 0, sizeof *call);
}

void
test_service_free(ReplicationService *self)
{
    call_clear(&self->call);
    g_ptr_array_unref(self->vms);
    g_ptr_array_unref(self->points);
    g_ptr_array_unref(self->entries);
    g_free(self->settings.certificate_thumb_print);
    job_list_free(self->jobs);
    g_free(self);
}

const TestCall *
test_service_last_call(ReplicationService *self)
{
    return &self->call;
}

void
test_service_refuse_next(ReplicationService *self, int code)
{
    self->has_answer = true;
    self->answer = code;
}

/* ---- reading ---- */

const char *
replication_service_host_name(ReplicationService *self)
{
    return TEST_HOST;
}

GPtrArray *
replication_service_vms(ReplicationService *self, GError **error)
{
    GPtrArray *vms = g_ptr_array_new_with_free_func((GDestroyNotify) vm_view_free);

    for (unsigned i = 0; i < self->vms->len; i++)
        g_ptr_array_add(vms, vm_copy(self->vms->pdata[i]));
    return vms;
}

VmView *
replication_service_vm(ReplicationService *self, const char *uuid, GError **error)
{
    for (unsigned i = 0; i < self->vms->len; i++) {
        const VmView *vm = self->vms->pdata[i];
        if (strcmp(vm->uuid, uuid) == 0)
            return vm_copy(vm);
    }
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER, "There is no VM %s on this host", uuid);
    return NULL;
}

GPtrArray *
replication_service_points(ReplicationService *self, const char *vm_uuid, GError **error)
{
    GPtrArray *points = g_ptr_array_new_with_free_func((GDestroyNotify) point_view_free);

    for (unsigned i = 0; i < self->points->len; i++) {
        if (strcmp(((PointView *) self->points->pdata[i])->vm_uuid, vm_uuid) == 0)
            g_ptr_array_add(points, point_copy(self->points->pdata[i]));
    }
    return points;
}

PointView *
replication_service_point(ReplicationService *self, const char *point_id, GError **error)
{
    for (unsigned i = 0; i < self->points->len; i++) {
        const PointView *point = self->points->pdata[i];
        if (strcmp(point->id, point_id) == 0)
            return point_copy(point);
    }
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER, "There is no recovery point %s", point_id);
    return NULL;
}

GPtrArray *
replication_service_disks(ReplicationService *self, const char *vm_uuid, GError **error)
{
    static const char *const targets[] = { "vda", "vdb", "sda" };
    GPtrArray *disks = g_ptr_array_new_with_free_func((GDestroyNotify) disk_view_free);

    for (unsigned i = 0; i < G_N_ELEMENTS(targets); i++) {
        DiskView *disk = g_new0(DiskView, 1);
        disk->target = g_strdup(targets[i]);
        disk->path = g_strdup_printf("/images/%s-%s.qcow2", vm_uuid, targets[i]);
        disk->size_bytes = 1024 * 1024;
        disk->replicable = targets[i][0] == 'v';
        g_ptr_array_add(disks, disk);
    }
    return disks;
}

GPtrArray *
replication_service_adapters(ReplicationService *self, const char *vm_uuid, GError **error)
{
    GPtrArray *adapters = g_ptr_array_new_with_free_func((GDestroyNotify) adapter_view_free);
    AdapterView *adapter;

    g_ptr_array_add(adapters, adapter_view_new(TEST_MAC_1));
    if (strcmp(vm_uuid, TEST_IDLE) == 0)
        return adapters;
    adapter = adapter_view_new(TEST_MAC_2);
    g_strfreev(adapter->addresses);
    g_strfreev(adapter->subnets);
    adapter->addresses = g_strsplit("10.0.0.5", " ", -1);
    adapter->subnets = g_strsplit("255.255.255.0", " ", -1);
    adapter->protocol = 4096;
    adapter->is_set = true;
    adapter->test_network = g_strdup("isolated");
    g_ptr_array_add(adapters, adapter);
    return adapters;
}

StatisticsView *
replication_service_statistics(ReplicationService *self, const char *vm_uuid, unsigned index, GError **error)
{
    StatisticsView *view;
    HealthIssue *issue;

    if (strcmp(vm_uuid, TEST_IDLE) == 0 || index != 0) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_STATE, "It does not replicate");
        return NULL;
    }
    view = g_new0(StatisticsView, 1);
    *view = (StatisticsView) { .start_usec = TEST_TIME, .end_usec = TEST_TIME + INT64_C(3600) * G_USEC_PER_SEC, .success = 12,
                               .missed = 3, .failed = 2, .network_failed = 1, .bytes = INT64_C(5000000000), .max_bytes = 1000,
                               .pending_bytes = 77, .latency_usec = 2600000, .max_latency_usec = 400000,
                               .health = HEALTH_WARNING };
    view->issues = g_ptr_array_new_with_free_func((GDestroyNotify) health_issue_free);
    issue = g_new0(HealthIssue, 1);
    *issue = (HealthIssue) { HEALTH_WARNING, g_strdup("3 of 15 cycles & more were missed; wait.") };
    g_ptr_array_add(view->issues, issue);
    return view;
}

ServiceSettings *
replication_service_settings(ReplicationService *self)
{
    ServiceSettings *copy = g_memdup2(&self->settings, sizeof self->settings);

    copy->certificate_thumb_print = g_strdup(self->settings.certificate_thumb_print);
    return copy;
}

GPtrArray *
replication_service_entries(ReplicationService *self)
{
    GPtrArray *entries = g_ptr_array_new_with_free_func((GDestroyNotify) authorization_entry_free);

    for (unsigned i = 0; i < self->entries->len; i++) {
        const AuthorizationEntry *entry = self->entries->pdata[i];
        AuthorizationEntry *copy = g_new0(AuthorizationEntry, 1);
        *copy = (AuthorizationEntry) { g_strdup(entry->allowed_primary), g_strdup(entry->trust_group),
                                       g_strdup(entry->storage_location), g_strdup(entry->additional_settings) };
        g_ptr_array_add(entries, copy);
    }
    return entries;
}

JobList *
replication_service_jobs(ReplicationService *self)
{
    return self->jobs;
}

/* ---- doing ---- */

static bool
do_call(ReplicationService *self, const char *operation, const Caller *caller, const char *vm_uuid, JobType type, Job **ret_job,
        GError **error)
{
    bool has_answer = self->has_answer;

    self->has_answer = false;
    call_clear(&self->call);
    self->call.operation = operation;
    self->call.user = g_strdup(caller->user);
    self->call.vm_uuid = g_strdup(vm_uuid);
    if (has_answer && self->answer != 0) {
        g_set_error(error, REPLICATION_ERROR, self->answer, "Refused as the test wants");
        return false;
    }
    if (ret_job != NULL)
        *ret_job = has_answer ? NULL : job_list_add(self->jobs, type, vm_uuid, caller->user, operation, true);
    return true;
}

static gpointer
copy_adapter(gconstpointer adapter, gpointer data)
{
    return adapter_view_copy(adapter);
}

bool
replication_service_set_adapters(ReplicationService *self, const Caller *caller, const char *vm_uuid, const GPtrArray *adapters, GError **error)
{
    bool ok = do_call(self, "set-adapters", caller, vm_uuid, JOB_MODIFY_RELATIONSHIP, NULL, error);

    self->call.adapters = g_ptr_array_copy((GPtrArray *) adapters, copy_adapter, NULL);
    g_ptr_array_set_free_func(self->call.adapters, (GDestroyNotify) adapter_view_free);
    return ok;
}

bool
replication_service_set_test_network(ReplicationService *self, const Caller *caller, const char *vm_uuid, const char *mac, const char *network,
                                     const char *pool, GError **error)
{
    bool ok = do_call(self, "set-test-network", caller, vm_uuid, JOB_MODIFY_RELATIONSHIP, NULL, error);

    self->call.text = g_strdup_printf("%s %s %s", mac, network != NULL ? network : "-", pool != NULL ? pool : "-");
    return ok;
}

bool
replication_service_create(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index, const RelationshipSettings *settings,
                           Job **ret_job, GError **error)
{
    bool ok = do_call(self, "create", caller, vm_uuid, JOB_CREATE_RELATIONSHIP, ret_job, error);
    self->call.index = index;

    self->call.settings = relationship_settings_copy(settings);
    return ok;
}

bool
replication_service_modify(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index, const RelationshipSettings *settings,
                           Job **ret_job, GError **error)
{
    bool ok = do_call(self, "modify", caller, vm_uuid, JOB_MODIFY_RELATIONSHIP, ret_job, error);
    self->call.index = index;

    self->call.settings = relationship_settings_copy(settings);
    return ok;
}

bool
replication_service_start_initial(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned type,
                                  const char *export_location, int64_t start_usec, Job **ret_job, GError **error)
{
    bool ok = do_call(self, "start", caller, vm_uuid, JOB_START_INITIAL, ret_job, error);

    self->call.number = type;
    self->call.text = g_strdup(export_location);
    self->call.start_usec = start_usec;
    return ok;
}

bool
replication_service_import_initial(ReplicationService *self, const Caller *caller, const char *vm_uuid, const char *location,
                                   Job **ret_job, GError **error)
{
    bool ok = do_call(self, "import", caller, vm_uuid, JOB_IMPORT, ret_job, error);

    self->call.text = g_strdup(location);
    return ok;
}

bool
replication_service_resynchronize(ReplicationService *self, const Caller *caller, const char *vm_uuid, int64_t start_usec,
                                  Job **ret_job, GError **error)
{
    bool ok = do_call(self, "resynchronize", caller, vm_uuid, JOB_RESYNC, ret_job, error);

    self->call.start_usec = start_usec;
    return ok;
}

bool
replication_service_cancel_job(ReplicationService *self, const Caller *caller, Job *job, GError **error)
{
    return job_cancel(job);
}

bool
replication_service_change_state(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index,
                                 unsigned requested, Job **ret_job, GError **error)
{
    bool ok = do_call(self, "change-state", caller, vm_uuid, JOB_STATE_CHANGE, ret_job, error);

    self->call.index = index;
    self->call.number = requested;
    return ok;
}

bool
replication_service_remove(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index, Job **ret_job,
                           GError **error)
{
    bool ok = do_call(self, "remove", caller, vm_uuid, JOB_REMOVE_RELATIONSHIP, ret_job, error);

    self->call.index = index;
    return ok;
}

bool
replication_service_power(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned requested, Job **ret_job,
                          GError **error)
{
    bool ok = do_call(self, "power", caller, vm_uuid, JOB_START_VM, ret_job, error);

    self->call.number = requested;
    return ok;
}

bool
replication_service_reset_statistics(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index, GError **error)
{
    bool ok = do_call(self, "reset-statistics", caller, vm_uuid, JOB_MODIFY_SERVICE, NULL, error);

    self->call.index = index;
    return ok;
}

bool
replication_service_set_settings(ReplicationService *self, const Caller *caller, const ServiceSettings *settings, Job **ret_job,
                                 GError **error)
{
    if (!do_call(self, "set-settings", caller, NULL, JOB_MODIFY_SERVICE, ret_job, error))
        return false;
    g_free(self->settings.certificate_thumb_print);
    self->settings = *settings;
    self->settings.certificate_thumb_print = g_strdup(settings->certificate_thumb_print);
    return true;
}

bool
replication_service_test_connection(ReplicationService *self, const Caller *caller, const RelationshipSettings *settings, Job **ret_job,
                                    GError **error)
{
    bool ok = do_call(self, "test-connection", caller, NULL, JOB_TEST_CONNECTION, ret_job, error);

    self->call.settings = relationship_settings_copy(settings);
    return ok;
}

bool
replication_service_add_entry(ReplicationService *self, const Caller *caller, const AuthorizationEntry *entry, GError **error)
{
    AuthorizationEntry *copy;

    if (!do_call(self, "add-entry", caller, NULL, JOB_MODIFY_SERVICE, NULL, error))
        return false;
    copy = g_new0(AuthorizationEntry, 1);
    *copy = (AuthorizationEntry) { g_strdup(entry->allowed_primary), g_strdup(entry->trust_group), g_strdup(entry->storage_location),
                                   g_strdup(entry->additional_settings) };
    g_ptr_array_add(self->entries, copy);
    self->call.text = g_strdup(entry->allowed_primary);
    return true;
}

bool
replication_service_set_entry(ReplicationService *self, const Caller *caller, const char *vm_uuid, const char *allowed_primary,
                              GError **error)
{
    bool ok = do_call(self, "set-entry", caller, vm_uuid, JOB_MODIFY_SERVICE, NULL, error);

    self->call.text = g_strdup(allowed_primary);
    return ok;
}

GPtrArray *
replication_service_certificates(ReplicationService *self, GError **error)
{
    GPtrArray *texts = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(texts, g_strdup("TUlJ"));
    return texts;
}

bool
replication_service_change_entry(ReplicationService *self, const Caller *caller, const AuthorizationEntry *entry, GError **error)
{
    if (!do_call(self, "change-entry", caller, NULL, JOB_MODIFY_SERVICE, NULL, error))
        return false;
    for (unsigned i = 0; i < self->entries->len; i++) {
        AuthorizationEntry *found = self->entries->pdata[i];
        if (g_ascii_strcasecmp(found->allowed_primary, entry->allowed_primary) == 0 && entry->additional_settings != NULL) {
            g_free(found->additional_settings);
            found->additional_settings = g_strdup(entry->additional_settings);
        }
    }
    self->call.text = g_strdup(entry->allowed_primary);
    return true;
}

bool
replication_service_remove_entry(ReplicationService *self, const Caller *caller, const char *allowed_primary, GError **error)
{
    if (!do_call(self, "remove-entry", caller, NULL, JOB_MODIFY_SERVICE, NULL, error))
        return false;
    self->call.text = g_strdup(allowed_primary);
    g_ptr_array_set_size(self->entries, 0);
    return true;
}

bool
failover_initiate(ReplicationService *self, const Caller *caller, const char *vm_uuid, const char *point_id, Job **ret_job,
                  GError **error)
{
    bool ok = do_call(self, "failover", caller, vm_uuid, JOB_INITIATE_FAILOVER, ret_job, error);

    self->call.text = g_strdup(point_id);
    return ok;
}

bool
failover_reverse(ReplicationService *self, const Caller *caller, const char *vm_uuid, const RelationshipSettings *settings,
                 Job **ret_job, GError **error)
{
    bool ok = do_call(self, "reverse", caller, vm_uuid, JOB_REVERSE, ret_job, error);

    self->call.settings = relationship_settings_copy(settings);
    return ok;
}

bool
failover_continue(ReplicationService *self, const Caller *caller, const char *vm_uuid, Job **ret_job, GError **error)
{
    return do_call(self, "continue", caller, vm_uuid, JOB_CHANGE_TO_PRIMARY, ret_job, error);
}

bool
failover_test(ReplicationService *self, const Caller *caller, const char *vm_uuid, const char *point_id,
              char **ret_test_uuid, Job **ret_job, GError **error)
{
    bool ok = do_call(self, "test", caller, vm_uuid, JOB_TEST_FAILOVER, ret_job, error);

    self->call.text = g_strdup(point_id);
    if (ok) {
        test_service_add_test_vm(self);
        *ret_test_uuid = g_strdup(TEST_TEST_VM);
        job_set_result_vm(*ret_job, TEST_TEST_VM);
    }
    return ok;
}

bool
failover_end_test(ReplicationService *self, const Caller *caller, const char *test_uuid, Job **ret_job, GError **error)
{
    return do_call(self, "end-test", caller, test_uuid, JOB_END_TEST, ret_job, error);
}

bool
failover_commit(ReplicationService *self, const Caller *caller, const char *vm_uuid, Job **ret_job, GError **error)
{
    return do_call(self, "commit", caller, vm_uuid, JOB_COMMIT_FAILOVER, ret_job, error);
}

bool
failover_revert(ReplicationService *self, const Caller *caller, const char *vm_uuid, Job **ret_job, GError **error)
{
    return do_call(self, "revert", caller, vm_uuid, JOB_REVERT_FAILOVER, ret_job, error);
}
