#include "replication/replica-private.h"

#include "disk/image.h"
#include "replication/adapter.h"
#include "replication/disk-target.h"
#include "replication/grain-hash.h"
#include "replication/points.h"
#include "replication/primary.h"
#include "replication/replica-folder.h"
#include "replication/replica-making.h"
#include "replication/upstream.h"
#include "util/durable.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

Replica *
replica_new(const ReplicationContext *context, Relationship *relationship, void (*wake)(void *opaque), void *opaque)
{
    Replica *self = g_new0(Replica, 1);
    self->references = 1;
    self->context = context;
    self->relationship = relationship_ref(relationship);
    self->wake = wake;
    self->wake_opaque = opaque;
    g_mutex_init(&self->receive_lock);
    g_autoptr(StoreRelationship) row = relationship_row(relationship);
    g_autofree char *part = row->folder != NULL ? replica_incoming_path(row->folder) : NULL;
    self->incoming = incoming_new(part);
    g_autofree char *journal = row->folder != NULL ? upstream_journal_folder(row->folder) : NULL;
    self->journal = journal != NULL ? change_journal_open(journal) : NULL;
    g_mutex_init(&self->backlog_lock);
    g_cond_init(&self->applied);
    return self;
}

Replica *
replica_ref(Replica *self)
{
    g_atomic_int_inc(&self->references);
    return self;
}

void
replica_unref(Replica *self)
{
    if (self == NULL || !g_atomic_int_dec_and_test(&self->references))
        return;
    replica_close_disks(self);
    replica_close_fence(self);
    incoming_free(self->incoming);
    change_journal_close(self->journal);
    change_log_captured_free(self->captured);
    relationship_unref(self->relationship);
    g_mutex_clear(&self->receive_lock);
    g_mutex_clear(&self->backlog_lock);
    g_cond_clear(&self->applied);
    g_free(self);
}

/* ---- disks and domain ---- */

bool
replica_open_disks(Replica *self, GError **error)
{
    if (self->disks != NULL && disk_target_is_alive(self->disks))
        return true;
    replica_close_disks(self);
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    if (row->test_stage == TEST_MADE || row->test_stage == TEST_ENDING) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_STATE,
                    "a test failover of VM '%s' runs and reads its replica disks; end it with 'virt-replica test-end %s'", row->vm_name,
                    row->vm_name);
        return false;
    }
    replica_close_fence(self);
    if (!replica_check_folder(self, error))
        return false;
    g_auto(GStrv) ids = replica_folder_disks(row->folder, error);
    if (ids == NULL)
        return false;
    unsigned n = g_strv_length(ids);
    g_autofree DiskServerImage *images = g_new0(DiskServerImage, n);
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; i < n; i++) {
        g_ptr_array_add(paths, replica_disk_path(row->folder, ids[i]));
        images[i] = (DiskServerImage){ .id = ids[i], .path = g_ptr_array_index(paths, i), .format = "qcow2",
                                       .follow_header = replica_disk_is_adopted(row->folder, ids[i]) };
    }
    g_autofree char *run = replica_run_folder(self->context, row->vm_uuid);
    g_autofree char *blobs = replica_blob_folder(row->folder);
    self->disks = disk_target_open(self->context, run, images, n, blobs, error);
    return self->disks != NULL;
}

void
replica_close_disks(Replica *self)
{
    g_clear_pointer(&self->disks, disk_target_close);
}

const char *
replica_disk_socket(const Replica *self)
{
    return disk_target_socket(self->disks);
}

ChangeJournal *
replica_journal(Replica *self)
{
    return self->journal;
}

bool
replica_make_overlays(const StoreRelationship *row, GError **error)
{
    g_auto(GStrv) ids = replica_folder_disks(row->folder, error);
    for (char **id = ids; id != NULL && *id != NULL; id++) {
        g_autofree char *base = replica_disk_path(row->folder, *id);
        g_autofree char *overlay = replica_overlay_path(row->folder, *id);
        g_autoptr(ImageInfo) info = NULL;
        if (!image_info(base, "qcow2", true, &info, error) || !durable_unlink(overlay, error) ||
            !image_create_overlay(overlay, base, "qcow2", info->virtual_size, error))
            return false;
    }
    return ids != NULL;
}

/* Where the adapters of a test VM are connected: MAC to network; (transfer full) */
static GHashTable *
test_networks(const ReplicationContext *context, const StoreRelationship *row, GError **error)
{
    g_autoptr(GPtrArray) adapters = adapters_stored(context->store, row->vm_uuid, error);
    if (adapters == NULL)
        return NULL;
    GHashTable *networks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (guint i = 0; i < adapters->len; i++) {
        const AdapterView *adapter = g_ptr_array_index(adapters, i);
        const char *network = adapter->test_network != NULL ? adapter->test_network : adapter->test_pool;
        if (network != NULL)
            g_hash_table_insert(networks, g_strdup(adapter->mac), g_strdup(network));
    }
    return networks;
}

/* Defines @name with the definition in @blob_folder on the images that @path_of gives. @networks (nullable): of single interfaces, by MAC */
static bool
define_as(const ReplicationContext *context, const StoreRelationship *row, const char *name, const char *uuid,
          const char *blob_folder, char *(*path_of)(const char *folder, const char *id), bool connect_interfaces, GHashTable *networks,
          GError **error)
{
    g_autofree char *xml_path = g_build_filename(blob_folder, "domain.xml", NULL);
    g_autofree char *peer_xml = NULL;
    if (!g_file_get_contents(xml_path, &peer_xml, NULL, error))
        return false;
    g_auto(GStrv) ids = replica_set_of_state(row, blob_folder, error);
    if (ids == NULL)
        return false;
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    for (char **id = ids; *id != NULL; id++)
        g_ptr_array_add(paths, path_of(row->folder, *id));
    g_ptr_array_add(paths, NULL);
    g_autofree char *nvram = g_build_filename(blob_folder, "nvram", NULL);
    VirtRebuild rebuild = {
        .name = name,
        .uuid = uuid,
        .targets = (const char *const *)ids,
        .paths = (const char *const *)paths->pdata,
        .format = "qcow2",
        .nvram_path = nvram,
        .serial_log_folder = context->serial_log_folder,
        .connect_interfaces = connect_interfaces,
        .network_map = context->network_map,
        .mac_networks = networks,
    };
    g_auto(GStrv) left_out = NULL;
    g_autofree char *xml = virt_rebuild_xml(peer_xml, &rebuild, &left_out, error);
    if (xml == NULL)
        return false;
    if (left_out != NULL && left_out[0] != NULL) {
        g_autofree char *names = g_strjoinv(", ", left_out);
        log_info("replica", row->vm_name, "left out of its definition here: %s", names);
        if (g_strv_contains((const char *const *)left_out, "devices/tpm"))
            log_warning("replica", row->vm_name, "its TPM is no emulated one whose state can travel (encrypted, passed through, or at "
                        "a place of its own); after a failover the guest is without it");
    }
    return virt_host_define(context->virt, xml, error);
}

bool
replica_define(const ReplicationContext *context, const StoreRelationship *row, const char *blob_folder, bool connect_interfaces,
               GError **error)
{
    return define_as(context, row, row->vm_name, row->vm_uuid, blob_folder, replica_overlay_path, connect_interfaces, NULL, error);
}

bool
replica_define_test(const ReplicationContext *context, const StoreRelationship *row, const char *name, GError **error)
{
    g_autofree char *blobs = replica_test_blob_folder(row->folder);
    g_autoptr(GHashTable) networks = test_networks(context, row, error);
    return networks != NULL && define_as(context, row, name, row->test_uuid, blobs, replica_test_disk_path, false, networks, error);
}

bool
replica_create(const ReplicationContext *context, const StoreRelationship *row, const LinkOffer *offer, GError **error)
{
    if (!replica_making_begin(context, row, error) || !replica_folder_make(row->folder, error))
        return false;
    for (unsigned i = 0; i < offer->n_disks; i++) {
        g_autofree char *path = replica_disk_path(row->folder, offer->disks[i].id);
        if (!durable_unlink(path, error) || !image_create(path, "qcow2", offer->disks[i].size_bytes, error))
            return false;
    }
    g_autofree char *blobs = replica_blob_folder(row->folder);
    g_autofree char *xml_path = g_build_filename(blobs, "domain.xml", NULL);
    return durable_replace(xml_path, offer->domain_xml, strlen(offer->domain_xml), error) &&
           replica_make_overlays(row, error) && replica_define(context, row, blobs, false, error);
}

void
replica_redefine_if_changed(Replica *self, const StoreRelationship *row)
{
    g_autoptr(GError) error = NULL;
    if (!disk_target_take_blobs_changed(self->disks))
        return;
    g_autofree char *blobs = replica_blob_folder(row->folder);
    if (!replica_define(self->context, row, blobs, false, &error))
        log_warning("replica", row->vm_name, "its new definition is not usable here, keeping the old one: %s",
                    error->message);
}

/* ---- at start ---- */

static bool
check_position_file(const StoreRelationship *row, GError **error)
{
    ReplicaPosition file;
    g_autoptr(GError) cause = NULL;
    if (!replica_position_read(row->folder, &file, &cause)) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_FILE_NOT_FOUND,
                    "the replica's files in '%s' are not what was left there: %s", row->folder,
                    cause != NULL ? cause->message : "the position file is missing");
        return false;
    }
    /* One ahead: the log was applied, the store not yet told; it is applied again. */
    bool same = file.position == row->applied &&
                memcmp(file.digest, row->applied_digest, sizeof file.digest) == 0;
    bool fits = strcmp(file.lineage, row->lineage) == 0 && (same || file.position == row->applied + 1);
    if (!fits)
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_FILE_NOT_FOUND,
                    "the replica disks in '%s' are at position %" G_GUINT64_FORMAT ", expected %" G_GUINT64_FORMAT
                    ": they were replaced behind our back; remove replication and enable it again",
                    row->folder, file.position, row->applied);
    return fits;
}

static void
clean_staging(const StoreRelationship *row)
{
    g_autofree char *folder = g_build_filename(row->folder, "staging", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        char *end = NULL;
        guint64 position = g_ascii_strtoull(name, &end, 10);
        bool wanted = end != name && strcmp(end, ".log") == 0 && position > row->applied && position <= row->position;
        if (!wanted) {
            g_autofree char *path = g_build_filename(folder, name, NULL);
            unlink(path);
        }
    }
}

/* Until this was good once, nothing opens the disks: another state than the store's must not be gone on from. */
bool
replica_check_folder(Replica *self, GError **error)
{
    if (self->checked)
        return true;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_autofree char *run = replica_run_folder(self->context, row->vm_uuid);
    g_autofree char *lock = primary_lock_folder(self->context, row->vm_uuid);
    if (!disk_server_end_left_over(run, error) || !disk_server_end_left_over(lock, error))
        return false;
    clean_staging(row);
    if (!points_clean_folder(self->context, row, error) || (row->initial_complete && !check_position_file(row, error)))
        return false;
    self->checked = true;
    return true;
}

bool
replica_is_on_overlays(const ReplicationContext *context, const StoreRelationship *row)
{
    g_auto(GStrv) ids = replica_folder_disks(row->folder, NULL);
    g_autoptr(GPtrArray) disks = virt_host_disks(context->virt, row->vm_uuid, NULL);
    bool good = ids != NULL && disks != NULL;
    for (guint i = 0; good && i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        g_autofree char *overlay = replica_overlay_path(row->folder, disk->target);
        good = !g_strv_contains((const char *const *)ids, disk->target) || g_strcmp0(disk->path, overlay) == 0;
    }
    return good;
}

bool
replica_place_domain(const ReplicationContext *context, const StoreRelationship *row, GError **error)
{
    g_autofree char *blobs = replica_blob_folder(row->folder);
    g_autoptr(GError) kept = NULL;
    if (!virt_host_displace(context->virt, row->vm_uuid, &kept) && !g_error_matches(kept, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
        log_warning("replica", row->vm_name, "libvirt keeps what it has about its old definition, such as snapshots: %s; continuing",
                    kept->message);
    return replica_make_overlays(row, error) && replica_define(context, row, blobs, false, error);
}

/* A failed step may have left the VM without a definition, and then nobody could fail over to it. */
static bool
define_if_missing(Replica *self, const StoreRelationship *row, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(VirtDomain) domain = virt_host_find(self->context->virt, row->vm_uuid, &cause);
    if (domain != NULL)
        return replica_is_on_overlays(self->context, row) || domain->pid != 0 || replica_place_domain(self->context, row, error);
    if (!g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    return replica_place_domain(self->context, row, error);
}

bool
replica_recover(Replica *self, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    if (replica_is_awaited(row))
        return true;
    bool away = row->state == STATE_RECOVERED || row->state == STATE_COMMITTED || row->state == STATE_FAILOVER_RUNNING;
    /* First of all: until it is settled, somebody could start it from the definition that it had as a primary. */
    if (!away && row->test_stage == TEST_NONE && !replica_settle(self, false, error))
        return false;
    if (!replica_check_folder(self, error))
        return false;
    if (away)
        return true;
    if (row->test_stage == TEST_MADE)
        return define_if_missing(self, row, error) && replica_open_fence(self, error);
    if (row->test_stage != TEST_NONE)
        return true; /* what is under way opens them */
    return replica_end_taking_back(self, error) && replica_open_disks(self, error) && define_if_missing(self, row, error);
}
