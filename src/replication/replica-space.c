#include "replication/replica-space.h"

#include "link/link.h"
#include "replication/replica-folder.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define LOOK_BYTES (16ull * 1024 * 1024) /* written between two looks, at most; far below any sensible reserve */

/* Are @wanted bytes above the reserve? @ret_left: how many are. */
static bool
look_at(const SpaceWatch *self, const char *folder, uint64_t wanted, uint64_t *ret_left, GError **error)
{
    struct statvfs fs;
    uint64_t reserve = self->context->storage_reserve_bytes;
    if (statvfs(folder, &fs) < 0) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_FAILED, "cannot ask for the free space of '%s': %s", folder,
                    g_strerror(errno));
        return false;
    }
    uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (available >= reserve && available - reserve >= wanted) {
        *ret_left = available - reserve;
        return true;
    }
    g_set_error(error, LINK_ERROR, LINK_ERROR_NO_SPACE,
                "no more than the reserve of %" PRIu64 " MiB is free in '%s'; make space there, or lower storage-reserve in the "
                "virt-replicad.conf of the host with that folder", reserve >> 20, folder);
    return false;
}

static bool
look_at_disk(const SpaceWatch *self, uint64_t wanted, uint64_t *ret_left, GError **error)
{
    uint64_t least, left;
    if (!look_at(self, self->folder, wanted, &least, error))
        return false;
    for (const char *const *place = self->more; place != NULL && *place != NULL; place++) {
        if (!look_at(self, *place, wanted, &left, error))
            return false;
        least = MIN(least, left);
    }
    *ret_left = least;
    return true;
}

static bool
look(SpaceWatch *self, uint64_t wanted, GError **error)
{
    uint64_t on_disk, staging = G_MAXUINT64;
    if (!look_at_disk(self, wanted, &on_disk, error) ||
        (self->limits != NULL && !self->limits->check_staging(self->limits->opaque, wanted, &staging, error)))
        return false;
    self->written = 0;
    self->allowed = MIN(MIN(on_disk, staging), MAX(wanted, LOOK_BYTES));
    return true;
}

uint64_t
space_staged_bytes(const char *replica_folder)
{
    g_autofree char *folder = replica_staging_folder(replica_folder);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    uint64_t bytes = 0;
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        struct stat st;
        if (lstat(path, &st) == 0)
            bytes += (uint64_t)st.st_size;
    }
    return bytes;
}

bool
space_watch_begin(SpaceWatch *self, const ReplicationContext *context, const char *folder, const ReplicaLimits *limits,
                  GError **error)
{
    *self = (SpaceWatch){ .context = context, .folder = folder, .limits = limits };
    return look(self, 1, error);
}

bool
space_watch_begin_disks(SpaceWatch *self, const ReplicationContext *context, const char *folder, char *const *more, GError **error)
{
    *self = (SpaceWatch){ .context = context, .folder = folder, .more = (const char *const *)more };
    return look(self, 1, error);
}

char **
space_disk_places(const char *folder, GError **error)
{
    g_auto(GStrv) ids = replica_folder_disks(folder, error);
    if (ids == NULL)
        return NULL;
    g_autoptr(GStrvBuilder) places = g_strv_builder_new();
    for (char **id = ids; *id != NULL; id++) {
        g_autofree char *path = replica_disk_path(folder, *id), *place = g_path_get_dirname(path);
        struct stat st;
        /* A block device is as large as it is. */
        if (replica_disk_is_adopted(folder, *id) && stat(path, &st) == 0 && S_ISREG(st.st_mode))
            g_strv_builder_add(places, place);
    }
    return g_strv_builder_end(places);
}

bool
space_watch_take(SpaceWatch *self, uint64_t bytes, GError **error)
{
    if (bytes > self->allowed - self->written && !look(self, bytes, error))
        return false;
    self->written += bytes;
    return true;
}

static bool
write_watched(void *opaque, const void *data, size_t length, GError **error)
{
    SpaceSink *self = opaque;
    return space_watch_take(self->watch, length, error) && self->sink.write(self->sink.opaque, data, length, error);
}

ChangeLogSink
space_sink(SpaceSink *self)
{
    return (ChangeLogSink){ write_watched, self };
}
