#include "failover/failover-private.h"

#include "failover/overlay.h"
#include "replication/replica-folder.h"
#include "replication/tpm-state.h"
#include "util/log.h"

#include <string.h>

const char *
failover_not_off(const VirtDomain *domain)
{
    if (domain->state == VIRT_OFF || domain->state == VIRT_CRASHED)
        return NULL;
    return domain->state == VIRT_SAVED ? "has a saved state; drop it with 'virsh managedsave-remove' first" :
                                         "is running; turn it off first";
}

Member *
failover_find_replica(ReplicationService *self, const char *vm_uuid, const char *what, bool must_be_off, GError **error)
{
    g_autoptr(VirtDomain) domain = service_find_domain(self, vm_uuid, error);
    if (domain == NULL)
        return NULL;
    g_autoptr(Member) member = service_find_member(self, vm_uuid);
    if (member == NULL) {
        if (service_refuse_test_vm(self, domain, what, error))
            replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                               "cannot %s: VM '%s' does not replicate; enable it on its primary host first", what,
                               domain->name);
        return NULL;
    }
    if (member->replica == NULL) {
        replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                           "cannot %s: VM '%s' is the primary here; do it on the host that holds its replica", what, domain->name);
        return NULL;
    }
    if (must_be_off && failover_not_off(domain) != NULL) {
        replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                           "cannot %s: VM '%s' %s", what, domain->name, failover_not_off(domain));
        return NULL;
    }
    return g_steal_pointer(&member);
}

Job *
failover_add_job(Member *member, JobType type, const char *what, const char *owner)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *description = g_strdup_printf("%s '%s'", what, row->vm_name);
    return job_list_add(replication_service_jobs(member->service), type, row->vm_uuid, owner, description, false);
}

/* Asked again by the job: between the first look and its begin somebody may have started the VM, whose disks are replaced now. */
bool
failover_check_is_off(Member *member, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(VirtDomain) domain = virt_host_find(member->service->context.virt, relationship_vm(member->relationship), &cause);
    if (domain != NULL && failover_not_off(domain) != NULL)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "VM '%s' %s", domain->name, failover_not_off(domain));
    if (domain != NULL || g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
        return true;
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

/* ---- InitiateFailover ---- */

static void
free_text(gpointer text)
{
    g_free(text);
}

/* The point of a log that was not received after all is none. One that is not kept was only the latest: once a log after it was applied, or the way back from that captured, nothing leads to
 * it any more: the undo logs hold only what leads to the kept ones. */
static bool
is_reachable(Member *member, const StoreRelationship *row, const StorePoint *point, bool *ret_reachable, GError **error)
{
    *ret_reachable = point->position <= row->position && (point->kept || point->position >= row->applied);
    if (point->kept || !*ret_reachable)
        return true;
    g_autoptr(GPtrArray) undos = store_undos(member->service->context.store, row->vm_uuid, error);
    for (guint i = 0; undos != NULL && i < undos->len; i++) {
        const StoreUndo *undo = g_ptr_array_index(undos, i);
        if (undo->base == point->position && undo->pass == 0)
            *ret_reachable = false;
    }
    return undos != NULL;
}

bool
failover_find_position(Member *member, const StoreRelationship *row, const char *point_id, uint64_t *ret_position,
                       PointKind *ret_kind, GError **error)
{
    g_autoptr(GPtrArray) points = store_points(member->service->context.store, row->vm_uuid, error);
    if (points == NULL)
        return false;
    *ret_position = row->applied;
    *ret_kind = row->last_kind;
    for (guint i = 0; point_id != NULL && i < points->len; i++) {
        const StorePoint *point = g_ptr_array_index(points, i);
        bool reachable;
        if (g_ascii_strcasecmp(point->id, point_id) != 0)
            continue;
        if (!is_reachable(member, row, point, &reachable, error))
            return false;
        if (!reachable)
            break;
        *ret_position = point->position;
        *ret_kind = point->kind;
        return true;
    }
    return point_id == NULL || replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                                  "VM '%s' has no recovery point %s; 'virt-replica points' shows those "
                                                  "it has", row->vm_name, point_id);
}

/* A chosen point must not go while what was received after it is applied. */
static bool
hold_point(Member *member, const char *vm_uuid, const char *point_id, GError **error)
{
    g_autoptr(GPtrArray) points = store_points(member->service->context.store, vm_uuid, error);
    for (guint i = 0; points != NULL && i < points->len; i++) {
        StorePoint *point = g_ptr_array_index(points, i);
        if (g_ascii_strcasecmp(point->id, point_id) != 0 || point->kept)
            continue;
        point->kept = true;
        return store_point_save(member->service->context.store, point, error);
    }
    return points != NULL;
}

static char *
failover_run_folder(Member *member)
{
    return g_strdup_printf("%s/f-%.13s", member->service->context.run_folder, relationship_vm(member->relationship));
}

static bool
define_failed_over(Member *member, const StoreRelationship *row, GError **error)
{
    const ReplicationContext *context = &member->service->context;
    g_autofree char *blobs = replica_failover_blob_folder(row->folder);
    g_autoptr(GError) unregistered = NULL;
    virt_host_undefine(context->virt, row->vm_uuid, NULL);
    if (!replica_define(context, row, blobs, true, error) || !tpm_state_install(context, row->vm_uuid, blobs, error))
        return false;
    g_auto(GStrv) ids = replica_set_of_state(row, blobs, error);
    if (ids == NULL)
        return false;
    if (!virt_checkpoint_adopt(context->virt, row->vm_uuid, OVERLAY_CHECKPOINT, (const char *const *)ids, &unregistered))
        log_warning("failover", row->vm_name,
                    "what is written from now on is in no checkpoint: %s; a later reverse will compare whole disks",
                    unregistered->message);
    return true;
}

/* Planned is what goes on from the last changes of a primary that is off and locked. A point that was once that is one like any other. */
static bool
note_failed_over(Member *member, uint64_t position, PointKind kind, GError **error)
{
    StoreRelationship *edit = relationship_edit(member->relationship);
    bool planned = position == edit->position && edit->last_kind == POINT_KIND_PLANNED;
    edit->failed_over_kind = kind == POINT_KIND_PLANNED && !planned ? POINT_KIND_STANDARD : kind;
    edit->state = STATE_RECOVERED;
    edit->guest_todo |= GUEST_OF_FAILOVER;
    return relationship_edit_end(member->relationship, edit, error);
}

/* Brings the replica back to where it receives: placeholder definition, empty overlays, disks held open. */
static bool
restore_replica(Member *member, GError **error)
{
    const ReplicationContext *context = &member->service->context;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *blobs = replica_blob_folder(row->folder);
    if (!failover_check_is_off(member, error))
        return false;
    virt_host_undefine(context->virt, row->vm_uuid, NULL);
    return replica_make_overlays(row, error) && replica_define(context, row, blobs, false, error) &&
           replica_open_disks(member->replica, error);
}

static bool
set_state(Member *member, ReplicationState state, GError **error)
{
    StoreRelationship *edit = relationship_edit(member->relationship);
    edit->state = state;
    /* The failover took the place of what the suspension had interrupted; only a replica that receives can be failed over. */
    if (state == STATE_SUSPENDED)
        edit->resume_state = STATE_REPLICATING;
    edit->failed_over_kind = POINT_KIND_NONE;
    edit->guest_todo &= ~(unsigned)GUEST_OF_FAILOVER;
    g_clear_pointer(&edit->failover_point, g_free);
    return relationship_edit_end(member->relationship, edit, error);
}

static bool
fail_over(Member *member, Job *job, const StoreRelationship *row, const char *point_id, GError **error)
{
    uint64_t position;
    PointKind kind;
    if (!failover_find_position(member, row, point_id, &position, &kind, error))
        return false;
    g_autoptr(GPtrArray) chain = overlay_undo_chain(&member->service->context, row, position, error);
    if (chain == NULL)
        return false;
    job_set_percent(job, 40);
    if (!replica_settle(member->replica, false, error))
        return false;
    replica_close_disks(member->replica);
    g_autofree char *run = failover_run_folder(member);
    if (!failover_check_is_off(member, error) ||
        !overlay_make(&member->service->context, row, OVERLAY_FAILOVER, chain, run, error))
        return false;
    job_set_percent(job, 80);
    return define_failed_over(member, row, error) && note_failed_over(member, position, kind, error);
}

/* Applies what was received. What cannot be applied bars the way to the latest state only: a point before it is reached from where the
 * disks are, half applied too, by the undo that was captured before. */
bool
failover_apply_for(Member *member, const StoreRelationship *row, const char *point_id, GError **error)
{
    GError *cause = NULL;
    uint64_t position;
    PointKind kind;
    if (replica_apply_received(member->replica, &cause))
        return true;
    g_autoptr(StoreRelationship) now = relationship_row(member->relationship);
    if (point_id == NULL || !failover_find_position(member, now, point_id, &position, &kind, NULL) ||
        position > now->applied) {
        g_propagate_error(error, cause);
        return false;
    }
    log_warning("failover", row->vm_name, "what was received after the point cannot be applied: %s; continuing", cause->message);
    g_error_free(cause);
    return true;
}

/* The state is FAILOVER_RUNNING in the store: a restart comes back to here. */
static bool
failover_job(Member *member, Job *job, void *data, GError **error)
{
    const char *point_id = data;
    int64_t began = g_get_monotonic_time();
    g_autoptr(StoreRelationship) before = relationship_row(member->relationship);
    if (!failover_drop_test(member, error)) {
        set_state(member, before->resume_state, NULL); /* nothing else was touched */
        return false;
    }
    bool good = before->resync_passes > 0 || failover_apply_for(member, before, point_id, error);
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    job_set_percent(job, 20);
    good = good && fail_over(member, job, row, point_id, error);
    if (good) {
        log_notice("failover", row->vm_name, "failed over to %s in %.1f s", point_id != NULL ? point_id : "the latest point",
                   (double)(g_get_monotonic_time() - began) / G_USEC_PER_SEC);
        return true;
    }
    g_autoptr(GError) restore_error = NULL;
    if (!restore_replica(member, &restore_error))
        log_error("failover", row->vm_name, "taking the failed failover back: %s", restore_error->message);
    set_state(member, row->resume_state, NULL);
    return false;
}

static bool
begin_failover(Member *member, const char *point_id, GError **error)
{
    StoreRelationship *edit = relationship_edit(member->relationship);
    ReplicationState next;
    if (!state_table_next(edit->mode, edit->state, edit->resume_state, OPERATION_FAILOVER, &next, error)) {
        relationship_edit_cancel(member->relationship, edit);
        return false;
    }
    edit->resume_state = edit->state;
    edit->state = next;
    if (edit->test_stage != TEST_NONE)
        edit->test_stage = TEST_ENDING;
    g_free(edit->failover_point);
    edit->failover_point = g_strdup(point_id);
    return relationship_edit_end(member->relationship, edit, error);
}

bool
failover_check_point(Member *member, Operation operation, const char *point_id, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState next;
    uint64_t position;
    PointKind kind;
    if (!state_table_next(row->mode, row->state, row->resume_state, operation, &next, error))
        return false;
    if (!row->initial_complete)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot %s: the first copy of VM '%s' is not complete, there is nothing to start "
                                  "from; wait for its end, or start it on the primary", operation_name(operation), row->vm_name);
    if (!failover_find_position(member, row, point_id, &position, &kind, error))
        return false;
    /* What leads back to a point that waits to be applied is not there yet. */
    bool waits = position > row->applied;
    g_autoptr(GPtrArray) chain = waits ? NULL : overlay_undo_chain(&member->service->context, row, position, error);
    return (waits || chain != NULL) && (point_id == NULL || hold_point(member, row->vm_uuid, point_id, error));
}

bool
failover_initiate(ReplicationService *service, const Caller *caller, const char *vm_uuid, const char *point_id,
                  Job **ret_job, GError **error)
{
    *ret_job = NULL;
    g_autoptr(Member) member = failover_find_replica(service, vm_uuid, "fail over", true, error);
    if (member == NULL || !relationship_begin_operation(member->relationship, "fail over", error))
        return false;
    GError *cause = NULL;
    if (!failover_check_point(member, OPERATION_FAILOVER, point_id, &cause) || !service_check_not_prepared(member, &cause) ||
        !begin_failover(member, point_id, &cause)) {
        relationship_end_operation(member->relationship);
        return service_fail(cause, error);
    }
    *ret_job = failover_add_job(member, JOB_INITIATE_FAILOVER, "Failing over", caller->user);
    log_notice("failover", relationship_vm(member->relationship), "to %s, asked for by %s",
               point_id != NULL ? point_id : "the latest point", caller->user);
    service_run_job(member, *ret_job, failover_job, g_strdup(point_id), free_text);
    return true;
}

/* ---- RevertFailover ---- */

/* Is every disk of the VM still its overlay? One that somebody committed by hand has put what the guest wrote into the replica disk, which
 * is then no longer the state that the primary sends changes to. */
static bool
check_overlays_used(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(GPtrArray) disks = virt_host_disks(member->service->context.virt, row->vm_uuid, error);
    for (guint i = 0; disks != NULL && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        g_autofree char *base = replica_disk_path(row->folder, disk->target);
        if (g_strcmp0(disk->path, base) == 0)
            return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                      "cannot revert: disk '%s' of VM '%s' was committed into the replica disk '%s'; remove replication and "
                                      "enable it again", disk->target, row->vm_name, base);
    }
    return disks != NULL;
}

/* In place of a point, with the state of a failover under way: it is being taken back. */
#define REVERTING "revert"

static bool
is_reverting(const StoreRelationship *row)
{
    return row->state == STATE_FAILOVER_RUNNING && g_strcmp0(row->failover_point, REVERTING) == 0;
}

/* Durable before anything is touched: the VM must never be started from overlays that were emptied, as if they were what was failed over to. */
static bool
begin_revert(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (is_reverting(row))
        return true; /* it broke off */
    if (!failover_check_is_off(member, error) || !check_overlays_used(member, error))
        return false;
    StoreRelationship *edit = relationship_edit(member->relationship);
    edit->state = STATE_FAILOVER_RUNNING;
    g_free(edit->failover_point);
    edit->failover_point = g_strdup(REVERTING);
    return relationship_edit_end(member->relationship, edit, error);
}

static bool
revert_job(Member *member, Job *job, void *data, GError **error)
{
    if (!begin_revert(member, error) || !restore_replica(member, error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    /* A primary that was turned into a replica waits for its first pass yet. */
    bool resync = row->resync_passes > 0 || row->resume_state == STATE_RESYNCHRONIZING;
    if (!set_state(member, resync ? STATE_RESYNCHRONIZING : STATE_REPLICATING, error))
        return false;
    log_notice("failover", row->vm_name, "reverted; replication goes on");
    return true;
}

bool
failover_revert(ReplicationService *service, const Caller *caller, const char *vm_uuid, Job **ret_job, GError **error)
{
    *ret_job = NULL;
    g_autoptr(Member) prepared = service_find_member(service, vm_uuid);
    if (prepared != NULL && service_is_locked(prepared))
        return service_cancel_prepared(prepared, caller, error);
    g_autoptr(Member) member = failover_find_replica(service, vm_uuid, "revert the failover", true, error);
    if (member == NULL || !relationship_begin_operation(member->relationship, "revert the failover", error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState next;
    if (!is_reverting(row) && !state_table_next(row->mode, row->state, row->resume_state, OPERATION_REVERT, &next, error)) {
        relationship_end_operation(member->relationship);
        return false;
    }
    *ret_job = failover_add_job(member, JOB_REVERT_FAILOVER, "Reverting the failover of", caller->user);
    service_run_job(member, *ret_job, revert_job, NULL, NULL);
    return true;
}

/* ---- what a restart interrupted ---- */

static void
resume(Member *member, const StoreRelationship *row, const char *what, JobType type, const char *title, MemberJobFunc func)
{
    g_autoptr(GError) error = NULL;
    if (!relationship_begin_operation(member->relationship, what, &error))
        return;
    log_notice("failover", row->vm_name, "taking up what was under way: %s", what);
    g_autoptr(Job) job = failover_add_job(member, type, title, "restart");
    service_run_job(member, job, func, g_strdup(row->failover_point), free_text);
}

void
failover_resume(ReplicationService *service, const char *vm_uuid)
{
    g_autoptr(Member) member = service_find_member(service, vm_uuid);
    if (member == NULL)
        return;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (is_reverting(row))
        resume(member, row, "revert the failover", JOB_REVERT_FAILOVER, "Reverting the failover of", revert_job);
    else if (row->state == STATE_FAILOVER_RUNNING)
        resume(member, row, "fail over", JOB_INITIATE_FAILOVER, "Failing over", failover_job);
    else if (row->state == STATE_COMMITTED && failover_commit_is_open(row))
        resume(member, row, "commit the failover", JOB_COMMIT_FAILOVER, "Committing the failover of", failover_commit_job);
    else if (row->test_stage != TEST_NONE)
        failover_resume_test(member, row);
}
