#include "replication/disk-target.h"

#include "link/link.h"
#include "replication/blob-rules.h"
#include "util/durable.h"

#include <string.h>

struct DiskTarget {
    const ReplicationContext *context;
    DiskServer *server;
    GHashTable *clients;   /* id -> DiskClient, connected when first needed */
    char       *blob_folder;
    bool        blobs_changed, refuses_blobs;
    SpaceWatch *watch; /* (nullable) */
};

DiskTarget *
disk_target_open(const ReplicationContext *context, const char *run_folder, const DiskServerImage *images, unsigned n_images,
                 const char *blob_folder, GError **error)
{
    DiskServer *server = disk_server_start(run_folder, images, n_images, true, error);
    if (server == NULL)
        return NULL;
    DiskTarget *self = g_new0(DiskTarget, 1);
    self->context = context;
    self->server = server;
    self->clients = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)disk_client_free);
    self->blob_folder = g_strdup(blob_folder);
    return self;
}

void
disk_target_close(DiskTarget *self)
{
    if (self == NULL)
        return;
    g_hash_table_unref(self->clients);
    disk_server_stop(self->server);
    g_free(self->blob_folder);
    g_free(self);
}

bool
disk_target_is_alive(DiskTarget *self)
{
    return disk_server_is_alive(self->server);
}

const char *
disk_target_socket(const DiskTarget *self)
{
    return disk_server_socket(self->server);
}

DiskClient *
disk_target_client(DiskTarget *self, const char *id, GError **error)
{
    DiskClient *client = g_hash_table_lookup(self->clients, id);
    if (client != NULL)
        return client;
    client = disk_client_connect(disk_server_socket(self->server), id, NULL, self->context->pool, error);
    if (client != NULL)
        g_hash_table_insert(self->clients, g_strdup(id), client);
    return client;
}

void
disk_target_watch(DiskTarget *self, SpaceWatch *watch)
{
    self->watch = watch;
}

void
disk_target_refuse_blobs(DiskTarget *self, bool refuse)
{
    self->refuses_blobs = refuse;
}

static bool
may_write(DiskTarget *self, uint64_t bytes, GError **error)
{
    return self->watch == NULL || space_watch_take(self->watch, bytes, error);
}

bool
disk_target_take_blobs_changed(DiskTarget *self)
{
    bool changed = self->blobs_changed;
    self->blobs_changed = false;
    return changed;
}

static bool
target_disk_size(void *opaque, const char *disk, uint64_t *ret_size, GError **error)
{
    DiskClient *client = disk_target_client(opaque, disk, error);
    if (client == NULL)
        return false;
    *ret_size = disk_client_size(client);
    return true;
}

static bool
target_read(void *opaque, const char *disk, uint64_t offset, void *buffer, size_t length, GError **error)
{
    DiskClient *client = disk_target_client(opaque, disk, error);
    return client != NULL && disk_client_read(client, offset, buffer, length, error);
}

static bool
target_write(void *opaque, const char *disk, uint64_t offset, const void *data, size_t length, GError **error)
{
    DiskClient *client = disk_target_client(opaque, disk, error);
    return client != NULL && may_write(opaque, length, error) && disk_client_write(client, offset, data, length, error);
}

static bool
target_zero(void *opaque, const char *disk, uint64_t offset, uint64_t length, GError **error)
{
    DiskClient *client = disk_target_client(opaque, disk, error);
    return client != NULL && disk_client_zero(client, offset, length, error);
}

static bool
target_resize(void *opaque, const char *disk, uint64_t size, GError **error)
{
    DiskTarget *self = opaque;
    DiskClient *client = disk_target_client(self, disk, error);
    if (client == NULL)
        return false;
    if (disk_client_size(client) == size)
        return true;
    if (!disk_client_flush(client, error) || !disk_server_resize(self->server, disk, size, error))
        return false;
    g_hash_table_remove(self->clients, disk); /* the next use sees the new size */
    return true;
}

static bool
target_flush(void *opaque, GError **error)
{
    DiskTarget *self = opaque;
    GHashTableIter iter;
    gpointer client;
    g_hash_table_iter_init(&iter, self->clients);
    while (g_hash_table_iter_next(&iter, NULL, &client)) {
        if (!disk_client_flush(client, error))
            return false;
    }
    return true;
}

static bool
target_blob_get(void *opaque, const char *name, GBytes **ret_blob, GError **error)
{
    DiskTarget *self = opaque;
    g_autofree char *path = g_build_filename(self->blob_folder, name, NULL);
    g_autoptr(GError) cause = NULL;
    char *content = NULL;
    gsize length = 0;
    *ret_blob = NULL;
    if (g_file_get_contents(path, &content, &length, &cause)) {
        *ret_blob = g_bytes_new_take(content, length);
        return true;
    }
    if (g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return true;
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

static bool
target_blob_set(void *opaque, const char *name, GBytes *blob, GError **error)
{
    DiskTarget *self = opaque;
    g_autofree char *path = g_build_filename(self->blob_folder, name, NULL);
    gsize length = 0;
    const void *data = blob != NULL ? g_bytes_get_data(blob, &length) : NULL;
    if (self->refuses_blobs) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL, "a copy of new disks brings '%s', which is for logs of positions", name);
        return false;
    }
    if (self->watch != NULL && !blob_rules_check(name, length, error))
        return false;
    self->blobs_changed = true;
    if (blob == NULL)
        return durable_unlink(path, error);
    return may_write(self, length, error) && durable_replace(path, data, length, error);
}

static bool
target_zeroes(void *opaque, const char *disk, uint64_t start, uint64_t end, ExtentSet **ret_zeroes, GError **error)
{
    DiskClient *client = disk_target_client(opaque, disk, error);
    return client != NULL && disk_client_zeroes(client, start, end, ret_zeroes, error);
}

ChangeLogTarget
disk_target_as_target(DiskTarget *self)
{
    return (ChangeLogTarget){
        .opaque = self,
        .disk_size = target_disk_size,
        .read = target_read,
        .write = target_write,
        .zero = target_zero,
        .resize = target_resize,
        .flush = target_flush,
        .zeroes = target_zeroes,
        .blob_get = target_blob_get,
        .blob_set = target_blob_set,
    };
}
