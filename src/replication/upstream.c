#include "replication/upstream.h"

#include "disk/disk-server.h"
#include "disk/image.h"
#include "replication/blob-rules.h"
#include "replication/replica-folder.h"

#include <string.h>

#define HOLD_MAX_USEC (40 * G_USEC_PER_SEC) /* what is received waits to be applied so long at most: then less is sent at a time */

struct Upstream {
    const ReplicationContext *context;
    Replica      *replica;
    Relationship *relationship, *downstream;
    bool          held;      /* has the relationship's work */
    int64_t       held_usec; /* monotonic, since when */
    DiskServer   *reader;    /* of the disks while a test failover has them */
};

Upstream *
upstream_new(const ReplicationContext *context, Replica *replica, Relationship *relationship, Relationship *downstream)
{
    Upstream *self = g_new0(Upstream, 1);
    self->context = context;
    self->replica = replica_ref(replica);
    self->relationship = relationship_ref(relationship);
    self->downstream = downstream;
    relationship_set_downstream(relationship, downstream);
    return self;
}

void
upstream_free(Upstream *self)
{
    if (self == NULL)
        return;
    relationship_forget_downstream(self->relationship, self->downstream);
    replica_unref(self->replica);
    relationship_unref(self->relationship);
    g_free(self);
}

Relationship *
upstream_relationship(Upstream *self)
{
    return self->relationship;
}

ChangeJournal *
upstream_journal(Upstream *self)
{
    return replica_journal(self->replica);
}

/* ---- the row ---- */

bool
upstream_is_of(const StoreRelationship *row)
{
    return row->index == 1;
}

char **
upstream_disks(const StoreRelationship *row, GError **error)
{
    g_autofree char *blobs = replica_blob_folder(row->folder);
    return replica_set_of_state(row, blobs, error);
}

static bool
disk_size(const StoreRelationship *row, const char *id, uint64_t *ret_size, GError **error)
{
    g_autofree char *path = replica_disk_path(row->folder, id);
    g_autoptr(ImageInfo) info = NULL;
    if (!image_info(path, "qcow2", true, &info, error))
        return false;
    *ret_size = info->virtual_size;
    return true;
}

bool
upstream_fill_offer(const ReplicationContext *context, const StoreRelationship *row, LinkOffer *offer, GError **error)
{
    g_auto(GStrv) ids = upstream_disks(row, error);
    g_autofree char *blobs = replica_blob_folder(row->folder);
    g_autofree char *path = g_build_filename(blobs, BLOB_DOMAIN, NULL);
    if (ids == NULL || !g_file_get_contents(path, &offer->domain_xml, NULL, error))
        return false;
    offer->vm_uuid = g_strdup(row->vm_uuid);
    offer->vm_name = g_strdup(row->vm_name);
    offer->lineage = g_strdup(row->lineage);
    offer->settings = g_strdup(row->settings);
    offer->primary_host = g_strdup(context->host_name);
    offer->extended = true;
    for (char **id = ids; *id != NULL && offer->n_disks < CHANGE_LOG_DISKS_MAX; id++) {
        ChangeLogDisk *disk = &offer->disks[offer->n_disks++];
        g_strlcpy(disk->id, *id, sizeof disk->id);
        if (!disk_size(row, *id, &disk->size_bytes, error))
            return false;
    }
    return true;
}

char *
upstream_journal_folder(const char *folder)
{
    return g_build_filename(folder, "extended", NULL);
}

GHashTable *
upstream_blobs(const StoreRelationship *row, GError **error)
{
    g_autofree char *folder = replica_blob_folder(row->folder);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, error);
    if (dir == NULL)
        return NULL;
    g_autoptr(GHashTable) blobs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        char *content = NULL;
        gsize length = 0;
        if (!blob_rules_check(name, 0, NULL)) /* a file that is just being replaced */
            continue;
        if (!g_file_get_contents(path, &content, &length, error))
            return NULL;
        g_hash_table_insert(blobs, g_strdup(name), g_bytes_new_take(content, length));
    }
    return g_steal_pointer(&blobs);
}

/* ---- its moment ---- */

static bool
busy(GError **error, const StoreRelationship *row, const char *why)
{
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY, "VM '%s' is not sent on to the third host now: %s", row->vm_name, why);
    return false;
}

static bool
is_readable(const StoreRelationship *row, GError **error)
{
    if (!row->initial_complete)
        return busy(error, row, "its own first copy is not complete");
    if (row->resync_passes > 0)
        return busy(error, row, "a resynchronization with its primary runs");
    switch (row->state) {
    case STATE_REPLICATING:
    case STATE_SUSPENDED:
    case STATE_RESYNCHRONIZING:
    case STATE_RESYNC_SUSPENDED:
        return true;
    case STATE_COMMITTED:
        return busy(error, row, "its failover is committed here; 'virt-replica continue' makes it the primary of the third host");
    case STATE_RECOVERED:
    case STATE_FAILOVER_RUNNING:
        return busy(error, row, "it is failed over here; revert or commit that");
    default:
        return busy(error, row, replication_state_name(row->state));
    }
}

/* All that is received is applied, so that what is read is as young as can be; not while a test failover has the disks. */
static bool
bring_up_to_date(Upstream *self, bool *ret_tested, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    *ret_tested = row->test_stage != TEST_NONE;
    if (!is_readable(row, error))
        return false;
    if (*ret_tested)
        return row->test_stage == TEST_MADE || busy(error, row, "a test failover begins or ends");
    return replica_apply_pending(self->replica, error) && replica_open_disks(self->replica, error);
}

static void
let_go(void *opaque)
{
    Upstream *self = opaque;
    g_clear_pointer(&self->reader, disk_server_stop);
    if (self->held)
        relationship_end_work(self->relationship);
    self->held = false;
}

static bool
still_good(void *opaque, GError **error)
{
    Upstream *self = opaque;
    if (relationship_should_yield(self->relationship)) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY, "an operation on the replica waits");
        return false;
    }
    if (g_get_monotonic_time() - self->held_usec < HOLD_MAX_USEC)
        return true;
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_GAVE_UP, "it took too long: the replica has to go on applying what it receives");
    return false;
}

/* A server of its own, for reading beside the test VM. */
static bool
open_reader(Upstream *self, const StoreRelationship *row, char *const *ids, GError **error)
{
    unsigned n = g_strv_length((char **)ids);
    g_autofree DiskServerImage *images = g_new0(DiskServerImage, MAX(n, 1));
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; i < n; i++) {
        g_ptr_array_add(paths, replica_disk_path(row->folder, ids[i]));
        images[i] = (DiskServerImage){ .id = ids[i], .path = g_ptr_array_index(paths, i), .format = "qcow2",
                                       .follow_header = replica_disk_is_adopted(row->folder, ids[i]) };
    }
    g_autofree char *run = g_strdup_printf("%s/x-%.13s", self->context->run_folder, row->vm_uuid);
    self->reader = disk_server_start(run, images, n, false, error);
    return self->reader != NULL;
}

/* What @moment's disks are like at a new checkpoint, and what changed since the one that was asked for. */
static bool
add_disks(Upstream *self, Moment *moment, const MomentRequest *request, char *const *ids, const char *socket, GError **error)
{
    ChangeJournal *journal = upstream_journal(self);
    ChangeLogDisk disks[CHANGE_LOG_DISKS_MAX] = { { { 0 }, 0 } };
    unsigned n = MIN(g_strv_length((char **)ids), CHANGE_LOG_DISKS_MAX);
    for (unsigned i = 0; i < n; i++) {
        ExtentSet *dirty = NULL;
        if (request->incremental != NULL &&
            (dirty = change_journal_since(journal, request->incremental, ids[i], REPLICA_DISK_SIZE_MAX, error)) == NULL)
            return false;
        if (!moment_add_held(moment, socket, ids[i], dirty, error))
            return false;
        const MomentDisk *disk = moment_disk(moment, i);
        if (dirty != NULL)
            extent_set_remove(dirty, disk->size_bytes, UINT64_MAX - disk->size_bytes);
        g_strlcpy(disks[i].id, ids[i], sizeof disks[i].id);
        disks[i].size_bytes = disk->size_bytes;
    }
    return change_journal_cut(journal, request->checkpoint, disks, n, error);
}

/* The newest capture that is on the disks once all is applied that is received now. */
static int64_t
age_of_received(Relationship *relationship, const StoreRelationship *row)
{
    int64_t captured = relationship_captured(relationship);
    return captured != 0 ? g_get_monotonic_time() - captured : g_get_real_time() - row->last_replication_usec;
}

/* What a test failover holds back is not on the disks. */
static int64_t
age_of_applied(Upstream *self, const StoreRelationship *row)
{
    g_autoptr(GPtrArray) points = store_points(self->context->store, row->vm_uuid, NULL);
    for (guint i = 0; points != NULL && i < points->len; i++) {
        const StorePoint *point = g_ptr_array_index(points, i);
        if (point->position == row->applied)
            return g_get_real_time() - point->taken_usec;
    }
    return g_get_real_time() - row->last_apply_usec;
}

Moment *
upstream_moment(Upstream *self, const MomentRequest *request, GError **error)
{
    if (!relationship_begin_work(self->relationship)) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY, "another operation on the replica is running");
        return NULL;
    }
    self->held = true;
    self->held_usec = g_get_monotonic_time();
    g_autoptr(StoreRelationship) before = relationship_row(self->relationship);
    int64_t age = before->test_stage == TEST_NONE ? age_of_received(self->relationship, before) : age_of_applied(self, before);
    MomentHolder holder = { self, still_good, let_go, relationship_yield_flag(self->downstream) };
    g_autoptr(Moment) moment = moment_new_held(self->context, &holder, g_get_monotonic_time() - MAX(age, 0));
    bool tested;
    if (!bring_up_to_date(self, &tested, error))
        return NULL;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_auto(GStrv) ids = upstream_disks(row, error);
    if (request->planned && row->last_kind != POINT_KIND_PLANNED) {
        busy(error, row, "it is no longer prepared on its primary");
        return NULL;
    }
    if (ids == NULL || (tested && !open_reader(self, row, ids, error)) ||
        !add_disks(self, moment, request, ids, tested ? disk_server_socket(self->reader) : replica_disk_socket(self->replica), error))
        return NULL;
    return g_steal_pointer(&moment);
}
