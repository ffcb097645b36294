#include "disk/image.h"

#include "disk/tool.h"

#include <string.h>
#include <unistd.h>

#define BITMAP_GRANULARITY "65536"

/* Exit codes of `qemu-img check`. */
enum { CHECK_CORRUPT = 2, CHECK_LEAKS = 3 };

void
image_info_free(ImageInfo *info)
{
    if (info == NULL)
        return;
    g_free(info->backing_path);
    g_strfreev(info->bitmaps);
    g_strfreev(info->broken_bitmaps);
    g_free(info);
}

/* qemu-img create would empty an existing file. */
static bool
check_absent(const char *path, GError **error)
{
    if (!g_file_test(path, G_FILE_TEST_EXISTS) && !g_file_test(path, G_FILE_TEST_IS_SYMLINK))
        return true;
    g_set_error(error, DISK_ERROR, DISK_ERROR_TOOL, "Image '%s' cannot be made: a file of that name is there.", path);
    return false;
}

/* A path from the root on has no character that qemu-img would read as a protocol or an option. */
bool
image_create(const char *path, const char *format, uint64_t size, GError **error)
{
    g_autofree char *absolute = tool_absolute_path(path);
    g_autofree char *size_text = g_strdup_printf("%" G_GUINT64_FORMAT, size);
    const char *argv[] = { "qemu-img", "create", "-q", "-f", format, "--", absolute, size_text, NULL };
    return check_absent(absolute, error) && tool_run(argv, NULL, NULL, error);
}

bool
image_create_overlay(const char *path, const char *base, const char *base_format, uint64_t size, GError **error)
{
    g_autofree char *absolute = tool_absolute_path(path);
    g_autofree char *absolute_base = tool_absolute_path(base);
    g_autofree char *size_text = g_strdup_printf("%" G_GUINT64_FORMAT, size);
    /* -u: the base is not opened, since its lock may be held; that it is there is checked here. */
    const char *argv[] = { "qemu-img", "create", "-q",        "-u",        "-f",          "qcow2", "-b",
                           absolute_base, "-F",  base_format, "--", absolute, size_text, NULL };
    return check_absent(absolute, error) && tool_check_self_contained(absolute_base, base_format, error) &&
           tool_run(argv, NULL, NULL, error);
}

/* Member @name when it is there and an object. */
static JsonObject *
get_object(JsonObject *object, const char *name)
{
    JsonNode *node = object != NULL ? json_object_get_member(object, name) : NULL;
    return node != NULL && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static bool
has_flag(JsonObject *bitmap, const char *flag)
{
    JsonArray *flags = json_object_has_member(bitmap, "flags") ? json_object_get_array_member(bitmap, "flags") : NULL;
    for (guint i = 0; flags != NULL && i < json_array_get_length(flags); i++) {
        if (g_strcmp0(json_array_get_string_element(flags, i), flag) == 0)
            return true;
    }
    return false;
}

static void
read_bitmaps(JsonObject *image, ImageInfo *info)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autoptr(GPtrArray) broken = g_ptr_array_new();
    JsonObject *data = get_object(get_object(image, "format-specific"), "data");
    JsonArray *bitmaps = data != NULL && json_object_has_member(data, "bitmaps")
                             ? json_object_get_array_member(data, "bitmaps") : NULL;
    for (guint i = 0; bitmaps != NULL && i < json_array_get_length(bitmaps); i++) {
        JsonObject *bitmap = json_array_get_object_element(bitmaps, i);
        const char *name = json_object_get_string_member(bitmap, "name");
        g_ptr_array_add(names, g_strdup(name));
        if (has_flag(bitmap, "in-use"))
            g_ptr_array_add(broken, g_strdup(name));
    }
    g_ptr_array_add(names, NULL);
    g_ptr_array_add(broken, NULL);
    info->bitmaps = (char **)g_ptr_array_steal(names, NULL);
    info->broken_bitmaps = (char **)g_ptr_array_steal(broken, NULL);
}

static bool
parse_info(const char *text, ImageInfo **ret_info, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    if (!json_parser_load_from_data(parser, text, -1, NULL) || !JSON_NODE_HOLDS_OBJECT(json_parser_get_root(parser))) {
        g_set_error(error, DISK_ERROR, DISK_ERROR_TOOL, "qemu-img info gave something that is not JSON.");
        return false;
    }
    JsonObject *image = json_node_get_object(json_parser_get_root(parser));
    g_autoptr(ImageInfo) info = g_new0(ImageInfo, 1);
    info->virtual_size = (uint64_t)json_object_get_int_member_with_default(image, "virtual-size", 0);
    info->actual_size = (uint64_t)json_object_get_int_member_with_default(image, "actual-size", 0);
    const char *backing = json_object_get_string_member_with_default(image, "full-backing-filename", NULL);
    info->backing_path = g_strdup(backing);
    JsonNode *snapshots = json_object_get_member(image, "snapshots");
    if (snapshots != NULL && JSON_NODE_HOLDS_ARRAY(snapshots))
        info->n_snapshots = json_array_get_length(json_node_get_array(snapshots));
    read_bitmaps(image, info);
    *ret_info = g_steal_pointer(&info);
    return true;
}

bool
image_info(const char *path, const char *format, bool force_share, ImageInfo **ret_info, GError **error)
{
    g_autofree char *text = NULL;
    g_autofree char *name = tool_image_name(path, format, NODE_READ_ONLY);
    const char *argv[] = { "qemu-img", "info", "--output=json", force_share ? "-U" : "--", name, NULL };
    return tool_check_present(path, error) && tool_run(argv, &text, NULL, error) &&
           parse_info(text, ret_info, error);
}

bool
image_bitmap_add(const char *path, const char *name, GError **error)
{
    g_autofree char *image = tool_image_name(path, "qcow2", NODE_WRITABLE);
    const char *argv[] = { "qemu-img", "bitmap", "--add", "-g", BITMAP_GRANULARITY, "--", image, name, NULL };
    return tool_check_present(path, error) && tool_run(argv, NULL, NULL, error);
}

bool
image_bitmap_remove(const char *path, const char *name, GError **error)
{
    g_autofree char *image = tool_image_name(path, "qcow2", NODE_WRITABLE);
    const char *argv[] = { "qemu-img", "bitmap", "--remove", "--", image, name, NULL };
    return tool_check_present(path, error) && tool_run(argv, NULL, NULL, error);
}

static bool
has_bitmap(const ImageInfo *info, const char *name)
{
    return g_strv_contains((const char *const *)info->bitmaps, name);
}

bool
image_bitmap_merge(const char *path, const char *name, const char *from_path, GError **error)
{
    g_autoptr(ImageInfo) info = NULL;
    if (!image_info(path, "qcow2", false, &info, error) || (!has_bitmap(info, name) && !image_bitmap_add(path, name, error)))
        return false;
    g_autofree char *image = tool_image_name(path, "qcow2", NODE_WRITABLE);
    g_autofree char *from = tool_image_name(from_path, "qcow2", NODE_READ_ONLY);
    const char *argv[] = { "qemu-img", "bitmap", "--merge", name, "-b", from, "--", image, name, NULL };
    return tool_check_present(from_path, error) && tool_run(argv, NULL, NULL, error);
}

/* An overlay with the image below it named, whatever its header says. */
static char *
overlay_name(const char *overlay, const char *base)
{
    g_autofree char *top_path = tool_absolute_path(overlay), *base_path = tool_absolute_path(base);
    JsonObject *top = tool_format_node("qcow2", NULL, tool_file_node(top_path, NULL, NODE_WRITABLE), NODE_WRITABLE);
    json_object_set_object_member(top, "backing", tool_format_node("qcow2", NULL, tool_file_node(base_path, NULL, NODE_WRITABLE),
                                                                   NODE_FOLLOW_HEADER));
    g_autofree char *json = tool_json(top);
    return g_strconcat("json:", json, NULL);
}

static bool
image_resize(const char *path, uint64_t size, GError **error)
{
    g_autofree char *image = tool_image_name(path, "qcow2", NODE_WRITABLE | NODE_FOLLOW_HEADER);
    g_autofree char *size_text = g_strdup_printf("%" G_GUINT64_FORMAT, size);
    const char *argv[] = { "qemu-img", "resize", "-q", "--shrink", "--", image, size_text, NULL };
    return tool_run(argv, NULL, NULL, error);
}

/* A death in an earlier attempt left it broken: QEMU would neither merge into it nor resize its image. */
static bool
drop_broken_bitmap(const char *path, const ImageInfo *info, const char *name, GError **error)
{
    bool broken = name != NULL && g_strv_contains((const char *const *)info->broken_bitmaps, name);
    return !broken || image_bitmap_remove(path, name, error);
}

bool
image_commit(const char *overlay, const char *base, const char *bitmap, GError **error)
{
    g_autoptr(ImageInfo) top = NULL;
    g_autoptr(ImageInfo) below = NULL;
    if (!image_info(overlay, "qcow2", false, &top, error) || !tool_check_self_contained(base, "qcow2", error) ||
        !image_info(base, "qcow2", false, &below, error) || !drop_broken_bitmap(base, below, bitmap, error))
        return false;
    /* Bitmaps of different sizes cannot be merged. What a larger base has beyond the overlay is not in the disk that the overlay is. */
    if (below->virtual_size != top->virtual_size && !image_resize(base, top->virtual_size, error))
        return false;
    /* The bitmap first: without it nobody would know what the overlay had changed. */
    if (bitmap != NULL && !image_bitmap_merge(base, bitmap, overlay, error))
        return false;
    g_autofree char *image = overlay_name(overlay, base);
    /* -d: what is in the overlay stays, so that a repetition writes the same. */
    const char *argv[] = { "qemu-img", "commit", "-q", "-d", "--", image, NULL };
    return tool_run(argv, NULL, NULL, error);
}

bool
image_check(const char *path, const char *format, GError **error)
{
    if (!tool_check_present(path, error))
        return false;
    if (strcmp(format, "raw") == 0)
        return true; /* nothing that could be inconsistent */
    g_autofree char *image = tool_image_name(path, format, NODE_READ_ONLY);
    const char *argv[] = { "qemu-img", "check", "-q", "--", image, NULL };
    g_autoptr(GError) local = NULL;
    int status = -1;
    if (tool_run(argv, NULL, &status, &local) || status == CHECK_LEAKS) /* leaked clusters cost space only */
        return true;
    if (status == CHECK_CORRUPT)
        g_set_error(error, DISK_ERROR, DISK_ERROR_IO, "Image '%s' is damaged: %s", path, local->message);
    else
        g_propagate_error(error, g_steal_pointer(&local));
    return false;
}
