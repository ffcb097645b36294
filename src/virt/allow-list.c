#include "virt/allow-list.h"

#include <string.h>

#define ATTRS(...)    (const AllowedAttr[]){ __VA_ARGS__, { NULL, NULL } }
#define CHILDREN(...) (const AllowedElement[]){ __VA_ARGS__, { NULL } }

#define LEFT_OUT_MAX 100 /* names */

#define ON_OFF "on|off"
#define YES_NO "yes|no"
#define UNITS  "b|bytes|KB|k|K|KiB|MB|M|MiB|GB|G|GiB|TB|T|TiB"

#define STATE(element)        { element, NULL, ATTRS({ "state", ON_OFF }) }
#define AMOUNT(element)       { element, "#number", ATTRS({ "unit", UNITS }) }

/* Guests care where their devices are: Windows activation, names of interfaces. Only numbers pass. */
#define ADDRESS                                                                                                       \
    { "address", NULL,                                                                                                \
      ATTRS({ "type", "pci|drive|usb|virtio-serial|ccid|ccw|isa|spapr-vio|virtio-mmio" }, { "domain", "#hex" },       \
            { "bus", "#hex" }, { "slot", "#hex" }, { "function", "#hex" }, { "multifunction", ON_OFF },               \
            { "controller", "#number" }, { "target", "#number" }, { "unit", "#number" }, { "port", "#word" },         \
            { "cssid", "#hex" }, { "ssid", "#hex" }, { "devno", "#hex" }, { "iobase", "#hex" }, { "irq", "#hex" },    \
            { "reg", "#hex" }) }
#define BOOT { "boot", NULL, ATTRS({ "order", "#number" }) }

/* ---- the rules ---- */

static const AllowedElement hyperv[] = {
    STATE("relaxed"), STATE("vapic"),
    { "spinlocks", NULL, ATTRS({ "state", ON_OFF }, { "retries", "#number" }) },
    STATE("vpindex"), STATE("runtime"), STATE("synic"),
    { "stimer", NULL, ATTRS({ "state", ON_OFF }), CHILDREN(STATE("direct")) },
    STATE("reset"),
    { "vendor_id", NULL, ATTRS({ "state", ON_OFF }, { "value", "#word" }) },
    STATE("frequencies"), STATE("reenlightenment"), STATE("tlbflush"), STATE("ipi"), STATE("evmcs"), STATE("avic"),
    { NULL },
};

static const AllowedElement features[] = {
    { "acpi" },
    { "apic", NULL, ATTRS({ "eoi", ON_OFF }) },
    { "pae" },
    STATE("hap"),
    { "hyperv", NULL, ATTRS({ "mode", "custom|passthrough" }), hyperv, .needs_kvm = true },
    { "kvm", NULL, NULL, CHILDREN(STATE("hidden"), STATE("hint-dedicated"), STATE("poll-control"), STATE("pv-ipi")),
      .needs_kvm = true },
    { "pvspinlock", NULL, ATTRS({ "state", ON_OFF }), .needs_kvm = true },
    { "pmu", NULL, ATTRS({ "state", ON_OFF }), .needs_kvm = true },
    STATE("vmport"), STATE("vmcoreinfo"),
    { "gic", NULL, ATTRS({ "version", "2|3|host" }) },
    { "smm", NULL, ATTRS({ "state", ON_OFF }), CHILDREN(AMOUNT("tseg")) },
    { "ioapic", NULL, ATTRS({ "driver", "kvm|qemu" }), .needs_kvm = true },
    { NULL },
};

static const AllowedElement cpu[] = {
    { "model", "#word", ATTRS({ "fallback", "allow|forbid" }), .needs_kvm = true },
    { "vendor", "#word", .needs_kvm = true },
    { "topology", NULL,
      ATTRS({ "sockets", "#number" }, { "dies", "#number" }, { "cores", "#number" }, { "threads", "#number" }) },
    { "feature", NULL, ATTRS({ "policy", "force|require|optional|disable|forbid" }, { "name", "#word" }),
      .needs_kvm = true },
    { "cache", NULL, ATTRS({ "level", "1|2|3" }, { "mode", "emulate|passthrough|disable" }), .needs_kvm = true },
    { "maxphysaddr", NULL, ATTRS({ "mode", "emulate|passthrough" }, { "bits", "#number" }), .needs_kvm = true },
    { "numa", NULL, NULL,
      CHILDREN({ "cell", NULL,
                 ATTRS({ "id", "#number" }, { "cpus", "#cpus" }, { "memory", "#number" }, { "unit", UNITS }) }) },
    { NULL },
};

static const AllowedElement timer[] = {
    { "timer", NULL,
      ATTRS({ "name", "hpet|pit|rtc|tsc|kvmclock|hypervclock|platform|armvtimer" }, { "present", YES_NO },
            { "tickpolicy", "delay|catchup|merge|discard" }, { "track", "boot|guest|wall" }, { "frequency", "#number" },
            { "mode", "auto|native|emulate|paravirt|smpsafe" }),
      CHILDREN({ "catchup", NULL,
                 ATTRS({ "threshold", "#number" }, { "slew", "#number" }, { "limit", "#number" }) }) },
    { NULL },
};

static const AllowedElement smbios[] = {
    { "bios", NULL, NULL, CHILDREN({ "entry", "#label", ATTRS({ "name", "#word" }) }) },
    { "system", NULL, NULL, CHILDREN({ "entry", "#label", ATTRS({ "name", "#word" }) }) },
    { "baseBoard", NULL, NULL, CHILDREN({ "entry", "#label", ATTRS({ "name", "#word" }) }) },
    { "chassis", NULL, NULL, CHILDREN({ "entry", "#label", ATTRS({ "name", "#word" }) }) },
    { NULL },
};

const AllowedElement allowed_in_domain[] = {
    AMOUNT("memory"), AMOUNT("currentMemory"),
    { "vcpu", "#number", ATTRS({ "placement", "static" }, { "current", "#number" }) },
    { "iothreads", "#number" },
    { "sysinfo", NULL, ATTRS({ "type", "smbios" }), smbios },
    { "features", NULL, NULL, features },
    { "cpu", NULL,
      ATTRS({ "mode", "custom|host-model|host-passthrough|maximum" }, { "match", "minimum|exact|strict" },
            { "check", "none|partial|full" }, { "migratable", ON_OFF }), cpu },
    { "clock", NULL,
      ATTRS({ "offset", "utc|localtime|timezone|variable" }, { "timezone", "#zone" }, { "adjustment", "#number" },
            { "basis", "utc|localtime" }), timer },
    { "on_poweroff", "destroy|restart|preserve|rename-restart" },
    { "on_reboot", "destroy|restart|preserve|rename-restart" },
    { "on_crash", "destroy|restart|preserve|rename-restart" },
    { "pm", NULL, NULL,
      CHILDREN({ "suspend-to-mem", NULL, ATTRS({ "enabled", YES_NO }) },
               { "suspend-to-disk", NULL, ATTRS({ "enabled", YES_NO }) }) },
    { NULL },
};

const AllowedElement allowed_in_os[] = {
    { "type", "hvm", ATTRS({ "arch", "#word" }, { "machine", "#word" }) },
    { "boot", NULL, ATTRS({ "dev", "fd|hd|cdrom|network" }) },
    { "bootmenu", NULL, ATTRS({ "enable", YES_NO }, { "timeout", "#number" }) },
    { "bios", NULL, ATTRS({ "useserial", YES_NO }, { "rebootTimeout", "#number" }) },
    { "smbios", NULL, ATTRS({ "mode", "emulate|sysinfo" }) },
    { NULL },
};

const AllowedElement allowed_in_devices[] = {
    { "controller", NULL,
      ATTRS({ "type", "usb|ide|sata|scsi|fdc|virtio-serial|ccid|pci" }, { "index", "#number" }, { "model", "#word" },
            { "ports", "#number" }, { "vectors", "#number" }),
      CHILDREN({ "driver", NULL,
                 ATTRS({ "queues", "#number" }, { "cmd_per_lun", "#number" }, { "max_sectors", "#number" },
                       { "iothread", "#number" }) },
               { "model", NULL, ATTRS({ "name", "#word" }) }, { "master", NULL, ATTRS({ "startport", "#number" }) },
               { "target", NULL,
                 ATTRS({ "chassisNr", "#number" }, { "chassis", "#number" }, { "port", "#hex" }, { "busNr", "#number" },
                       { "index", "#number" }, { "hotplug", ON_OFF }),
                 CHILDREN({ "node", "#number" }) },
               ADDRESS) },
    { "input", NULL,
      ATTRS({ "type", "tablet|mouse|keyboard" }, { "bus", "ps2|usb|virtio" }, { "model", "#word" }), CHILDREN(ADDRESS) },
    { "hub", NULL, ATTRS({ "type", "usb" }), CHILDREN(ADDRESS) },
    { "video", NULL, NULL,
      CHILDREN({ "model", NULL,
                 ATTRS({ "type", "vga|cirrus|virtio|qxl|bochs|none|ramfb|vmvga" }, { "heads", "#number" },
                       { "ram", "#number" }, { "vram", "#number" }, { "vram64", "#number" }, { "vgamem", "#number" },
                       { "primary", YES_NO }),
                 CHILDREN({ "resolution", NULL, ATTRS({ "x", "#number" }, { "y", "#number" }) }) },
               ADDRESS) },
    { "watchdog", NULL,
      ATTRS({ "model", "i6300esb|ib700|itco|diag288" }, { "action", "reset|shutdown|poweroff|pause|none|inject-nmi" }),
      CHILDREN(ADDRESS) },
    { "memballoon", NULL,
      ATTRS({ "model", "virtio|virtio-transitional|virtio-non-transitional|none" }, { "autodeflate", ON_OFF },
            { "freePageReporting", ON_OFF }),
      CHILDREN({ "stats", NULL, ATTRS({ "period", "#number" }) }, ADDRESS) },
    { "panic", NULL, ATTRS({ "model", "isa|pseries|hyperv|s390|pvpanic" }), CHILDREN(ADDRESS) },
    { "iommu", NULL, ATTRS({ "model", "intel|smmuv3|virtio" }),
      CHILDREN({ "driver", NULL,
                 ATTRS({ "intremap", ON_OFF }, { "caching_mode", ON_OFF }, { "eim", ON_OFF }, { "iotlb", ON_OFF },
                       { "aw_bits", "#number" }) },
               ADDRESS) },
    { NULL },
};

const AllowedElement allowed_in_disk[] = {
    { "target", NULL, ATTRS({ "dev", "#word" }, { "bus", "virtio|ide|sata|scsi|usb|fdc|sd" }) },
    BOOT,
    { "serial", "#label" }, { "wwn", "#word" }, { "vendor", "#label" }, { "product", "#label" },
    { "blockio", NULL, ATTRS({ "logical_block_size", "#number" }, { "physical_block_size", "#number" }) },
    ADDRESS,
    { NULL },
};

const AllowedElement allowed_in_interface[] = {
    { "mac", NULL, ATTRS({ "address", "#mac" }) },
    { "model", NULL, ATTRS({ "type", "#word" }) },
    { "mtu", NULL, ATTRS({ "size", "#number" }) },
    BOOT, ADDRESS,
    { NULL },
};

const AllowedElement allowed_in_port[] = {
    { "target", NULL,
      ATTRS({ "type", "isa-serial|usb-serial|pci-serial|spapr-vio-serial|system-serial|sclp-serial|serial|virtio|sclp|"
                      "sclplm" },
            { "port", "#number" }, { "name", "org.qemu.guest_agent.0" }),
      CHILDREN({ "model", NULL, ATTRS({ "name", "#word" }) }) },
    ADDRESS,
    { NULL },
};

const AllowedElement allowed_in_rng[] = {
    { "rate", NULL, ATTRS({ "bytes", "#number" }, { "period", "#number" }) },
    ADDRESS,
    { NULL },
};

const AllowedElement allowed_in_tpm[] = {
    { "backend", NULL, ATTRS({ "type", "emulator" }, { "version", "1.2|2.0" }) },
    ADDRESS,
    { NULL },
};

/* ---- values ---- */

static bool
is_made_of(const char *value, size_t min, size_t max, const char *extra)
{
    size_t length = strlen(value);
    if (length < min || length > max)
        return false;
    for (const char *c = value; *c != '\0'; c++) {
        if (!g_ascii_isalnum(*c) && strchr(extra, *c) == NULL)
            return false;
    }
    return true;
}

static bool
is_digits(const char *value, size_t max)
{
    size_t length = strspn(value, "0123456789");
    return length > 0 && length <= max && value[length] == '\0';
}

static bool
is_hex(const char *value)
{
    if (!g_str_has_prefix(value, "0x"))
        return is_digits(value, 10);
    size_t length = strspn(value + 2, "0123456789abcdefABCDEF");
    return length > 0 && length <= 8 && value[2 + length] == '\0';
}

static bool
is_mac(const char *value)
{
    for (int i = 0; i < 17; i++) {
        if (i % 3 == 2 ? value[i] != ':' : !g_ascii_isxdigit(value[i]))
            return false;
    }
    return value[17] == '\0';
}

static bool
is_one_of(const char *words, const char *value)
{
    g_auto(GStrv) list = g_strsplit(words, "|", -1);
    return g_strv_contains((const char *const *)list, value);
}

bool
allow_value(const char *pattern, const char *value)
{
    if (strcmp(pattern, "#number") == 0)
        return is_digits(value[0] == '-' ? value + 1 : value, 19);
    if (strcmp(pattern, "#hex") == 0)
        return is_hex(value);
    if (strcmp(pattern, "#word") == 0)
        return is_made_of(value, 1, 64, "_.+-");
    if (strcmp(pattern, "#label") == 0)
        return is_made_of(value, 1, 128, "_.+- :()/");
    if (strcmp(pattern, "#mac") == 0)
        return is_mac(value);
    if (strcmp(pattern, "#zone") == 0)
        return g_ascii_isalpha(value[0]) && is_made_of(value, 1, 64, "_+-/");
    if (strcmp(pattern, "#cpus") == 0)
        return value[0] != '\0' && strlen(value) <= 256 && value[strspn(value, "0123456789,-^")] == '\0';
    return is_one_of(pattern, value);
}

/* ---- copying ---- */

void
left_out_note(LeftOut *left_out, const char *where, const char *name)
{
    /* It goes into a log: a peer fills neither that nor our memory with names of its own making. */
    if (g_hash_table_size(left_out) >= LEFT_OUT_MAX)
        return;
    if (!is_made_of(name, 1, 64, "@_.+- "))
        name = "?";
    g_hash_table_add(left_out, where[0] != '\0' ? g_strconcat(where, "/", name, NULL) : g_strdup(name));
}

static void
allow_attrs(xmlNode *to, const xmlNode *from, const AllowedAttr *attrs, const char *where, LeftOut *left_out)
{
    for (const xmlAttr *attr = from->properties; attr != NULL; attr = attr->next) {
        const char *name = (const char *)attr->name;
        g_autofree char *value = attr->ns == NULL ? domxml_attr(from, name) : NULL;
        const AllowedAttr *rule = attrs;
        while (rule != NULL && rule->name != NULL && strcmp(rule->name, name) != 0)
            rule++;
        if (value != NULL && rule != NULL && rule->name != NULL && allow_value(rule->pattern, value)) {
            domxml_set(to, name, value);
        } else {
            g_autofree char *at = g_strconcat("@", name, NULL);
            left_out_note(left_out, where, at);
        }
    }
}

xmlNode *
allow_element(xmlNode *to, const xmlNode *node, const AllowedElement *rules, bool kvm, const char *where,
              LeftOut *left_out)
{
    const AllowedElement *rule = rules;
    while (rule->name != NULL && !domxml_is(node, rule->name))
        rule++;
    g_autofree char *text = rule->text != NULL ? domxml_text(node) : NULL;
    if (rule->name == NULL || (rule->needs_kvm && !kvm) || (rule->text != NULL && !allow_value(rule->text, text))) {
        if (!domxml_is(node, "alias")) /* made up by libvirt for its own use */
            left_out_note(left_out, where, (const char *)node->name);
        return NULL;
    }
    g_autofree char *path = where[0] != '\0' ? g_strconcat(where, "/", rule->name, NULL) : g_strdup(rule->name);
    xmlNode *copy = domxml_add(to, rule->name, text);
    allow_attrs(copy, node, rule->attrs, path, left_out);
    if (rule->text == NULL)
        allow_children(copy, node, rule->children != NULL ? rule->children : (const AllowedElement[]){ { NULL } }, kvm,
                       path, left_out);
    return copy;
}

void
allow_children(xmlNode *to, const xmlNode *from, const AllowedElement *rules, bool kvm, const char *where,
               LeftOut *left_out)
{
    for (const xmlNode *child = domxml_first(from); child != NULL; child = domxml_next(child, NULL))
        allow_element(to, child, rules, kvm, where, left_out);
}
