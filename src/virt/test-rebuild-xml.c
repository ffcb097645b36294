#include "virt/allow-list.h"

#include <string.h>

/* A hostile peer's domain XML: whatever is in it, only what the allow-list knows comes out. */

static const char *const targets[] = { "vda", "sda", NULL };
static const char *const paths[] = { "/replica/a.qcow2", "/replica/b & c.qcow2", NULL };

#define UUID "6b0f3f2e-43c3-4b63-9a3e-0d8f1d2c4a55"

static char *
rebuild(const char *peer_xml, char ***ret_left_out, GError **error)
{
    const VirtRebuild how = {
        .name = "ours", .uuid = UUID, .targets = targets, .paths = paths, .format = "qcow2",
        .nvram_path = "/replica/ours.fd", .domain_type = "kvm",
    };
    return virt_rebuild_xml(peer_xml, &how, ret_left_out, error);
}

static char *
rebuild_with(const char *in_domain, const char *in_devices, GError **error)
{
    g_autofree char *xml = g_strdup_printf(
        "<domain type='kvm' id='7'><name>theirs</name><uuid>11111111-1111-1111-1111-111111111111</uuid>"
        "<memory unit='KiB'>65536</memory><vcpu>2</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os>%s"
        "<devices>%s</devices></domain>", in_domain, in_devices);
    return rebuild(xml, NULL, error);
}

/* ---- nothing evil comes out ---- */

/* Each carries the word EVIL where a host would be hurt; the domain is built, without it. */
static const struct {
    const char *name, *in_domain, *in_devices;
} harmless[] = {
    { "emulator", "", "<emulator>/EVIL</emulator>" },
    { "qemu-commandline",
      "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='EVIL'/></q:commandline>", "" },
    { "qemu-override",
      "<q:override xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:device alias='EVIL'/></q:override>", "" },
    { "seclabel", "<seclabel type='static' model='dac'><label>EVIL</label></seclabel>", "" },
    { "metadata", "<metadata><x xmlns='urn:EVIL'>EVIL</x></metadata>", "" },
    { "title-description", "<title>EVIL</title><description>EVIL</description>", "" },
    { "memory-backing", "<memoryBacking><source type='file'/><allocation mode='EVIL'/></memoryBacking>", "" },
    { "launch-security", "<launchSecurity type='sev'><session>EVIL</session></launchSecurity>", "" },
    { "numatune", "<numatune><memory nodeset='EVIL'/></numatune>", "" },
    { "cputune", "<cputune><vcpupin vcpu='0' cpuset='EVIL'/></cputune>", "" },
    { "resource", "<resource><partition>/EVIL</partition></resource>", "" },
    { "bootloader", "<bootloader>/EVIL</bootloader><bootloader_args>EVIL</bootloader_args>", "" },
    { "fwcfg", "<sysinfo type='fwcfg'><entry name='opt/EVIL' file='/EVIL'/></sysinfo>", "" },
    { "on-crash-dump", "<on_crash>coredump-EVIL</on_crash>", "" },
    { "timezone-path", "<clock offset='timezone' timezone=':/EVIL'/>", "" },
    { "cpu-name", "<cpu mode='custom'><model>x,EVIL=on</model><feature policy='force' name='a,EVIL'/></cpu>", "" },
    { "keywrap", "<keywrap><cipher name='EVIL' state='on'/></keywrap>", "" },
    { "disk-of-another-name", "", "<disk type='file' device='disk'><source file='/EVIL'/><target dev='vdx'/></disk>" },
    { "disk-source", "", "<disk type='file' device='disk'><source file='/EVIL'><seclabel model='EVIL'/></source>"
                         "<target dev='vda' bus='virtio'/></disk>" },
    { "disk-on-a-device", "", "<disk type='block' device='disk'><source dev='/dev/EVIL'/><target dev='vda'/></disk>" },
    { "disk-on-the-network", "", "<disk type='network' device='disk'><source protocol='rbd' name='EVIL'><host name='EVIL'/>"
                                 "</source><auth username='EVIL'/><target dev='vda'/></disk>" },
    { "disk-backing-store", "", "<disk type='file' device='disk'><source file='/a'/><backingStore type='file'><format type="
                                "'raw'/><source file='/EVIL'/></backingStore><target dev='vda'/></disk>" },
    { "disk-mirror", "", "<disk type='file'><source file='/a'/><mirror type='file' file='/EVIL'/><target dev='vda'/></disk>" },
    { "disk-format", "", "<disk type='file'><driver name='EVIL' type='EVIL'/><source file='/a'/><target dev='vda'/></disk>" },
    { "disk-encryption", "", "<disk type='file'><source file='/a'><encryption format='luks'><secret type='passphrase' "
                             "uuid='EVIL'/></encryption></source><target dev='vda'/></disk>" },
    { "disk-slices", "", "<disk type='file'><source file='/a'><slices><slice type='storage' offset='EVIL'/></slices></source>"
                         "<target dev='vda'/></disk>" },
    { "disk-target-quote", "", "<disk type='file'><source file='/a'/><target dev='vda&apos; EVIL='/></disk>" },
    { "disk-serial-comma", "", "<disk type='file'><source file='/a'/><target dev='vda'/><serial>1,EVIL</serial></disk>" },
    { "cdrom-medium", "", "<disk type='file' device='cdrom'><source file='/EVIL'/><target dev='sdb' bus='sata'/></disk>" },
    { "floppy-medium", "", "<disk type='dir' device='floppy'><source dir='/EVIL'/><target dev='fda' bus='fdc'/></disk>" },
    { "vhost-user-disk", "", "<disk type='vhostuser' device='disk'><source type='unix' path='/EVIL'/><target dev='vdy'/></disk>" },
    { "filesystem", "", "<filesystem type='mount'><source dir='/EVIL'/><target dir='x'/></filesystem>" },
    { "shmem", "", "<shmem name='EVIL'><server path='/EVIL'/></shmem>" },
    { "memory-device", "", "<memory model='nvdimm'><source><path>/EVIL</path></source></memory>" },
    { "interface-script", "", "<interface type='ethernet'><script path='/EVIL'/><target dev='EVIL'/></interface>" },
    { "interface-vhost-user", "", "<interface type='vhostuser'><source type='unix' path='/EVIL' mode='server'/></interface>" },
    { "interface-direct", "", "<interface type='direct'><source dev='EVIL' mode='passthrough'/></interface>" },
    { "interface-bridge", "", "<interface type='bridge'><source bridge='EVIL'/><mac address='52:54:00:00:00:01'/></interface>" },
    { "interface-listener", "", "<interface type='server'><source address='EVIL' port='1'/></interface>" },
    { "interface-backend", "", "<interface type='user'><backend type='passt' logFile='/EVIL'/></interface>" },
    { "interface-rom", "", "<interface type='user'><rom file='/EVIL'/></interface>" },
    { "interface-filter", "", "<interface type='user'><filterref filter='EVIL'/></interface>" },
    { "interface-mac", "", "<interface type='user'><mac address='EVIL'/></interface>" },
    { "serial-file", "", "<serial type='file'><source path='/EVIL'/><log file='/EVIL'/><target port='0'/></serial>" },
    { "serial-device", "", "<serial type='dev'><source path='/dev/EVIL'/><target port='0'/></serial>" },
    { "serial-listener", "", "<serial type='tcp'><source mode='bind' host='EVIL' service='1'/><target port='0'/></serial>" },
    { "console-pipe", "", "<console type='pipe'><source path='/EVIL'/><target type='virtio' port='1'/></console>" },
    { "parallel", "", "<parallel type='file'><source path='/EVIL'/><target port='0'/></parallel>" },
    { "channel", "", "<channel type='unix'><source mode='bind' path='/EVIL'/><target type='virtio' name='EVIL'/></channel>" },
    { "agent-path", "", "<channel type='unix'><source mode='bind' path='/EVIL'/><target type='virtio' "
                        "name='org.qemu.guest_agent.0'/></channel>" },
    { "graphics-listen", "", "<graphics type='vnc' port='5900' listen='0.0.0.0' passwd='EVIL'><listen type='address' "
                             "address='EVIL'/></graphics>" },
    { "graphics-socket", "", "<graphics type='vnc' socket='/EVIL'><listen type='socket' socket='/EVIL'/></graphics>" },
    { "graphics-rdp", "", "<graphics type='rdp' listen='EVIL'/><graphics type='sdl' display='EVIL' xauth='/EVIL'/>" },
    { "spice-gl", "", "<graphics type='spice'><gl enable='yes' rendernode='/dev/EVIL'/></graphics>" },
    { "video-driver", "", "<video><driver name='vhostuser' vgaconf='EVIL'/><model type='vga' vram='EVIL'/></video>" },
    { "rng-file", "", "<rng model='virtio'><backend model='random'>/dev/EVIL</backend></rng>" },
    { "rng-egd", "", "<rng model='virtio'><backend model='egd' type='tcp'><source host='EVIL'/></backend></rng>" },
    { "tpm-passthrough", "", "<tpm model='tpm-tis'><backend type='passthrough'><device path='/EVIL'/></backend></tpm>" },
    { "tpm-secret", "", "<tpm model='tpm-tis'><backend type='emulator' version='2.0'><encryption secret='EVIL'/></backend></tpm>" },
    { "vsock", "", "<vsock model='EVIL'><cid address='3'/></vsock>" },
    { "sound-audio", "", "<sound model='EVIL'/><audio id='1' type='file' path='/EVIL'/>" },
    { "input-evdev", "", "<input type='evdev'><source dev='/dev/EVIL'/></input>" },
    { "input-passthrough", "", "<input type='passthrough' bus='virtio'><source evdev='/dev/EVIL'/></input>" },
    { "smartcard", "", "<smartcard mode='host-certificates'><database>/EVIL</database></smartcard>" },
    { "redirdev", "", "<redirdev bus='usb' type='tcp'><source mode='connect' host='EVIL'/></redirdev>" },
    { "lease", "", "<lease><lockspace>EVIL</lockspace><target path='/EVIL'/></lease>" },
    { "nvram-device", "", "<nvram><address type='EVIL'/></nvram>" },
    { "watchdog-dump", "", "<watchdog model='i6300esb' action='EVIL'/>" },
    { "controller-address", "", "<controller type='usb' index='0' model='a,EVIL'><address type='pci' bus='EVIL'/></controller>" },
    { "controller-xen", "", "<controller type='EVIL'/>" },
    { "crypto", "", "<crypto model='virtio' type='qemu'><backend model='EVIL'/></crypto>" },
    { "unknown", "<future x='EVIL'><y>EVIL</y></future>", "<gadget path='/EVIL'/>" },
    { "foreign-namespace-disk", "", "<x:disk xmlns:x='urn:x' type='file'><source file='/EVIL'/><target dev='vda'/></x:disk>" },
    { "markup-in-text", "<on_reboot>&lt;EVIL/&gt;</on_reboot>", "" },
    { "comment-and-pi", "<!-- EVIL --><?EVIL EVIL?>", "" },
    { "cdata", "<memtune><hard_limit><![CDATA[EVIL]]></hard_limit></memtune>", "" },
};

static void
test_harmless(const void *data)
{
    size_t i = GPOINTER_TO_SIZE(data);
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = rebuild_with(harmless[i].in_domain, harmless[i].in_devices, &error);
    g_assert_no_error(error);
    g_assert_null(strstr(xml, "EVIL"));
    g_assert_null(strstr(xml, "0.0.0.0"));
    g_assert_null(strstr(xml, "theirs"));
    g_assert_nonnull(strstr(xml, "<name>ours</name>"));
    g_assert_nonnull(strstr(xml, "<uuid>" UUID "</uuid>"));
}

static const struct {
    const char *name, *in_os;
} firmware[] = {
    { "loader", "<loader readonly='yes' type='pflash'>/EVIL.fd</loader><nvram template='/EVIL'>/EVIL</nvram>" },
    { "nvram-source", "<loader type='pflash'>/EVIL</loader><nvram type='file'><source file='/EVIL'/></nvram>" },
    { "rom", "<loader type='rom'>/EVIL</loader>" },
    { "direct-kernel", "<kernel>/EVIL</kernel><initrd>/EVIL</initrd><cmdline>EVIL</cmdline><dtb>/EVIL</dtb>" },
    { "acpi-table", "<acpi><table type='slic'>/EVIL</table></acpi>" },
    { "init", "<init>/EVIL</init><initarg>EVIL</initarg>" },
    { "machine", "<type arch='x86_64' machine='pc,EVIL=on'>hvm</type>" },
    { "smbios-host", "<smbios mode='EVIL'/>" },
};

static void
test_firmware(const void *data)
{
    size_t i = GPOINTER_TO_SIZE(data);
    g_autoptr(GError) error = NULL;
    g_autofree char *peer = g_strdup_printf("<domain type='kvm'><memory>1</memory><os>%s</os></domain>",
                                            firmware[i].in_os);
    g_autofree char *xml = rebuild(peer, NULL, &error);
    g_assert_no_error(error);
    g_assert_null(strstr(xml, "EVIL"));
    bool efi = strstr(firmware[i].in_os, "pflash") != NULL;
    g_assert_true((strstr(xml, "<nvram>/replica/ours.fd</nvram>") != NULL) == efi);
    g_assert_true((strstr(xml, "firmware=\"efi\"") != NULL) == efi);
}

static void
test_secure_boot_is_asked_for_as_the_peer_has_it(void)
{
    static const struct {
        const char *peer, *want; /* NULL: libvirt's choice */
    } table[] = {
        { "<os firmware='efi'/>", NULL },
        { "<os firmware='efi'><firmware><feature enabled='yes' name='secure-boot'/></firmware></os>", "yes" },
        { "<os firmware='efi'><firmware><feature enabled='no' name='secure-boot'/></firmware></os>", "no" },
        { "<os><loader type='pflash' secure='yes'>/x.fd</loader></os>", "yes" },
        { "<os><loader type='pflash'>/usr/share/OVMF/../../../EVIL.fd</loader></os>", "no" },
        { "<os><loader type='pflash'>/usr/share/OVMF/no-such-image.fd</loader></os>", "no" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *peer = g_strdup_printf("<domain>%s</domain>", table[i].peer);
        g_autofree char *xml = rebuild(peer, NULL, &error);
        g_assert_no_error(error);
        g_assert_null(strstr(xml, "<loader")); /* refused by libvirt beside firmware='efi' */
        g_assert_nonnull(strstr(xml, "<os firmware=\"efi\">"));
        g_autofree char *feature = g_strdup_printf("<feature enabled=\"%s\" name=\"secure-boot\"/>", table[i].want);
        g_assert_true(strstr(xml, table[i].want != NULL ? feature : "<feature") == NULL ? table[i].want == NULL
                                                                                       : table[i].want != NULL);
    }
}

static void
test_installed_firmware_is_taken_by_its_path(void)
{
    const char *image = "/usr/share/OVMF/OVMF_CODE_4M.fd";
    g_autoptr(GError) error = NULL;
    if (!g_file_test(image, G_FILE_TEST_IS_REGULAR)) {
        g_test_skip("OVMF (package ovmf) is not installed");
        return;
    }
    g_autofree char *peer = g_strdup_printf("<domain><os firmware='efi'><loader type='pflash' EVIL='1'>%s</loader></os></domain>", image);
    g_autofree char *xml = rebuild(peer, NULL, &error);
    g_assert_no_error(error);
    g_autofree char *loader = g_strdup_printf("<loader readonly=\"yes\" secure=\"no\" type=\"pflash\">%s</loader>", image);
    g_assert_nonnull(strstr(xml, loader));
    g_assert_null(strstr(xml, "firmware=\"efi\""));
    g_assert_null(strstr(xml, "EVIL"));
}

static void
test_a_tpm_without_its_state_is_left_out(void)
{
    static const char *const backends[] = {
        "<backend type='emulator'><encryption secret='s'/></backend>", "<backend type='passthrough'/>",
        "<backend type='emulator'><source type='dir' path='/x'/></backend>",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(backends); i++) {
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) left_out = NULL;
        g_autofree char *peer = g_strdup_printf("<domain><devices><tpm>%s</tpm></devices></domain>", backends[i]);
        g_autofree char *xml = rebuild(peer, &left_out, &error);
        g_assert_no_error(error);
        g_assert_null(strstr(xml, "<tpm"));
        g_assert_true(g_strv_contains((const char *const *)left_out, "devices/tpm"));
    }
}

/* ---- what is refused as a whole ---- */

static const struct {
    const char *name, *xml;
} refused[] = {
    { "hostdev", "<domain><devices><hostdev mode='subsystem' type='pci'/></devices></domain>" },
    { "hostdev-mdev", "<domain><devices><hostdev mode='subsystem' type='mdev'/></devices></domain>" },
    { "hostdev-in-second-devices", "<domain><devices/><devices><hostdev/></devices></domain>" },
    { "interface-hostdev", "<domain><devices><interface type='hostdev'/></devices></domain>" },
    { "scsi-passthrough", "<domain><devices><disk type='block' device='lun'/></devices></domain>" },
    { "external-entity", "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><domain><name>&e;</name></domain>" },
    { "entity-bomb", "<!DOCTYPE d [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]><domain>&b;</domain>" },
    { "external-doctype", "<!DOCTYPE domain SYSTEM 'http://example.com/evil.dtd'><domain/>" },
    { "qcow2-variables", "<domain><os firmware='efi'><nvram format='qcow2'>/x</nvram></os></domain>" },
    { "another-root", "<network><name>x</name></network>" },
    { "foreign-root", "<x:domain xmlns:x='urn:x'/>" },
    { "not-xml", "domain" },
    { "empty", "" },
    { "cut-short", "<domain><name>" },
    { "undeclared-entity", "<domain><name>&evil;</name></domain>" },
    { "not-utf8", "<domain><name>\xff\xfe</name></domain>" },
};

static void
test_refused(const void *data)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(rebuild(refused[GPOINTER_TO_SIZE(data)].xml, NULL, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSAFE_XML);
}

static void
test_size_and_depth_are_limited(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *padding = g_strnfill(XML_LENGTH_MAX, ' ');
    g_autofree char *large = g_strconcat("<domain>", padding, "</domain>", NULL);
    g_assert_null(rebuild(large, NULL, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSAFE_XML);
    g_clear_error(&error);

    GString *deep = g_string_new(NULL);
    for (int i = 0; i < 200; i++)
        g_string_append(deep, "<domain>");
    for (int i = 0; i < 200; i++)
        g_string_append(deep, "</domain>");
    g_assert_null(rebuild(deep->str, NULL, &error));
    g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSAFE_XML);
    g_string_free(deep, TRUE);
}

/* ---- what a guest needs stays ---- */

static const char *const kept[] = {
    "<memory unit=\"KiB\">65536</memory>",
    "<vcpu>2</vcpu>",
    "machine=\"pc\"",
    "<acpi/>",
    "<spinlocks state=\"on\" retries=\"8191\"/>",
    "<vendor_id state=\"on\" value=\"abc\"/>",
    "<model fallback=\"forbid\">Skylake-Client-IBRS</model>",
    "<topology sockets=\"1\" dies=\"1\" cores=\"2\" threads=\"1\"/>",
    "<timer name=\"rtc\" tickpolicy=\"catchup\"/>",
    "<on_crash>restart</on_crash>",
    "<genid/>",
    "<entry name=\"serial\">AB-12 (x)</entry>",
    "<driver name=\"qemu\" type=\"qcow2\" cache=\"none\" io=\"native\" discard=\"unmap\"/>",
    "<source file=\"/replica/a.qcow2\"/>",
    "<source file=\"/replica/b &amp; c.qcow2\"/>",
    "<target dev=\"vda\" bus=\"virtio\"/>",
    "<boot order=\"1\"/>",
    "<serial>WD-1</serial>",
    "<address type=\"pci\" domain=\"0x0000\" bus=\"0x04\" slot=\"0x00\" function=\"0x0\"/>",
    "<disk type=\"file\" device=\"cdrom\">",
    "<model name=\"pcie-root-port\"/>",
    "<mac address=\"52:54:00:aa:bb:cc\"/>",
    "<model type=\"virtio\"/>",
    "<link state=\"down\"/>",
    "<serial type=\"pty\">",
    "<target type=\"virtio\" name=\"org.qemu.guest_agent.0\"/>",
    "<graphics type=\"vnc\" autoport=\"yes\" listen=\"127.0.0.1\">",
    "<model type=\"qxl\" ram=\"65536\"",
    "<backend type=\"emulator\" version=\"2.0\"/>",
    "<backend model=\"builtin\"/>",
    "<rate bytes=\"1024\" period=\"1000\"/>",
    "<memballoon model=\"virtio\">",
    "<watchdog model=\"i6300esb\" action=\"reset\"/>",
};

static void
test_what_a_guest_needs_stays(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = rebuild_with(
        "<features><acpi/><hyperv mode='custom'><spinlocks state='on' retries='8191'/><vendor_id state='on' value='abc'/>"
        "</hyperv></features><cpu mode='custom' match='exact'><model fallback='forbid'>Skylake-Client-IBRS</model>"
        "<topology sockets='1' dies='1' cores='2' threads='1'/></cpu><clock offset='localtime'><timer name='rtc' "
        "tickpolicy='catchup'/></clock><on_crash>restart</on_crash><genid>0b1c0f2e-0000-0000-0000-000000000001</genid>"
        "<sysinfo type='smbios'><system><entry name='serial'>AB-12 (x)</entry></system></sysinfo>",
        "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' io='native' discard='unmap'/>"
        "<source file='/x'/><target dev='vda' bus='virtio'/><boot order='1'/><serial>WD-1</serial>"
        "<address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>"
        "<disk type='file' device='disk'><source file='/y'/><target dev='sda' bus='sata'/></disk>"
        "<disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>"
        "<controller type='pci' index='1' model='pcie-root-port'><model name='pcie-root-port'/></controller>"
        "<interface type='network'><mac address='52:54:00:aa:bb:cc'/><source network='default'/><model type='virtio'/>"
        "</interface><serial type='pty'><source path='/dev/pts/3'/><target type='isa-serial' port='0'/></serial>"
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        "<graphics type='vnc' port='-1'/><video><model type='qxl' ram='65536'/></video>"
        "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
        "<rng model='virtio'><rate bytes='1024' period='1000'/><backend model='random'>/dev/urandom</backend></rng>"
        "<memballoon model='virtio'><stats period='5'/></memballoon><watchdog model='i6300esb' action='reset'/>", &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < G_N_ELEMENTS(kept); i++) {
        if (strstr(xml, kept[i]) == NULL)
            g_error("missing: %s\nin: %s", kept[i], xml);
    }
}

static void
test_a_target_named_twice_is_written_once(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = rebuild_with("", "<disk type='file'><source file='/x'/><target dev='vda'/></disk>"
                                            "<disk type='file'><source file='/x'/><target dev='vda'/></disk>", &error);
    const char *first = strstr(xml, "/replica/a.qcow2");
    g_assert_nonnull(first);
    g_assert_null(strstr(first + 1, "/replica/a.qcow2"));
}

static void
test_what_was_left_out_is_named(void)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) left_out = NULL;
    g_autofree char *xml = rebuild("<domain><seclabel/><devices><shmem name='x'/><disk><target dev='vdz'/></disk>"
                                   "<input type='mouse' bus='ps2' x='1'/></devices></domain>", &left_out, &error);
    g_assert_nonnull(xml);
    g_autofree char *names = g_strjoinv(" ", left_out);
    g_assert_cmpstr(names, ==, "devices/disk vdz devices/input/@x devices/shmem seclabel");
}

static void
test_names_left_out_are_bounded(void)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) left_out = NULL;
    g_autoptr(GString) peer = g_string_new("<domain>");
    for (int i = 0; i < 5000; i++)
        g_string_append_printf(peer, "<x%d/>", i);
    g_string_append(peer, "</domain>");
    g_autofree char *xml = rebuild(peer->str, &left_out, &error);
    g_assert_nonnull(xml);
    g_assert_cmpuint(g_strv_length(left_out), <=, 100);
}

static void
test_connected_interfaces_take_plain_names_only(void)
{
    const VirtRebuild how = { .name = "n", .uuid = UUID, .format = "qcow2", .domain_type = "qemu",
                              .connect_interfaces = true, .serial_log_folder = "/logs" };
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = virt_rebuild_xml(
        "<domain><devices><interface type='bridge'><source bridge='br0'/></interface><interface type='network'>"
        "<source network='prod'/></interface><interface type='bridge'><source bridge='a b/c'/></interface>"
        "<serial type='pty'><target port='0'/></serial></devices></domain>", &how, NULL, &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(xml, "<source bridge=\"br0\"/>"));
    g_assert_nonnull(strstr(xml, "<source network=\"prod\"/>"));
    g_assert_null(strstr(xml, "a b/c"));
    g_assert_nonnull(strstr(xml, "<interface type=\"user\">"));
    g_assert_nonnull(strstr(xml, "<source path=\"/logs/" UUID "-serial0.log\" append=\"on\"/>"));
}

static const struct {
    const char *name;
    bool        connect;
    const char *peer; /* inside of <interface> but for the MAC */
    const char *want, *link;
} networks[] = {
    { "network-to-bridge", true, "type='network'><source network='prod'/>", "<source bridge=\"br5\"/>", "up" },
    { "bridge-to-network", true, "type='bridge'><source bridge='br0'/>", "<source network=\"web\"/>", "up" },
    { "same-name-of-another-kind", true, "type='bridge'><source bridge='prod'/>", "<source network=\"rest\"/>", "up" },
    { "to-nothing", true, "type='network'><source network='dark'/>", "<interface type=\"user\">", "down" },
    { "all-others", true, "type='network'><source network='x'/>", "<source network=\"rest\"/>", "up" },
    { "what-has-no-name", true, "type='direct'><source dev='eth0'/>", "<source network=\"rest\"/>", "up" },
    { "names-that-are-none", true, "type='network'><source network='a/../b'/>", "<source network=\"rest\"/>", "up" },
    { "user", true, "type='user'>", "<interface type=\"user\">", "up" },
    { "down-stays-down", true, "type='network'><source network='prod'/><link state='down'/>", "<source bridge=\"br5\"/>", "down" },
    { "not-before-a-failover", false, "type='network'><source network='prod'/>", "<interface type=\"user\">", "down" },
};

static void
test_network(const void *data)
{
    size_t i = GPOINTER_TO_SIZE(data);
    g_autoptr(GHashTable) map = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_insert(map, (char *)"network/prod", (char *)"bridge/br5");
    g_hash_table_insert(map, (char *)"bridge/br0", (char *)"web");
    g_hash_table_insert(map, (char *)"network/dark", (char *)"none");
    g_hash_table_insert(map, (char *)"*", (char *)"network/rest");
    const VirtRebuild how = { .name = "n", .uuid = UUID, .format = "qcow2", .domain_type = "qemu",
                              .connect_interfaces = networks[i].connect, .network_map = map };
    g_autoptr(GError) error = NULL;
    g_autofree char *peer = g_strdup_printf("<domain><devices><interface %s<mac address='52:54:00:00:00:0A'/></interface></devices></domain>",
                                            networks[i].peer);
    g_autofree char *link = g_strdup_printf("<link state=\"%s\"/>", networks[i].link);
    g_autofree char *xml = virt_rebuild_xml(peer, &how, NULL, &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(xml, networks[i].want));
    g_assert_nonnull(strstr(xml, link));
    g_assert_nonnull(strstr(xml, "<mac address=\"52:54:00:00:00:0A\"/>"));
}

static void
test_a_network_for_one_adapter(void)
{
    g_autoptr(GHashTable) macs = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_insert(macs, (char *)"52:54:00:00:00:0a", (char *)"bridge/br9");
    const VirtRebuild how = { .name = "n", .uuid = UUID, .format = "qcow2", .domain_type = "qemu", .mac_networks = macs };
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = virt_rebuild_xml(
        "<domain><devices><interface type='network'><mac address='52:54:00:00:00:0A'/><source network='prod'/></interface>"
        "<interface type='network'><mac address='52:54:00:00:00:0b'/><source network='prod'/></interface></devices></domain>", &how, NULL,
        &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(xml, "<source bridge=\"br9\"/>"));
    g_assert_nonnull(strstr(xml, "<link state=\"up\"/>"));
    g_assert_nonnull(strstr(xml, "<interface type=\"user\">"));
    g_assert_nonnull(strstr(xml, "<link state=\"down\"/>"));
    g_assert_null(strstr(xml, "prod"));
}

static void
test_names_of_networks(void)
{
    static const char *const good[] = { "default", "network/a.b-c", "bridge/br0", "none" };
    static const char *const wrong[] = { "", "bridge/", "network/", "direct/eth0", "a b", "bridge/br0/x", "../x", "<x>" };
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_true(virt_network_is_valid(good[i]));
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
        g_assert_false(virt_network_is_valid(wrong[i]));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(harmless); i++) {
        g_autofree char *path = g_strconcat("/rebuild-xml/made-harmless/", harmless[i].name, NULL);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_harmless);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(firmware); i++) {
        g_autofree char *path = g_strconcat("/rebuild-xml/firmware/", firmware[i].name, NULL);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_firmware);
    }
    g_test_add_func("/rebuild-xml/secure-boot-is-asked-for-as-the-peer-has-it",
                    test_secure_boot_is_asked_for_as_the_peer_has_it);
    g_test_add_func("/rebuild-xml/installed-firmware-is-taken-by-its-path", test_installed_firmware_is_taken_by_its_path);
    g_test_add_func("/rebuild-xml/a-tpm-without-its-state-is-left-out", test_a_tpm_without_its_state_is_left_out);
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autofree char *path = g_strconcat("/rebuild-xml/refused/", refused[i].name, NULL);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_refused);
    }
    g_test_add_func("/rebuild-xml/size-and-depth-are-limited", test_size_and_depth_are_limited);
    g_test_add_func("/rebuild-xml/what-a-guest-needs-stays", test_what_a_guest_needs_stays);
    g_test_add_func("/rebuild-xml/a-target-named-twice-is-written-once", test_a_target_named_twice_is_written_once);
    g_test_add_func("/rebuild-xml/what-was-left-out-is-named", test_what_was_left_out_is_named);
    g_test_add_func("/rebuild-xml/names-left-out-are-bounded", test_names_left_out_are_bounded);
    for (size_t i = 0; i < G_N_ELEMENTS(networks); i++) {
        g_autofree char *path = g_strconcat("/rebuild-xml/network/", networks[i].name, NULL);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_network);
    }
    g_test_add_func("/rebuild-xml/a-network-for-one-adapter", test_a_network_for_one_adapter);
    g_test_add_func("/rebuild-xml/names-of-networks", test_names_of_networks);
    g_test_add_func("/rebuild-xml/connected-interfaces-take-plain-names-only",
                    test_connected_interfaces_take_plain_names_only);
    return g_test_run();
}
