#include "replication/primary.h"

#include "link/link.h"
#include "replication/grain-hash.h"
#include "replication/moment.h"
#include "replication/plan.h"
#include "replication/settings.h"
#include "util/durable.h"
#include "util/log.h"

#include <gnutls/crypto.h>
#include <string.h>

#define CAPTURE_TIMEOUT_SEC    120           /* a job open longer than that is given up */
#define PASS_BUDGET_USEC       (30 * G_USEC_PER_SEC) /* a pass begins no new window after that long */
#define WINDOW_BYTES           LINK_HASHED_MAX /* what is read between two looks at the budget */
#define READS_IN_FLIGHT        8
#define GIVE_UPS_BEFORE_PASSES 3   /* deltas too large for the scratch space in a row, before they are sent in passes */
#define CHECKPOINT_PREFIX      "vr-"
#define CONTACT_FRESH_USEC     (30 * G_USEC_PER_SEC) /* a connection that was silent for longer may be dead: ask before sending */

struct Primary {
    const ReplicationContext *context;
    Relationship *relationship;
    LinkClient   *client;
    LinkClient   *asker;       /* for questions while `client` is sending; made when needed */
    int64_t       contact_usec; /* monotonic; of the last good exchange */
    bool          agreed;      /* positions were compared since the last failure */
    unsigned      give_ups;    /* captures in a row that were given up for the guest's sake */
    char         *sent_marker; /* the VM is off and all of that was sent */
    char         *planned_marker; /* the VM is off and what is dirty in that is in the plan, or was sent */
};

Primary *
primary_new(const ReplicationContext *context, Relationship *relationship)
{
    Primary *self = g_new0(Primary, 1);
    self->context = context;
    self->relationship = relationship_ref(relationship);
    return self;
}

static void
drop_contact(Primary *self)
{
    self->agreed = false;
    g_clear_pointer(&self->client, link_client_free);
    g_clear_pointer(&self->asker, link_client_free);
}

void
primary_free(Primary *self)
{
    if (self == NULL)
        return;
    drop_contact(self);
    relationship_unref(self->relationship);
    g_free(self->sent_marker);
    g_free(self->planned_marker);
    g_free(self);
}

static LinkClient *
connect_peer(const ReplicationContext *context, const RelationshipSettings *settings, GError **error)
{
    HttpClientConfig config = {
        .host = settings->recovery_connection_point,
        .port = (uint16_t)settings->recovery_server_port,
        .tls = true,
        .ca_file = context->ca_file,
        .certificate_file = context->certificate_file,
        .key_file = context->key_file,
        .use_proxy = !settings->bypass_proxy_server,
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
    if (targets->len == 0 || targets->len > CHANGE_LOG_DISKS_MAX) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_NOT_SUPPORTED,
                    "the VM has %u disks that can be replicated; 1 to %u are possible", targets->len, CHANGE_LOG_DISKS_MAX);
        return NULL;
    }
    g_ptr_array_set_free_func(targets, NULL);
    g_ptr_array_add(targets, NULL);
    return (char **)g_ptr_array_steal(targets, NULL);
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

/* Passes @cause on as REPLICATION_ERROR. Takes it. */
static bool
fail_for_caller(GError *cause, GError **error)
{
    if (cause->domain == REPLICATION_ERROR) {
        g_propagate_error(error, cause);
        return false;
    }
    g_set_error_literal(error, REPLICATION_ERROR, code_for_caller(cause), cause->message);
    g_error_free(cause);
    return false;
}

static bool
fill_offer(const ReplicationContext *context, const StoreRelationship *row, char *const *targets, LinkOffer *offer,
           GError **error)
{
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
    g_auto(GStrv) targets = primary_disks(context, row->vm_uuid, settings, &cause);
    if (targets == NULL)
        return fail_for_caller(cause, error);
    g_autoptr(LinkClient) client = connect_peer(context, settings, &cause);
    if (client == NULL)
        return fail_for_caller(cause, error);
    LinkOffer offer = { 0 };
    LinkPosition position;
    bool good = fill_offer(context, row, targets, &offer, &cause) &&
                link_client_offer(client, &offer, &position, &cause);
    link_offer_clear(&offer);
    return good || fail_for_caller(cause, error);
}

/* ---- one log ---- */

typedef struct {
    LinkUpload      *upload;
    ChangeLogWriter *writer;
    uint8_t          digest[CHANGE_LOG_DIGEST_SIZE];
} Sending;

static void
sending_clear(Sending *sending)
{
    change_log_writer_free(sending->writer);
    link_upload_free(sending->upload);
    memset(sending, 0, sizeof *sending);
}

static void
fill_header(const Primary *self, const StoreRelationship *row, const Moment *moment, ChangeLogKind kind,
            uint64_t position, PointKind point, ChangeLogHeader *header)
{
    memset(header, 0, sizeof *header);
    header->kind = kind;
    header->point_kind = point;
    g_strlcpy(header->vm_uuid, row->vm_uuid, sizeof header->vm_uuid);
    g_strlcpy(header->lineage, row->lineage, sizeof header->lineage);
    header->base = row->position;
    header->position = position;
    if (kind != CHANGE_LOG_INITIAL)
        memcpy(header->previous_digest, row->digest, sizeof header->previous_digest);
    header->n_disks = moment_disk_count(moment);
    for (unsigned i = 0; i < header->n_disks; i++) {
        const MomentDisk *disk = moment_disk(moment, i);
        g_strlcpy(header->disks[i].id, disk->id, sizeof header->disks[i].id);
        header->disks[i].size_bytes = disk->size_bytes;
    }
}

static bool
sending_begin(Primary *self, const ChangeLogHeader *header, int64_t taken_usec, const char *token, Sending *sending,
              GError **error)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    sending->upload = link_client_send_log(self->client, relationship_vm(self->relationship), header, taken_usec, token, 0,
                                           error);
    if (sending->upload == NULL)
        return false;
    sending->writer = change_log_writer_new(link_upload_sink(sending->upload), header, settings->compression_enabled, error);
    return sending->writer != NULL;
}

/* Bytes count as sent even when the log is not acknowledged. */
static bool
sending_finish(Primary *self, Sending *sending, LinkPosition *ret_position, GError **error)
{
    bool good = change_log_writer_end(sending->writer, sending->digest, error) &&
                link_upload_finish(sending->upload, ret_position, error);
    return good;
}

typedef struct {
    ChangeLogWriter *writer;
    unsigned         disk;
    uint64_t         disk_size;
    const uint8_t   *hashes;     /* (nullable) of the window */
    uint64_t         window;     /* where the window starts */
} PieceTarget;

/* Writes the grains of a piece whose hash differs from the peer's, joining neighbours. */
static bool
write_different(PieceTarget *target, uint64_t offset, uint64_t length, const uint8_t *data, GError **error)
{
    uint64_t at = offset, end = offset + length, run = offset;
    while (at < end) {
        uint64_t next = MIN(at - at % CHANGE_LOG_GRAIN + CHANGE_LOG_GRAIN, end);
        uint64_t grain = at - at % CHANGE_LOG_GRAIN;
        bool whole = at == grain && next == MIN(grain + CHANGE_LOG_GRAIN, target->disk_size);
        uint8_t hash[LINK_HASH_SIZE];
        bool equal = false;
        if (whole) {
            grain_hash(data != NULL ? data + (at - offset) : NULL, next - at, hash);
            equal = memcmp(hash, target->hashes + (grain - target->window) / CHANGE_LOG_GRAIN * LINK_HASH_SIZE,
                           LINK_HASH_SIZE) == 0;
        }
        if (equal || next == end) {
            uint64_t stop = equal ? at : next;
            if (stop > run) {
                bool good = data != NULL ? change_log_writer_data(target->writer, target->disk, run, data + (run - offset),
                                                                  stop - run, error)
                                         : change_log_writer_zero(target->writer, target->disk, run, stop - run, error);
                if (!good)
                    return false;
            }
            run = next;
        }
        at = next;
    }
    return true;
}

static bool
write_piece(void *opaque, uint64_t offset, uint64_t length, const void *data, GError **error)
{
    PieceTarget *target = opaque;
    if (target->hashes != NULL)
        return write_different(target, offset, length, data, error);
    if (data == NULL)
        return change_log_writer_zero(target->writer, target->disk, offset, length, error);
    return change_log_writer_data(target->writer, target->disk, offset, data, length, error);
}

/* Reads @extents of one disk at the moment into the log. @peer_hashes: for extents inside the window at @window. */
static bool
send_extents(Moment *moment, unsigned index, const ExtentSet *extents, ChangeLogWriter *writer,
             const GByteArray *peer_hashes, uint64_t window, GError **error)
{
    if (extent_set_count(extents) == 0)
        return true;
    const MomentDisk *disk = moment_disk(moment, index);
    uint64_t start = extent_set_at(extents, 0)->start;
    uint64_t end = extent_set_at(extents, extent_set_count(extents) - 1)->end;
    g_autoptr(ExtentSet) zeroes = NULL;
    if (!disk_client_zeroes(disk->client, start, end, &zeroes, error))
        return false;
    PieceTarget target = { .writer = writer, .disk = index, .disk_size = disk->size_bytes,
                           .hashes = peer_hashes != NULL ? peer_hashes->data : NULL, .window = window };
    return disk_client_read_extents(disk->client, extents, zeroes, READS_IN_FLIGHT, moment_cancelled(moment), write_piece,
                                    &target, NULL, error);
}

static bool
write_blobs(ChangeLogWriter *writer, GHashTable *blobs, GError **error)
{
    g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(blobs), (GCompareFunc)strcmp);
    for (GList *name = names; name != NULL; name = name->next) {
        if (!change_log_writer_blob(writer, name->data, g_hash_table_lookup(blobs, name->data), error))
            return false;
    }
    return true;
}

static char *
hash_of_blobs(GHashTable *blobs)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(blobs), (GCompareFunc)strcmp);
    for (GList *name = names; name != NULL; name = name->next) {
        gsize length = 0;
        const guchar *data = g_bytes_get_data(g_hash_table_lookup(blobs, name->data), &length);
        g_checksum_update(sum, name->data, (gssize)strlen(name->data) + 1);
        g_checksum_update(sum, data, (gssize)length);
    }
    return g_strdup(g_checksum_get_string(sum));
}

static char *
checkpoint_name(const StoreRelationship *row, char what, uint64_t number)
{
    return g_strdup_printf(CHECKPOINT_PREFIX "%.8s-%c%" G_GUINT64_FORMAT, row->lineage, what, number);
}

/* Removes every checkpoint of ours but the ones to keep; failures are left for the next time. */
static void
drop_checkpoints(const ReplicationContext *context, const char *vm_uuid, const char *keep, const char *keep_too)
{
    g_auto(GStrv) names = virt_checkpoint_list(context->virt, vm_uuid, NULL);
    for (char **name = names; name != NULL && *name != NULL; name++) {
        if (!g_str_has_prefix(*name, CHECKPOINT_PREFIX) || g_strcmp0(*name, keep) == 0 || g_strcmp0(*name, keep_too) == 0)
            continue;
        g_autoptr(GError) error = NULL;
        if (!virt_checkpoint_delete(context->virt, vm_uuid, *name, &error))
            log_debug("cycle", vm_uuid, "checkpoint '%s' stays for now: %s", *name, error->message);
    }
}

void
primary_say_removed(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LinkClient) client = connect_peer(context, settings, &error);
    if (client == NULL || !link_client_remove(client, vm_uuid, &error))
        log_info("cycle", vm_uuid, "the replica server was not told of the removal: %s", error->message);
}

static char *
plan_path_of(const ReplicationContext *context, const char *vm_uuid)
{
    g_autofree char *name = g_strdup_printf("%s.plan", vm_uuid);
    return g_build_filename(context->state_folder, name, NULL);
}

bool
primary_forget(const ReplicationContext *context, const char *vm_uuid, GError **error)
{
    drop_checkpoints(context, vm_uuid, NULL, NULL);
    g_autofree char *plan = plan_path_of(context, vm_uuid);
    return durable_unlink(plan, error);
}

static void
add_sent(Primary *self, StoreRelationship *row, const Sending *sending)
{
    row->bytes_sent += link_upload_sent(sending->upload);
}

/* ---- agreeing on the position ---- */

static char *
plan_path(const Primary *self)
{
    return plan_path_of(self->context, relationship_vm(self->relationship));
}

/* The plan of an earlier copy goes first: going on with it would leave out what it has sent already. */
static bool
forget_plan(Primary *self, const char *why, GError **error)
{
    log_warning("cycle", relationship_vm(self->relationship), "%s; resynchronizing", why);
    g_autofree char *path = plan_path(self);
    return durable_unlink(path, error);
}

static bool
changes_lost(Primary *self, const char *why, GError **error)
{
    return forget_plan(self, why, error) && relationship_move(self->relationship, OPERATION_CHANGES_LOST, error);
}

/* The replica knows its position better than we do: an acknowledgement may have been lost on the way. Its log holds the
 * changes since our checkpoint, so going on from that checkpoint sends some of them again and misses none. With @lost it does
 * not: then both sides are compared, and that is noted together with the position, or a crash in between would go on as if nothing were
 * missing. */
static bool
adopt_position(Primary *self, const LinkPosition *position, const char *lost, GError **error)
{
    if (lost != NULL && !forget_plan(self, lost, error))
        return false;
    StoreRelationship *row = relationship_edit(self->relationship);
    row->position = position->position;
    memcpy(row->digest, position->digest, sizeof row->digest);
    g_clear_pointer(&row->blob_hash, g_free);
    if (lost != NULL) {
        row->initial_complete = true;
        row->state = STATE_WAITING_RESYNC;
    }
    return relationship_edit_end(self->relationship, row, error);
}

static char *
pass_token(const StoreRelationship *row, unsigned pass)
{
    return g_strdup_printf("%s-%u", row->lineage, pass);
}

/* A plan goes on only from the pass that the replica names: one that was put back to an earlier day has less than it acknowledged.
 * It may be one pass ahead of the plan, when its acknowledgement was lost. */
static bool
check_plan(Primary *self, const StoreRelationship *row, const LinkPosition *position, GError **error)
{
    g_autofree char *path = plan_path(self);
    g_autoptr(Plan) plan = plan_load(path, NULL);
    if (plan == NULL || plan->pass == 0)
        return true;
    g_autofree char *acknowledged = pass_token(row, plan->pass), *next = pass_token(row, plan->pass + 1);
    if (strcmp(position->pass_token, acknowledged) == 0 || strcmp(position->pass_token, next) == 0)
        return true;
    return forget_plan(self, "the replica no longer has what it acknowledged", error);
}

static bool
agree(Primary *self, GError **error)
{
    LinkPosition position;
    if (!link_client_position(self->client, relationship_vm(self->relationship), &position, error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    if (position.lineage[0] != '\0' && g_ascii_strcasecmp(position.lineage, row->lineage) != 0) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_MISFIT,
                    "the replica holds another line of history (%s, ours is %s); remove one side's replication", position.lineage,
                    row->lineage);
        return false;
    }
    bool copying = row->state == STATE_WAITING_INITIAL || row->state == STATE_RESYNCHRONIZING;
    if (copying && !check_plan(self, row, &position, error))
        return false;
    self->agreed = true;
    if (row->state == STATE_WAITING_INITIAL && position.initial_complete) {
        /* The closing log of the first copy arrived, its acknowledgement did not: compare both sides. */
        return adopt_position(self, &position, "the end of the first copy was not acknowledged", error);
    }
    if (row->state == STATE_WAITING_INITIAL)
        return true;
    if (!position.initial_complete) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_MISFIT, "the replica has lost its first copy; remove replication on both "
                                                           "hosts and enable it again");
        return false;
    }
    if (position.position == row->position && memcmp(position.digest, row->digest, sizeof row->digest) == 0)
        return true;
    /* In a resynchronization too: its plan takes for granted what was sent already. */
    bool behind = position.position <= row->position;
    return adopt_position(self, &position, behind ? "the replica is behind what it acknowledged" : NULL, error);
}

static bool
make_contact(Primary *self, GError **error)
{
    if (g_get_monotonic_time() - self->contact_usec > CONTACT_FRESH_USEC)
        drop_contact(self);
    if (self->client == NULL) {
        g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
        self->client = connect_peer(self->context, settings, error);
        if (self->client == NULL)
            return false;
    }
    return self->agreed || agree(self, error);
}

/* ---- a delta cycle ---- */

static bool
send_delta(Primary *self, Moment *moment, const StoreRelationship *row, GHashTable *blobs, Sending *sending,
           LinkPosition *ret_position, GError **error)
{
    ChangeLogHeader header;
    fill_header(self, row, moment, CHANGE_LOG_DELTA, row->position + 1, POINT_KIND_STANDARD, &header);
    if (!sending_begin(self, &header, moment_taken(moment), NULL, sending, error))
        return false;
    for (unsigned i = 0; i < moment_disk_count(moment); i++) {
        if (!send_extents(moment, i, moment_disk(moment, i)->dirty, sending->writer, NULL, 0, error))
            return false;
    }
    if (blobs != NULL && !write_blobs(sending->writer, blobs, error))
        return false;
    return moment_check(moment, error) && sending_finish(self, sending, ret_position, error);
}

static bool
note_acknowledged(Primary *self, const Moment *moment, const Sending *sending, uint64_t position, const char *checkpoint,
                  const char *blob_hash, GError **error)
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
    row->last_replication_usec = g_get_real_time() - age;
    row->last_kind = POINT_KIND_STANDARD;
    add_sent(self, row, sending);
    if (!relationship_edit_end(self->relationship, row, error))
        return false;
    relationship_set_captured(self->relationship, moment_taken(moment));
    return true;
}

/* Blobs when they differ from what the replica has; @ret_hash tells them. */
static bool
changed_blobs(Primary *self, const StoreRelationship *row, GHashTable **ret_blobs, char **ret_hash, GError **error)
{
    g_autoptr(GHashTable) blobs = moment_blobs(self->context, row->vm_uuid, error);
    if (blobs == NULL)
        return false;
    *ret_hash = hash_of_blobs(blobs);
    if (g_strcmp0(*ret_hash, row->blob_hash) != 0)
        *ret_blobs = g_steal_pointer(&blobs);
    return true;
}

/* A VM that is off and was sent whole, with its definition, needs no log; its copy is as young as this look at it. */
static bool
nothing_to_send(Primary *self, const StoreRelationship *row, char *const *targets, GError **error)
{
    if (self->sent_marker == NULL)
        return false;
    g_autofree char *marker = moment_marker_now(self->context, row->vm_uuid, (const char *const *)targets, row->checkpoint);
    if (g_strcmp0(marker, self->sent_marker) != 0)
        return false;
    g_autoptr(GHashTable) blobs = NULL;
    g_autofree char *blob_hash = NULL;
    LinkPosition position;
    if (!changed_blobs(self, row, &blobs, &blob_hash, error) || blobs != NULL ||
        !link_client_position(self->client, row->vm_uuid, &position, error))
        return false;
    if (position.position != row->position || memcmp(position.digest, row->digest, sizeof row->digest) != 0) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_MISFIT, "the replica is no longer at the position that it acknowledged");
        return false;
    }
    relationship_set_captured(self->relationship, g_get_monotonic_time());
    return true;
}

static bool
run_delta(Primary *self, const StoreRelationship *row, char *const *targets, GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (row->checkpoint == NULL)
        return changes_lost(self, "there is no checkpoint to start from", error);
    if (nothing_to_send(self, row, targets, &cause))
        return true;
    if (cause != NULL) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    g_autofree char *checkpoint = checkpoint_name(row, 'n', row->position + 1);
    /* Left by a cycle that was not acknowledged. */
    drop_checkpoints(self->context, row->vm_uuid, row->checkpoint, NULL);
    MomentRequest request = { .vm_uuid = row->vm_uuid, .disks = (const char *const *)targets,
                              .incremental = row->checkpoint, .checkpoint = checkpoint,
                              .timeout_sec = CAPTURE_TIMEOUT_SEC };
    g_autoptr(Moment) moment = moment_open(self->context, &request, error);
    if (moment == NULL)
        return false;

    Sending sending = { 0 };
    LinkPosition position;
    g_autoptr(GHashTable) blobs = NULL;
    g_autofree char *blob_hash = NULL;
    /* After the moment: a guest puts a key into its TPM before it writes what needs the key. */
    bool good = changed_blobs(self, row, &blobs, &blob_hash, error) &&
                send_delta(self, moment, row, blobs, &sending, &position, error) &&
                note_acknowledged(self, moment, &sending, row->position + 1, checkpoint, blob_hash, error);
    sending_clear(&sending);
    g_free(self->sent_marker);
    self->sent_marker = good ? g_strdup(moment_marker(moment)) : NULL;
    bool made = moment_made_checkpoint(moment);
    g_clear_pointer(&moment, moment_close);
    if (made)
        virt_checkpoint_delete(self->context->virt, row->vm_uuid, good ? row->checkpoint : checkpoint, NULL);
    return good;
}

/* ---- passes: first copy and resynchronization ---- */

typedef struct {
    Primary                 *primary;
    const StoreRelationship *row;
    Plan                    *plan;
    Moment                  *moment;
    ChangeLogKind            kind;
    uint64_t                 position; /* the copy leads to */
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

/* The part of @todo inside the window that starts at its first extent; (transfer full) */
static ExtentSet *
next_window(const ExtentSet *todo, uint64_t *ret_window)
{
    uint64_t first = extent_set_at(todo, 0)->start;
    uint64_t window = first - first % CHANGE_LOG_GRAIN;
    ExtentSet *part = extent_set_new();
    for (size_t i = 0; i < extent_set_count(todo); i++) {
        const Extent *extent = extent_set_at(todo, i);
        if (extent->start >= window + WINDOW_BYTES)
            break;
        extent_set_add(part, extent->start, MIN(extent->end, window + WINDOW_BYTES) - extent->start);
    }
    *ret_window = window;
    return part;
}

static bool
ask_hashes(Primary *self, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length, GByteArray **ret_hashes,
           GError **error)
{
    if (self->asker == NULL) {
        g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
        self->asker = connect_peer(self->context, settings, error);
    }
    return self->asker != NULL && link_client_hashes(self->asker, vm_uuid, disk, offset, length, ret_hashes, error);
}

static bool
send_window(Pass *pass, unsigned index, const ExtentSet *part, uint64_t window, Sending *sending, GError **error)
{
    const MomentDisk *disk = moment_disk(pass->moment, index);
    g_autoptr(GByteArray) hashes = NULL;
    if (pass->plan->compare) {
        uint64_t length = MIN(disk->size_bytes - window, WINDOW_BYTES);
        if (!ask_hashes(pass->primary, pass->row->vm_uuid, disk->id, window, length, &hashes, error))
            return false;
    }
    return send_extents(pass->moment, index, part, sending->writer, hashes, window, error);
}

/* Sends windows until all is sent or the budget is used up. What was sent is taken off the plan in memory. */
static bool
send_plan(Pass *pass, Sending *sending, GError **error)
{
    int64_t stop = g_get_monotonic_time() + PASS_BUDGET_USEC;
    for (unsigned i = 0; i < moment_disk_count(pass->moment); i++) {
        PlanDisk *planned = plan_disk(pass->plan, moment_disk(pass->moment, i)->id);
        while (extent_set_count(planned->todo) > 0) {
            if (g_get_monotonic_time() > stop || !moment_has_room(pass->moment) ||
                relationship_should_yield(pass->primary->relationship))
                return true;
            uint64_t window;
            g_autoptr(ExtentSet) part = next_window(planned->todo, &window);
            if (!send_window(pass, i, part, window, sending, error))
                return false;
            extent_set_remove_set(planned->todo, part);
            relationship_set_percent(pass->primary->relationship, plan_percent(pass->plan));
        }
    }
    return true;
}

static bool
send_pass(Pass *pass, const char *token, Sending *sending, GError **error)
{
    LinkPosition position;
    ChangeLogHeader header;
    fill_header(pass->primary, pass->row, pass->moment, pass->kind, pass->position, POINT_KIND_NONE, &header);
    return sending_begin(pass->primary, &header, moment_taken(pass->moment), token, sending, error) &&
           send_plan(pass, sending, error) && moment_check(pass->moment, error) &&
           sending_finish(pass->primary, sending, &position, error);
}

/* The closing log has no extents: it says that with the passes before it the copy is that of the moment. */
static bool
send_closing(Pass *pass, const char *token, Sending *sending, char **ret_blob_hash, GError **error)
{
    LinkPosition position;
    ChangeLogHeader header;
    g_autoptr(GHashTable) blobs = moment_blobs(pass->primary->context, pass->row->vm_uuid, error);
    if (blobs == NULL)
        return false;
    *ret_blob_hash = hash_of_blobs(blobs);
    fill_header(pass->primary, pass->row, pass->moment, pass->kind, pass->position, POINT_KIND_STANDARD, &header);
    return sending_begin(pass->primary, &header, moment_taken(pass->moment), token, sending, error) &&
           write_blobs(sending->writer, blobs, error) && sending_finish(pass->primary, sending, &position, error);
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
        relationship_edit_end(self->relationship, row, NULL);
        good = note_acknowledged(self, pass->moment, &sending, pass->position, pass->plan->checkpoint, blob_hash, error) &&
               relationship_move(self->relationship,
                                 pass->kind == CHANGE_LOG_INITIAL ? OPERATION_INITIAL_DONE : OPERATION_RESYNC_DONE, error);
    }
    sending_clear(&sending);
    if (!good)
        return false;
    g_autofree char *path = plan_path(self);
    durable_unlink(path, NULL);
    g_free(self->sent_marker);
    self->sent_marker = g_strdup(moment_marker(pass->moment));
    relationship_set_percent(self->relationship, 100);
    g_autoptr(Job) job = relationship_job(self->relationship);
    if (job != NULL)
        job_end(job, NULL);
    relationship_set_job(self->relationship, NULL);
    log_notice("cycle", pass->row->vm_name, "%s complete after %u passes",
               pass->kind == CHANGE_LOG_INITIAL ? "first copy" : "resynchronization", pass->plan->pass);
    return true;
}

/* Opens the moment of a pass. When the changes since the last pass are lost, the plan starts over. */
static bool
open_pass(Pass *pass, char *const *targets, char **ret_checkpoint, GError **error)
{
    Primary *self = pass->primary;
    drop_checkpoints(self->context, pass->row->vm_uuid, pass->plan->checkpoint, pass->row->checkpoint);
    g_autofree char *checkpoint = checkpoint_name(pass->row, 'p', g_get_real_time());
    MomentRequest request = { .vm_uuid = pass->row->vm_uuid, .disks = (const char *const *)targets,
                              .incremental = pass->plan->checkpoint, .checkpoint = checkpoint,
                              .timeout_sec = CAPTURE_TIMEOUT_SEC };
    g_autoptr(GError) cause = NULL;
    pass->moment = moment_open(self->context, &request, &cause);
    if (pass->moment == NULL && g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST)) {
        log_notice("cycle", pass->row->vm_name, "%s; copying starts over", cause->message);
        Plan *fresh = plan_new(pass->plan->compare || pass->row->initial_complete, NULL);
        plan_free(pass->plan);
        pass->plan = fresh;
        request.incremental = NULL;
        drop_checkpoints(self->context, pass->row->vm_uuid, NULL, NULL);
        g_clear_error(&cause);
        pass->moment = moment_open(self->context, &request, &cause);
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
    g_autofree char *path = plan_path(self);
    if (!plan_save(pass->plan, path, error))
        return false;
    g_free(self->planned_marker);
    self->planned_marker = g_strdup(moment_marker(pass->moment));
    return plan_left(pass->plan) > 0 || close_copy(pass, token, error);
}

static bool
run_pass_with(Pass *pass, char *const *targets, GError **error)
{
    Primary *self = pass->primary;
    g_autofree char *checkpoint = NULL;
    if (!open_pass(pass, targets, &checkpoint, error) || !add_dirty(pass, error))
        return false;
    g_autofree char *token = pass_token(pass->row, pass->plan->pass + 1);
    Sending sending = { 0 };
    bool good = send_pass(pass, token, &sending, error);
    if (sending.upload != NULL) {
        StoreRelationship *row = relationship_edit(self->relationship);
        add_sent(self, row, &sending);
        relationship_edit_end(self->relationship, row, NULL);
    }
    sending_clear(&sending);
    return good && finish_pass(pass, checkpoint, token, error);
}

static bool
run_pass(Primary *self, const StoreRelationship *row, char *const *targets, GError **error)
{
    g_autofree char *path = plan_path(self);
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
    moment_close(pass.moment);
    plan_free(pass.plan);
    return good;
}

/* A delta that never fits the scratch space is sent in passes, from the checkpoint that it would have started from. */
static bool
turn_to_passes(Primary *self, const StoreRelationship *row, GError **error)
{
    if (!changes_lost(self, "the changes of one cycle do not fit the scratch space: sending them in passes", error))
        return false;
    g_autoptr(Plan) plan = plan_new(false, row->checkpoint);
    g_autofree char *path = plan_path(self);
    return plan_save(plan, path, error);
}

/* ---- what to do now ---- */

static CycleResult
handle_failure(Primary *self, const StoreRelationship *row, GError *cause, GError **error)
{
    drop_contact(self);
    if (relationship_should_yield(self->relationship)) {
        g_error_free(cause);
        return CYCLE_YIELDED;
    }
    bool moved = false;
    if (row->state == STATE_REPLICATING && g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST)) {
        moved = changes_lost(self, cause->message, NULL);
    } else if (row->state == STATE_REPLICATING && g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_BUSY)) {
        if (++self->give_ups >= GIVE_UPS_BEFORE_PASSES)
            moved = turn_to_passes(self, row, NULL);
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
        return run_delta(self, row, targets, error);
    case STATE_WAITING_INITIAL:
    case STATE_RESYNCHRONIZING:
        return run_pass(self, row, targets, error);
    case STATE_WAITING_RESYNC:
        return relationship_move(self->relationship, OPERATION_RESYNC, error);
    default:
        return true;
    }
}

CycleResult
primary_cycle(Primary *self, GError **error)
{
    GError *cause = NULL;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    if (row->state == STATE_SUSPENDED || row->state == STATE_READY || row->state == STATE_RESYNC_SUSPENDED)
        return CYCLE_DONE;
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    g_auto(GStrv) targets = primary_disks(self->context, row->vm_uuid, settings, &cause);
    if (targets == NULL || !make_contact(self, &cause))
        return handle_failure(self, row, cause, error);

    store_relationship_free(g_steal_pointer(&row));
    row = relationship_row(self->relationship); /* agreeing may have changed it */
    if (!run_state(self, row, targets, &cause))
        return handle_failure(self, row, cause, error);
    self->give_ups = 0;
    self->contact_usec = g_get_monotonic_time();
    return relationship_state(self->relationship) == STATE_REPLICATING ? CYCLE_DONE : CYCLE_GO_ON;
}
