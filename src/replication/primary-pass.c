/* The first copy and resynchronizations, pass by pass after a plan. */
#include "replication/primary-private.h"

#include "replication/plan.h"
#include "replication/sent-parts.h"
#include "util/durable.h"
#include "util/log.h"

#include <string.h>

#define PASS_BUDGET_USEC (20 * G_USEC_PER_SEC) /* then a pass sends no more: libvirt lets others wait for 30 s */
#define WINDOW_BYTES     LINK_HASHED_MAX       /* what is read, or compared, in one go */

typedef struct {
    Primary                 *primary;
    const StoreRelationship *row;
    Plan                    *plan;
    Moment                  *moment;
    ChangeLogKind            kind;
    uint64_t                 position; /* the copy leads to */
    GHashTable              *blobs;    /* of the moment, when nothing is left in the plan */
} Pass;

static bool
add_dirty(Pass *pass, GError **error)
{
    const char *marker = moment_marker(pass->moment);
    /* Nothing takes a bit out of the bitmap of a VM that is off: a plan that took them in at every pass would not come to an end. */
    bool planned_before = marker != NULL && pass->plan->disks->len > 0 && g_strcmp0(marker, pass->primary->planned_marker) == 0;
    for (unsigned i = 0; i < moment_disk_count(pass->moment) && !planned_before; i++) {
        const MomentDisk *disk = moment_disk(pass->moment, i);
        PlanDisk *planned = plan_disk(pass->plan, disk->id);
        if (planned == NULL && disk->dirty == NULL) {
            plan_add_disk(pass->plan, disk->id, disk->size_bytes);
        } else if (planned == NULL) {
            /* A plan that starts from a checkpoint: only what is dirty. */
            planned = plan_add_disk(pass->plan, disk->id, disk->size_bytes);
            extent_set_clear(planned->todo);
            extent_set_add_set(planned->todo, disk->dirty);
        } else {
            plan_disk_resize(planned, disk->size_bytes);
            if (disk->dirty != NULL)
                extent_set_add_set(planned->todo, disk->dirty);
        }
    }
    if (pass->plan->total_bytes == 0)
        pass->plan->total_bytes = plan_left(pass->plan);
    return true;
}

static bool
ask_hashes(Primary *self, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length, GByteArray **ret_hashes,
           GError **error)
{
    if (self->asker == NULL) {
        g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
        self->asker = primary_connect_peer(self->context, settings, relationship_yield_flag(self->relationship),
                                           error);
    }
    return self->asker != NULL && link_client_hashes(self->asker, vm_uuid, disk, offset, length, ret_hashes, error);
}

/* The question goes over a connection of its own, which breaks together with that of the log. */
static bool
ask_hashes_patiently(Pass *pass, const char *disk, uint64_t offset, uint64_t length, GByteArray **ret_hashes,
                     GError **error)
{
    Primary *self = pass->primary;
    Patience patience = primary_patience();
    g_autoptr(GError) cause = NULL;
    while (!ask_hashes(self, pass->row->vm_uuid, disk, offset, length, ret_hashes, &cause)) {
        if (!g_error_matches(cause, LINK_ERROR, LINK_ERROR_UNREACHABLE) ||
            !primary_wait_for_link(self, pass->moment, &patience)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
        g_clear_pointer(&self->asker, link_client_free);
        g_clear_error(&cause);
    }
    return true;
}

/* Sends what it may of a window and takes that off the plan in memory. */
static bool
send_window(Pass *pass, unsigned index, int64_t stop_usec, Sending *sending, bool *ret_stopped, GError **error)
{
    const MomentDisk *disk = moment_disk(pass->moment, index);
    PlanDisk *planned = plan_disk(pass->plan, disk->id);
    g_autoptr(GByteArray) hashes = NULL;
    uint64_t window;
    g_autoptr(ExtentSet) part = plan_disk_window(planned, WINDOW_BYTES, &window);
    if (pass->plan->compare) {
        uint64_t length = MIN(disk->size_bytes - window, WINDOW_BYTES);
        if (!ask_hashes_patiently(pass, disk->id, window, length, &hashes, error))
            return false;
    }
    SendExtents send = { .primary = pass->primary, .moment = pass->moment, .disk = index, .writer = sending->writer,
                         .peer_hashes = hashes != NULL ? hashes->data : NULL, .window = window, .may_stop = true,
                         .stop_usec = stop_usec };
    if (!primary_send_extents(&send, part, error))
        return false;
    if (send.stopped)
        extent_set_remove(part, send.done, UINT64_MAX - send.done);
    extent_set_remove_set(planned->todo, part);
    relationship_set_percent(pass->primary->relationship, plan_percent(pass->plan));
    *ret_stopped = send.stopped;
    return true;
}

/* Sends until all is sent, or time or scratch space are used up. */
static bool
send_plan(Pass *pass, Sending *sending, GError **error)
{
    int64_t stop = g_get_monotonic_time() + PASS_BUDGET_USEC;
    bool stopped = false;
    for (unsigned i = 0; i < moment_disk_count(pass->moment); i++) {
        const PlanDisk *planned = plan_disk(pass->plan, moment_disk(pass->moment, i)->id);
        while (extent_set_count(planned->todo) > 0 && !stopped) {
            if (!send_window(pass, i, stop, sending, &stopped, error))
                return false;
        }
    }
    return true;
}

/* Over the link, or as the next log of an exported first copy. */
static bool
begin_pass_log(Pass *pass, const ChangeLogHeader *header, const char *token, Sending *sending, GError **error)
{
    if (primary_is_exporting(pass->row))
        return primary_sending_begin_export(pass->primary, header, pass->moment, pass->row->export_folder, pass->plan->pass + 1, sending,
                                            error);
    return primary_sending_begin(pass->primary, header, pass->moment, token, sending, error);
}

/* While the moment is held: what is a replica here gets other ones after it. */
static bool
read_blobs(Pass *pass, GError **error)
{
    if (plan_left(pass->plan) == 0)
        pass->blobs = primary_blobs(pass->primary, pass->row, error);
    return plan_left(pass->plan) > 0 || pass->blobs != NULL;
}

static bool
send_pass(Pass *pass, const char *token, Sending *sending, GError **error)
{
    LinkPosition position;
    ChangeLogHeader header;
    primary_fill_header(pass->primary, pass->row, pass->moment, pass->kind, pass->position, POINT_KIND_NONE, &header);
    return begin_pass_log(pass, &header, token, sending, error) &&
           send_plan(pass, sending, error) && read_blobs(pass, error) && moment_finish(pass->moment, error) &&
           primary_sending_finish(sending, &position, error);
}

/* The closing log has no extents: it says that with the passes before it the copy is that of the moment. */
static bool
send_closing(Pass *pass, const char *token, Sending *sending, char **ret_blob_hash, GError **error)
{
    LinkPosition position;
    ChangeLogHeader header;
    *ret_blob_hash = primary_hash_of_blobs(pass->blobs);
    primary_fill_header(pass->primary, pass->row, pass->moment, pass->kind, pass->position, POINT_KIND_STANDARD, &header);
    sending->closes = true;
    return begin_pass_log(pass, &header, token, sending, error) &&
           primary_write_blobs(sending->writer, pass->blobs, error) && primary_sending_finish(sending, &position, error);
}

/* What changes from its moment on is kept by the checkpoint, until the replica says that it has the copy. */
static bool
note_exported(Pass *pass, const Sending *sending, const char *blob_hash, GError **error)
{
    StoreRelationship *row = relationship_edit(pass->primary->relationship);
    char **texts[] = { &row->checkpoint, &row->blob_hash };
    const char *values[] = { pass->plan->checkpoint, blob_hash };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_free(*texts[i]);
        *texts[i] = g_strdup(values[i]);
    }
    row->exported = true;
    row->position = 0;
    memcpy(row->digest, sending->digest, sizeof row->digest);
    return relationship_edit_end(pass->primary->relationship, row, error);
}

static bool
close_export(Pass *pass, GError **error)
{
    Primary *self = pass->primary;
    Sending sending = { 0 };
    g_autofree char *blob_hash = NULL;
    bool good = send_closing(pass, NULL, &sending, &blob_hash, error) && note_exported(pass, &sending, blob_hash, error);
    primary_sending_clear(&sending);
    if (!good)
        return false;
    primary_export_tidy(pass->row->export_folder, pass->plan->pass + 1);
    primary_forget_plan(self->context, pass->row, NULL);
    relationship_end_job(self->relationship, NULL);
    log_notice("cycle", pass->row->vm_name, "first copy exported to '%s' after %u passes", pass->row->export_folder, pass->plan->pass);
    return true;
}

static bool
close_copy(Pass *pass, const char *token, GError **error)
{
    Primary *self = pass->primary;
    Sending sending = { 0 };
    g_autofree char *blob_hash = NULL;
    bool good = send_closing(pass, token, &sending, &blob_hash, error);
    if (good) {
        StoreRelationship *row = relationship_edit(self->relationship);
        row->initial_complete = true;
        g_free(row->checkpoint);
        row->checkpoint = g_strdup(pass->plan->checkpoint);
        good = relationship_edit_end(self->relationship, row, error) &&
               primary_note_acknowledged(self, pass->moment, &sending, pass->position, POINT_KIND_STANDARD, pass->plan->checkpoint, blob_hash, error) &&
               relationship_move(self->relationship,
                                 pass->kind == CHANGE_LOG_INITIAL ? OPERATION_INITIAL_DONE : OPERATION_RESYNC_DONE, error);
    }
    primary_sending_clear(&sending);
    if (!good)
        return false;
    g_autofree char *path = primary_plan_path(self);
    durable_unlink(path, NULL);
    g_free(self->sent_marker);
    self->sent_marker = g_strdup(moment_marker(pass->moment));
    relationship_set_percent(self->relationship, 100);
    relationship_end_job(self->relationship, NULL);
    log_notice("cycle", pass->row->vm_name, "%s complete after %u passes",
               pass->kind == CHANGE_LOG_INITIAL ? "first copy" : "resynchronization", pass->plan->pass);
    return true;
}

/* Opens the moment of a pass. When the changes since the last pass are lost, the plan starts over. */
static bool
open_pass(Pass *pass, char *const *targets, char **ret_checkpoint, GError **error)
{
    Primary *self = pass->primary;
    primary_drop_checkpoints(self, pass->plan->checkpoint, pass->row->checkpoint);
    g_autofree char *checkpoint = primary_checkpoint_name(pass->row, 'p', g_get_real_time());
    MomentRequest request = { .vm_uuid = pass->row->vm_uuid, .disks = (const char *const *)targets,
                              .incremental = pass->plan->checkpoint, .checkpoint = checkpoint,
                              .known = self->planned_marker,
                              .timeout_sec = CAPTURE_TIMEOUT_SEC };
    g_autoptr(GError) cause = NULL;
    pass->moment = primary_open_moment(self, &request, &cause);
    if (pass->moment == NULL && g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST)) {
        log_notice("cycle", pass->row->vm_name, "%s; copying starts over", cause->message);
        Plan *fresh = plan_new(pass->plan->compare || pass->row->initial_complete, NULL);
        plan_free(pass->plan);
        pass->plan = fresh;
        request.incremental = NULL;
        primary_drop_checkpoints(self, NULL, NULL);
        g_clear_error(&cause);
        pass->moment = primary_open_moment(self, &request, &cause);
    }
    if (pass->moment == NULL) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    *ret_checkpoint = g_steal_pointer(&checkpoint);
    return true;
}

static bool
finish_pass(Pass *pass, const char *checkpoint, const char *token, GError **error)
{
    Primary *self = pass->primary;
    pass->plan->pass++;
    if (moment_made_checkpoint(pass->moment)) {
        g_free(pass->plan->checkpoint);
        pass->plan->checkpoint = g_strdup(checkpoint);
    }
    g_autofree char *path = primary_plan_path(self);
    if (!plan_save(pass->plan, path, error))
        return false;
    g_free(self->planned_marker);
    self->planned_marker = g_strdup(moment_marker(pass->moment));
    if (plan_left(pass->plan) > 0)
        return true;
    return primary_is_exporting(pass->row) ? close_export(pass, error) : close_copy(pass, token, error);
}

/* Of a VM that is off: an image that is put back later would not tell of it. */
static bool
note_sent(Pass *pass, GError **error)
{
    return moment_made_checkpoint(pass->moment) ||
           sent_parts_note(pass->primary->context, pass->row->vm_uuid, pass->plan->checkpoint, pass->moment, error);
}

static bool
run_pass_with(Pass *pass, char *const *targets, GError **error)
{
    Primary *self = pass->primary;
    g_autofree char *checkpoint = NULL;
    if (!open_pass(pass, targets, &checkpoint, error) || !add_dirty(pass, error) || !note_sent(pass, error))
        return false;
    g_autofree char *token = primary_pass_token(pass->row, pass->plan->pass + 1);
    Sending sending = { 0 };
    bool good = send_pass(pass, token, &sending, error);
    if (sending.upload != NULL) {
        StoreRelationship *row = relationship_edit(self->relationship);
        primary_add_sent(self, row, &sending);
        if (pass->kind == CHANGE_LOG_RESYNC)
            tally_resync_bytes(relationship_tally(self->relationship), link_upload_sent(sending.upload));
        tally_pending(relationship_tally(self->relationship), plan_left(pass->plan));
        relationship_edit_end(self->relationship, row, NULL);
    }
    primary_sending_clear(&sending);
    return good && finish_pass(pass, checkpoint, token, error);
}

bool
primary_run_pass(Primary *self, const StoreRelationship *row, char *const *targets, GError **error)
{
    g_autofree char *path = primary_plan_path(self);
    g_autoptr(GError) damaged = NULL;
    Plan *plan = plan_load(path, &damaged);
    if (damaged != NULL)
        log_warning("cycle", row->vm_name, "%s; copying starts over", damaged->message);
    bool initial = row->state == STATE_WAITING_INITIAL;
    if (plan == NULL)
        plan = plan_new(!initial, NULL);
    Pass pass = { .primary = self, .row = row, .plan = plan,
                  .kind = initial ? CHANGE_LOG_INITIAL : CHANGE_LOG_RESYNC,
                  .position = initial ? 0 : row->position + 1 };
    bool good = run_pass_with(&pass, targets, error);
    if (!good && pass.moment != NULL)
        moment_explain(pass.moment, error);
    moment_close(pass.moment);
    g_clear_pointer(&pass.blobs, g_hash_table_unref);
    plan_free(pass.plan);
    return good;
}

/* A delta that never fits the scratch space is sent in passes, from the checkpoint that it would have started from. */
bool
primary_turn_to_passes(Primary *self, const StoreRelationship *row, GError **error)
{
    log_notice("cycle", row->vm_name, "the changes of one cycle do not fit the scratch space: sending them in passes");
    g_autoptr(Plan) plan = plan_new(false, row->checkpoint);
    g_autofree char *path = primary_plan_path(self);
    return plan_save(plan, path, error) && relationship_move(self->relationship, OPERATION_SEND_IN_PASSES, error);
}
