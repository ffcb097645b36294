/* Logs of a first copy that go into a folder instead of over the link. */
#include "replication/primary-private.h"

#include "replication/copy-folder.h"
#include "replication/replica-space.h"
#include "util/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct ExportedLog {
    int   fd;
    SpaceWatch watch; /* VMs may have their images on that file system */
    char *part, *path; /* while it is written, and then */
    char *folder;
    unsigned number;
};

static bool
fail(const char *what, const char *path, GError **error)
{
    g_set_error(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_FAILED, "cannot %s '%s' of the exported first copy: %s", what, path,
                g_strerror(errno));
    return false;
}

/* It is this host's trouble, and none of the link's. Takes @cause. */
static bool
no_room(GError *cause, GError **error)
{
    g_set_error_literal(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_FAILED, cause->message);
    g_error_free(cause);
    return false;
}

void
primary_exported_log_free(ExportedLog *self)
{
    if (self == NULL)
        return;
    if (self->fd >= 0) {
        close(self->fd);
        unlink(self->part);
    }
    g_free(self->part);
    g_free(self->path);
    g_free(self->folder);
    g_free(self);
}

ExportedLog *
primary_export_begin(const ReplicationContext *context, const char *folder, unsigned number, GError **error)
{
    g_autofree char *path = copy_folder_log_path(folder, number);
    g_autofree char *part = g_strconcat(path, ".part", NULL);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        fail("create", part, error);
        return NULL;
    }
    ExportedLog *self = g_new0(ExportedLog, 1);
    self->fd = fd;
    self->path = g_steal_pointer(&path);
    self->part = g_steal_pointer(&part);
    self->folder = g_strdup(folder);
    self->number = number;
    GError *cause = NULL;
    if (space_watch_begin(&self->watch, context, self->folder, NULL, &cause))
        return self;
    primary_exported_log_free(self);
    no_room(cause, error);
    return NULL;
}

static bool
write_watched(void *opaque, const void *data, size_t length, GError **error)
{
    ExportedLog *self = opaque;
    GError *cause = NULL;
    if (!space_watch_take(&self->watch, length, &cause))
        return no_room(cause, error);
    ChangeLogSink file = change_log_sink_fd(&self->fd);
    return file.write(file.opaque, data, length, error);
}

ChangeLogSink
primary_export_sink(ExportedLog *self)
{
    return (ChangeLogSink){ write_watched, self };
}

/* The list gets the log; one of a copy that was begun anew is made anew with its first log. */
static bool
enter_in_list(const ExportedLog *self, const StoreRelationship *row, const CopyLog *log, int64_t taken_usec, GError **error)
{
    g_autoptr(CopyFolder) list = self->number > 1 ? copy_folder_load(self->folder, error)
                                                  : copy_folder_new(row->vm_uuid, row->vm_name, row->lineage);
    if (list == NULL)
        return false;
    if (!copy_folder_set_log(list, self->number, log)) {
        g_set_error(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_DAMAGED, "the exported first copy in '%s' has lost its beginning; cancel it "
                    "('virt-replica cancel %s') and export it once more", self->folder, row->vm_name);
        return false;
    }
    list->taken_usec = taken_usec;
    return copy_folder_save(list, self->folder, error);
}

bool
primary_export_finish(ExportedLog *self, const StoreRelationship *row, const uint8_t *digest, int64_t taken_usec, GError **error)
{
    CopyLog log = { .bytes = (uint64_t)MAX(lseek(self->fd, 0, SEEK_END), 0) };
    memcpy(log.digest, digest, sizeof log.digest);
    if (fsync(self->fd) < 0)
        return fail("sync", self->part, error);
    close(self->fd);
    self->fd = -1;
    return durable_rename(self->part, self->path, error) && enter_in_list(self, row, &log, taken_usec, error);
}

/* What a copy that was begun anew has left behind the last log. */
void
primary_export_tidy(const char *folder, unsigned last)
{
    for (unsigned number = last + 1;; number++) {
        g_autofree char *path = copy_folder_log_path(folder, number);
        if (unlink(path) < 0)
            return;
    }
}

bool
primary_is_exporting(const StoreRelationship *row)
{
    return row->state == STATE_WAITING_INITIAL && row->export_folder != NULL && !row->exported;
}

bool
primary_awaits_import(const StoreRelationship *row)
{
    return row->state == STATE_WAITING_INITIAL && row->export_folder != NULL && row->exported;
}
