#include "disk/disk-server.h"

#include "disk/qmp.h"
#include "disk/server-process.h"
#include "disk/tool.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct DiskServer {
    ServerFiles files;
    int         pidfd;
    bool        writable;
    GPtrArray  *ids; /* export name of image i; its nodes and export carry i in their names */
};

static char *
format_node_name(unsigned i)
{
    return g_strdup_printf("format%u", i);
}

static char *
export_id(unsigned i)
{
    return g_strdup_printf("export%u", i);
}

static void
add_option(GPtrArray *argv, const char *option, char *value)
{
    g_ptr_array_add(argv, g_strdup(option));
    g_ptr_array_add(argv, value);
}

/* @bitmap: nullable */
static JsonObject *
describe_export(unsigned i, const char *name, bool writable, const char *bitmap)
{
    g_autofree char *id = export_id(i);
    g_autofree char *node_name = format_node_name(i);
    JsonObject *export = json_object_new();
    json_object_set_string_member(export, "type", "nbd");
    json_object_set_string_member(export, "id", id);
    json_object_set_string_member(export, "node-name", node_name);
    json_object_set_string_member(export, "name", name);
    json_object_set_boolean_member(export, "writable", writable);
    if (bitmap != NULL) {
        JsonArray *bitmaps = json_array_new();
        json_array_add_string_element(bitmaps, bitmap);
        json_object_set_array_member(export, "bitmaps", bitmaps);
    }
    return export;
}

static JsonObject *
describe_backing(const DiskServerImage *image)
{
    g_autofree char *path = tool_absolute_path(image->backing_path);
    JsonObject *file = tool_file_node(path, NULL, NODE_READ_ONLY);
    return tool_format_node(image->backing_format, NULL, file, NODE_READ_ONLY | (image->follow_header ? NODE_FOLLOW_HEADER : 0));
}

static void
add_image(GPtrArray *argv, unsigned i, const DiskServerImage *image, NodeFlags flags, const char *bitmap)
{
    g_autofree char *path = tool_absolute_path(image->path);
    g_autofree char *node_name = format_node_name(i);
    if (image->follow_header && image->backing_path == NULL)
        flags |= NODE_FOLLOW_HEADER;
    JsonObject *node = tool_format_node(image->format, node_name, tool_file_node(path, NULL, flags), flags);
    if (image->backing_path != NULL)
        json_object_set_object_member(node, "backing", describe_backing(image));
    add_option(argv, "--blockdev", tool_json(node));
    add_option(argv, "--export", tool_json(describe_export(i, image->id, !(flags & NODE_READ_ONLY), bitmap)));
}

static void
add_sockets(GPtrArray *argv, const ServerFiles *files)
{
    JsonObject *address = json_object_new();
    json_object_set_string_member(address, "type", "unix");
    json_object_set_string_member(address, "path", files->nbd_socket);
    JsonObject *nbd = json_object_new();
    json_object_set_object_member(nbd, "addr", address);

    g_auto(GStrv) parts = g_strsplit(files->qmp_socket, ",", -1);
    g_autofree char *escaped = g_strjoinv(",,", parts);
    add_option(argv, "--chardev", g_strdup_printf("socket,id=qmp,server=on,wait=off,path=%s", escaped));
    add_option(argv, "--monitor", g_strdup("chardev=qmp"));
    add_option(argv, "--nbd-server", tool_json(nbd));
}

static bool
prepare_folder(const ServerFiles *files, GError **error)
{
    if (g_mkdir_with_parents(files->folder, 0700) < 0) {
        g_set_error(error, DISK_ERROR, DISK_ERROR_IO, "Cannot make folder '%s': %s.", files->folder, g_strerror(errno));
        return false;
    }
    return disk_server_end_left_over(files->folder, error);
}

/* Starts the process and returns once it serves: that is when --daemonize lets its parent end. */
static bool
launch(DiskServer *self, const DiskServerImage *images, unsigned n_images, NodeFlags flags, const char *bitmap,
       GError **error)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(argv, g_strdup("qemu-storage-daemon"));
    g_ptr_array_add(argv, g_strdup("--daemonize"));
    add_option(argv, "--pidfile", g_strdup(self->files.pid_file));
    add_sockets(argv, &self->files);
    for (unsigned i = 0; i < n_images; i++)
        add_image(argv, i, &images[i], flags, bitmap);
    g_ptr_array_add(argv, NULL);

    if (!tool_run((const char *const *)argv->pdata, NULL, NULL, error) ||
        !server_process_find(&self->files, &self->pidfd, error))
        return false;
    if (self->pidfd >= 0)
        return true;
    g_set_error(error, DISK_ERROR, DISK_ERROR_TOOL, "The qemu-storage-daemon of '%s' ended at once.",
                self->files.folder);
    return false;
}

static DiskServer *
start(const char *run_folder, const DiskServerImage *images, unsigned n_images, NodeFlags flags, const char *bitmap,
      GError **error)
{
    g_autoptr(DiskServer) self = g_new0(DiskServer, 1);
    self->pidfd = -1;
    self->writable = !(flags & NODE_READ_ONLY);
    self->ids = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; i < n_images; i++)
        g_ptr_array_add(self->ids, g_strdup(images[i].id));
    if (!server_files_init(&self->files, run_folder, error) || !prepare_folder(&self->files, error) ||
        !launch(self, images, n_images, flags, bitmap, error))
        return NULL;
    return g_steal_pointer(&self);
}

DiskServer *
disk_server_start(const char *run_folder, const DiskServerImage *images, unsigned n_images, bool writable,
                  GError **error)
{
    for (unsigned i = 0; i < n_images; i++) {
        const DiskServerImage *image = &images[i];
        if (!tool_check_self_contained(image->path, image->format, error))
            return NULL;
        if (image->backing_path != NULL &&
            !tool_check_self_contained(image->backing_path, image->backing_format, error))
            return NULL;
    }
    return start(run_folder, images, n_images, writable ? NODE_WRITABLE : NODE_READ_ONLY, NULL, error);
}

DiskServer *
disk_server_start_bitmap(const char *run_folder, const char *path, const char *format, const char *bitmap,
                         GError **error)
{
    const DiskServerImage image = { .id = DISK_SERVER_BITMAP_EXPORT, .path = path, .format = format };
    if (!tool_check_present(path, error))
        return NULL;
    return start(run_folder, &image, 1, NODE_READ_ONLY | NODE_FORCE_SHARE | NODE_FOLLOW_HEADER, bitmap, error);
}

void
disk_server_leave(DiskServer *self)
{
    if (self == NULL)
        return;
    if (self->pidfd >= 0)
        close(self->pidfd);
    server_files_clear(&self->files);
    g_ptr_array_unref(self->ids);
    g_free(self);
}

void
disk_server_stop(DiskServer *self)
{
    g_autoptr(GError) error = NULL;
    if (self != NULL && self->pidfd >= 0 && !server_process_end(&self->files, self->pidfd, &error))
        log_error("disk", NULL, "%s", error->message);
    disk_server_leave(self);
}

const char *
disk_server_socket(const DiskServer *self)
{
    return self->files.nbd_socket;
}

bool
disk_server_is_alive(DiskServer *self)
{
    return server_process_is_alive(self->pidfd);
}

static bool
remove_export(Qmp *qmp, unsigned i, GError **error)
{
    g_autofree char *id = export_id(i);
    JsonObject *arguments = json_object_new();
    json_object_set_string_member(arguments, "id", id);
    json_object_set_string_member(arguments, "mode", "hard");
    return qmp_command(qmp, "block-export-del", arguments, error) &&
           qmp_wait_event(qmp, "BLOCK_EXPORT_DELETED", id, error);
}

static bool
resize_node(Qmp *qmp, unsigned i, uint64_t size, GError **error)
{
    g_autofree char *node_name = format_node_name(i);
    JsonObject *arguments = json_object_new();
    json_object_set_string_member(arguments, "node-name", node_name);
    json_object_set_int_member(arguments, "size", (gint64)size);
    return qmp_command(qmp, "block_resize", arguments, error);
}

bool
disk_server_resize(DiskServer *self, const char *id, uint64_t size, GError **error)
{
    guint i;
    if (!self->writable || !g_ptr_array_find_with_equal_func(self->ids, id, g_str_equal, &i)) {
        g_set_error(error, DISK_ERROR, DISK_ERROR_MISSING, "Disk '%s' is not open for writing.", id);
        return false;
    }
    /* An export keeps the size that it was made with, so it is made anew. */
    g_autoptr(Qmp) qmp = qmp_connect(self->files.qmp_socket, QMP_TIMEOUT_SEC, error);
    if (qmp == NULL || !remove_export(qmp, i, error))
        return false;
    bool resized = resize_node(qmp, i, size, error);
    bool exported = qmp_command(qmp, "block-export-add", describe_export(i, id, true, NULL), resized ? error : NULL);
    return resized && exported;
}

bool
disk_server_end_left_over(const char *run_folder, GError **error)
{
    g_auto(ServerFiles) files = { NULL };
    int pidfd = -1;
    if (!server_files_init(&files, run_folder, error) || !server_process_find(&files, &pidfd, error))
        return false;
    if (pidfd < 0)
        return true;
    bool ended = server_process_end(&files, pidfd, error);
    close(pidfd);
    return ended;
}
