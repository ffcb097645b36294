/* A primary becomes the replica of its former replica. Its own images become the replica's disks, where they are; what it has written since
 * both sides were equal is told to the new primary, which sends what differs. */
#include "replication/service-private.h"

#include "replication/moment.h"
#include "replication/points.h"
#include "replication/replica-folder.h"
#include "replication/retention.h"
#include "replication/settings.h"
#include "replication/turn-check.h"
#include "replication/turn-folder.h"
#include "util/durable.h"
#include "util/log.h"

#include <string.h>
#include <sys/stat.h>

#define READ_TIMEOUT_SEC 120

/* ---- may it? ---- */

static bool
has_name(const LinkPeer *peer, const char *name)
{
    bool found = false;
    for (const char *const *one = peer->names; one != NULL && *one != NULL; one++)
        found |= g_ascii_strcasecmp(*one, name) == 0;
    return found;
}

static bool
check_disks(const StoreRelationship *row, const RelationshipSettings *settings, const LinkOffer *offer, GError **error)
{
    bool same = settings->included_disks != NULL && g_strv_length(settings->included_disks) == offer->n_disks;
    for (unsigned i = 0; same && i < offer->n_disks; i++)
        same = g_strv_contains((const char *const *)settings->included_disks, offer->disks[i].id);
    return same || service_deny_peer(error, "VM '%s' has other disks on the two hosts; remove replication on both and enable it again",
                                     row->vm_name);
}

/* Somebody with rights on this host must have given the role up: no peer takes a VM away. */
static bool
check_primary(Member *member, const LinkPeer *peer, const AuthorizationEntry *entry, const LinkReversal *reversal, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    const char *host = member->service->context.host_name;
    if (!has_name(peer, settings->recovery_connection_point))
        return service_deny_peer(error, "VM '%s' does not replicate from '%s' to you", row->vm_name, host);
    if (g_ascii_strcasecmp(row->lineage, reversal->from_lineage) != 0)
        return service_deny_peer(error, "VM '%s' has another history on '%s'; remove replication on both hosts and enable it again",
                                 row->vm_name, host);
    if (!row->initial_complete)
        return service_deny_peer(error, "the first copy of VM '%s' was never complete", row->vm_name);
    if (!service_is_locked(member)) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_STATE,
                    "VM '%s' is still the primary on '%s'; shut it down there and run 'virt-replica as-replica %s'", row->vm_name, host,
                    row->vm_name);
        return false;
    }
    return check_disks(row, settings, &reversal->offer, error) &&
           turn_check(member->service, row, settings, entry, reversal, error);
}

/* A reversal that was taken, and whose end the new primary did not see, is asked for again. */
static bool
check_replica(Member *member, const LinkReversal *reversal, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *from = replica_turn_fact(row->folder, TURN_FROM);
    if (from != NULL && g_ascii_strcasecmp(from, reversal->from_lineage) == 0 &&
        row->state == STATE_RESYNCHRONIZING && row->resync_passes == 0 && row->applied == reversal->from_position)
        return true;
    g_set_error(error, LINK_ERROR, LINK_ERROR_STATE, "VM '%s' is a replica on '%s' already, %s", row->vm_name,
                member->service->context.host_name, replication_state_name(row->state));
    return false;
}

/* ---- what this side has written ---- */

/* Is the checkpoint's bitmap about what was written since the position that the new primary began from? It acknowledged at most one log that
 * this side does not know of, and then it tells some changes too many. */
static bool
is_common_position(const StoreRelationship *row, const LinkReversal *reversal)
{
    bool interrupted = row->state == STATE_REPURPOSE && row->resume_state != STATE_REPLICATING;
    if (row->checkpoint == NULL || interrupted)
        return false;
    return reversal->from_position == row->position + 1 ||
           (reversal->from_position == row->position && memcmp(reversal->from_digest, row->digest, sizeof row->digest) == 0);
}

static uint64_t
offered_size(const LinkOffer *offer, const char *id)
{
    for (unsigned i = 0; i < offer->n_disks; i++) {
        if (strcmp(offer->disks[i].id, id) == 0)
            return offer->disks[i].size_bytes;
    }
    return 0;
}

static bool
write_changes(ReplicationService *self, const StoreRelationship *row, char *const *targets, const LinkOffer *offer, const char *folder,
              GError **error)
{
    MomentRequest request = { .vm_uuid = row->vm_uuid, .disks = (const char *const *)targets, .incremental = row->checkpoint,
                              .timeout_sec = READ_TIMEOUT_SEC };
    g_autoptr(GError) cause = NULL;
    g_autoptr(Moment) moment = moment_open(&self->context, &request, &cause);
    if (moment == NULL && g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST)) {
        log_notice("turn", row->vm_name, "%s; both sides are compared", cause->message);
        return true;
    }
    if (moment == NULL) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    for (unsigned i = 0; i < moment_disk_count(moment); i++) {
        const MomentDisk *disk = moment_disk(moment, i);
        uint64_t size = MAX(disk->size_bytes, offered_size(offer, disk->id));
        /* What the disk has lost is changed, too: it grows again with zeroes. */
        extent_set_add(disk->dirty, disk->size_bytes, size - disk->size_bytes);
        if (!replica_changes_write(folder, disk->id, disk->dirty, size, error))
            return false;
    }
    return moment_check(moment, error) && replica_turn_note(folder, TURN_KNOWN, "", error);
}

/* ---- the folder ---- */

static bool
write_blobs(ReplicationService *self, const StoreRelationship *row, GHashTable *blobs, const char *folder, GError **error)
{
    g_autofree char *place = replica_blob_folder(folder);
    GHashTableIter iter;
    gpointer name, blob;
    g_hash_table_iter_init(&iter, blobs);
    while (g_hash_table_iter_next(&iter, &name, &blob)) {
        gsize length;
        const void *data = g_bytes_get_data(blob, &length);
        g_autofree char *path = g_build_filename(place, name, NULL);
        if (!durable_replace(path, data, length, error))
            return false;
    }
    return turn_keep_definition(&self->context, row->vm_uuid, folder, error);
}

static bool
fill_folder(ReplicationService *self, const StoreRelationship *row, const RelationshipSettings *settings, const LinkReversal *reversal,
            const char *folder, GError **error)
{
    /* All that might be in the folder is read before anything in it is removed. */
    g_autoptr(GHashTable) blobs = moment_blobs(&self->context, row->vm_uuid, error);
    ReplicaPosition position = { .position = reversal->from_position };
    g_strlcpy(position.lineage, reversal->offer.lineage, sizeof position.lineage);
    memcpy(position.digest, reversal->from_digest, sizeof position.digest);
    return blobs != NULL && replica_folder_clear(folder, error) &&
           turn_adopt_disks(&self->context, row->vm_uuid, settings->included_disks, folder, error) && write_blobs(self, row, blobs, folder, error) &&
           (!is_common_position(row, reversal) ||
            write_changes(self, row, settings->included_disks, &reversal->offer, folder, error)) &&
           replica_turn_note(folder, TURN_FROM, reversal->from_lineage, error) && replica_position_write(folder, &position, error);
}

/* ---- the point of what it had ---- */

/* A primary has no points: what there are were left by a turn that failed. */
static bool
drop_points(ReplicationService *self, const char *vm_uuid, GError **error)
{
    g_autoptr(GPtrArray) points = store_points(self->context.store, vm_uuid, error);
    for (guint i = 0; points != NULL && i < points->len; i++) {
        if (!store_point_remove(self->context.store, ((StorePoint *)g_ptr_array_index(points, i))->id, error))
            return false;
    }
    return points != NULL;
}

/* When the VM wrote last, microseconds UTC, as far as its images tell. */
static int64_t
last_written(ReplicationService *self, const StoreRelationship *row)
{
    g_autoptr(GPtrArray) disks = virt_host_disks(self->context.virt, row->vm_uuid, NULL);
    int64_t newest = 0;
    for (guint i = 0; disks != NULL && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        struct stat st;
        if (disk->replicable && disk->path != NULL && stat(disk->path, &st) == 0 && S_ISREG(st.st_mode))
            newest = MAX(newest, (int64_t)st.st_mtim.tv_sec * G_USEC_PER_SEC + st.st_mtim.tv_nsec / 1000);
    }
    return newest > 0 ? newest : row->last_replication_usec;
}

/* What it had is a recovery point, as old as it is, and kept from now on as long as the settings of either side say: those of the new
 * primary alone must not drop it. */
static bool
keep_own_state(ReplicationService *self, const StoreRelationship *row, const RelationshipSettings *own, const RelationshipSettings *theirs,
               uint64_t position, int64_t written_usec, GError **error)
{
    g_autoptr(RelationshipSettings) kept = relationship_settings_copy(theirs);
    if (!drop_points(self, row->vm_uuid, error) || !retention_hold(&self->context, row->vm_uuid, own, theirs, error) ||
        !retention_raise(&self->context, row->vm_uuid, kept, error) ||
        !points_received(&self->context, row->vm_uuid, kept, position, POINT_KIND_STANDARD, 0, error))
        return false;
    g_autoptr(GPtrArray) points = store_points(self->context.store, row->vm_uuid, error);
    if (points == NULL || points->len == 0)
        return points != NULL;
    StorePoint *point = g_ptr_array_index(points, 0);
    point->taken_usec = MIN(point->taken_usec, written_usec);
    return store_point_save(self->context.store, point, error);
}

/* ---- turning ---- */

static bool
note_turned(Member *member, const AuthorizationEntry *entry, const LinkReversal *reversal, const char *folder, GError **error)
{
    uint64_t declared;
    if (!turn_declared_bytes(member->service, relationship_vm(member->relationship), reversal, &declared, error))
        return false;
    StoreRelationship *row = relationship_edit(member->relationship);
    row->mode = MODE_REPLICA;
    row->state = STATE_RESYNCHRONIZING;
    row->resume_state = STATE_UNKNOWN;
    row->resync_passes = 0;
    row->position = row->applied = reversal->from_position;
    memcpy(row->digest, reversal->from_digest, sizeof row->digest);
    memcpy(row->applied_digest, reversal->from_digest, sizeof row->applied_digest);
    row->failed_over_kind = POINT_KIND_NONE;
    row->last_kind = POINT_KIND_STANDARD;
    row->declared_bytes = declared;
    char **texts[] = { &row->lineage, &row->settings, &row->peer, &row->folder, &row->checkpoint,
                       &row->blob_hash, &row->pass_token, &row->failover_point };
    const char *values[] = { reversal->offer.lineage, reversal->offer.settings, entry->allowed_primary, folder,
                             NULL, NULL, NULL, NULL };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        char *value = g_strdup(values[i]);
        g_free(*texts[i]);
        *texts[i] = value;
    }
    return relationship_edit_end(member->relationship, row, error);
}

/* Everything up to the decision, which is note_turned(). The images stay locked from before their changes are read until the VM is defined
 * as a replica, so that nothing is written to them that is in no set of changes. */
static bool
decide(ReplicationService *self, Member *member, const AuthorizationEntry *entry, const LinkReversal *reversal, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(RelationshipSettings) own = relationship_settings(member->relationship);
    g_autoptr(RelationshipSettings) theirs = relationship_settings_from_json(reversal->offer.settings, error);
    g_autofree char *folder = turn_folder(self, row, entry);
    int64_t written = last_written(self, row);
    if (theirs == NULL || !primary_lock(member->primary, error) || !turn_claim_folder(member, folder, error) ||
        !fill_folder(self, row, own, reversal, folder, error))
        return false;
    if (keep_own_state(self, row, own, theirs, reversal->from_position, written, error) &&
        note_turned(member, entry, reversal, folder, error))
        return true;
    drop_points(self, row->vm_uuid, NULL);
    return false;
}

static void
tell_position(Member *member, LinkPosition *ret_position)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *known = replica_turn_fact(row->folder, TURN_KNOWN);
    replica_position(member->replica, ret_position);
    ret_position->changes_known = known != NULL;
}

/* By the operation that has @member. What fails after the decision is done again by the replica's worker, the next reversal or the next
 * start. */
static bool
turn(ReplicationService *self, Member *member, const AuthorizationEntry *entry, const LinkReversal *reversal, LinkPosition *ret_position,
     GError **error)
{
    if (!decide(self, member, entry, reversal, error))
        return false;
    primary_leave_lock(member->primary);
    g_autoptr(Member) replica = service_replace_member(self, member, error);
    if (replica == NULL || !relationship_begin_operation(replica->relationship, "become the replica", error))
        return false;
    bool good = replica_settle(replica->replica, true, error);
    relationship_end_operation(replica->relationship);
    service_wake_member(replica);
    if (!good)
        return false;
    tell_position(replica, ret_position);
    g_autoptr(StoreRelationship) row = relationship_row(replica->relationship);
    log_notice("turn", row->vm_name, "is the replica of '%s' from now on", reversal->offer.primary_host);
    return true;
}

/* The new primary may come with another line of history than before. */
static bool
take_lineage(const StoreRelationship *row, const LinkReversal *reversal, GError **error)
{
    ReplicaPosition position = { .position = reversal->from_position };
    g_strlcpy(position.lineage, reversal->offer.lineage, sizeof position.lineage);
    memcpy(position.digest, reversal->from_digest, sizeof position.digest);
    return g_ascii_strcasecmp(row->lineage, reversal->offer.lineage) == 0 || replica_position_write(row->folder, &position, error);
}

static bool
turn_again(Member *member, const AuthorizationEntry *entry, const LinkReversal *reversal, LinkPosition *ret_position, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (!take_lineage(row, reversal, error) || !note_turned(member, entry, reversal, row->folder, error) ||
        !replica_settle(member->replica, false, error))
        return false;
    tell_position(member, ret_position);
    return true;
}

bool
service_take_reversal(ReplicationService *self, Member *member, const LinkPeer *peer, const AuthorizationEntry *entry,
                      const LinkReversal *reversal, LinkPosition *ret_position, GError **error)
{
    static const char what[] = "reverse the replication";
    bool again = member->replica != NULL;
    if (!(again ? check_replica(member, reversal, error) : check_primary(member, peer, entry, reversal, error)))
        return false;
    if (reversal->check_only) {
        *ret_position = (LinkPosition){ .state = relationship_state(member->relationship), .initial_complete = true };
        return true;
    }
    if (!relationship_begin_operation(member->relationship, what, error))
        return false;
    bool good = again ? check_replica(member, reversal, error) && turn_again(member, entry, reversal, ret_position, error)
                      : check_primary(member, peer, entry, reversal, error) && turn(self, member, entry, reversal, ret_position, error);
    relationship_end_operation(member->relationship);
    return good;
}
