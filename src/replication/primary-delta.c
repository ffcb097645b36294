/* A cycle: what changed since the last acknowledged checkpoint, as one log. */
#include "replication/primary-private.h"

#include "replication/sent-parts.h"
#include "replication/settings.h"
#include "util/log.h"

#include <string.h>

static bool
send_delta(Primary *self, Moment *moment, const StoreRelationship *row, PointKind kind, GHashTable *blobs, Sending *sending,
           LinkPosition *ret_position, GError **error)
{
    ChangeLogHeader header;
    primary_fill_header(self, row, moment, CHANGE_LOG_DELTA, row->position + 1, kind, &header);
    if (!primary_sending_begin(self, &header, moment, NULL, sending, error))
        return false;
    for (unsigned i = 0; i < moment_disk_count(moment); i++) {
        SendExtents send = { .primary = self, .moment = moment, .disk = i, .writer = sending->writer };
        if (!primary_send_extents(&send, moment_disk(moment, i)->dirty, error))
            return false;
    }
    if (blobs != NULL && !primary_write_blobs(sending->writer, blobs, error))
        return false;
    return moment_finish(moment, error) && primary_sending_finish(sending, ret_position, error);
}

/* The disks that replicate from this position on, together with it: there is no state in between. */
static bool
take_joined(StoreRelationship *row, const Sending *sending, GError **error)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings_from_json(row->settings, error);
    ReplicationState next = row->state;
    if (settings == NULL || (sending->joins_all && !state_table_next(row->mode, row->state, row->resume_state, OPERATION_DISKS_CHANGED,
                                                                     &next, error)))
        return false;
    g_strfreev(settings->included_disks);
    settings->included_disks = g_strdupv((char **)sending->joins);
    g_free(row->settings);
    row->settings = relationship_settings_to_json(settings);
    row->state = next;
    return true;
}

bool
primary_note_acknowledged(Primary *self, const Moment *moment, const Sending *sending, uint64_t position, PointKind kind,
                          const char *checkpoint, const char *blob_hash, GError **error)
{
    StoreRelationship *row = relationship_edit(self->relationship);
    row->position = position;
    memcpy(row->digest, sending->digest, sizeof row->digest);
    if (moment_made_checkpoint(moment)) {
        g_free(row->checkpoint);
        row->checkpoint = g_strdup(checkpoint);
    }
    if (blob_hash != NULL) {
        g_free(row->blob_hash);
        row->blob_hash = g_strdup(blob_hash);
    }
    int64_t age = g_get_monotonic_time() - moment_taken(moment);
    if (row->state == STATE_REPLICATING) /* the end of a copy is no cycle */
        tally_success(relationship_tally(self->relationship), link_upload_sent(sending->upload), age);
    tally_pending(relationship_tally(self->relationship), 0);
    row->last_replication_usec = g_get_real_time() - age;
    row->last_kind = kind;
    if (kind == POINT_KIND_APPLICATION_CONSISTENT)
        row->last_application_consistent_usec = row->last_replication_usec;
    primary_add_sent(self, row, sending);
    if (sending->joins != NULL && !take_joined(row, sending, error)) {
        relationship_edit_cancel(self->relationship, row);
        return false;
    }
    if (!relationship_edit_end(self->relationship, row, error))
        return false;
    relationship_set_captured(self->relationship, moment_taken(moment));
    return true;
}

bool
primary_changed_blobs(Primary *self, const StoreRelationship *row, GHashTable **ret_blobs, char **ret_hash, GError **error)
{
    g_autoptr(GHashTable) blobs = primary_blobs(self, row, error);
    if (blobs == NULL)
        return false;
    *ret_hash = primary_hash_of_blobs(blobs);
    if (g_strcmp0(*ret_hash, row->blob_hash) != 0)
        *ret_blobs = g_steal_pointer(&blobs);
    return true;
}

/* A VM that is off and was sent whole, with its definition, needs no log; its copy is as young as this look at it. */
static bool
nothing_to_send(Primary *self, const StoreRelationship *row, char *const *targets, GError **error)
{
    if (self->sent_marker == NULL || self->name_set)
        return false;
    g_autofree char *marker = moment_marker_now(self->context, row->vm_uuid, (const char *const *)targets, row->checkpoint);
    if (g_strcmp0(marker, self->sent_marker) != 0)
        return false;
    g_autoptr(GHashTable) blobs = NULL;
    g_autofree char *blob_hash = NULL;
    LinkPosition position;
    if (!primary_changed_blobs(self, row, &blobs, &blob_hash, error) || blobs != NULL ||
        !primary_ask_progress(self, &position, error))
        return false;
    if (position.position != row->position || memcmp(position.digest, row->digest, sizeof row->digest) != 0) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_MISFIT, "the replica is no longer at the position that it acknowledged");
        return false;
    }
    relationship_set_captured(self->relationship, g_get_monotonic_time());
    tally_success(relationship_tally(self->relationship), 0, 0);
    return true;
}

static uint64_t
dirty_bytes(const Moment *moment)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < moment_disk_count(moment); i++) {
        const ExtentSet *dirty = moment_disk(moment, i)->dirty;
        bytes += dirty != NULL ? extent_set_bytes(dirty) : 0;
    }
    return bytes;
}

/* The replica that has another set is told which disks there are. */
static bool
add_set(Primary *self, char *const *targets, GHashTable **blobs, GError **error)
{
    if (!self->name_set)
        return true;
    if (*blobs == NULL)
        *blobs = moment_blobs(self->context, relationship_vm(self->relationship), error);
    if (*blobs != NULL)
        primary_add_set(*blobs, targets);
    return *blobs != NULL;
}

bool
primary_run_delta(Primary *self, const StoreRelationship *row, char *const *targets, PointKind kind, GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (row->checkpoint == NULL)
        return primary_changes_lost(self, "there is no checkpoint to start from", error);
    if (kind == POINT_KIND_STANDARD && nothing_to_send(self, row, targets, &cause))
        return true;
    if (cause != NULL) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    g_autofree char *checkpoint = primary_checkpoint_name(row, 'n', row->position + 1);
    /* Left by a cycle that was not acknowledged. */
    primary_drop_checkpoints(self, row->checkpoint, NULL);
    MomentRequest request = { .vm_uuid = row->vm_uuid, .disks = (const char *const *)targets,
                              .incremental = row->checkpoint, .checkpoint = checkpoint,
                              .known = self->sent_marker,
                              .timeout_sec = CAPTURE_TIMEOUT_SEC, .planned = kind == POINT_KIND_PLANNED,
                              .freeze = kind == POINT_KIND_STANDARD && primary_wants_freeze(self, row) };
    g_autoptr(Moment) moment = primary_open_moment(self, &request, error);
    if (moment == NULL)
        return false;
    if (!moment_made_checkpoint(moment) && !sent_parts_note(self->context, row->vm_uuid, row->checkpoint, moment, error))
        return false;
    tally_pending(relationship_tally(self->relationship), dirty_bytes(moment));

    if (request.freeze)
        kind = primary_point_kind(self, moment);
    Sending sending = { 0 };
    LinkPosition position;
    g_autoptr(GHashTable) blobs = NULL;
    g_autofree char *blob_hash = NULL;
    /* After the moment: a guest puts a key into its TPM before it writes what needs the key. */
    bool good = primary_changed_blobs(self, row, &blobs, &blob_hash, error) && add_set(self, targets, &blobs, error) &&
                send_delta(self, moment, row, kind, blobs, &sending, &position, error) &&
                primary_note_acknowledged(self, moment, &sending, row->position + 1, kind, checkpoint, blob_hash, error);
    /* What became of the moment while the link was away says nothing of the size of the cycle. */
    if (!good && !sending.lost)
        moment_explain(moment, error);
    self->name_set = self->name_set && !good;
    primary_sending_clear(&sending);
    g_free(self->sent_marker);
    self->sent_marker = good ? g_strdup(moment_marker(moment)) : NULL;
    bool made = moment_made_checkpoint(moment);
    g_clear_pointer(&moment, moment_close);
    if (made)
        primary_drop_checkpoint(self, good ? row->checkpoint : checkpoint);
    return good;
}
