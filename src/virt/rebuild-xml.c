#include "virt/allow-list.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A peer's domain XML is not cleaned but built anew: see virt_rebuild_xml() in virt.h. Copied by rule is what
 * allow-list.c lists; what touches the host (images, firmware, ports, networks, displays) is written here from our own
 * values, and the peer only says that there is such a device. */

typedef struct {
    const VirtRebuild *rebuild;
    bool               kvm;
    LeftOut           *left_out;
    GHashTable        *used;     /* targets of disks written, so that none is written twice */
    unsigned           n_serials, n_consoles;
} Builder;

/* ---- firmware ---- */

/* A variable store fits only firmware of its own layout, so the peer's image is taken when it is one that a package put on this host
 * as well; every other path is ignored. */
static bool
is_installed_firmware(const char *path)
{
    static const char *const folders[] = { "/usr/share/OVMF/", "/usr/share/AAVMF/", "/usr/share/edk2/", "/usr/share/qemu/" };
    bool inside = false;
    for (size_t i = 0; i < G_N_ELEMENTS(folders); i++)
        inside |= g_str_has_prefix(path, folders[i]);
    return inside && strstr(path, "/../") == NULL && g_file_test(path, G_FILE_TEST_IS_REGULAR);
}

/* "yes", "no", or NULL where the peer leaves it to libvirt. */
static const char *
secure_boot(const xmlNode *from, const xmlNode *loader)
{
    for (const xmlNode *feature = domxml_child(domxml_child(from, "firmware"), "feature"); feature != NULL;
         feature = domxml_next(feature, "feature")) {
        if (domxml_attr_is(feature, "name", "secure-boot"))
            return domxml_attr_is(feature, "enabled", "yes") ? "yes" : "no";
    }
    if (domxml_attr_is(loader, "secure", "yes"))
        return "yes";
    return loader != NULL ? "no" : NULL;
}

static void
build_efi(Builder *self, xmlNode *os, const xmlNode *from)
{
    const xmlNode *loader = domxml_child(from, "loader");
    g_autofree char *path = domxml_text(loader);
    const char *secure = secure_boot(from, loader);
    if (path != NULL && is_installed_firmware(path)) {
        xmlNode *ours = domxml_add(os, "loader", path);
        domxml_set(ours, "readonly", "yes");
        domxml_set(ours, "secure", domxml_attr_is(loader, "secure", "yes") ? "yes" : "no");
        domxml_set(ours, "type", "pflash");
    } else {
        domxml_set(os, "firmware", "efi"); /* libvirt picks the image; it takes no <loader secure=...> beside this */
        if (secure != NULL) {
            xmlNode *feature = domxml_add(domxml_add(os, "firmware", NULL), "feature", NULL);
            domxml_set(feature, "enabled", secure);
            domxml_set(feature, "name", "secure-boot");
        }
    }
    if (self->rebuild->nvram_path != NULL)
        domxml_add(os, "nvram", self->rebuild->nvram_path);
}

static void
build_os(Builder *self, xmlNode *domain, const xmlNode *peer)
{
    xmlNode *from = domxml_child(peer, "os"), *os = domxml_add(domain, "os", NULL);
    bool efi = domxml_attr_is(from, "firmware", "efi") || domxml_attr_is(domxml_child(from, "loader"), "type", "pflash");
    for (const xmlNode *child = domxml_first(from); child != NULL; child = domxml_next(child, NULL)) {
        if (!efi || (!domxml_is(child, "loader") && !domxml_is(child, "nvram") && !domxml_is(child, "firmware")))
            allow_element(os, child, allowed_in_os, self->kvm, "os", self->left_out);
    }
    if (efi)
        build_efi(self, os, from);
}

/* Variables in a qcow2 image could name any file here as its backing file, and as raw bytes they would be garbage. */
static bool
refuse_qcow2_variables(const xmlNode *peer, GError **error)
{
    if (!domxml_attr_is(domxml_child(domxml_child(peer, "os"), "nvram"), "format", "qcow2"))
        return true;
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSAFE_XML,
                "the VM keeps its firmware variables in a qcow2 image (<nvram format='qcow2'>), which is not replicated; "
                "convert it to raw to replicate the VM");
    return false;
}

/* ---- disks ---- */

static const AllowedAttr disk_driver[] = {
    { "cache", "none|writethrough|writeback|directsync" },
    { "io", "native|threads|io_uring" },
    { "discard", "ignore|unmap" },
    { "detect_zeroes", "off|on|unmap" },
    { "error_policy", "stop|report|ignore|enospace" },
    { "rerror_policy", "stop|report|ignore" },
    { "queues", "#number" },
    { "iothread", "#number" },
    { NULL, NULL },
};

static void
build_disk_driver(Builder *self, xmlNode *disk, const xmlNode *from)
{
    xmlNode *driver = domxml_add(disk, "driver", NULL), *peer = domxml_child(from, "driver");
    domxml_set(driver, "name", "qemu");
    domxml_set(driver, "type", self->rebuild->format);
    g_autofree char *cache = domxml_attr(peer, "cache");
    bool direct = g_strcmp0(cache, "none") == 0 || g_strcmp0(cache, "directsync") == 0;
    for (const AllowedAttr *attr = disk_driver; attr->name != NULL; attr++) {
        g_autofree char *value = domxml_attr(peer, attr->name);
        if (value == NULL)
            continue;
        bool fits = strcmp(value, "native") != 0 || direct; /* libvirt refuses io='native' with a cache */
        if (fits && allow_value(attr->pattern, value))
            domxml_set(driver, attr->name, value);
        else
            left_out_note(self->left_out, "devices/disk/driver", attr->name);
    }
}

static const char *
path_of_target(const VirtRebuild *rebuild, const char *target)
{
    for (size_t i = 0; rebuild->targets != NULL && rebuild->targets[i] != NULL; i++) {
        if (strcmp(rebuild->targets[i], target) == 0)
            return rebuild->paths[i];
    }
    return NULL;
}

static void
copy_disk_parts(Builder *self, xmlNode *disk, const xmlNode *from)
{
    for (const xmlNode *child = domxml_first(from); child != NULL; child = domxml_next(child, NULL)) {
        if (!domxml_is(child, "source") && !domxml_is(child, "driver") && !domxml_is(child, "readonly"))
            allow_element(disk, child, allowed_in_disk, self->kvm, "devices/disk", self->left_out);
    }
}

static void
build_disk(Builder *self, xmlNode *devices, const xmlNode *from)
{
    g_autofree char *device = domxml_attr(from, "device"), *target = domxml_attr(domxml_child(from, "target"), "dev");
    bool removable = g_strcmp0(device, "cdrom") == 0 || g_strcmp0(device, "floppy") == 0;
    const char *path = target != NULL && !removable ? path_of_target(self->rebuild, target) : NULL;
    if (target == NULL || !allow_value("#word", target) || (!removable && path == NULL) ||
        !g_hash_table_add(self->used, g_strdup(target))) {
        g_autofree char *name = g_strdup_printf("disk %s", target != NULL && allow_value("#word", target) ? target : "?");
        left_out_note(self->left_out, "devices", name);
        return;
    }
    xmlNode *disk = domxml_add(devices, "disk", NULL);
    domxml_set(disk, "type", "file");
    domxml_set(disk, "device", removable ? device : "disk");
    if (removable) {
        if (domxml_child(from, "source") != NULL)
            left_out_note(self->left_out, "devices/disk", "medium");
        domxml_add(disk, "readonly", NULL);
    } else {
        build_disk_driver(self, disk, from);
        domxml_set(domxml_add(disk, "source", NULL), "file", path);
    }
    copy_disk_parts(self, disk, from);
}

/* ---- interfaces ---- */

#define NO_NETWORK "none"

/* The kind and name of a network; false for a name that is none. */
static bool
split_network(const char *network, const char **ret_kind, const char **ret_name)
{
    static const char *const kinds[] = { "network", "bridge" };
    const char *slash = strchr(network, '/');
    *ret_kind = kinds[0];
    *ret_name = network;
    for (size_t i = 0; slash != NULL && i < G_N_ELEMENTS(kinds); i++) {
        if ((size_t)(slash - network) == strlen(kinds[i]) && g_str_has_prefix(network, kinds[i])) {
            *ret_kind = kinds[i];
            *ret_name = slash + 1;
        }
    }
    return allow_value("#word", *ret_name);
}

bool
virt_network_is_valid(const char *name)
{
    const char *kind, *bare;
    return split_network(name, &kind, &bare);
}

/* What the peer's interface is connected to, as "bridge/br0"; NULL for what has no name of its own, or not a plain one. */
static char *
network_of_peer(const xmlNode *from)
{
    g_autofree char *kind = domxml_attr(from, "type");
    if (kind == NULL || (strcmp(kind, "network") != 0 && strcmp(kind, "bridge") != 0))
        return NULL;
    g_autofree char *source = domxml_attr(domxml_child(from, "source"), kind);
    return source != NULL && allow_value("#word", source) ? g_strdup_printf("%s/%s", kind, source) : NULL;
}

/* What it is connected to here, or NO_NETWORK; NULL: type 'user'. A peer's network is only taken over when the caller wants the guest
 * connected, and by a plain name. */
static char *
network_here(const Builder *self, const xmlNode *from)
{
    const VirtRebuild *rebuild = self->rebuild;
    g_autofree char *mac = domxml_attr(domxml_child(from, "mac"), "address"), *peer = network_of_peer(from);
    g_autofree char *lower = mac != NULL ? g_ascii_strdown(mac, -1) : NULL;
    const char *found = NULL;
    if (rebuild->mac_networks != NULL && lower != NULL)
        found = g_hash_table_lookup(rebuild->mac_networks, lower);
    if (found != NULL || !rebuild->connect_interfaces)
        return g_strdup(found != NULL ? found : NO_NETWORK);
    if (rebuild->network_map != NULL && peer != NULL)
        found = g_hash_table_lookup(rebuild->network_map, peer);
    if (rebuild->network_map != NULL && found == NULL && !domxml_attr_is(from, "type", "user"))
        found = g_hash_table_lookup(rebuild->network_map, "*");
    return found != NULL ? g_strdup(found) : g_steal_pointer(&peer);
}

/* True when the link is up as far as this goes. */
static bool
connect_interface(Builder *self, xmlNode *interface, const xmlNode *from)
{
    g_autofree char *network = network_here(self, from);
    const char *kind, *name;
    bool none = g_strcmp0(network, NO_NETWORK) == 0;
    if (network != NULL && !none && split_network(network, &kind, &name)) {
        domxml_set(interface, "type", kind);
        domxml_set(domxml_add(interface, "source", NULL), kind, name);
        return true;
    }
    domxml_set(interface, "type", "user"); /* needs no network on this host */
    if (!domxml_attr_is(from, "type", "user"))
        left_out_note(self->left_out, "devices/interface", "source");
    return !none;
}

static void
build_interface(Builder *self, xmlNode *devices, const xmlNode *from)
{
    xmlNode *interface = domxml_add(devices, "interface", NULL);
    bool up = connect_interface(self, interface, from) && !domxml_attr_is(domxml_child(from, "link"), "state", "down");
    domxml_set(domxml_add(interface, "link", NULL), "state", up ? "up" : "down");
    for (const xmlNode *child = domxml_first(from); child != NULL; child = domxml_next(child, NULL)) {
        if (!domxml_is(child, "source") && !domxml_is(child, "link"))
            allow_element(interface, child, allowed_in_interface, self->kvm, "devices/interface", self->left_out);
    }
}

/* ---- ports, displays, other devices with a part on the host ---- */

static void
build_port(Builder *self, xmlNode *devices, const xmlNode *from, const char *kind, unsigned *counter)
{
    const VirtRebuild *rebuild = self->rebuild;
    xmlNode *port = domxml_add(devices, kind, NULL);
    if (rebuild->serial_log_folder != NULL) {
        g_autofree char *path = g_strdup_printf("%s/%s-%s%u.log", rebuild->serial_log_folder, rebuild->uuid, kind,
                                                (*counter)++);
        xmlNode *source = domxml_add(port, "source", NULL);
        domxml_set(port, "type", "file");
        domxml_set(source, "path", path);
        domxml_set(source, "append", "on");
    } else {
        domxml_set(port, "type", "pty");
    }
    for (const xmlNode *child = domxml_first(from); child != NULL; child = domxml_next(child, NULL)) {
        if (!domxml_is(child, "source") && !domxml_is(child, "protocol"))
            allow_element(port, child, allowed_in_port, self->kvm, "devices/port", self->left_out);
    }
}

static void
build_serial(Builder *self, xmlNode *devices, const xmlNode *from)
{
    build_port(self, devices, from, "serial", &self->n_serials);
}

static void
build_console(Builder *self, xmlNode *devices, const xmlNode *from)
{
    /* The console that only stands for the first serial port is added by libvirt itself. */
    g_autofree char *type = domxml_attr(domxml_child(from, "target"), "type");
    if (type != NULL && strcmp(type, "serial") != 0)
        build_port(self, devices, from, "console", &self->n_consoles);
}

static void
build_channel(Builder *self, xmlNode *devices, const xmlNode *from)
{
    const xmlNode *target = domxml_child(from, "target");
    if (!domxml_attr_is(target, "type", "virtio") || !domxml_attr_is(target, "name", "org.qemu.guest_agent.0")) {
        left_out_note(self->left_out, "devices", "channel");
        return;
    }
    xmlNode *channel = domxml_add(devices, "channel", NULL), *ours = domxml_add(channel, "target", NULL);
    xmlNode *address = domxml_child(from, "address");
    domxml_set(channel, "type", "unix"); /* its path is libvirt's choice */
    domxml_set(ours, "type", "virtio");
    domxml_set(ours, "name", "org.qemu.guest_agent.0");
    if (address != NULL)
        allow_element(channel, address, allowed_in_port, self->kvm, "devices/channel", self->left_out);
}

static void
build_graphics(Builder *self, xmlNode *devices, const xmlNode *from)
{
    g_autofree char *type = domxml_attr(from, "type");
    if (type == NULL || !allow_value("vnc|spice", type)) {
        left_out_note(self->left_out, "devices", "graphics");
        return;
    }
    xmlNode *graphics = domxml_add(devices, "graphics", NULL), *listen = domxml_add(graphics, "listen", NULL);
    domxml_set(graphics, "type", type);
    domxml_set(graphics, "autoport", "yes");
    domxml_set(graphics, "listen", "127.0.0.1");
    domxml_set(listen, "type", "address");
    domxml_set(listen, "address", "127.0.0.1");
}

static void
build_rng(Builder *self, xmlNode *devices, const xmlNode *from)
{
    xmlNode *rng = domxml_add(devices, "rng", NULL), *backend = domxml_child(from, "backend");
    g_autofree char *model = domxml_attr(from, "model");
    bool known = model != NULL && allow_value("virtio|virtio-transitional|virtio-non-transitional", model);
    domxml_set(rng, "model", known ? model : "virtio");
    for (const xmlNode *child = domxml_first(from); child != NULL; child = domxml_next(child, NULL)) {
        if (child != backend)
            allow_element(rng, child, allowed_in_rng, self->kvm, "devices/rng", self->left_out);
    }
    domxml_set(domxml_add(rng, "backend", NULL), "model", "builtin"); /* QEMU's own, whatever the peer reads from */
}

static void
build_tpm(Builder *self, xmlNode *devices, const xmlNode *from)
{
    const xmlNode *backend = domxml_child(from, "backend");
    /* Encrypted state needs a secret that only the peer has; a new, empty TPM would pretend to be the old one. */
    if (!domxml_attr_is(backend, "type", "emulator") || domxml_child(backend, "encryption") != NULL ||
        domxml_child(backend, "source") != NULL) {
        left_out_note(self->left_out, "devices", "tpm");
        return;
    }
    xmlNode *tpm = domxml_add(devices, "tpm", NULL);
    g_autofree char *model = domxml_attr(from, "model");
    if (model != NULL && allow_value("tpm-tis|tpm-crb|tpm-spapr", model))
        domxml_set(tpm, "model", model);
    allow_children(tpm, from, allowed_in_tpm, self->kvm, "devices/tpm", self->left_out);
}

/* ---- the whole ---- */

static const struct {
    const char *name;
    void (*build)(Builder *self, xmlNode *devices, const xmlNode *from);
} device_builders[] = {
    { "disk", build_disk },       { "interface", build_interface }, { "serial", build_serial },
    { "console", build_console }, { "channel", build_channel },     { "graphics", build_graphics },
    { "rng", build_rng },         { "tpm", build_tpm },
};

static void
build_device(Builder *self, xmlNode *devices, const xmlNode *from)
{
    for (size_t i = 0; i < G_N_ELEMENTS(device_builders); i++) {
        if (domxml_is(from, device_builders[i].name)) {
            device_builders[i].build(self, devices, from);
            return;
        }
    }
    allow_element(devices, from, allowed_in_devices, self->kvm, "devices", self->left_out);
}

/* What only KVM offers is left out for QEMU's emulation, which would refuse to start with it. */
static void
fit_to_emulation(xmlNode *domain)
{
    static const char *const modes[] = { "mode", "match", "check", "migratable" };
    static const char *const timers[] = { "kvmclock", "hypervclock", "tsc" };
    xmlNode *cpu = domxml_child(domain, "cpu"), *next;
    for (size_t i = 0; cpu != NULL && i < G_N_ELEMENTS(modes); i++)
        xmlUnsetProp(cpu, (const xmlChar *)modes[i]);
    for (xmlNode *timer = domxml_child(domxml_child(domain, "clock"), "timer"); timer != NULL; timer = next) {
        next = domxml_next(timer, "timer");
        for (size_t i = 0; i < G_N_ELEMENTS(timers); i++) {
            if (domxml_attr_is(timer, "name", timers[i])) {
                xmlUnlinkNode(timer);
                xmlFreeNode(timer);
                break;
            }
        }
    }
}

static void
build_domain(Builder *self, xmlNode *domain, const xmlNode *peer)
{
    domxml_set(domain, "type", self->kvm ? "kvm" : "qemu");
    domxml_add(domain, "name", self->rebuild->name);
    domxml_add(domain, "uuid", self->rebuild->uuid);
    build_os(self, domain, peer);
    xmlNode *devices = domxml_add(domain, "devices", NULL);
    for (const xmlNode *child = domxml_first(peer); child != NULL; child = domxml_next(child, NULL)) {
        if (domxml_is(child, "devices")) {
            for (const xmlNode *device = domxml_first(child); device != NULL; device = domxml_next(device, NULL))
                build_device(self, devices, device);
        } else if (domxml_is(child, "genid")) {
            domxml_add(domain, "genid", NULL); /* a new one: it tells the guest that it was set back in time */
        } else if (!domxml_is(child, "name") && !domxml_is(child, "uuid") && !domxml_is(child, "os")) {
            allow_element(domain, child, allowed_in_domain, self->kvm, "", self->left_out);
        }
    }
    if (!self->kvm)
        fit_to_emulation(domain);
}

/* A device of the peer's host cannot be here, and a guest that boots without it may lose more than it gains. */
static bool
refuse_host_devices(const xmlNode *peer, GError **error)
{
    for (const xmlNode *devices = domxml_child(peer, "devices"); devices != NULL; devices = domxml_next(devices, "devices")) {
        for (const xmlNode *device = domxml_first(devices); device != NULL; device = domxml_next(device, NULL)) {
            bool host = domxml_is(device, "hostdev") ||
                        (domxml_is(device, "interface") && domxml_attr_is(device, "type", "hostdev")) ||
                        (domxml_is(device, "disk") && domxml_attr_is(device, "device", "lun"));
            if (host) {
                g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSAFE_XML,
                            "the VM uses a device of its host (<%s>), which the replica does not have; "
                            "remove it from the VM to replicate it", (const char *)device->name);
                return false;
            }
        }
    }
    return true;
}

/* A /dev/kvm that opens need not work: a VM is made, and closed again. */
static bool
kvm_works(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = fd >= 0 ? ioctl(fd, KVM_CREATE_VM, 0) : -1;
    int vcpu = vm >= 0 ? ioctl(vm, KVM_CREATE_VCPU, 0) : -1;
    if (vcpu >= 0)
        close(vcpu);
    if (vm >= 0)
        close(vm);
    if (fd >= 0)
        close(fd);
    return vcpu >= 0;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char **
names_left_out(LeftOut *left_out)
{
    GPtrArray *names = g_ptr_array_new();
    GHashTableIter iter;
    gpointer name;
    g_hash_table_iter_init(&iter, left_out);
    while (g_hash_table_iter_next(&iter, &name, NULL))
        g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, compare_names);
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(names, FALSE);
}

char *
virt_rebuild_xml(const char *peer_xml, const VirtRebuild *rebuild, char ***ret_left_out, GError **error)
{
    g_autoptr(xmlDoc) peer = domxml_parse(peer_xml, error);
    if (peer == NULL)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(peer);
    if (!domxml_is(root, "domain")) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSAFE_XML, "what came as a domain XML is a <%s>",
                    (const char *)root->name);
        return NULL;
    }
    if (!refuse_host_devices(root, error) || !refuse_qcow2_variables(root, error))
        return NULL;

    g_autoptr(GHashTable) left_out = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) used = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    bool kvm = rebuild->domain_type != NULL ? strcmp(rebuild->domain_type, "kvm") == 0 : kvm_works();
    Builder builder = { .rebuild = rebuild, .kvm = kvm, .left_out = left_out, .used = used };
    g_autoptr(xmlDoc) doc = xmlNewDoc((const xmlChar *)"1.0");
    xmlNode *domain = xmlNewDocNode(doc, NULL, (const xmlChar *)"domain", NULL);
    xmlDocSetRootElement(doc, domain);
    build_domain(&builder, domain, root);
    if (ret_left_out != NULL)
        *ret_left_out = names_left_out(left_out);
    return domxml_print(doc);
}
