#include "replication/primary-private.h"

#include "replication/plan.h"
#include "replication/sent-parts.h"
#include "replication/settings.h"
#include "util/durable.h"
#include "util/log.h"

#include <string.h>

#define GIVE_UPS_BEFORE_PASSES 3   /* deltas too large for the scratch space in a row, before they are sent in passes */
#define CONTACT_FRESH_USEC     (30 * G_USEC_PER_SEC) /* a connection that was silent for longer may be dead: ask before sending */

Primary *
primary_new(const ReplicationContext *context, Relationship *relationship, Upstream *upstream)
{
    Primary *self = g_new0(Primary, 1);
    self->context = context;
    self->relationship = relationship_ref(relationship);
    self->upstream = upstream;
    return self;
}

void
primary_drop_contact(Primary *self)
{
    self->agreed = self->set_offered = false;
    g_clear_pointer(&self->client, link_client_free);
    g_clear_pointer(&self->asker, link_client_free);
}

void
primary_free(Primary *self)
{
    if (self == NULL)
        return;
    ReplicationState state = relationship_state(self->relationship);
    primary_drop_contact(self);
    /* A VM that is locked stays so without a daemon. */
    if (state == STATE_PREPARED || state == STATE_REPURPOSE)
        primary_leave_lock(self);
    else
        primary_unlock(self);
    upstream_free(self->upstream);
    relationship_unref(self->relationship);
    g_free(self->sent_marker);
    g_free(self->planned_marker);
    g_free(self);
}

LinkClient *
primary_connect_peer(const ReplicationContext *context, const RelationshipSettings *settings, const gint *hurry,
                     GError **error)
{
    HttpClientConfig config = {
        .host = settings->recovery_connection_point,
        .port = (uint16_t)settings->recovery_server_port,
        .tls = true,
        .ca_file = context->ca_file,
        .certificate_file = context->certificate_file,
        .key_file = context->key_file,
        .use_proxy = !settings->bypass_proxy_server,
        .hurry = hurry,
    };
    return link_client_new(&config, error);
}

/* ---- what is replicated ---- */

static bool
is_included(const RelationshipSettings *settings, const char *target)
{
    return settings->included_disks == NULL ||
           g_strv_contains((const char *const *)settings->included_disks, target);
}

/* A disk that was taken away must not go from the copy without a word. */
static bool
check_all_there(const GPtrArray *targets, const RelationshipSettings *settings, GError **error)
{
    for (char **wanted = settings->included_disks; wanted != NULL && *wanted != NULL; wanted++) {
        if (g_ptr_array_find_with_equal_func((GPtrArray *)targets, *wanted, g_str_equal, NULL))
            continue;
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_NOT_SUPPORTED,
                    "disk '%s' is to be replicated, but the VM has no such disk that could be (CD-ROMs, read-only and "
                    "shareable ones cannot); give it back, or take it out with 'virt-replica modify VM --exclude %s'", *wanted, *wanted);
        return false;
    }
    return true;
}

char **
primary_disks(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings, GError **error)
{
    g_autoptr(GPtrArray) all = virt_host_disks(context->virt, vm_uuid, error);
    if (all == NULL)
        return NULL;
    g_autoptr(GPtrArray) targets = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < all->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(all, i);
        if (!disk->replicable || disk->path == NULL || !is_included(settings, disk->target))
            continue;
        if (disk->untrackable != NULL) {
            g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_NOT_SUPPORTED, "disk '%s' cannot be replicated: %s",
                        disk->target, disk->untrackable);
            return NULL;
        }
        g_ptr_array_add(targets, g_strdup(disk->target));
    }
    if (!check_all_there(targets, settings, error))
        return NULL;
    if (targets->len == 0 || targets->len > CHANGE_LOG_DISKS_MAX) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_NOT_SUPPORTED,
                    "the VM has %u disks that can be replicated; 1 to %u are possible", targets->len, CHANGE_LOG_DISKS_MAX);
        return NULL;
    }
    g_ptr_array_set_free_func(targets, NULL);
    g_ptr_array_add(targets, NULL);
    return (char **)g_ptr_array_steal(targets, NULL);
}

char **
primary_sent_disks(const ReplicationContext *context, const StoreRelationship *row, const RelationshipSettings *settings, GError **error)
{
    return upstream_is_of(row) ? upstream_disks(row, error) : primary_disks(context, row->vm_uuid, settings, error);
}

static int
code_for_caller(const GError *cause)
{
    if (cause->domain == LINK_ERROR) {
        switch (cause->code) {
        case LINK_ERROR_UNREACHABLE:
            return REPLICATION_ERROR_UNAVAILABLE;
        case LINK_ERROR_TRUST:
        case LINK_ERROR_DENIED:
            return REPLICATION_ERROR_ACCESS_DENIED;
        default:
            return REPLICATION_ERROR_FAILED;
        }
    }
    if (cause->domain == VIRT_ERROR) {
        switch (cause->code) {
        case VIRT_ERROR_UNAVAILABLE:
            return REPLICATION_ERROR_UNAVAILABLE;
        case VIRT_ERROR_NO_DOMAIN:
            return REPLICATION_ERROR_INVALID_PARAMETER;
        case VIRT_ERROR_UNTRACKABLE:
            return REPLICATION_ERROR_NOT_SUPPORTED;
        default:
            return REPLICATION_ERROR_FAILED;
        }
    }
    return REPLICATION_ERROR_FAILED;
}

GError *
primary_error_for_caller(const GError *cause)
{
    if (cause->domain == REPLICATION_ERROR)
        return g_error_copy(cause);
    return g_error_new_literal(REPLICATION_ERROR, code_for_caller(cause), cause->message);
}

/* Passes @cause on as REPLICATION_ERROR. Takes it. */
static bool
fail_for_caller(GError *cause, GError **error)
{
    g_propagate_error(error, primary_error_for_caller(cause));
    g_error_free(cause);
    return false;
}

bool
primary_fill_offer(const ReplicationContext *context, const StoreRelationship *row, char *const *targets, LinkOffer *offer,
                   GError **error)
{
    if (upstream_is_of(row))
        return upstream_fill_offer(context, row, offer, error);
    offer->domain_xml = virt_host_xml(context->virt, row->vm_uuid, error);
    if (offer->domain_xml == NULL)
        return false;
    g_autoptr(GPtrArray) all = virt_host_disks(context->virt, row->vm_uuid, error);
    if (all == NULL)
        return false;
    offer->vm_uuid = g_strdup(row->vm_uuid);
    offer->vm_name = g_strdup(row->vm_name);
    offer->lineage = g_strdup(row->lineage);
    offer->settings = g_strdup(row->settings);
    offer->primary_host = g_strdup(context->host_name);
    for (guint i = 0; i < all->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(all, i);
        if (!g_strv_contains((const char *const *)targets, disk->target))
            continue;
        ChangeLogDisk *entry = &offer->disks[offer->n_disks++];
        g_strlcpy(entry->id, disk->target, sizeof entry->id);
        entry->size_bytes = disk->size_bytes;
    }
    return true;
}

bool
primary_offer(const ReplicationContext *context, const StoreRelationship *row, const RelationshipSettings *settings,
              GError **error)
{
    GError *cause = NULL;
    g_auto(GStrv) targets = primary_sent_disks(context, row, settings, &cause);
    if (targets == NULL)
        return fail_for_caller(cause, error);
    g_autoptr(LinkClient) client = primary_connect_peer(context, settings, NULL, &cause);
    if (client == NULL)
        return fail_for_caller(cause, error);
    LinkOffer offer = { 0 };
    LinkPosition position;
    bool good = primary_fill_offer(context, row, targets, &offer, &cause) &&
                link_client_offer(client, &offer, &position, &cause);
    link_offer_clear(&offer);
    return good || fail_for_caller(cause, error);
}

bool
primary_ask_position(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings,
                     LinkPosition *ret_position, GError **error)
{
    g_autoptr(LinkClient) client = primary_connect_peer(context, settings, NULL, error);
    return client != NULL && link_client_position(client, vm_uuid, false, ret_position, error);
}

bool
primary_ask_state(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings,
                  ReplicationState *ret_state, GError **error)
{
    LinkPosition position;
    if (!primary_ask_position(context, vm_uuid, settings, &position, error))
        return false;
    *ret_state = position.state;
    return true;
}

bool
primary_keep_role(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings, const gint *hurry,
                  GError **error)
{
    g_autoptr(LinkClient) client = primary_connect_peer(context, settings, hurry, error);
    LinkPosition position;
    return client != NULL && link_client_keep_role(client, vm_uuid, &position, error);
}

/* ---- removal ---- */

void
primary_say_removed(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LinkClient) client = primary_connect_peer(context, settings, NULL, &error);
    if (client == NULL || !link_client_remove(client, vm_uuid, &error))
        log_info("cycle", vm_uuid, "the replica server was not told of the removal: %s", error->message);
}

static char *
plan_path_of(const ReplicationContext *context, const char *vm_uuid, unsigned index)
{
    g_autofree char *name = g_strdup_printf(index > 0 ? "%s-%u.plan" : "%s.plan", vm_uuid, index);
    return g_build_filename(context->state_folder, name, NULL);
}

static bool
forget_plan_of(const ReplicationContext *context, const char *vm_uuid, unsigned index, GError **error)
{
    g_autofree char *path = plan_path_of(context, vm_uuid, index);
    return durable_unlink(path, error);
}

bool
primary_forget(const ReplicationContext *context, const char *vm_uuid, GError **error)
{
    g_autoptr(GError) left = NULL;
    primary_drop_vm_checkpoints(context, vm_uuid, NULL, NULL);
    if (!virt_checkpoint_drop_unknown(context->virt, vm_uuid, context->scratch_folder, &left) &&
        !g_error_matches(left, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
        log_warning("cycle", vm_uuid, "bitmaps of ours may be left in its images: %s; continuing", left->message);
    return sent_parts_forget(context, vm_uuid, error) && forget_plan_of(context, vm_uuid, 0, error) &&
           primary_forget_planned(context, vm_uuid, 0, error);
}

bool
primary_leave(Primary *self, GError **error)
{
    const char *vm = relationship_vm(self->relationship);
    if (self->upstream == NULL)
        return primary_forget(self->context, vm, error);
    return change_journal_delete_others(upstream_journal(self->upstream), NULL, NULL, error) &&
           forget_plan_of(self->context, vm, relationship_index(self->relationship), error) &&
           primary_forget_planned(self->context, vm, relationship_index(self->relationship), error);
}

/* ---- agreeing on the position ---- */

char *
primary_plan_path(const Primary *self)
{
    return plan_path_of(self->context, relationship_vm(self->relationship), relationship_index(self->relationship));
}

bool
primary_save_plan(const ReplicationContext *context, const StoreRelationship *row, const Plan *plan, GError **error)
{
    g_autofree char *path = plan_path_of(context, row->vm_uuid, row->index);
    return plan_save(plan, path, error);
}

bool
primary_forget_plan(const ReplicationContext *context, const StoreRelationship *row, GError **error)
{
    return forget_plan_of(context, row->vm_uuid, row->index, error);
}

/* The plan of an earlier copy goes first. */
static bool
forget_plan(Primary *self, const char *why, GError **error)
{
    if (relationship_state(self->relationship) == STATE_DISK_UPDATE)
        log_warning("cycle", relationship_vm(self->relationship), "%s: copying of the new disks starts over", why);
    else
        log_warning("cycle", relationship_vm(self->relationship), "%s: a resynchronization is needed", why);
    return forget_plan_of(self->context, relationship_vm(self->relationship), relationship_index(self->relationship), error);
}

static bool
changes_disks(const Primary *self)
{
    ReplicationState state = relationship_state(self->relationship);
    return state == STATE_DISK_UPDATE || state == STATE_DISK_UPDATE_CRITICAL;
}

/* A change of the disks that replicate ends where the changes are lost; the replica is told of the old set. */
static void
end_change_of_disks(Primary *self, const char *why)
{
    g_autoptr(GError) ended = g_error_new(REPLICATION_ERROR, REPLICATION_ERROR_FAILED, "%s; change the disks again after the resynchronization",
                                          why);
    relationship_end_job(self->relationship, ended);
    primary_note_wanted_disks(self->context, relationship_vm(self->relationship), NULL, NULL);
    primary_settings_changed(self);
}

bool
primary_changes_lost(Primary *self, const char *why, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    bool disks = changes_disks(self);
    if (disks && !primary_note_settings_untold(self->context, row, true, error))
        return false;
    if (!forget_plan(self, why, error) || !relationship_move(self->relationship, OPERATION_CHANGES_LOST, error))
        return false;
    if (disks)
        end_change_of_disks(self, why);
    return true;
}

/* The replica knows its position better than we do: an acknowledgement may have been lost on the way. Its log holds the
 * changes since our checkpoint, so going on from that checkpoint sends some of them again and misses none. With @lost it does
 * not: then both sides are compared, and that is noted together with the position, or a crash in between would go on as if nothing were
 * missing. */
static bool
adopt_position(Primary *self, const LinkPosition *position, const char *lost, GError **error)
{
    g_autoptr(StoreRelationship) before = relationship_row(self->relationship);
    bool disks = lost != NULL && changes_disks(self);
    if (disks && !primary_note_settings_untold(self->context, before, true, error))
        return false;
    if (lost != NULL && !forget_plan(self, lost, error))
        return false;
    StoreRelationship *row = relationship_edit(self->relationship);
    row->position = position->position;
    memcpy(row->digest, position->digest, sizeof row->digest);
    g_clear_pointer(&row->blob_hash, g_free);
    if (lost != NULL) {
        row->initial_complete = true;
        row->state = STATE_WAITING_RESYNC;
        row->resume_state = STATE_UNKNOWN;
        g_clear_pointer(&row->export_folder, g_free);
        row->exported = false;
    }
    if (!relationship_edit_end(self->relationship, row, error))
        return false;
    if (disks)
        end_change_of_disks(self, lost);
    return true;
}

char *
primary_pass_token(const StoreRelationship *row, unsigned pass)
{
    return g_strdup_printf("%s-%u", row->lineage, pass);
}

/* A plan goes on only from the pass that the replica names: one that was put back to an earlier day has less than it acknowledged.
 * It may be one pass ahead of the plan, when its acknowledgement was lost. */
static bool
check_plan(Primary *self, const StoreRelationship *row, const LinkPosition *position, GError **error)
{
    g_autofree char *path = primary_plan_path(self);
    g_autoptr(Plan) plan = plan_load(path, NULL);
    if (plan == NULL || plan->pass == 0)
        return true;
    g_autofree char *acknowledged = primary_pass_token(row, plan->pass), *next = primary_pass_token(row, plan->pass + 1);
    if (strcmp(position->pass_token, acknowledged) == 0 || strcmp(position->pass_token, next) == 0)
        return true;
    return forget_plan(self, "the replica no longer has what it acknowledged", error);
}

/* Has the replica the very copy that was exported last? */
static bool
is_imported(const StoreRelationship *row, const LinkPosition *position)
{
    return position->initial_complete && position->position == 0 && memcmp(position->digest, row->digest, sizeof row->digest) == 0;
}

static bool
note_imported(Primary *self, GError **error)
{
    StoreRelationship *row = relationship_edit(self->relationship);
    g_autofree char *folder = g_steal_pointer(&row->export_folder), *name = g_strdup(row->vm_name);
    ReplicationState next;
    if (!state_table_next(row->mode, row->state, row->resume_state, OPERATION_INITIAL_DONE, &next, error)) {
        relationship_edit_cancel(self->relationship, row);
        return false;
    }
    row->state = next;
    row->initial_complete = true;
    row->exported = false;
    if (!relationship_edit_end(self->relationship, row, error))
        return false;
    relationship_set_percent(self->relationship, 100);
    log_notice("cycle", name, "the replica has imported the first copy from '%s'; what changed since goes there now", folder);
    return true;
}

static bool
agree(Primary *self, GError **error)
{
    LinkPosition position;
    if (!primary_ask_progress(self, &position, error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    if (position.lineage[0] != '\0' && g_ascii_strcasecmp(position.lineage, row->lineage) != 0) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_MISFIT,
                    "the replica holds another line of history (%s, ours is %s); remove one side's replication", position.lineage,
                    row->lineage);
        return false;
    }
    bool copying = row->state == STATE_WAITING_INITIAL || row->state == STATE_RESYNCHRONIZING || row->state == STATE_DISK_UPDATE;
    if (copying && !check_plan(self, row, &position, error))
        return false;
    self->agreed = true;
    if (primary_awaits_import(row) && is_imported(row, &position))
        return note_imported(self, error);
    if (row->state == STATE_WAITING_INITIAL && position.initial_complete) {
        /* The closing log of the first copy arrived, its acknowledgement did not, or another one was imported: compare both sides. */
        return adopt_position(self, &position, "the replica has a first copy whose end was not acknowledged", error);
    }
    if (row->state == STATE_WAITING_INITIAL)
        return true;
    if (!position.initial_complete) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_MISFIT, "the replica has lost its first copy; remove replication on both "
                                                           "hosts and enable it again");
        return false;
    }
    if (!primary_compare_disks(self, &position, error))
        return false;
    if (position.position == row->position && memcmp(position.digest, row->digest, sizeof row->digest) == 0)
        return true;
    /* In a resynchronization too: its plan takes for granted what was sent already. */
    bool behind = position.position <= row->position;
    return adopt_position(self, &position, behind ? "the replica is behind what it acknowledged" : NULL, error);
}

bool
primary_make_contact(Primary *self, GError **error)
{
    if (g_get_monotonic_time() - self->contact_usec > CONTACT_FRESH_USEC)
        primary_drop_contact(self);
    if (self->client == NULL) {
        g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
        self->client = primary_connect_peer(self->context, settings, relationship_yield_flag(self->relationship),
                                            error);
        if (self->client == NULL)
            return false;
    }
    return self->agreed || agree(self, error);
}

/* ---- what to do now ---- */

static CycleResult
handle_failure(Primary *self, const StoreRelationship *row, GError *cause, GError **error)
{
    primary_drop_contact(self);
    if (relationship_should_yield(self->relationship)) {
        g_error_free(cause);
        return CYCLE_YIELDED;
    }
    bool moved = false;
    bool follows = row->state == STATE_REPLICATING || row->state == STATE_DISK_UPDATE || row->state == STATE_DISK_UPDATE_CRITICAL;
    if (follows && g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST)) {
        moved = primary_changes_lost(self, cause->message, NULL);
    } else if (row->state == STATE_REPLICATING && g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_GAVE_UP)) {
        if (++self->give_ups >= GIVE_UPS_BEFORE_PASSES)
            moved = primary_turn_to_passes(self, row, NULL);
    } else if (row->state == STATE_DISK_UPDATE) {
        moved = primary_give_up_disks(self, cause);
    } else {
        self->give_ups = 0;
    }
    if (moved) {
        self->give_ups = 0;
        g_error_free(cause);
        return CYCLE_GO_ON;
    }
    g_propagate_error(error, cause);
    return CYCLE_RETRY;
}

static bool
run_state(Primary *self, const StoreRelationship *row, char *const *targets, GError **error)
{
    switch (row->state) {
    case STATE_REPLICATING:
    case STATE_DISK_UPDATE_CRITICAL: /* those that replicated before go on */
        return primary_run_delta(self, row, targets, POINT_KIND_STANDARD, error);
    case STATE_WAITING_INITIAL:
    case STATE_RESYNCHRONIZING:
        return primary_awaits_import(row) || primary_run_pass(self, row, targets, error);
    case STATE_WAITING_RESYNC:
        return relationship_move(self->relationship, OPERATION_RESYNC, error);
    default:
        return true;
    }
}

/* Must the resynchronization that is needed wait? Whoever is waiting for its job is told. */
static bool
resync_is_held(Primary *self, const StoreRelationship *row, const RelationshipSettings *settings, GError **error)
{
    bool cancelled = relationship_resync_was_cancelled(row);
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    unsigned time_of_day = (unsigned)(g_date_time_get_hour(now) * 3600 + g_date_time_get_minute(now) * 60 +
                                      g_date_time_get_second(now));
    if (!cancelled && relationship_settings_may_resynchronize(settings, time_of_day))
        return false;
    unsigned start_min = settings->auto_resynchronize_start_sec / 60;
    g_autofree char *when = cancelled ? g_strdup("one was cancelled")
                            : settings->auto_resynchronize
                                ? g_strdup_printf("it starts by itself at %02u:%02u", start_min / 60, start_min % 60)
                                : g_strdup("AutoResynchronizeEnabled is off");
    g_autoptr(GError) reason = g_error_new(REPLICATION_ERROR, REPLICATION_ERROR_INVALID_STATE,
                                           "a resynchronization is needed; %s, 'virt-replica resync' starts it now", when);
    relationship_end_job(self->relationship, reason);
    g_propagate_error(error, g_steal_pointer(&reason));
    return true;
}

char **
primary_find_disks(Primary *self, const StoreRelationship *row, const RelationshipSettings *settings, GError **error)
{
    g_autoptr(GError) cause = NULL;
    char **targets = primary_sent_disks(self->context, row, settings, &cause);
    if (targets == NULL && g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN,
                    "VM '%s' is no longer defined on this host; define it again with its UUID %s, or remove its replication",
                    row->vm_name, row->vm_uuid);
    else if (targets == NULL)
        g_propagate_error(error, g_steal_pointer(&cause));
    primary_look_for_new_disks(self, row, settings);
    return targets;
}

int64_t
primary_start_wait(const StoreRelationship *row)
{
    bool copying = row->state == STATE_WAITING_INITIAL || row->state == STATE_RESYNCHRONIZING;
    return copying ? MAX(row->start_usec - g_get_real_time(), 0) : 0;
}

CycleResult
primary_cycle(Primary *self, GError **error)
{
    GError *cause = NULL;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    primary_retry_settings(self);
    if (self->autostart_due && !primary_is_unclear(self) && !primary_run_autostart(self, row, &cause))
        return handle_failure(self, row, cause, error);
    if (self->preparing)
        return primary_run_preparation(self, &cause) ? CYCLE_DONE : handle_failure(self, row, cause, error);
    if (primary_is_unclear(self) && row->state != STATE_REPURPOSE && !primary_settle_planned(self, &cause))
        return handle_failure(self, row, cause, error);
    if (row->state == STATE_PREPARED || row->state == STATE_REPURPOSE)
        return primary_lock(self, &cause) ? CYCLE_DONE : handle_failure(self, row, cause, error);
    if (row->state == STATE_SUSPENDED || row->state == STATE_READY || row->state == STATE_RESYNC_SUSPENDED ||
        primary_start_wait(row) > 0)
        return CYCLE_DONE;
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    if (row->state == STATE_WAITING_RESYNC && resync_is_held(self, row, settings, error))
        return CYCLE_HELD;
    primary_tend_autostart(self, row);
    if (row->state == STATE_DISK_UPDATE)
        return primary_update_disks(self, &cause) ? CYCLE_GO_ON : handle_failure(self, row, cause, error);
    g_auto(GStrv) targets = primary_find_disks(self, row, settings, &cause);
    if (primary_awaits_import(row))
        self->agreed = false; /* whether it was imported is asked each time */
    if (targets == NULL || (!primary_is_exporting(row) && !primary_make_contact(self, &cause)))
        return handle_failure(self, row, cause, error);

    store_relationship_free(g_steal_pointer(&row));
    row = relationship_row(self->relationship); /* agreeing may have changed it */
    if (!run_state(self, row, targets, &cause))
        return handle_failure(self, row, cause, error);
    self->give_ups = 0;
    self->contact_usec = g_get_monotonic_time();
    store_relationship_free(g_steal_pointer(&row));
    row = relationship_row(self->relationship);
    bool done = row->state == STATE_REPLICATING || row->state == STATE_DISK_UPDATE_CRITICAL || primary_awaits_import(row);
    return done ? CYCLE_DONE : CYCLE_GO_ON;
}
