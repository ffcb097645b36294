#include "virt/virt-private.h"
#include "virt/domxml.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Disks, interfaces and firmware variables as the domain XML has them: of the running guest when it runs, since
 * snapshots and hot-plug change that first. */

void
virt_disk_free(VirtDisk *self)
{
    if (self == NULL)
        return;
    g_free(self->target);
    g_free(self->path);
    g_free(self->format);
    g_free(self->serial);
    g_free(self->bus);
    g_free(self->untrackable);
    g_free(self);
}

void
virt_interface_free(VirtInterface *self)
{
    if (self == NULL)
        return;
    g_free(self->mac);
    g_free(self->kind);
    g_free(self->source);
    g_free(self->model);
    g_free(self->alias);
    g_free(self);
}

static xmlDoc *
read_xml(VirtHost *host, virDomainPtr domain, GError **error)
{
    char *text = virDomainGetXMLDesc(domain, 0);
    if (text == NULL) {
        virt_fail(host, domain, error, "has a definition that cannot be read");
        return NULL;
    }
    xmlDoc *doc = domxml_parse(text, error);
    free(text);
    return doc;
}

/* ---- disks ---- */

/* Images made before QEMU 1.1 have version 2, which has no room for bitmaps. */
static bool
is_old_qcow2(const char *path)
{
    static const unsigned char version_2[8] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 2 };
    unsigned char head[8];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    ssize_t n = pread(fd, head, sizeof head, 0);
    close(fd);
    return n == (ssize_t)sizeof head && memcmp(head, version_2, sizeof head) == 0;
}

/* Returns: (transfer full) (nullable): why no dirty bitmap can be kept in this disk. */
static char *
why_untrackable(const VirtDisk *disk, const xmlNode *node, const char *vm)
{
    g_autofree char *type = domxml_attr(node, "type");
    if (g_strcmp0(type, "file") != 0 && g_strcmp0(type, "block") != 0)
        return g_strdup_printf("disk '%s' of VM '%s' is on storage of type '%s'; move it to a qcow2 file or a qcow2 on a "
                               "block device, or exclude it from replication",
                               disk->target, vm, type != NULL ? type : "?");
    if (domxml_attr_is(node, "device", "lun"))
        return g_strdup_printf("disk '%s' of VM '%s' is a passed-through SCSI device, whose writes QEMU does not see; "
                               "use device='disk' with a qcow2 image, or exclude it",
                               disk->target, vm);
    if (domxml_child(node, "encryption") != NULL || domxml_child(domxml_child(node, "source"), "encryption") != NULL)
        return g_strdup_printf("disk '%s' of VM '%s' is encrypted by QEMU; its replica would hold plain text, so it is "
                               "refused: encrypt inside the guest instead, or exclude it",
                               disk->target, vm);
    if (domxml_child(domxml_child(node, "source"), "slices") != NULL)
        return g_strdup_printf("disk '%s' of VM '%s' is a part of '%s'; move it to an image of its own, or exclude it", disk->target,
                               vm, disk->path);
    if (disk->forgets)
        return NULL;
    if (g_strcmp0(disk->format, "qcow2") != 0)
        return g_strdup_printf("disk '%s' of VM '%s' has format '%s', which cannot keep a dirty bitmap; shut the VM down, "
                               "convert it (qemu-img convert -O qcow2 '%s' NEW) and set the disk's driver type to qcow2",
                               disk->target, vm, disk->format, disk->path);
    if (is_old_qcow2(disk->path))
        return g_strdup_printf("disk '%s' of VM '%s' is a qcow2 image of the old version 2 (compat=0.10) without room for "
                               "bitmaps; shut the VM down and run: qemu-img amend -f qcow2 -o compat=1.1 '%s'",
                               disk->target, vm, disk->path);
    return NULL;
}

static VirtDisk *
disk_read(const xmlNode *node)
{
    VirtDisk *disk = g_new0(VirtDisk, 1);
    xmlNode *target = domxml_child(node, "target"), *source = domxml_child(node, "source");
    disk->target = domxml_attr(target, "dev");
    disk->bus = domxml_attr(target, "bus");
    disk->path = domxml_attr(source, "file");
    if (disk->path == NULL)
        disk->path = domxml_attr(source, "dev");
    disk->format = domxml_attr(domxml_child(node, "driver"), "type");
    if (disk->format == NULL)
        disk->format = g_strdup("raw"); /* libvirt's meaning of no type */
    disk->forgets = strcmp(disk->format, "raw") == 0;
    disk->serial = domxml_text(domxml_child(node, "serial"));

    g_autofree char *device = domxml_attr(node, "device");
    bool removable = g_strcmp0(device, "cdrom") == 0 || g_strcmp0(device, "floppy") == 0;
    disk->replicable = !removable && source != NULL && domxml_child(node, "readonly") == NULL &&
                       domxml_child(node, "shareable") == NULL && domxml_child(node, "transient") == NULL;
    return disk;
}

static void
disk_measure(VirtDisk *disk, const xmlNode *node, virDomainPtr domain)
{
    if (disk->replicable)
        disk->untrackable = why_untrackable(disk, node, virDomainGetName(domain));
    virDomainBlockInfo info;
    if (disk->path == NULL)
        return;
    if (virDomainGetBlockInfo(domain, disk->target, &info, 0) == 0)
        disk->size_bytes = info.capacity;
    else if (disk->replicable && disk->untrackable == NULL)
        disk->untrackable = g_strdup_printf("the size of disk '%s' cannot be read: %s", disk->target,
                                            virGetLastErrorMessage());
}

GPtrArray *
virt_host_disks(VirtHost *self, const char *uuid, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self, uuid, error);
    if (domain == NULL)
        return NULL;
    g_autoptr(xmlDoc) doc = read_xml(self, domain, error);
    if (doc == NULL)
        return NULL;
    g_autoptr(GPtrArray) disks = g_ptr_array_new_with_free_func((GDestroyNotify)virt_disk_free);
    xmlNode *devices = domxml_child(xmlDocGetRootElement(doc), "devices");
    for (xmlNode *node = domxml_child(devices, "disk"); node != NULL; node = domxml_next(node, "disk")) {
        VirtDisk *disk = disk_read(node);
        g_ptr_array_add(disks, disk);
        disk_measure(disk, node, domain);
    }
    return g_steal_pointer(&disks);
}

/* ---- interfaces ---- */

/* The source attribute that names the other end, by interface type. */
static char *
interface_source(const xmlNode *node)
{
    static const char *const names[] = { "network", "bridge", "dev", "name" };
    char *value = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(names) && value == NULL; i++)
        value = domxml_attr(domxml_child(node, "source"), names[i]);
    return value;
}

GPtrArray *
virt_host_interfaces(VirtHost *self, const char *uuid, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self, uuid, error);
    if (domain == NULL)
        return NULL;
    g_autoptr(xmlDoc) doc = read_xml(self, domain, error);
    if (doc == NULL)
        return NULL;
    GPtrArray *interfaces = g_ptr_array_new_with_free_func((GDestroyNotify)virt_interface_free);
    xmlNode *devices = domxml_child(xmlDocGetRootElement(doc), "devices");
    for (xmlNode *node = domxml_child(devices, "interface"); node != NULL; node = domxml_next(node, "interface")) {
        VirtInterface *interface = g_new0(VirtInterface, 1);
        interface->mac = domxml_attr(domxml_child(node, "mac"), "address");
        interface->kind = domxml_attr(node, "type");
        interface->source = interface_source(node);
        interface->model = domxml_attr(domxml_child(node, "model"), "type");
        interface->alias = domxml_attr(domxml_child(node, "alias"), "name");
        g_ptr_array_add(interfaces, interface);
    }
    return interfaces;
}

/* ---- firmware ---- */

bool
virt_host_nvram_path(VirtHost *self, const char *uuid, char **ret_path, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self, uuid, error);
    if (domain == NULL)
        return false;
    g_autoptr(xmlDoc) doc = read_xml(self, domain, error);
    if (doc == NULL)
        return false;
    xmlNode *nvram = domxml_child(domxml_child(xmlDocGetRootElement(doc), "os"), "nvram");
    xmlNode *source = domxml_child(nvram, "source"); /* how libvirt writes it from 8.5 on when a type is given */
    g_autofree char *path = source != NULL ? domxml_attr(source, "file") : domxml_text(nvram);
    *ret_path = path != NULL && path[0] != '\0' ? g_steal_pointer(&path) : NULL;
    return true;
}

/* ---- TPM ---- */

/* Where libvirt keeps the state of emulated TPMs: it does not tell, but the place is a fixed one. */
static char *
tpm_storage(const char *uri)
{
    const char *root = virt_embed_root(uri);
    if (root != NULL)
        return g_build_filename(root, "lib/swtpm", NULL);
    if (strstr(uri, "/session") != NULL)
        return g_build_filename(g_get_user_config_dir(), "libvirt/qemu/swtpm", NULL);
    return g_strdup("/var/lib/libvirt/swtpm");
}

bool
virt_host_tpm_folder(VirtHost *self, const char *uuid, char **ret_path, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self, uuid, error);
    if (domain == NULL)
        return false;
    g_autoptr(xmlDoc) doc = read_xml(self, domain, error);
    if (doc == NULL)
        return false;
    xmlNode *devices = domxml_child(xmlDocGetRootElement(doc), "devices");
    xmlNode *backend = domxml_child(domxml_child(devices, "tpm"), "backend");
    *ret_path = NULL;
    if (!domxml_attr_is(backend, "type", "emulator") || domxml_child(backend, "encryption") != NULL ||
        domxml_child(backend, "source") != NULL)
        return true;
    char text[VIR_UUID_STRING_BUFLEN];
    virDomainGetUUIDString(domain, text);
    g_autofree char *storage = tpm_storage(virt_host_uri(self));
    *ret_path = g_build_filename(storage, text, domxml_attr_is(backend, "version", "1.2") ? "tpm1.2" : "tpm2", NULL);
    return true;
}
