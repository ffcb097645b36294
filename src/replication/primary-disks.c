/* A change of the disks that replicate.
 *
 * It goes in rounds, each of them one moment of all disks. What is new is copied after a plan, as in the passes of a first copy; the others
 * go on from position to position, of the same moments. When a moment leaves nothing in the plan, the position of that moment is the first with
 * the new disks: its log lists them, and names the set in a blob. So no position mixes moments, and all before it have the disks of then.
 * Disks that are taken out go first, with the next position.
 */
#include "replication/primary-private.h"

#include "replication/blob-rules.h"
#include "replication/disk-set.h"
#include "replication/plan.h"
#include "replication/sent-parts.h"
#include "replication/settings.h"
#include "util/log.h"

#include <string.h>

#define ROUND_BUDGET_USEC (10 * G_USEC_PER_SEC) /* for new disks: the others wait that long for their position */
#define WINDOW_BYTES      (64u * 1024u * 1024u)
#define GIVE_UPS_MAX      3                     /* moments in a row that were given up for the guest's sake */

/* ---- what is wanted, durably ---- */

static char *
key_of(const char *what, const char *vm_uuid)
{
    return g_strdup_printf("%s:%s", what, vm_uuid);
}

char **
primary_wanted_disks(const ReplicationContext *context, const char *vm_uuid, GError **error)
{
    g_autofree char *key = key_of("disk-set", vm_uuid), *text = store_value(context->store, key, error);
    return text != NULL && text[0] != '\0' ? g_strsplit(text, ",", -1) : NULL;
}

bool
primary_note_wanted_disks(const ReplicationContext *context, const char *vm_uuid, char *const *wanted, GError **error)
{
    g_autofree char *key = key_of("disk-set", vm_uuid);
    g_autofree char *text = wanted != NULL ? g_strjoinv(",", (char **)wanted) : NULL;
    return store_value_set(context->store, key, text, error);
}

/* ---- disks of the VM ---- */

bool
primary_check_new_disks(const ReplicationContext *context, const char *vm_uuid, char *const *targets, GError **error)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings_new();
    g_autofree char *xml = NULL;
    if (targets[0] == NULL)
        return true;
    settings->included_disks = g_strdupv((char **)targets);
    g_auto(GStrv) found = primary_disks(context, vm_uuid, settings, error);
    if (found == NULL || (xml = virt_host_xml(context->virt, vm_uuid, error)) == NULL)
        return false;
    for (; *targets != NULL; targets++) {
        g_autofree char *name = g_strdup_printf("dev='%s'", *targets);
        if (strstr(xml, name) != NULL)
            continue;
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_NOT_SUPPORTED,
                    "disk '%s' is attached until the VM is turned off only, so that its definition, which the replica gets, does not have it; "
                    "attach it with --persistent (--config) first", *targets);
        return false;
    }
    return true;
}

static char *
seen_key(const char *vm_uuid)
{
    return key_of("disks-seen", vm_uuid);
}

static bool
save_seen(const ReplicationContext *context, const char *vm_uuid, const GPtrArray *disks, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (disk->replicable && disk->path != NULL)
            g_string_append_printf(text, "%s\n", disk->target);
    }
    g_autofree char *key = seen_key(vm_uuid);
    return store_value_set(context->store, key, text->str, error);
}

bool
primary_note_seen_disks(const ReplicationContext *context, const char *vm_uuid, GError **error)
{
    g_autoptr(GPtrArray) disks = virt_host_disks(context->virt, vm_uuid, error);
    return disks != NULL && save_seen(context, vm_uuid, disks, error);
}

/* Disks of the VM that it did not have when its administrator last said which replicate; (transfer full) */
static char **
unseen_disks(const GPtrArray *disks, const char *const *seen, const RelationshipSettings *settings)
{
    g_autoptr(GStrvBuilder) unseen = g_strv_builder_new();
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        bool included = settings->included_disks == NULL || g_strv_contains((const char *const *)settings->included_disks, disk->target);
        if (disk->replicable && disk->path != NULL && !included && !g_strv_contains(seen, disk->target))
            g_strv_builder_add(unseen, disk->target);
    }
    return g_strv_builder_end(unseen);
}

void
primary_look_for_new_disks(Primary *self, const StoreRelationship *row, const RelationshipSettings *settings)
{
    if (row->index > 0) /* a third host gets what the replica has */
        return;
    g_autofree char *key = seen_key(row->vm_uuid), *text = store_value(self->context->store, key, NULL);
    g_autoptr(GPtrArray) disks = virt_host_disks(self->context->virt, row->vm_uuid, NULL);
    if (disks == NULL)
        return;
    if (text == NULL || text[0] == '\0') { /* the first look: what is left out is left out on purpose */
        save_seen(self->context, row->vm_uuid, disks, NULL);
        return;
    }
    g_auto(GStrv) seen = disk_set_from_text(text, strlen(text)), unseen = unseen_disks(disks, (const char *const *)seen, settings);
    g_autofree char *names = unseen[0] != NULL ? g_strjoinv(", ", unseen) : NULL;
    if (relationship_set_left_out(self->relationship, names) && names != NULL)
        log_warning("cycle", row->vm_name, "it has got disks that do not replicate: %s; 'virt-replica modify %s --include DISKS' takes them in, "
                    "'--exclude DISKS' leaves them out", names, row->vm_name);
}

/* ---- the replica's set ---- */

void
primary_add_set(GHashTable *blobs, char *const *ids)
{
    g_hash_table_insert(blobs, g_strdup(BLOB_DISKS), disk_set_to_blob((const char *const *)ids));
}

static bool
is_set(const LinkPosition *position, char *const *ids)
{
    char digest[33];
    disk_set_digest((const char *const *)ids, digest);
    return strcmp(digest, position->disk_set) == 0;
}

/* The log with that set arrived, its acknowledgement did not. */
static bool
note_joined(Primary *self, char *const *ids, bool all, GError **error)
{
    StoreRelationship *row = relationship_edit(self->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings_from_json(row->settings, error);
    if (settings == NULL) {
        relationship_edit_cancel(self->relationship, row);
        return false;
    }
    g_strfreev(settings->included_disks);
    settings->included_disks = g_strdupv((char **)ids);
    g_free(row->settings);
    row->settings = relationship_settings_to_json(settings);
    if (all)
        row->state = STATE_REPLICATING;
    return relationship_edit_end(self->relationship, row, error);
}

static bool
finish_change(Primary *self, GError **error)
{
    const char *vm = relationship_vm(self->relationship);
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    if (!primary_forget_plan(self->context, row, error) || !primary_note_wanted_disks(self->context, vm, NULL, error))
        return false;
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    g_autofree char *names = g_strjoinv(", ", settings->included_disks);
    relationship_set_percent(self->relationship, 100);
    relationship_end_job(self->relationship, NULL);
    log_notice("cycle", row->vm_name, "the disks that replicate are now: %s", names);
    return true;
}

bool
primary_compare_disks(Primary *self, const LinkPosition *position, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    self->name_set = false;
    if (position->disk_set[0] == '\0' || settings->included_disks == NULL || is_set(position, settings->included_disks))
        return true;
    if (row->state != STATE_DISK_UPDATE && row->state != STATE_DISK_UPDATE_CRITICAL) {
        self->name_set = row->state == STATE_REPLICATING; /* of a change that was cancelled when it was just complete */
        return true;
    }
    g_auto(GStrv) wanted = primary_wanted_disks(self->context, row->vm_uuid, error);
    if (wanted == NULL)
        return error == NULL || *error == NULL;
    g_auto(GStrv) kept = disk_set_common((const char *const *)settings->included_disks, (const char *const *)wanted);
    if (is_set(position, wanted))
        return note_joined(self, wanted, true, error) && finish_change(self, error);
    if (is_set(position, kept))
        return note_joined(self, kept, false, error);
    self->set_refused = true;
    g_set_error(error, LINK_ERROR, LINK_ERROR_MISFIT, "the replica has another set of disks; remove replication on both hosts and enable it again");
    return false;
}

/* ---- a round ---- */

typedef struct {
    Primary                 *primary;
    const StoreRelationship *row;
    Moment                  *moment;
    Plan                    *plan;    /* NULL: no disk is new */
    char                   **targets; /* those that replicate, then the new ones */
    unsigned                 n_old;
    bool                     covered; /* the checkpoint before the moment covers all of them */
} Round;

static void
plan_new_disk(Round *round, const MomentDisk *disk)
{
    PlanDisk *planned = plan_disk(round->plan, disk->id);
    if (planned == NULL) {
        plan_add_disk(round->plan, disk->id, disk->size_bytes);
        return;
    }
    plan_disk_resize(planned, disk->size_bytes);
    if (disk->dirty != NULL)
        extent_set_add_set(planned->todo, disk->dirty);
    else
        extent_set_add(planned->todo, 0, disk->size_bytes);
}

/* What a VM that is off has dirty stays so: a plan that took it in at every round would not come to an end. */
static void
plan_new_disks(Round *round)
{
    const char *marker = moment_marker(round->moment);
    bool planned_before = marker != NULL && g_strcmp0(marker, round->primary->planned_marker) == 0;
    round->covered = true;
    for (unsigned i = round->n_old; i < moment_disk_count(round->moment); i++) {
        const MomentDisk *disk = moment_disk(round->moment, i);
        round->covered = round->covered && disk->dirty != NULL;
        if (!planned_before || plan_disk(round->plan, disk->id) == NULL)
            plan_new_disk(round, disk);
    }
    if (round->plan->total_bytes == 0)
        round->plan->total_bytes = plan_left(round->plan);
}

static bool
send_plan_of(Round *round, unsigned index, int64_t stop_usec, Sending *sending, bool *ret_stopped, GError **error)
{
    PlanDisk *planned = plan_disk(round->plan, moment_disk(round->moment, index)->id);
    while (extent_set_count(planned->todo) > 0 && !*ret_stopped) {
        uint64_t window;
        g_autoptr(ExtentSet) part = plan_disk_window(planned, WINDOW_BYTES, &window);
        SendExtents send = { .primary = round->primary, .moment = round->moment, .disk = index, .first = round->n_old,
                             .writer = sending->writer, .window = window, .may_stop = true, .stop_usec = stop_usec };
        if (!primary_send_extents(&send, part, error))
            return false;
        if (send.stopped)
            extent_set_remove(part, send.done, UINT64_MAX - send.done);
        extent_set_remove_set(planned->todo, part);
        relationship_set_percent(round->primary->relationship, plan_percent(round->plan));
        *ret_stopped = send.stopped;
    }
    return true;
}

/* A log of the new disks alone. It belongs to no position yet. */
static void
fill_pass_header(const Round *round, ChangeLogHeader *header)
{
    primary_fill_header(round->primary, round->row, round->moment, CHANGE_LOG_INITIAL, 0, POINT_KIND_NONE, header);
    header->base = 0;
    header->n_disks -= round->n_old;
    memmove(header->disks, header->disks + round->n_old, header->n_disks * sizeof header->disks[0]);
}

static bool
send_pass_with(Round *round, Sending *sending, GError **error)
{
    ChangeLogHeader header;
    LinkPosition position;
    bool stopped = false;
    int64_t stop = g_get_monotonic_time() + ROUND_BUDGET_USEC;
    g_autofree char *token = primary_pass_token(round->row, round->plan->pass + 1);
    fill_pass_header(round, &header);
    if (!primary_sending_begin(round->primary, &header, round->moment, token, sending, error))
        return false;
    for (unsigned i = round->n_old; i < moment_disk_count(round->moment); i++) {
        if (!send_plan_of(round, i, stop, sending, &stopped, error))
            return false;
    }
    return moment_check(round->moment, error) && primary_sending_finish(sending, &position, error);
}

static bool
save_plan(Round *round, GError **error)
{
    Primary *self = round->primary;
    round->plan->pass++;
    g_free(self->planned_marker);
    self->planned_marker = g_strdup(moment_marker(round->moment));
    return primary_save_plan(self->context, round->row, round->plan, error);
}

static bool
send_pass(Round *round, GError **error)
{
    Sending sending = { 0 };
    plan_new_disks(round);
    if (plan_left(round->plan) == 0)
        return true;
    bool good = send_pass_with(round, &sending, error);
    if (sending.upload != NULL) {
        StoreRelationship *row = relationship_edit(round->primary->relationship);
        primary_add_sent(round->primary, row, &sending);
        relationship_edit_end(round->primary->relationship, row, NULL);
    }
    primary_sending_clear(&sending);
    return good && save_plan(round, error);
}

/* The position of the moment: of the disks that replicated before, or, with @joins, of the new set. */
static bool
send_position(Round *round, bool joins, GHashTable *blobs, Sending *sending, GError **error)
{
    ChangeLogHeader header;
    LinkPosition position;
    primary_fill_header(round->primary, round->row, round->moment, CHANGE_LOG_DELTA, round->row->position + 1, POINT_KIND_STANDARD, &header);
    header.n_disks = joins ? header.n_disks : round->n_old;
    if (!primary_sending_begin(round->primary, &header, round->moment, NULL, sending, error))
        return false;
    for (unsigned i = 0; i < round->n_old; i++) {
        SendExtents send = { .primary = round->primary, .moment = round->moment, .disk = i, .writer = sending->writer };
        if (!primary_send_extents(&send, moment_disk(round->moment, i)->dirty, error))
            return false;
    }
    if (blobs != NULL && !primary_write_blobs(sending->writer, blobs, error))
        return false;
    return moment_finish(round->moment, error) && primary_sending_finish(sending, &position, error);
}

/* Blobs of the position; with a new set all of them. */
static bool
read_blobs(Round *round, bool joins, GHashTable **ret_blobs, char **ret_hash, GError **error)
{
    if (!joins)
        return primary_changed_blobs(round->primary, round->row, ret_blobs, ret_hash, error);
    *ret_blobs = moment_blobs(round->primary->context, round->row->vm_uuid, error);
    if (*ret_blobs == NULL)
        return false;
    *ret_hash = primary_hash_of_blobs(*ret_blobs);
    primary_add_set(*ret_blobs, round->targets);
    return true;
}

static bool
end_round(Round *round, const char *checkpoint, bool joins, bool joins_all, GError **error)
{
    g_autoptr(GHashTable) blobs = NULL;
    g_autofree char *blob_hash = NULL;
    Sending sending = { .joins = joins ? round->targets : NULL, .joins_all = joins_all };
    bool good = read_blobs(round, joins, &blobs, &blob_hash, error) && send_position(round, joins, blobs, &sending, error) &&
                primary_note_acknowledged(round->primary, round->moment, &sending, round->row->position + 1, POINT_KIND_STANDARD, checkpoint,
                                          blob_hash, error);
    primary_sending_clear(&sending);
    return good;
}

/* What the replica, or a disk, refuses now it refuses later, too. */
static bool
heals_by_itself(const GError *cause)
{
    if (cause->domain == LINK_ERROR)
        return cause->code == LINK_ERROR_UNREACHABLE || cause->code == LINK_ERROR_STATE;
    if (cause->domain == VIRT_ERROR)
        return cause->code != VIRT_ERROR_UNTRACKABLE;
    return cause->domain != REPLICATION_ERROR || cause->code == REPLICATION_ERROR_IN_USE;
}

static bool
judge(Primary *self, bool good, GError *cause, GError **error)
{
    if (good)
        return true;
    self->set_refused = !heals_by_itself(cause);
    g_propagate_error(error, cause);
    return false;
}

static bool
run_moment(Round *round, const char *checkpoint, char *const *wanted, GError **error)
{
    Primary *self = round->primary;
    GError *cause = NULL;
    const StoreRelationship *row = round->row;
    if (!moment_made_checkpoint(round->moment) && !sent_parts_note(self->context, row->vm_uuid, row->checkpoint, round->moment, error))
        return false;
    bool sent = round->plan == NULL || send_pass(round, &cause);
    if (!judge(self, sent, cause, error))
        return false;
    bool joins = round->plan == NULL || (round->covered && plan_left(round->plan) == 0);
    bool joins_all = joins && disk_set_equal((const char *const *)round->targets, (const char *const *)wanted);
    return end_round(round, checkpoint, joins, joins_all, error) && (!joins_all || finish_change(self, error));
}

static bool
run_round(Round *round, char *const *wanted, GError **error)
{
    Primary *self = round->primary;
    const StoreRelationship *row = round->row;
    if (row->checkpoint == NULL)
        return primary_changes_lost(self, "there is no checkpoint to start from", error);
    g_autofree char *checkpoint = primary_checkpoint_name(row, 'n', row->position + 1);
    primary_drop_checkpoints(self, row->checkpoint, NULL);
    MomentRequest request = { .vm_uuid = row->vm_uuid, .disks = (const char *const *)round->targets, .incremental = row->checkpoint,
                              .may_lack = (const char *const *)round->targets + round->n_old, .checkpoint = checkpoint,
                              .timeout_sec = CAPTURE_TIMEOUT_SEC };
    round->moment = moment_open(self->context, &request, error);
    if (round->moment == NULL)
        return false;
    bool good = run_moment(round, checkpoint, wanted, error);
    if (!good)
        moment_explain(round->moment, error);
    bool made = moment_made_checkpoint(round->moment);
    g_autoptr(StoreRelationship) now = relationship_row(self->relationship);
    g_clear_pointer(&round->moment, moment_close);
    /* It counts as soon as it is noted, whatever failed after that. */
    if (made)
        virt_checkpoint_delete(self->context->virt, row->vm_uuid, g_strcmp0(now->checkpoint, checkpoint) == 0 ? row->checkpoint : checkpoint,
                               NULL);
    return good;
}

/* ---- steps ---- */

static bool
offer(Primary *self, const StoreRelationship *row, char *const *wanted, GError **error)
{
    GError *cause = NULL;
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    if (self->set_offered)
        return true;
    g_strfreev(settings->included_disks);
    settings->included_disks = g_strdupv((char **)wanted);
    bool good = primary_check_new_disks(self->context, row->vm_uuid, wanted, &cause) &&
                primary_tell_settings(self->context, row, settings, relationship_yield_flag(self->relationship), &cause);
    self->set_offered = good;
    return judge(self, good, cause, error);
}

static bool
load_plan(Round *round, GError **error)
{
    g_autoptr(GError) damaged = NULL;
    g_autofree char *path = primary_plan_path(round->primary);
    round->plan = plan_load(path, &damaged);
    if (damaged != NULL)
        log_warning("cycle", round->row->vm_name, "%s; copying of the new disks starts over", damaged->message);
    if (round->plan == NULL)
        round->plan = plan_new(false, NULL);
    return true;
}

/* First out, then in: a disk that is gone from the VM is no part of a moment any more. */
static bool
next_step(Primary *self, const StoreRelationship *row, char *const *wanted, GError **error)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    const char *const *before = (const char *const *)settings->included_disks;
    g_auto(GStrv) kept = disk_set_common(before, (const char *const *)wanted);
    g_auto(GStrv) fresh = disk_set_without((const char *const *)wanted, before);
    bool leaves = g_strv_length(kept) < g_strv_length((char **)before);
    g_autoptr(GStrvBuilder) targets = g_strv_builder_new();
    for (char **id = kept; *id != NULL; id++)
        g_strv_builder_add(targets, *id);
    for (char **id = fresh; !leaves && *id != NULL; id++)
        g_strv_builder_add(targets, *id);
    g_auto(GStrv) all = g_strv_builder_end(targets);
    Round round = { .primary = self, .row = row, .targets = all, .n_old = g_strv_length(kept) };
    bool good = (leaves || fresh[0] == NULL || load_plan(&round, error)) && run_round(&round, wanted, error);
    plan_free(round.plan);
    return good;
}

bool
primary_update_disks(Primary *self, GError **error)
{
    GError *cause = NULL;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_auto(GStrv) wanted = primary_wanted_disks(self->context, row->vm_uuid, &cause);
    self->set_refused = false;
    if (wanted == NULL && cause != NULL) {
        g_propagate_error(error, cause);
        return false;
    }
    if (wanted == NULL)
        return relationship_move(self->relationship, OPERATION_CANCEL_DISKS, error);
    if (!offer(self, row, wanted, error) || !primary_make_contact(self, error))
        return false;
    g_autoptr(StoreRelationship) agreed = relationship_row(self->relationship);
    if (agreed->state == STATE_DISK_UPDATE && !next_step(self, agreed, wanted, error))
        return false;
    self->give_ups = 0;
    self->contact_usec = g_get_monotonic_time();
    return true;
}

/* ---- failure ---- */

bool
primary_give_up_disks(Primary *self, const GError *cause)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    bool gave_up = g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_GAVE_UP);
    self->give_ups = gave_up ? self->give_ups + 1 : 0;
    if (!self->set_refused && self->give_ups < GIVE_UPS_MAX)
        return false;
    g_autoptr(GError) error = primary_error_for_caller(cause);
    /* The next try begins with empty disks: what is written meanwhile is in no bitmap. */
    if (!relationship_note_disks_failure(self->relationship, cause->message, NULL) || !primary_forget_plan(self->context, row, NULL) ||
        !relationship_move(self->relationship, OPERATION_DISKS_FAILED, NULL))
        return false;
    relationship_end_job(self->relationship, error);
    log_error("cycle", row->vm_name, "the disks that replicate are not changed: %s; those that replicated before go on, 'virt-replica resume %s' "
              "tries it again, 'virt-replica cancel %s' gives it up", cause->message, row->vm_name, row->vm_name);
    return true;
}
