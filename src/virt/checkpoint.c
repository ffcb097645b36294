#include "virt/virt-private.h"
#include "virt/domxml.h"

#include "util/log.h"
#include "util/subprocess.h"

#include <json-glib/json-glib.h>
#include <string.h>

/* Checkpoints: a bitmap of the same name in each image, plus libvirt's record of it. libvirt deletes both while
 * the guest runs; with the guest off, or when the bitmap is broken, each is removed by itself. */

#define QEMU_IMG_TIMEOUT_SEC 60

char **
virt_checkpoint_list(VirtHost *host, const char *uuid, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, error);
    if (domain == NULL)
        return NULL;
    virDomainCheckpointPtr *checkpoints = NULL;
    int n = virDomainListAllCheckpoints(domain, &checkpoints, 0);
    if (n < 0) {
        virt_fail(host, domain, error, "cannot be asked for its checkpoints");
        return NULL;
    }
    char **names = g_new0(char *, (gsize)n + 1);
    for (int i = 0; i < n; i++) {
        names[i] = g_strdup(virDomainCheckpointGetName(checkpoints[i]));
        virDomainCheckpointFree(checkpoints[i]);
    }
    free(checkpoints);
    return names;
}

/* ---- deleting ---- */

/* A bitmap that is not in the image is fine. */
static bool
remove_bitmap(const char *path, const char *name, GError **error)
{
    const char *const argv[] = { "qemu-img", "bitmap", "--remove", "-f", "qcow2", path, name, NULL };
    g_autoptr(GError) cause = NULL;
    if (subprocess_run(argv, QEMU_IMG_TIMEOUT_SEC, NULL, &cause) || strstr(cause->message, "not found") != NULL)
        return true;
    VirtError code = strstr(cause->message, "lock") != NULL ? VIRT_ERROR_LOCKED : VIRT_ERROR_FAILED;
    g_set_error(error, VIRT_ERROR, code, "bitmap '%s' cannot be removed from '%s': %s", name, path, cause->message);
    return false;
}

static bool
remove_bitmaps_off(VirtHost *host, const char *uuid, const char *name, GError **error)
{
    g_autoptr(GPtrArray) disks = virt_host_disks(host, uuid, error);
    if (disks == NULL)
        return false;
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (disk->replicable && disk->path != NULL && g_strcmp0(disk->format, "qcow2") == 0 &&
            !remove_bitmap(disk->path, name, error))
            return false;
    }
    return true;
}

static bool
remove_record(VirtHost *host, virDomainPtr domain, virDomainCheckpointPtr checkpoint, GError **error)
{
    if (virDomainCheckpointDelete(checkpoint, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY) == 0 ||
        virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return true;
    return virt_fail(host, domain, error, "keeps the record of a checkpoint that was to be deleted");
}

bool
virt_checkpoint_delete(VirtHost *host, const char *uuid, const char *name, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, error);
    if (domain == NULL)
        return false;
    g_auto(virDomainCheckpointPtr) checkpoint = virDomainCheckpointLookupByName(domain, name, 0);
    if (checkpoint == NULL && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return virt_fail(host, domain, error, "cannot be asked for checkpoint '%s'", name);

    if (virDomainIsActive(domain) == 1) {
        if (checkpoint == NULL || virDomainCheckpointDelete(checkpoint, 0) == 0)
            return true;
        g_autoptr(GError) cause = NULL;
        virt_fail(host, domain, &cause, "keeps checkpoint '%s', which was to be deleted", name);
        bool passing = g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_UNAVAILABLE) ||
                       g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_BUSY);
        if (passing) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
        /* The bitmap never reached the image (QEMU was killed): only the record is left. */
        if (virDomainIsActive(domain) == 1)
            return remove_record(host, domain, checkpoint, error);
    }
    /* The bitmaps first: were it the other way round, a failure in between would leave bitmaps nobody knows. */
    return remove_bitmaps_off(host, uuid, name, error) &&
           (checkpoint == NULL || remove_record(host, domain, checkpoint, error));
}

/* ---- bitmaps that nobody knows ---- */

static JsonObject *
object_member(JsonObject *object, const char *name)
{
    JsonNode *node = object != NULL ? json_object_get_member(object, name) : NULL;
    return node != NULL && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

/* Bitmaps of ours in an image that are not in @known; (transfer full) */
static GPtrArray *
unknown_bitmaps(const char *path, const char *const *known, GError **error)
{
    const char *const argv[] = { "qemu-img", "info", "--force-share", "--output=json", "-f", "qcow2", path, NULL };
    g_autofree char *output = NULL;
    g_autoptr(GError) cause = NULL;
    if (!subprocess_run(argv, QEMU_IMG_TIMEOUT_SEC, &output, &cause)) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "'%s' cannot be looked into: %s", path, cause->message);
        return NULL;
    }
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(JsonNode) root = json_from_string(output, NULL);
    JsonObject *info = root != NULL && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
    JsonObject *data = object_member(object_member(info, "format-specific"), "data");
    JsonArray *bitmaps = data != NULL && json_object_has_member(data, "bitmaps") ?
        json_object_get_array_member(data, "bitmaps") : NULL;
    for (guint i = 0; bitmaps != NULL && i < json_array_get_length(bitmaps); i++) {
        JsonObject *bitmap = json_array_get_object_element(bitmaps, i);
        const char *name = json_object_get_string_member_with_default(bitmap, "name", "");
        if (g_str_has_prefix(name, VIRT_NAME_PREFIX) && !g_strv_contains(known, name))
            g_ptr_array_add(names, g_strdup(name));
    }
    return names;
}

/* @running: they are only told, QEMU has the image. */
static bool
drop_unknown_of(const VirtDisk *disk, const char *vm, const char *const *known, bool running, bool *ret_found,
                GError **error)
{
    g_autoptr(GPtrArray) names = unknown_bitmaps(disk->path, known, error);
    for (guint i = 0; names != NULL && i < names->len; i++) {
        *ret_found = true;
        if (running)
            continue;
        if (!remove_bitmap(disk->path, g_ptr_array_index(names, i), error))
            return false;
        log_notice("virt", vm, "removed bitmap '%s', which no checkpoint of libvirt has",
                   (char *)g_ptr_array_index(names, i));
    }
    return names != NULL;
}

bool
virt_checkpoint_drop_unknown(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, error);
    if (domain == NULL)
        return false;
    bool running = virDomainIsActive(domain) == 1, found = false;
    g_auto(GStrv) known = virt_checkpoint_list(host, uuid, error);
    g_autoptr(GPtrArray) disks = known != NULL ? virt_host_disks(host, uuid, error) : NULL;
    if (disks == NULL)
        return false;
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        if (!disk->replicable || disk->path == NULL || disk->untrackable != NULL)
            continue;
        if (disk->forgets)
            found |= running; /* its bitmaps are in QEMU only */
        else if (!drop_unknown_of(disk, virDomainGetName(domain), (const char *const *)known, running, &found, error))
            return false;
    }
    return !running || !found || virt_sweep(host, uuid, scratch_folder, error);
}

/* ---- adopting ---- */

static bool
names_disk(const char *xml, const char *target)
{
    g_autoptr(xmlDoc) doc = domxml_parse(xml, NULL);
    xmlNode *disks = doc != NULL ? domxml_child(xmlDocGetRootElement(doc), "disks") : NULL;
    for (xmlNode *node = domxml_child(disks, "disk"); node != NULL; node = domxml_next(node, "disk")) {
        g_autofree char *name = domxml_attr(node, "name"), *kind = domxml_attr(node, "checkpoint");
        if (g_strcmp0(name, target) == 0)
            return g_strcmp0(kind, "bitmap") == 0;
    }
    return false;
}

bool
virt_checkpoint_covers(VirtHost *host, const char *uuid, const char *name, const char *target, bool *ret_covers, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, error);
    if (domain == NULL)
        return false;
    g_auto(virDomainCheckpointPtr) checkpoint = virDomainCheckpointLookupByName(domain, name, 0);
    *ret_covers = false;
    if (checkpoint == NULL)
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_CHECKPOINT ||
               virt_fail(host, domain, error, "cannot be asked for checkpoint '%s'", name);
    char *xml = virDomainCheckpointGetXMLDesc(checkpoint, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN);
    if (xml == NULL)
        return virt_fail(host, domain, error, "has a checkpoint '%s' that cannot be read", name);
    *ret_covers = names_disk(xml, target);
    free(xml);
    return true;
}

static bool
forgets(const GPtrArray *all, const char *target)
{
    for (guint i = 0; i < all->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(all, i);
        if (strcmp(disk->target, target) == 0)
            return disk->forgets;
    }
    return false;
}

static char *
adoption_xml(const char *name, const char *const *disks, const GPtrArray *all, const char *domain_xml)
{
    g_autofree char *head = g_markup_printf_escaped("<domaincheckpoint><name>%s</name><creationTime>%" G_GINT64_FORMAT
                                                    "</creationTime><disks>", name, g_get_real_time() / G_USEC_PER_SEC);
    GString *xml = g_string_new(head);
    for (size_t i = 0; disks[i] != NULL; i++) {
        g_autofree char *disk = g_markup_printf_escaped("<disk name='%s' checkpoint='bitmap' bitmap='%s'/>", disks[i],
                                                        name);
        g_autofree char *none = g_markup_printf_escaped("<disk name='%s' checkpoint='no'/>", disks[i]);
        g_string_append(xml, forgets(all, disks[i]) ? none : disk);
    }
    g_string_append_printf(xml, "</disks>%s</domaincheckpoint>", domain_xml);
    return g_string_free(xml, FALSE);
}

bool
virt_checkpoint_adopt(VirtHost *host, const char *uuid, const char *name, const char *const *disks, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, error);
    if (domain == NULL)
        return false;
    g_autoptr(GPtrArray) all = virt_host_disks(host, uuid, error);
    if (all == NULL)
        return false;
    char *domain_xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE);
    if (domain_xml == NULL)
        return virt_fail(host, domain, error, "has a definition that cannot be read");
    g_autofree char *xml = adoption_xml(name, disks, all, domain_xml);
    free(domain_xml);
    g_auto(virDomainCheckpointPtr) checkpoint =
        virDomainCheckpointCreateXML(domain, xml, VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE);
    return checkpoint != NULL || virt_fail(host, domain, error, "has a bitmap '%s' that cannot be registered", name);
}

bool
virt_checkpoint_extend(VirtHost *host, const char *uuid, const char *name, const char *const *disks, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, error);
    if (domain == NULL)
        return false;
    g_auto(virDomainCheckpointPtr) checkpoint = virDomainCheckpointLookupByName(domain, name, 0);
    return (checkpoint == NULL || remove_record(host, domain, checkpoint, error)) &&
           virt_checkpoint_adopt(host, uuid, name, disks, error);
}
