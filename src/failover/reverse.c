/* ReverseReplicationRelationship: the failed-over VM is the primary from now on, and the former primary its replica. Only what differs
 * travels: what the overlay's bitmap tells, joined with what the former primary wrote since both were equal. */
#include "failover/failover-private.h"

#include "failover/overlay.h"
#include "replication/plan.h"
#include "replication/replica-folder.h"
#include "replication/settings.h"
#include "util/log.h"

#include <string.h>

typedef struct {
    Member               *member;
    RelationshipSettings *settings;
    StoreRelationship    *next; /* the row as it will be */
    LinkClient           *client;
} Reverse;

static void
reverse_clear(Reverse *self)
{
    link_client_free(self->client);
    store_relationship_free(self->next);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Reverse, reverse_clear)

/* ---- the row ---- */

static char *
lineage_key(const char *vm_uuid)
{
    return g_strconcat("reversal-lineage:", vm_uuid, NULL);
}

/* The line of history that begins with the reversal. The other host takes it up before this one does, so that a reversal from the same
 * state that is asked for again, after a restart too, comes with the same. (transfer full) */
static char *
next_lineage(const ReplicationContext *context, const StoreRelationship *row, GError **error)
{
    g_autofree char *key = lineage_key(row->vm_uuid), *noted = store_value(context->store, key, NULL);
    g_autofree char *state = g_strdup_printf("%s %" G_GUINT64_FORMAT " ", row->lineage, row->applied);
    if (noted != NULL && g_str_has_prefix(noted, state) && g_uuid_string_is_valid(noted + strlen(state)))
        return g_strdup(noted + strlen(state));
    g_autofree char *lineage = g_uuid_string_random();
    g_autofree char *text = g_strconcat(state, lineage, NULL);
    return store_value_set(context->store, key, text, error) ? g_steal_pointer(&lineage) : NULL;
}

/* Takes @lineage. */
static StoreRelationship *
next_row(const StoreRelationship *row, const RelationshipSettings *settings, char *lineage)
{
    StoreRelationship *next = store_relationship_copy(row);
    next->mode = MODE_PRIMARY;
    next->state = STATE_RESYNCHRONIZING;
    next->resume_state = STATE_UNKNOWN;
    next->position = row->applied;
    memcpy(next->digest, row->applied_digest, sizeof next->digest);
    next->failed_over_kind = POINT_KIND_NONE;
    next->resync_passes = 0;
    next->guest_todo = 0;
    next->declared_bytes = 0;
    g_free(next->lineage);
    next->lineage = lineage;
    g_free(next->settings);
    next->settings = relationship_settings_to_json(settings);
    char **gone[] = { &next->peer, &next->checkpoint, &next->pass_token, &next->failover_point, &next->blob_hash };
    for (size_t i = 0; i < G_N_ELEMENTS(gone); i++)
        g_clear_pointer(gone[i], g_free);
    return next;
}

/* ---- the other host ---- */

static bool
ask(Reverse *self, bool check_only, LinkPosition *ret_position, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->member->relationship);
    LinkReversal reversal = { .from_position = row->applied, .check_only = check_only };
    g_strlcpy(reversal.from_lineage, row->lineage, sizeof reversal.from_lineage);
    memcpy(reversal.from_digest, row->applied_digest, sizeof reversal.from_digest);
    bool good = primary_fill_offer(&self->member->service->context, self->next, self->settings->included_disks, &reversal.offer, error) &&
                link_client_reverse(self->client, &reversal, ret_position, error);
    link_offer_clear(&reversal.offer);
    return good;
}

/* From here on the other host may be the replica already, whatever the answer. */
static bool
turn_other(Reverse *self, LinkPosition *ret_position, GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (ask(self, false, ret_position, &cause))
        return true;
    if (g_error_matches(cause, LINK_ERROR, LINK_ERROR_UNREACHABLE))
        g_prefix_error(&cause, "no answer of '%s', which may have become the replica all the same; ask for the reversal again: ",
                       self->settings->recovery_connection_point);
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

static bool
add_changes(Reverse *self, PlanDisk *disk, GError **error)
{
    for (uint64_t offset = 0; offset < disk->size_bytes; offset += LINK_CHANGES_MAX) {
        uint64_t length = MIN(disk->size_bytes - offset, LINK_CHANGES_MAX);
        g_autoptr(GByteArray) bits = NULL;
        if (!link_client_changes(self->client, self->next->vm_uuid, disk->id, offset, length, &bits, error))
            return false;
        for (uint64_t grain = 0; grain * CHANGE_LOG_GRAIN < length; grain++) {
            uint64_t start = grain * CHANGE_LOG_GRAIN;
            if (bits->data[grain / 8] >> grain % 8 & 1)
                extent_set_add(disk->todo, offset + start, MIN(CHANGE_LOG_GRAIN, length - start));
        }
    }
    return true;
}

/* An area that the disk did not have at the failover came up without a bit in the bitmap: the plan is for the smaller disk, and the first
 * pass adds what it has grown by. */
static bool
plan_changes(Reverse *self, Plan *plan, const VirtDisk *disk, GError **error)
{
    uint64_t at_failover;
    if (!replica_failover_size_read(self->next->folder, disk->target, &at_failover, error))
        return false;
    PlanDisk *planned = plan_add_disk(plan, disk->target, MIN(disk->size_bytes, at_failover));
    extent_set_clear(planned->todo);
    return add_changes(self, planned, error);
}

static bool
sizes_known(Reverse *self)
{
    uint64_t size;
    bool known = true;
    for (char **id = self->settings->included_disks; *id != NULL; id++)
        known &= replica_failover_size_read(self->next->folder, *id, &size, NULL);
    return known;
}

/* What the first pass starts from: what the former primary has written, and then all since the failover, which is in the bitmap. Where
 * anything of it is unknown, both sides are compared. */
static bool
make_plan(Reverse *self, bool changes_known, GError **error)
{
    const ReplicationContext *context = &self->member->service->context;
    g_autoptr(GPtrArray) disks = virt_host_disks(context->virt, self->next->vm_uuid, error);
    if (disks == NULL)
        return false;
    changes_known = changes_known && sizes_known(self);
    g_autoptr(Plan) plan = plan_new(!changes_known, changes_known ? OVERLAY_CHECKPOINT : NULL);
    for (guint i = 0; changes_known && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (!g_strv_contains((const char *const *)self->settings->included_disks, disk->target))
            continue;
        if (!plan_changes(self, plan, disk, error))
            return false;
    }
    return primary_save_plan(context, self->next, plan, error);
}

/* ---- the job ---- */

static bool
commit_first(Member *member, Job *job, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (row->state == STATE_COMMITTED && !failover_commit_is_open(row))
        return true;
    return failover_commit_begin(member, error) && failover_commit_job(member, job, NULL, error);
}

static bool
become_primary(Reverse *self, GError **error)
{
    Member *member = self->member;
    store_relationship_free(relationship_edit(member->relationship)); /* all of the row is new */
    if (!relationship_edit_end(member->relationship, store_relationship_copy(self->next), error))
        return false;
    replica_close_disks(member->replica);
    g_autoptr(Member) primary = service_replace_member(member->service, member, error);
    if (primary == NULL)
        return false;
    primary_give_back_autostart(&member->service->context, self->next->vm_uuid); /* of its time as a primary before */
    service_wake_member(primary);
    log_notice("failover", self->next->vm_name, "is the primary from now on; it replicates to '%s'",
               self->settings->recovery_connection_point);
    return true;
}

static bool
reverse_job(Member *member, Job *job, void *data, GError **error)
{
    g_auto(Reverse) self = { .member = member, .settings = data };
    LinkPosition position;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *blobs = replica_failover_blob_folder(row->folder);
    self.settings->included_disks = replica_set_of_state(row, blobs, error);
    if (self.settings->included_disks == NULL)
        return false;
    char *lineage = next_lineage(&member->service->context, row, error);
    if (lineage == NULL)
        return false;
    self.next = next_row(row, self.settings, lineage);
    self.client = primary_connect_peer(&member->service->context, self.settings, NULL, error);
    /* Nothing is given up for a reversal that the other host would refuse. */
    return self.client != NULL && ask(&self, true, &position, error) && commit_first(member, job, error) &&
           turn_other(&self, &position, error) && make_plan(&self, position.changes_known, error) && become_primary(&self, error);
}

static void
free_settings(gpointer settings)
{
    relationship_settings_free(settings);
}

bool
failover_reverse(ReplicationService *service, const Caller *caller, const char *vm_uuid, const RelationshipSettings *settings,
                 Job **ret_job, GError **error)
{
    *ret_job = NULL;
    if (!relationship_settings_check(settings, error))
        return false;
    g_autoptr(Member) member = failover_find_replica(service, vm_uuid, "reverse the replication", false, error);
    if (member == NULL || !relationship_begin_operation(member->relationship, "reverse the replication", error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState next;
    if (!service_refuse_extended(member, "reverse the replication", error) ||
        !state_table_next(row->mode, row->state, row->resume_state, OPERATION_REVERSE, &next, error)) {
        relationship_end_operation(member->relationship);
        return false;
    }
    *ret_job = failover_add_job(member, JOB_REVERSE, "Reversing the replication of", caller->user);
    RelationshipSettings *complete = service_complete_settings(service, settings);
    g_clear_pointer(&complete->included_disks, g_strfreev);
    service_run_job(member, *ret_job, reverse_job, complete, free_settings);
    return true;
}
