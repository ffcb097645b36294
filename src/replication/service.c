/* The service's life: members, scheduler, workers, jobs. What callers ask for is in service-views.c and service-commands.c. */
#include "replication/service-private.h"

#include "disk/disk-server.h"
#include "replication/points.h"
#include "replication/replica-making.h"
#include "replication/settings.h"
#include "util/durable.h"
#include "util/log.h"
#include "util/reach.h"

#include <string.h>

#define POOL_BYTES        (64u * 1024 * 1024) /* disk data in memory, all VMs together */
#define BACKOFF_MAX_SEC   15
#define TEND_EVERY_USEC   (60 * G_USEC_PER_SEC) /* statistics: windows end that late at most */
#define TEST_LOOK_USEC    (2 * G_USEC_PER_SEC)
#define STATE_DATABASE    "state.db"

static ServiceResumeFunc resume_failover, look_after_guest;

void
replication_service_set_resume(ServiceResumeFunc func)
{
    resume_failover = func;
}

void
replication_service_set_guest(ServiceResumeFunc func)
{
    look_after_guest = func;
}

/* ---- members ---- */

static char *
member_key(const char *vm_uuid, unsigned index)
{
    g_autofree char *lower = g_ascii_strdown(vm_uuid, -1);
    return index == 0 ? g_steal_pointer(&lower) : g_strdup_printf("%s/%u", lower, index);
}

static Member *
member_new(ReplicationService *service, Relationship *relationship)
{
    Member *self = g_new0(Member, 1);
    self->references = 1;
    self->service = service;
    self->relationship = relationship;
    self->key = member_key(relationship_vm(relationship), relationship_index(relationship));
    return self;
}

Member *
member_ref(Member *self)
{
    g_atomic_int_inc(&self->references);
    return self;
}

void
member_unref(Member *self)
{
    if (self == NULL || !g_atomic_int_dec_and_test(&self->references))
        return;
    primary_free(self->primary);
    replica_unref(self->replica);
    relationship_unref(self->relationship);
    g_free(self->key);
    g_free(self);
}

Member *
service_find_member_at(ReplicationService *self, const char *vm_uuid, unsigned index)
{
    g_autofree char *key = member_key(vm_uuid, index);
    g_mutex_lock(&self->lock);
    Member *member = g_hash_table_lookup(self->members, key);
    if (member != NULL)
        member_ref(member);
    g_mutex_unlock(&self->lock);
    return member;
}

Member *
service_find_member(ReplicationService *self, const char *vm_uuid)
{
    return service_find_member_at(self, vm_uuid, 0);
}

Member *
service_find_sender(ReplicationService *self, const char *vm_uuid)
{
    g_autoptr(Member) first = service_find_member(self, vm_uuid);
    Member *second = first == NULL || first->primary != NULL ? NULL : service_find_member_at(self, vm_uuid, 1);
    return second != NULL ? second : g_steal_pointer(&first);
}

GPtrArray *
service_members(ReplicationService *self)
{
    GPtrArray *members = g_ptr_array_new_with_free_func((GDestroyNotify)member_unref);
    GHashTableIter iter;
    gpointer member;
    g_mutex_lock(&self->lock);
    g_hash_table_iter_init(&iter, self->members);
    while (g_hash_table_iter_next(&iter, NULL, &member))
        g_ptr_array_add(members, member_ref(member));
    g_mutex_unlock(&self->lock);
    return members;
}

static void
wake_opaque(void *opaque)
{
    service_wake_member(opaque);
}

/* What the relationship with a third host sends on. */
static bool
find_upstream(ReplicationService *self, Relationship *relationship, Upstream **ret_upstream, GError **error)
{
    *ret_upstream = NULL;
    if (relationship_index(relationship) == 0)
        return true;
    g_autoptr(Member) first = service_find_member(self, relationship_vm(relationship));
    if (first == NULL || first->replica == NULL)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "VM %s is no replica that could be sent on", relationship_vm(relationship));
    *ret_upstream = upstream_new(&self->context, first->replica, first->relationship, relationship);
    return true;
}

Member *
service_add_member(ReplicationService *self, StoreRelationship *row, GError **error)
{
    bool is_replica = replication_mode_is_replica(row->mode);
    Relationship *relationship = relationship_new(self->context.store, row, error);
    if (relationship == NULL)
        return NULL;
    Member *member = member_new(self, relationship);
    Upstream *upstream = NULL;
    if (!is_replica && !find_upstream(self, relationship, &upstream, error)) {
        member_unref(member);
        return NULL;
    }
    if (is_replica)
        member->replica = replica_new(&self->context, relationship, wake_opaque, member);
    else
        member->primary = primary_new(&self->context, relationship, upstream);
    g_mutex_lock(&self->lock);
    if (g_hash_table_contains(self->members, member->key)) {
        g_mutex_unlock(&self->lock);
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_IN_USE, "VM %s replicates already",
                    relationship_vm(relationship));
        member_unref(member);
        return NULL;
    }
    g_hash_table_insert(self->members, member->key, member_ref(member));
    g_mutex_unlock(&self->lock);
    service_plan_statistics(self, member);
    return member;
}

Member *
service_replace_member(ReplicationService *self, Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    relationship_close(member->relationship, true);
    service_drop_member(self, member);
    return service_add_member(self, g_steal_pointer(&row), error);
}

void
service_drop_member(ReplicationService *self, Member *member)
{
    g_mutex_lock(&self->lock);
    g_hash_table_remove(self->members, member->key);
    g_mutex_unlock(&self->lock);
}

/* ---- scheduler and workers ---- */

static void
queue_locked(Member *member)
{
    if (member->queued) {
        member->again = true;
        return;
    }
    if (member->service->stopping)
        return;
    member->queued = true;
    g_thread_pool_push(member->service->workers, member_ref(member), NULL);
}

void
service_wake_member(Member *member)
{
    ReplicationService *self = member->service;
    g_mutex_lock(&self->lock);
    if (member->primary != NULL)
        member->due_usec = g_get_monotonic_time();
    else
        queue_locked(member);
    if (member->queued)
        member->again = true;
    g_cond_signal(&self->scheduler_wake);
    g_mutex_unlock(&self->lock);
}

static gpointer
scheduler_main(gpointer data)
{
    ReplicationService *self = data;
    int64_t tended = g_get_monotonic_time();
    g_mutex_lock(&self->lock);
    while (!self->stopping) {
        int64_t now = g_get_monotonic_time(), next = now + TEND_EVERY_USEC;
        if (now - tended > TEND_EVERY_USEC) {
            tended = now;
            g_mutex_unlock(&self->lock);
            service_tend_statistics(self);
            g_mutex_lock(&self->lock);
            continue;
        }
        GHashTableIter iter;
        gpointer value;
        g_hash_table_iter_init(&iter, self->members);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
            Member *member = value;
            if (member->queued || (member->primary == NULL && member->failures == 0))
                continue;
            if (member->due_usec <= now)
                queue_locked(member);
            else
                next = MIN(next, member->due_usec);
        }
        g_cond_wait_until(&self->scheduler_wake, &self->lock, next);
    }
    g_mutex_unlock(&self->lock);
    return NULL;
}

static void
note_failure(Member *member, const char *next, GError *error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (relationship_set_error(member->relationship, error->message))
        log_warning(member->primary != NULL ? "cycle" : "apply", row->vm_name, "%s%s", error->message, next);
    else
        log_info(member->primary != NULL ? "cycle" : "apply", row->vm_name, "%s%s", error->message, next);
}

static void
note_success(Member *member)
{
    if (!relationship_set_error(member->relationship, NULL))
        return;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    log_notice(member->primary != NULL ? "cycle" : "apply", row->vm_name, "goes on");
}

/* When it is looked at next. */
static void
reschedule(Member *member, CycleResult result, int64_t started_usec)
{
    ReplicationService *self = member->service;
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    int64_t wait = primary_start_wait(row);
    int64_t now = g_get_monotonic_time(), interval = relationship_settings_interval(settings) * G_USEC_PER_SEC;
    g_mutex_lock(&self->lock);
    member->failures = result == CYCLE_RETRY ? member->failures + 1 : 0;
    if (result == CYCLE_RETRY)
        member->due_usec = now + MIN(1u << MIN(member->failures - 1, 6u), BACKOFF_MAX_SEC) * G_USEC_PER_SEC;
    else if (result == CYCLE_DONE || result == CYCLE_HELD)
        member->due_usec = MAX(started_usec + (wait > 0 ? MIN(wait, interval) : interval), now);
    else
        member->due_usec = result == CYCLE_YIELDED ? now + G_USEC_PER_SEC / 5 : now;
    member->queued = false;
    if (member->again) {
        member->again = false;
        if (result != CYCLE_RETRY) {
            member->due_usec = now;
            if (member->replica != NULL)
                queue_locked(member);
        }
    }
    g_cond_signal(&self->scheduler_wake);
    g_mutex_unlock(&self->lock);
}

static CycleResult
work_on(Member *member, GError **error)
{
    if (member->replica != NULL)
        replica_drop_stale(member->replica);
    if (relationship_should_yield(member->relationship) || !relationship_begin_work(member->relationship))
        return CYCLE_YIELDED;
    CycleResult result;
    if (member->primary != NULL) {
        result = primary_cycle(member->primary, error);
    } else {
        ReplicationState state = relationship_state(member->relationship);
        bool held = state == STATE_RECOVERED || state == STATE_COMMITTED || state == STATE_FAILOVER_RUNNING ||
                    state == STATE_CRITICAL;
        result = held || replica_apply_pending(member->replica, error) ? CYCLE_DONE : CYCLE_RETRY;
    }
    relationship_end_work(member->relationship);
    return result;
}

/* A test failover whose VM somebody has removed from libvirt, or whose end failed, is ended. Not at every log. */
static void
look_after_test(Member *member)
{
    int64_t now = g_get_monotonic_time();
    if (member->replica == NULL || resume_failover == NULL || now - member->looked_usec < TEST_LOOK_USEC)
        return;
    member->looked_usec = now;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (row->test_stage != TEST_NONE)
        resume_failover(member->service, row->vm_uuid);
}

static void
worker_main(gpointer data, gpointer user_data)
{
    g_autoptr(Member) member = data;
    g_autoptr(GError) error = NULL;
    int64_t started = g_get_monotonic_time();
    CycleResult result = work_on(member, &error);
    service_count_cycle(member, result, started, error);
    look_after_test(member);
    if (result == CYCLE_RETRY || result == CYCLE_HELD)
        note_failure(member, result == CYCLE_RETRY ? "; retrying" : "", error);
    else if (result == CYCLE_DONE || result == CYCLE_GO_ON)
        note_success(member);
    reschedule(member, result, started);
}

/* ---- jobs ---- */

typedef struct {
    Member        *member;
    Job           *job;
    MemberJobFunc  func;
    void          *data;
    GDestroyNotify free_data;
} RunningJob;

static gpointer
job_main(gpointer data)
{
    RunningJob *running = data;
    ReplicationService *service = running->member->service;
    g_autoptr(GError) error = NULL;
    if (!running->func(running->member, running->job, running->data, &error)) {
        GError *public_error = NULL;
        service_fail(g_steal_pointer(&error), &public_error);
        error = public_error;
        g_autoptr(StoreRelationship) row = relationship_row(running->member->relationship);
        log_warning("job", row->vm_name, "%s", error->message);
    }
    relationship_end_operation(running->member->relationship);
    job_end(running->job, error);
    service_wake_member(running->member);
    if (running->free_data != NULL)
        running->free_data(running->data);
    job_unref(running->job);
    member_unref(running->member);
    g_free(running);
    g_mutex_lock(&service->lock);
    service->running_jobs--;
    g_cond_broadcast(&service->jobs_ended);
    g_mutex_unlock(&service->lock);
    return NULL;
}

void
service_run_job(Member *member, Job *job, MemberJobFunc func, void *data, GDestroyNotify free_data)
{
    RunningJob *running = g_new0(RunningJob, 1);
    running->member = member_ref(member);
    running->job = job_ref(job);
    running->func = func;
    running->data = data;
    running->free_data = free_data;
    g_mutex_lock(&member->service->lock);
    member->service->running_jobs++;
    g_mutex_unlock(&member->service->lock);
    g_thread_unref(g_thread_new("job", job_main, running));
}

/* ---- guests ---- */

typedef struct {
    ReplicationService *service;
    ServiceThreadFunc   func;
    void               *data;
} RunningThread;

static gpointer
thread_main(gpointer data)
{
    g_autofree RunningThread *running = data;
    ReplicationService *service = running->service;
    running->func(service, running->data);
    g_mutex_lock(&service->lock);
    service->running_jobs--;
    g_cond_broadcast(&service->jobs_ended);
    g_mutex_unlock(&service->lock);
    return NULL;
}

void
service_run_thread(ReplicationService *self, ServiceThreadFunc func, void *data)
{
    RunningThread *running = g_new0(RunningThread, 1);
    running->service = self;
    running->func = func;
    running->data = data;
    g_mutex_lock(&self->lock);
    self->running_jobs++;
    g_mutex_unlock(&self->lock);
    g_thread_unref(g_thread_new("guest", thread_main, running));
}

bool
service_is_stopping(ReplicationService *self)
{
    return g_atomic_int_get(&self->stop_flag) != 0;
}

void
service_look_after_guest(Member *member)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (row->guest_todo != 0 && look_after_guest != NULL)
        look_after_guest(member->service, row->vm_uuid);
}

static void
look_after_started(ReplicationService *self, void *data)
{
    g_autofree char *uuid = data;
    g_autoptr(GPtrArray) members = service_members(self);
    for (guint i = 0; i < members->len; i++) {
        Member *member = g_ptr_array_index(members, i);
        if (uuid == NULL || strcmp(uuid, relationship_vm(member->relationship)) == 0 || relationship_has_test(member->relationship, uuid))
            service_look_after_guest(member);
    }
}

/* libvirt's own thread, which must not wait. After a lost connection any VM may have been started. */
static void
on_virt_event(void *opaque, VirtEvent event, const char *uuid, const char *detail)
{
    if ((event == VIRT_EVENT_STARTED || event == VIRT_EVENT_CONNECTED) && !service_is_stopping(opaque))
        service_run_thread(opaque, look_after_started, g_strdup(uuid));
}

/* ---- errors ---- */

bool
service_fail(GError *cause, GError **error)
{
    int code = REPLICATION_ERROR_FAILED;
    if (cause->domain == REPLICATION_ERROR) {
        code = cause->code;
    } else if (cause->domain == VIRT_ERROR) {
        if (cause->code == VIRT_ERROR_UNAVAILABLE)
            code = REPLICATION_ERROR_UNAVAILABLE;
        else if (cause->code == VIRT_ERROR_NO_DOMAIN)
            code = REPLICATION_ERROR_INVALID_PARAMETER;
        else if (cause->code == VIRT_ERROR_BUSY)
            code = REPLICATION_ERROR_IN_USE;
        else if (cause->code == VIRT_ERROR_STATE || cause->code == VIRT_ERROR_LOCKED)
            code = REPLICATION_ERROR_INVALID_STATE;
        else if (cause->code == VIRT_ERROR_UNTRACKABLE || cause->code == VIRT_ERROR_UNSAFE_XML)
            code = REPLICATION_ERROR_NOT_SUPPORTED;
    } else if (cause->domain == LINK_ERROR) {
        if (cause->code == LINK_ERROR_UNREACHABLE)
            code = REPLICATION_ERROR_UNAVAILABLE;
        else if (cause->code == LINK_ERROR_TRUST || cause->code == LINK_ERROR_DENIED)
            code = REPLICATION_ERROR_ACCESS_DENIED;
        else if (cause->code == LINK_ERROR_STATE)
            code = REPLICATION_ERROR_INVALID_STATE;
    } else if (cause->domain == DISK_ERROR && cause->code == DISK_ERROR_MISSING) {
        code = REPLICATION_ERROR_FILE_NOT_FOUND;
    }
    g_set_error_literal(error, REPLICATION_ERROR, code, cause->message);
    g_error_free(cause);
    return false;
}

VirtDomain *
service_find_domain(ReplicationService *self, const char *vm_uuid, GError **error)
{
    GError *cause = NULL;
    g_autofree char *lower = g_ascii_strdown(vm_uuid, -1);
    VirtDomain *domain = virt_host_find(self->context.virt, lower, &cause);
    if (domain != NULL)
        return domain;
    if (!g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN)) {
        service_fail(cause, error);
        return NULL;
    }
    g_error_free(cause);
    g_autoptr(Member) member = service_find_member(self, lower);
    if (member != NULL)
        return service_undefined_domain(member);
    g_autoptr(Member) tested = service_find_test_of(self, lower);
    VirtDomain *test = tested != NULL ? service_test_domain(tested) : NULL;
    if (test != NULL)
        return test;
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER,
                "there is no VM %s on this host; 'virt-replica list' shows those that are", lower);
    return NULL;
}

VirtDomain *
service_undefined_domain(Member *member)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    VirtDomain *domain = g_new0(VirtDomain, 1);
    domain->uuid = g_strdup(row->vm_uuid);
    domain->name = g_strdup(row->vm_name);
    domain->state = VIRT_OFF;
    return domain;
}

/* ---- start and stop ---- */

static bool
make_folders(const ServiceConfig *config, GError **error)
{
    g_autoptr(GError) unreachable = NULL;
    if (!durable_mkdir_passable(config->state_folder, error) || !durable_mkdir_passable(config->run_folder, error) ||
        !durable_mkdir_passable(config->scratch_folder, error))
        return false;
    if (!reach_check(config->qemu_user, config->scratch_folder, &unreachable))
        log_warning("service", NULL, "no VM can replicate from this host: %s", unreachable->message);
    return true;
}

static bool
fill_context(ReplicationService *self, const ServiceConfig *config, GError **error)
{
    ReplicationContext *context = &self->context;
    context->host_name = g_strdup(config->host_name);
    context->state_folder = g_strdup(config->state_folder);
    context->run_folder = g_strdup(config->run_folder);
    context->scratch_folder = g_strdup(config->scratch_folder);
    context->scratch_max_bytes = config->scratch_max_bytes;
    context->storage_reserve_bytes = config->storage_reserve_bytes;
    context->stale_action = config->stale_action;
    context->autostart_wait_sec = config->autostart_wait_sec;
    context->test_backlog_bytes = config->test_backlog_bytes;
    context->qemu_user = g_strdup(config->qemu_user);
    context->serial_log_folder = g_strdup(config->serial_log_folder);
    context->network_map = config->network_map != NULL ? g_hash_table_ref(config->network_map) : NULL;
    context->ca_file = g_strdup(config->ca_file);
    context->certificate_file = g_strdup(config->certificate_file);
    context->key_file = g_strdup(config->key_file);
    context->pool = disk_buffer_pool_new(POOL_BYTES);
    g_autofree char *database = g_build_filename(config->state_folder, STATE_DATABASE, NULL);
    context->store = store_open(database, error);
    if (context->store == NULL || !points_clock_start(context, error))
        return false;
    context->virt = virt_host_open(config->libvirt_uri, error);
    return context->virt != NULL;
}

static void
recover_member(ReplicationService *self, Member *member)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    bool recovered = member->replica != NULL ? replica_recover(member->replica, &error) : primary_recover(member->primary, &error);
    if (!recovered) {
        relationship_set_error(member->relationship, error->message);
        tally_set_trouble(relationship_tally(member->relationship), FAILURE_LOCAL);
        log_error("replica", row->vm_name, "%s", error->message);
        if (g_error_matches(error, REPLICATION_ERROR, REPLICATION_ERROR_FILE_NOT_FOUND)) {
            StoreRelationship *edit = relationship_edit(member->relationship);
            if (edit->state != STATE_CRITICAL && edit->state != STATE_FAILOVER_RUNNING)
                edit->resume_state = edit->state;
            edit->state = STATE_CRITICAL;
            relationship_edit_end(member->relationship, edit, NULL);
        }
    }
    bool open = row->state == STATE_FAILOVER_RUNNING || row->state == STATE_COMMITTED || row->test_stage != TEST_NONE;
    if (recovered && open && resume_failover != NULL)
        resume_failover(self, row->vm_uuid);
    service_look_after_guest(member);
    service_wake_member(member);
}

/* What a death in the making or dropping of replicas left. */
static bool
undo_unfinished(ReplicationService *self, GError **error)
{
    g_autoptr(GPtrArray) notes = store_unfinished(self->context.store, NULL, error);
    for (guint i = 0; notes != NULL && i < notes->len; i++) {
        g_autoptr(GError) cause = NULL;
        const StoreUnfinished *note = g_ptr_array_index(notes, i);
        if (replica_making_undo(&self->context, note->vm_uuid, &cause))
            log_notice("service", note->vm_uuid, "what was left of an unfinished replica in '%s' is removed", note->folder);
        else
            log_warning("service", note->vm_uuid, "what is left of an unfinished replica in '%s' stays for now: %s", note->folder,
                        cause->message);
    }
    return notes != NULL;
}

/* A death within ChangeReplicationModeToPrimary, after the relationship with the third host took the place of the one with the primary. */
static bool
is_left_behind(ReplicationService *self, const StoreRelationship *row)
{
    g_autoptr(Member) first = row->index > 0 ? service_find_member(self, row->vm_uuid) : NULL;
    return first != NULL && first->primary != NULL;
}

/* Nobody is there any more to read them. */
static void
forget_journals(ReplicationService *self)
{
    g_autoptr(GPtrArray) members = service_members(self);
    for (guint i = 0; i < members->len; i++) {
        const Member *member = g_ptr_array_index(members, i);
        ChangeJournal *journal = member->replica != NULL ? replica_journal(member->replica) : NULL;
        g_autoptr(Member) onward = service_find_member_at(self, relationship_vm(member->relationship), 1);
        if (journal != NULL && onward == NULL)
            change_journal_delete_others(journal, NULL, NULL, NULL);
    }
}

static bool
load_members(ReplicationService *self, GError **error)
{
    g_autoptr(GPtrArray) rows = store_relationships(self->context.store, error);
    if (rows == NULL)
        return false;
    for (guint i = 0; i < rows->len; i++) {
        g_autoptr(GError) cause = NULL;
        const StoreRelationship *row = g_ptr_array_index(rows, i);
        if (is_left_behind(self, row)) {
            g_autofree char *journal = upstream_journal_folder(row->folder);
            durable_remove_tree(journal, NULL);
            primary_forget_plan(&self->context, row, NULL);
            if (!store_relationship_remove(self->context.store, row->vm_uuid, row->index, NULL, error))
                return false;
            continue;
        }
        g_autoptr(Member) member = service_add_member(self, store_relationship_copy(row), &cause);
        if (member == NULL)
            log_error("service", row->vm_name, "its settings cannot be read: %s", cause->message);
        else
            recover_member(self, member);
    }
    forget_journals(self);
    return true;
}

/* Locks of VMs that replicate no more: a death within the removal of their replication left them. */
static bool
end_forgotten_locks(ReplicationService *self, GError **error)
{
    g_autoptr(GPtrArray) rows = store_relationships(self->context.store, error);
    g_autoptr(GHashTable) known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; rows != NULL && i < rows->len; i++)
        g_hash_table_add(known, primary_lock_folder(&self->context, ((StoreRelationship *)g_ptr_array_index(rows, i))->vm_uuid));
    g_autoptr(GDir) dir = rows != NULL ? g_dir_open(self->context.run_folder, 0, error) : NULL;
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autoptr(GError) cause = NULL;
        g_autofree char *folder = g_build_filename(self->context.run_folder, name, NULL);
        if (g_str_has_prefix(name, PRIMARY_LOCK_PREFIX) && !g_hash_table_contains(known, folder) &&
            !disk_server_end_left_over(folder, &cause))
            log_warning("service", NULL, "%s", cause->message);
    }
    return dir != NULL;
}

ReplicationService *
replication_service_start(const ServiceConfig *config, GError **error)
{
    if (!make_folders(config, error))
        return NULL;
    ReplicationService *self = g_new0(ReplicationService, 1);
    self->config = *config;
    g_mutex_init(&self->lock);
    g_mutex_init(&self->link_lock);
    g_cond_init(&self->scheduler_wake);
    g_cond_init(&self->jobs_ended);
    self->jobs = job_list_new();
    self->members = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)member_unref);
    self->workers = g_thread_pool_new(worker_main, self, (int)MAX(config->workers, 1), FALSE, NULL);
    g_autoptr(GError) released = NULL;
    if (!fill_context(self, config, error)) {
        replication_service_stop(self);
        return NULL;
    }
    if (!virt_release(self->context.virt, NULL, config->scratch_folder, &released))
        log_warning("service", NULL, "looking for left-over backup jobs: %s; continuing", released->message);
    virt_host_on_event(self->context.virt, on_virt_event, self); /* a VM that is started from here on is not missed */
    if (!undo_unfinished(self, error) || !service_load_settings(self, error) ||
        !primary_note_boot(&self->context, error) || !load_members(self, error) ||
        !end_forgotten_locks(self, error)) {
        replication_service_stop(self);
        return NULL;
    }
    self->scheduler = g_thread_new("scheduler", scheduler_main, self);
    g_autoptr(GError) listen_error = NULL;
    if (!service_update_link_server(self, &listen_error))
        log_error("service", NULL, "the replica server cannot listen: %s", listen_error->message);
    return self;
}

static void
close_members(ReplicationService *self)
{
    g_autoptr(GPtrArray) members = service_members(self);
    g_mutex_lock(&self->lock);
    while (self->running_jobs > 0)
        g_cond_wait(&self->jobs_ended, &self->lock);
    g_mutex_unlock(&self->lock);
    for (guint i = 0; i < members->len; i++) {
        Relationship *relationship = ((Member *)g_ptr_array_index(members, i))->relationship;
        relationship_save_statistics(relationship, 0, NULL);
        relationship_close(relationship, false);
    }
    /* What a worker may have begun before its member was closed. */
    g_mutex_lock(&self->lock);
    while (self->running_jobs > 0)
        g_cond_wait(&self->jobs_ended, &self->lock);
    g_mutex_unlock(&self->lock);
}

void
replication_service_stop(ReplicationService *self)
{
    if (self == NULL)
        return;
    g_mutex_lock(&self->link_lock);
    link_server_stop(g_steal_pointer(&self->link));
    g_mutex_unlock(&self->link_lock);
    g_mutex_lock(&self->lock);
    self->stopping = true;
    g_atomic_int_set(&self->stop_flag, 1);
    g_cond_signal(&self->scheduler_wake);
    g_mutex_unlock(&self->lock);
    if (self->context.virt != NULL)
        virt_host_on_event(self->context.virt, NULL, NULL);
    if (self->scheduler != NULL)
        g_thread_join(self->scheduler);
    close_members(self);
    g_thread_pool_free(self->workers, FALSE, TRUE);
    g_hash_table_unref(self->members);
    job_list_free(self->jobs);
    if (self->context.virt != NULL)
        virt_host_close(self->context.virt);
    store_close(self->context.store);
    disk_buffer_pool_unref(self->context.pool);
    ReplicationContext *context = &self->context;
    char *strings[] = { context->host_name,      context->state_folder, context->run_folder,
                        context->scratch_folder, context->qemu_user,    context->serial_log_folder,
                        context->ca_file,        context->certificate_file, context->key_file };
    for (size_t i = 0; i < G_N_ELEMENTS(strings); i++)
        g_free(strings[i]);
    if (context->network_map != NULL)
        g_hash_table_unref(context->network_map);
    g_free(self->settings.certificate_thumb_print);
    g_mutex_clear(&self->lock);
    g_mutex_clear(&self->link_lock);
    g_cond_clear(&self->scheduler_wake);
    g_cond_clear(&self->jobs_ended);
    g_free(self);
}

bool
replication_service_release(const ServiceConfig *config, GError **error)
{
    VirtHost *virt = virt_host_open(config->libvirt_uri, error);
    if (virt == NULL)
        return false;
    bool good = virt_release(virt, NULL, config->scratch_folder, error);
    virt_host_close(virt);
    return good;
}
