#include "disk/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static DiskError
classify(const char *text)
{
    if (strstr(text, "Failed to get") != NULL && strstr(text, "lock") != NULL)
        return DISK_ERROR_LOCKED;
    if (strstr(text, "No such file or directory") != NULL)
        return DISK_ERROR_MISSING;
    if (strstr(text, "itmap") != NULL && (strstr(text, "not found") != NULL || strstr(text, "is not found") != NULL ||
                                          strstr(text, "does not exist") != NULL || strstr(text, "inconsistent") != NULL))
        return DISK_ERROR_MISSING;
    return DISK_ERROR_TOOL;
}

/* QEMU's NBD server takes a buffer from malloc for each request. With glibc's own limits each buffer of 1 MiB is given
 * back to the kernel and comes again page by page, which took most of its time. The process keeps about as much free
 * memory as MALLOC_TRIM_THRESHOLD_ says; what was set by the administrator holds. */
static char **
tool_environment(void)
{
    char **environment = g_get_environ();
    environment = g_environ_setenv(environment, "MALLOC_MMAP_THRESHOLD_", "4194304", FALSE);
    return g_environ_setenv(environment, "MALLOC_TRIM_THRESHOLD_", "16777216", FALSE);
}

bool
tool_run(const char *const *argv, char **ret_output, int *ret_status, GError **error)
{
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    g_autoptr(GError) local = NULL;
    g_auto(GStrv) environment = tool_environment();
    int wait_status = 0;
    if (ret_status != NULL)
        *ret_status = -1;
    if (!g_spawn_sync(NULL, (char **)argv, environment, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err, &wait_status, &local)) {
        g_set_error(error, DISK_ERROR, DISK_ERROR_TOOL, "%s", local->message);
        return false;
    }
    bool exited = WIFEXITED(wait_status);
    if (exited && ret_status != NULL)
        *ret_status = WEXITSTATUS(wait_status);
    if (exited && WEXITSTATUS(wait_status) == 0) {
        if (ret_output != NULL)
            *ret_output = g_steal_pointer(&out);
        return true;
    }
    g_strstrip(err);
    g_set_error(error, DISK_ERROR, classify(err), "%s failed: %s", argv[0], err[0] != '\0' ? err : "it gave no reason");
    return false;
}

char *
tool_absolute_path(const char *path)
{
    if (g_path_is_absolute(path))
        return g_strdup(path);
    g_autofree char *here = g_get_current_dir();
    return g_build_filename(here, path, NULL);
}

/* qcow2 header (QEMU's docs/interop/qcow2.txt): magic at 0, version at 4, from version 3 on incompatible features at 72,
 * of which bit 2 says that the data is in a file named by the image. All big-endian. */
static bool
has_foreign_data(const uint8_t *header, ssize_t length)
{
    static const uint8_t magic[4] = { 'Q', 'F', 'I', 0xfb };
    if (length < 80 || memcmp(header, magic, sizeof magic) != 0)
        return false;
    uint32_t version = (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16 | (uint32_t)header[6] << 8 | header[7];
    return version >= 3 && (header[79] & 4) != 0;
}

/* The first bytes of an image; -1 with @error when it cannot be opened. */
static ssize_t
read_header(const char *path, uint8_t *header, size_t length, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n = fd >= 0 ? pread(fd, header, length, 0) : -1;
    if (n < 0) {
        bool missing = errno == ENOENT || errno == ENOTDIR;
        g_set_error(error, DISK_ERROR, missing ? DISK_ERROR_MISSING : DISK_ERROR_IO, "Cannot open image '%s': %s.",
                    path, g_strerror(errno));
    }
    if (fd >= 0)
        close(fd);
    return n;
}

bool
tool_check_present(const char *path, GError **error)
{
    uint8_t byte;
    return read_header(path, &byte, 1, error) >= 0;
}

bool
tool_check_self_contained(const char *path, const char *format, GError **error)
{
    uint8_t header[80];
    ssize_t n = read_header(path, header, sizeof header, error);
    if (n < 0)
        return false;
    if (strcmp(format, "qcow2") != 0 || !has_foreign_data(header, n))
        return true;
    g_set_error(error, DISK_ERROR, DISK_ERROR_TOOL,
                "Image '%s' keeps its data in another file, which is not supported here; convert it to a plain qcow2.",
                path);
    return false;
}

static void
set_flags(JsonObject *node, const char *node_name, NodeFlags flags)
{
    if (node_name != NULL)
        json_object_set_string_member(node, "node-name", node_name);
    if (flags & NODE_READ_ONLY)
        json_object_set_boolean_member(node, "read-only", TRUE);
    else
        json_object_set_string_member(node, "discard", "unmap");
    if (flags & NODE_FORCE_SHARE)
        json_object_set_boolean_member(node, "force-share", TRUE);
}

JsonObject *
tool_file_node(const char *path, const char *node_name, NodeFlags flags)
{
    struct stat st;
    bool is_device = stat(path, &st) == 0 && S_ISBLK(st.st_mode);
    JsonObject *node = json_object_new();
    json_object_set_string_member(node, "driver", is_device ? "host_device" : "file");
    json_object_set_string_member(node, "filename", path);
    set_flags(node, node_name, flags);
    return node;
}

JsonObject *
tool_format_node(const char *format, const char *node_name, JsonObject *file, NodeFlags flags)
{
    JsonObject *node = json_object_new();
    json_object_set_string_member(node, "driver", format);
    set_flags(node, node_name, flags);
    json_object_set_object_member(node, "file", file);
    if (strcmp(format, "raw") != 0 && !(flags & NODE_FOLLOW_HEADER))
        json_object_set_null_member(node, "backing");
    return node;
}

char *
tool_json(JsonObject *object)
{
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(root, object);
    return json_to_string(root, FALSE);
}

char *
tool_image_name(const char *path, const char *format, NodeFlags flags)
{
    g_autofree char *absolute = tool_absolute_path(path);
    g_autofree char *json = tool_json(tool_format_node(format, NULL, tool_file_node(absolute, NULL, flags), flags));
    return g_strconcat("json:", json, NULL);
}
