#include "virt/virt-private.h"

#include <string.h>

/* A raw image has no place for a dirty bitmap. QEMU can keep one in its memory, which is gone when the VM stops;
 * libvirt knows nothing of it, and begins no checkpoint with it in the moment of a backup.
 *
 *  (1) The bitmap of a checkpoint is begun before the checkpoint's moment. So it has all that is written since, and
 *      maybe a little that the moment has already: that is sent once more.
 *  (2) What is read as the changes up to a moment is a copy of the bitmap, taken after the moment. So it has all that
 *      was written before; what was written since is marked too, and is read as it was at the moment.
 *  (3) A bitmap of ours that no checkpoint of libvirt names is of no use. It goes when the next one is begun.
 */

#define GRANULARITY 65536

static const char *
text_of(JsonObject *object, const char *name)
{
    return json_object_get_string_member_with_default(object, name, "");
}

static JsonObject *
bitmap_arguments(const char *node, const char *key, const char *name)
{
    JsonObject *self = json_object_new();
    json_object_set_string_member(self, "node", node);
    json_object_set_string_member(self, key, name);
    return self;
}

static bool
tell(VirtHost *host, virDomainPtr domain, const char *command, JsonObject *arguments, GError **error)
{
    g_autoptr(JsonNode) answer = virt_monitor_ask(host, domain, command, arguments, error);
    return answer != NULL;
}

/* The node that the guest writes through: libvirt's pair over the file, of which the upper one is the format. */
static bool
is_node_of(JsonObject *node, const char *path)
{
    const char *name = text_of(node, "node-name");
    return strcmp(text_of(node, "drv"), "raw") == 0 && g_str_has_prefix(name, "libvirt-") &&
           g_str_has_suffix(name, "-format") && strcmp(text_of(node, "file"), path) == 0 &&
           !json_object_get_boolean_member_with_default(node, "ro", true);
}

/* (transfer full) */
static JsonObject *
find_node(VirtHost *host, virDomainPtr domain, const VirtDisk *disk, GError **error)
{
    JsonObject *flat = json_object_new();
    json_object_set_boolean_member(flat, "flat", true);
    g_autoptr(JsonNode) answer = virt_monitor_ask(host, domain, "query-named-block-nodes", flat, error);
    if (answer == NULL)
        return NULL;
    JsonArray *nodes = JSON_NODE_HOLDS_ARRAY(answer) ? json_node_get_array(answer) : NULL;
    JsonObject *found = NULL;
    unsigned n_found = 0;
    for (guint i = 0; nodes != NULL && i < json_array_get_length(nodes); i++) {
        JsonObject *node = json_array_get_object_element(nodes, i);
        if (is_node_of(node, disk->path)) {
            found = node;
            n_found++;
        }
    }
    if (n_found == 1)
        return json_object_ref(found);
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNTRACKABLE,
                "disk '%s' of VM '%s' is raw, and QEMU shows %u places where it is written; convert it "
                "(qemu-img convert -O qcow2 '%s' NEW), or exclude it",
                disk->target, virDomainGetName(domain), n_found, disk->path);
    return NULL;
}

static bool
may_stay(const char *name, const char *const *checkpoints, const char *next)
{
    return !g_str_has_prefix(name, VIRT_NAME_PREFIX) ||
           (g_strv_contains(checkpoints, name) && g_strcmp0(name, next) != 0);
}

/* Says in @ret_has whether @since is among those that stay, and records. */
static bool
tidy(VirtHost *host, virDomainPtr domain, JsonObject *node, const char *const *checkpoints, const char *since,
     const char *next, bool *ret_has, GError **error)
{
    JsonArray *bitmaps = json_object_has_member(node, "dirty-bitmaps") ?
        json_object_get_array_member(node, "dirty-bitmaps") : NULL;
    *ret_has = since == NULL;
    for (guint i = 0; bitmaps != NULL && i < json_array_get_length(bitmaps); i++) {
        JsonObject *bitmap = json_array_get_object_element(bitmaps, i);
        const char *name = text_of(bitmap, "name");
        if (!may_stay(name, checkpoints, next)) {
            if (!tell(host, domain, "block-dirty-bitmap-remove",
                      bitmap_arguments(text_of(node, "node-name"), "name", name), error))
                return false;
        } else if (g_strcmp0(name, since) == 0) {
            *ret_has = json_object_get_boolean_member_with_default(bitmap, "recording", false);
        }
    }
    return true;
}

bool
virt_memory_bitmap_begin(VirtHost *host, virDomainPtr domain, const VirtDisk *disk, const char *since, const char *next,
                         GError **error)
{
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    virDomainGetUUIDString(domain, uuid);
    g_auto(GStrv) checkpoints = virt_checkpoint_list(host, uuid, error);
    if (checkpoints == NULL)
        return false;
    g_autoptr(JsonObject) node = find_node(host, domain, disk, error);
    bool has = false;
    if (node == NULL || !tidy(host, domain, node, (const char *const *)checkpoints, since, next, &has, error))
        return false;
    if (!has) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST, "disk '%s' is raw: what was written to it is known only "
                    "while the VM runs, and it was started since; it is compared as a whole", disk->target);
        return false;
    }
    if (next == NULL)
        return true;
    JsonObject *arguments = bitmap_arguments(text_of(node, "node-name"), "name", next);
    json_object_set_boolean_member(arguments, "persistent", false);
    json_object_set_int_member(arguments, "granularity", GRANULARITY);
    return tell(host, domain, "block-dirty-bitmap-add", arguments, error);
}

static void
add_action(JsonArray *actions, const char *type, JsonObject *data)
{
    JsonObject *action = json_object_new();
    json_object_set_string_member(action, "type", type);
    json_object_set_object_member(action, "data", data);
    json_array_add_object_element(actions, action);
}

/* QEMU shows no bitmap that still records. */
static bool
copy_bitmap(VirtHost *host, virDomainPtr domain, const char *node, const char *since, const char *name, GError **error)
{
    JsonArray *actions = json_array_new(), *from = json_array_new();
    JsonObject *fresh = bitmap_arguments(node, "name", name), *merge = bitmap_arguments(node, "target", name);
    json_object_set_boolean_member(fresh, "persistent", false);
    json_object_set_boolean_member(fresh, "disabled", true);
    json_object_set_int_member(fresh, "granularity", GRANULARITY);
    json_array_add_string_element(from, since);
    json_object_set_array_member(merge, "bitmaps", from);
    add_action(actions, "block-dirty-bitmap-add", fresh);
    add_action(actions, "block-dirty-bitmap-merge", merge);
    JsonObject *arguments = json_object_new();
    json_object_set_array_member(arguments, "actions", actions);
    return tell(host, domain, "transaction", arguments, error);
}

bool
virt_memory_bitmap_serve(VirtHost *host, virDomainPtr domain, const VirtDisk *disk, const char *since,
                         const char *name, GError **error)
{
    g_autoptr(JsonObject) node = find_node(host, domain, disk, error);
    if (node == NULL || !copy_bitmap(host, domain, text_of(node, "node-name"), since, name, error))
        return false;
    JsonObject *arguments = json_object_new();
    JsonArray *bitmaps = json_array_new();
    json_array_add_string_element(bitmaps, name);
    json_object_set_string_member(arguments, "type", "nbd");
    json_object_set_string_member(arguments, "id", name);
    json_object_set_string_member(arguments, "name", name);
    json_object_set_string_member(arguments, "node-name", text_of(node, "node-name"));
    json_object_set_boolean_member(arguments, "writable", false);
    json_object_set_array_member(arguments, "bitmaps", bitmaps);
    return tell(host, domain, "block-export-add", arguments, error);
}
