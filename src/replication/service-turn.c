/* A primary becomes the replica of its former replica. Its own images become the replica's disks, where they are; what it has written since
 * both sides were equal is told to the new primary, which sends what differs. */
#include "replication/service-private.h"

#include "replication/moment.h"
#include "replication/points.h"
#include "replication/replica-folder.h"
#include "replication/settings.h"
#include "util/durable.h"
#include "util/log.h"

#include <string.h>

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
check_primary(Member *member, const LinkPeer *peer, const LinkReversal *reversal, GError **error)
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
    return check_disks(row, settings, &reversal->offer, error);
}

/* Which history a VM had when it became the replica. */
static char *
from_path(const char *folder)
{
    return g_build_filename(folder, "reversed", "from", NULL);
}

/* A reversal that was taken, and whose end the new primary did not see, is asked for again. */
static bool
check_replica(Member *member, const LinkReversal *reversal, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *path = from_path(row->folder);
    g_autofree char *from = NULL;
    if (g_file_get_contents(path, &from, NULL, NULL) && g_ascii_strcasecmp(from, reversal->from_lineage) == 0 &&
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

static bool
write_changes(ReplicationService *self, const StoreRelationship *row, char *const *targets, const char *folder, bool *ret_known,
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
        if (!replica_changes_write(folder, disk->id, disk->dirty, disk->size_bytes, error))
            return false;
    }
    *ret_known = true;
    return moment_check(moment, error);
}

/* ---- the folder ---- */

static bool
write_blobs(ReplicationService *self, const StoreRelationship *row, const char *folder, GError **error)
{
    g_autoptr(GHashTable) blobs = moment_blobs(&self->context, row->vm_uuid, error);
    g_autofree char *place = replica_blob_folder(folder);
    g_autofree char *before = g_build_filename(folder, "definition-before.xml", NULL);
    if (blobs == NULL)
        return false;
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
    /* The definition as it was: what is made of it for a replica holds only what a guest needs. */
    g_autofree char *xml = virt_host_xml(self->context.virt, row->vm_uuid, error);
    return xml != NULL && durable_replace(before, xml, strlen(xml), error);
}

static bool
adopt_disks(ReplicationService *self, const StoreRelationship *row, char *const *targets, const char *folder, GError **error)
{
    g_autoptr(GPtrArray) disks = virt_host_disks(self->context.virt, row->vm_uuid, error);
    for (guint i = 0; disks != NULL && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (g_strv_contains((const char *const *)targets, disk->target) &&
            !replica_disk_adopt(folder, disk->target, disk->path, error))
            return false;
    }
    return disks != NULL;
}

static bool
make_folder(ReplicationService *self, const StoreRelationship *row, const RelationshipSettings *settings, const LinkReversal *reversal,
            const char *folder, bool *ret_known, GError **error)
{
    ReplicaPosition position = { .position = reversal->from_position };
    g_strlcpy(position.lineage, reversal->offer.lineage, sizeof position.lineage);
    memcpy(position.digest, reversal->from_digest, sizeof position.digest);
    g_autofree char *from = from_path(folder), *reversed = g_path_get_dirname(from);
    *ret_known = false;
    return durable_mkdir_passable(folder, error) && replica_folder_clear(folder, error) &&
           adopt_disks(self, row, settings->included_disks, folder, error) && write_blobs(self, row, folder, error) &&
           (!is_common_position(row, reversal) || write_changes(self, row, settings->included_disks, folder, ret_known, error)) &&
           durable_mkdir(reversed, error) && durable_replace(from, reversal->from_lineage, strlen(reversal->from_lineage), error) &&
           replica_position_write(folder, &position, error);
}

/* ---- turning ---- */

static bool
note_turned(Member *member, const AuthorizationEntry *entry, const LinkReversal *reversal, const char *folder, GError **error)
{
    StoreRelationship *row = relationship_edit(member->relationship);
    row->mode = MODE_REPLICA;
    row->state = STATE_RESYNCHRONIZING;
    row->resume_state = STATE_UNKNOWN;
    row->resync_passes = 0;
    row->position = row->applied = reversal->from_position;
    memcpy(row->digest, reversal->from_digest, sizeof row->digest);
    memcpy(row->applied_digest, reversal->from_digest, sizeof row->applied_digest);
    row->failed_over_kind = POINT_KIND_NONE;
    char **texts[] = { &row->lineage, &row->settings, &row->peer, &row->folder, &row->checkpoint,
                       &row->blob_hash, &row->pass_token, &row->failover_point };
    const char *values[] = { reversal->offer.lineage, reversal->offer.settings, entry->allowed_primary, folder,
                             NULL, NULL, NULL, NULL };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        char *value = g_strdup(values[i]);
        g_free(*texts[i]);
        *texts[i] = value;
    }
    row->declared_bytes = 0;
    for (unsigned i = 0; i < reversal->offer.n_disks; i++)
        row->declared_bytes += reversal->offer.disks[i].size_bytes;
    return relationship_edit_end(member->relationship, row, error);
}

/* The VM's definition is replaced by that of a replica, and its disks are held open. May be repeated. */
static bool
settle(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    return replica_open_disks(member->replica, error) &&
           replica_place_domain(&member->service->context, row, error);
}

/* By the operation that has @member. What fails after the store knows is repeated by the next reversal, or the next start. */
static bool
turn(ReplicationService *self, Member *member, const AuthorizationEntry *entry, const LinkReversal *reversal, LinkPosition *ret_position,
     GError **error)
{
    bool known;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    g_autoptr(RelationshipSettings) theirs = relationship_settings_from_json(reversal->offer.settings, error);
    g_autofree char *folder = row->folder != NULL ? g_strdup(row->folder) : service_replica_folder(self, entry, row->vm_uuid);
    if (theirs == NULL || !make_folder(self, row, settings, reversal, folder, &known, error) ||
        !points_received(&self->context, row->vm_uuid, theirs, reversal->from_position, POINT_KIND_STANDARD, 0, error) ||
        !note_turned(member, entry, reversal, folder, error))
        return false;
    primary_unlock(member->primary);
    if (!primary_forget(&self->context, row->vm_uuid, NULL))
        log_warning("turn", row->vm_name, "checkpoints of its time as primary are left; continuing");
    g_autoptr(Member) replica = service_replace_member(self, member, error);
    if (replica == NULL || !relationship_begin_operation(replica->relationship, "become the replica", error))
        return false;
    bool good = settle(replica, error);
    relationship_end_operation(replica->relationship);
    replica_position(replica->replica, ret_position);
    ret_position->changes_known = known;
    log_notice("turn", row->vm_name, "is the replica of '%s' from now on", reversal->offer.primary_host);
    return good;
}

static bool
turn_again(Member *member, const AuthorizationEntry *entry, const LinkReversal *reversal, LinkPosition *ret_position, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *folder = g_strdup(row->folder);
    ReplicaPosition position = { .position = reversal->from_position };
    g_strlcpy(position.lineage, reversal->offer.lineage, sizeof position.lineage);
    memcpy(position.digest, reversal->from_digest, sizeof position.digest);
    GByteArray *bits = g_byte_array_new();
    bool known = replica_changes_read(folder, reversal->offer.disks[0].id, 0, CHANGE_LOG_GRAIN, bits, NULL);
    g_byte_array_unref(bits);
    if (!replica_position_write(folder, &position, error) || !note_turned(member, entry, reversal, folder, error) ||
        !settle(member, error))
        return false;
    replica_position(member->replica, ret_position);
    ret_position->changes_known = known;
    return true;
}

bool
service_take_reversal(ReplicationService *self, Member *member, const LinkPeer *peer, const AuthorizationEntry *entry,
                      const LinkReversal *reversal, LinkPosition *ret_position, GError **error)
{
    static const char what[] = "reverse the replication";
    bool again = member->replica != NULL;
    if (!(again ? check_replica(member, reversal, error) : check_primary(member, peer, reversal, error)))
        return false;
    if (reversal->check_only) {
        *ret_position = (LinkPosition){ .state = relationship_state(member->relationship), .initial_complete = true };
        return true;
    }
    if (!relationship_begin_operation(member->relationship, what, error))
        return false;
    bool good = again ? check_replica(member, reversal, error) && turn_again(member, entry, reversal, ret_position, error)
                      : check_primary(member, peer, reversal, error) && turn(self, member, entry, reversal, ret_position, error);
    relationship_end_operation(member->relationship);
    return good;
}
