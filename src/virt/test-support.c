#include "virt/test-support.h"

#include "util/durable.h"
#include "util/subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WAIT_SEC  60
#define LOOK_USEC 5000

/* The guest: a boot sector that writes through the BIOS, both disks in turn, and counts rounds and failed writes.
 *
 *      org 0x7c00
 *      xor ax, ax                      ; all segments, the stack, and a zero sector at 0x8000
 *      mov ds, ax / es, ax / ss, ax / mov sp, 0x7c00 / cld / mov di, 0x8000 / mov cx, 512 / rep stosb
 *  round:
 *      inc dword [0x8000]              ; the number of the round
 *      mov eax, 1024 / call both
 *      mov eax, [lba] / call both
 *      add dword [lba], 128            ; the next cluster of 64 KiB, from 1 MiB to the end of the disk
 *      cmp dword [lba], END / jb round
 *      mov dword [lba], 2048 / jmp round
 *  both:
 *      mov [packet + 8], eax / mov dl, 0x80 / call one / mov dl, 0x81
 *  one:
 *      mov ax, 0x4300 / mov si, packet / int 0x13 / jnc done
 *      inc dword [0x8004]              ; failed writes
 *  done:
 *      ret
 *  lba:    dd 2048
 *  packet: db 16, 0 / dw 1 / dw 0x8000, 0 / dq 0
 */
static const unsigned char boot_sector[] = {
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfc, 0xbf, 0x00, 0x80, 0xb9, 0x00, 0x02, 0xf3,
    0xaa, 0x66, 0xff, 0x06, 0x00, 0x80, 0x66, 0xb8, 0x00, 0x04, 0x00, 0x00, 0xe8, 0x26, 0x00, 0x66, 0xa1, 0x63, 0x7c,
    0xe8, 0x1f, 0x00, 0x66, 0x81, 0x06, 0x63, 0x7c, 0x80, 0x00, 0x00, 0x00, 0x66, 0x81, 0x3e, 0x63, 0x7c,
    /* END, in sectors */
    (TEST_DISK_MIB * 2048) & 0xff, (TEST_DISK_MIB * 2048) >> 8 & 0xff, (TEST_DISK_MIB * 2048) >> 16, 0x00,
    0x72, 0xd7, 0x66, 0xc7, 0x06, 0x63, 0x7c, 0x00, 0x08, 0x00, 0x00, 0xeb, 0xcc, 0x66, 0xa3, 0x6f, 0x7c, 0xb2, 0x80,
    0xe8, 0x02, 0x00, 0xb2, 0x81, 0xb8, 0x00, 0x43, 0xbe, 0x67, 0x7c, 0xcd, 0x13, 0x73, 0x05, 0x66, 0xff, 0x06, 0x04,
    0x80, 0xc3, 0x00, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00, 0x00, 0x80, 0x00, 0x00,
};

/* Read by LeakSanitizer, where there is one: libvirt's QEMU driver, which runs inside the test, keeps a little of each
 * backup job. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
    return "leak:libvirt_driver_qemu";
}

char *
test_run(const char *program, ...)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    va_list args;
    va_start(args, program);
    for (const char *arg = program; arg != NULL; arg = va_arg(args, const char *))
        g_ptr_array_add(argv, (char *)arg);
    va_end(args);
    g_ptr_array_add(argv, NULL);
    g_autoptr(GError) error = NULL;
    char *output = NULL;
    subprocess_run((const char *const *)argv->pdata, WAIT_SEC, &output, &error);
    g_assert_no_error(error);
    return output;
}

/* ---- the bed ---- */

/* A guest outlives the process that started it, and a failed test aborts: a child waits for our end, whatever it is,
 * and then ends the guests under @root by their process ids. */
static void
guard(const char *root)
{
    int ends[2];
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    if (fork() != 0) {
        close(ends[0]); /* the other end stays open as long as we live */
        return;
    }
    char byte;
    close(ends[1]);
    while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
        ;
    g_autofree char *marker = g_strdup_printf("%s/lib/qemu/domain-", root);
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    const char *entry;
    while (proc != NULL && (entry = g_dir_read_name(proc)) != NULL) {
        pid_t pid = (pid_t)g_ascii_strtoll(entry, NULL, 10);
        if (subprocess_is_ours(pid, marker))
            kill(pid, SIGKILL);
    }
    durable_remove_tree(root, NULL);
    _exit(0);
}

char *
test_root_new(void)
{
    g_autoptr(GError) error = NULL;
    char *root = g_dir_make_tmp("vrt-XXXXXX", &error);
    g_assert_no_error(error);
    guard(root);
    return root;
}

TestBed *
test_start(const char *root)
{
    g_autoptr(GError) error = NULL;
    TestBed *self = g_new0(TestBed, 1);
    self->root = g_strdup(root);
    self->scratch = g_build_filename(self->root, "scratch", NULL);
    g_mkdir(self->scratch, 0700);
    g_autofree char *uri = g_strdup_printf("qemu:///embed?root=%s", self->root);
    self->host = virt_host_open(uri, &error);
    g_assert_no_error(error);
    return self;
}

void
test_stop(TestBed *self)
{
    g_autoptr(GPtrArray) domains = virt_host_list(self->host, NULL);
    for (guint i = 0; domains != NULL && i < domains->len; i++) {
        const VirtDomain *domain = g_ptr_array_index(domains, i);
        test_guest_remove(self, domain->uuid);
    }
    virt_host_close(self->host);
    durable_remove_tree(self->root, NULL);
    g_free(self->scratch);
    g_free(self->root);
    g_free(self);
}

/* ---- guests ---- */

char *
test_image(const TestBed *self, const char *name, const char *target)
{
    return g_strdup_printf("%s/%s-%s.qcow2", self->root, name, target);
}

/* Full of data: what lies in an unallocated cluster need not be copied before it is overwritten. */
static void
make_image(const TestBed *self, const char *name, const char *target)
{
    g_autofree char *path = test_image(self, name, target), *raw = g_strconcat(path, ".raw", NULL);
    g_autofree char *content = g_malloc(TEST_DISK_MIB << 20);
    g_autoptr(GError) error = NULL;
    memset(content, 0x5a, TEST_DISK_MIB << 20);
    memset(content, 0, 1 << 20);
    memcpy(content, boot_sector, sizeof boot_sector);
    memcpy(content + 510, "\x55\xaa", 2);
    g_file_set_contents_full(raw, content, TEST_DISK_MIB << 20, G_FILE_SET_CONTENTS_NONE, 0600, &error);
    g_assert_no_error(error);
    g_free(test_run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path, NULL));
    g_unlink(raw);
}

char *
test_guest_define(TestBed *self, const char *name, const char *more_devices)
{
    char *uuid = g_uuid_string_random();
    GString *disks = g_string_new(NULL);
    static const char *const targets[] = { "vda", "vdb" };
    for (size_t i = 0; i < G_N_ELEMENTS(targets); i++) {
        g_autofree char *path = test_image(self, name, targets[i]);
        make_image(self, name, targets[i]);
        g_string_append_printf(disks, "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
                               "<source file='%s'/><target dev='%s' bus='virtio'/><boot order='%zu'/></disk>",
                               path, targets[i], i + 1);
    }
    g_autofree char *xml = g_strdup_printf(
        "<domain type='qemu'><name>%s</name><uuid>%s</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>%s%s</devices></domain>",
        name, uuid, disks->str, more_devices);
    g_string_free(disks, TRUE);
    g_autoptr(GError) error = NULL;
    virt_host_define(self->host, xml, &error);
    g_assert_no_error(error);
    return uuid;
}

char *
test_guest_new(TestBed *self, const char *name)
{
    char *uuid = test_guest_define(self, name, "");
    g_autoptr(GError) error = NULL;
    virt_host_start(self->host, uuid, &error);
    g_assert_no_error(error);
    test_guest_writes(self, uuid, 8);
    return uuid;
}

void
test_guest_remove(TestBed *self, const char *uuid)
{
    virt_host_stop(self->host, uuid, NULL);
    virt_host_undefine(self->host, uuid, NULL);
}

static long long
count_writes(virDomainPtr domain)
{
    virDomainBlockStatsStruct stats;
    return virDomainBlockStats(domain, "vdb", &stats, sizeof stats) == 0 ? stats.wr_req : -1;
}

void
test_guest_writes(TestBed *self, const char *uuid, unsigned writes)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self->host, uuid, NULL);
    int64_t deadline = g_get_monotonic_time() + WAIT_SEC * G_USEC_PER_SEC;
    long long before = count_writes(domain);
    while (count_writes(domain) < before + (long long)writes) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(LOOK_USEC);
    }
}

bool
test_guest_is_running(TestBed *self, const char *uuid)
{
    g_autoptr(VirtDomain) domain = virt_host_find(self->host, uuid, NULL);
    return domain != NULL && domain->state == VIRT_RUNNING;
}

bool
test_has_job(TestBed *self, const char *uuid)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self->host, uuid, NULL);
    virDomainJobInfo job = { 0 };
    return virDomainGetJobInfo(domain, &job) == 0 && job.type != VIR_DOMAIN_JOB_NONE;
}

bool
test_has_file_of_ours(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        if (g_str_has_prefix(name, VIRT_NAME_PREFIX))
            return true;
    }
    return false;
}

/* ---- captures ---- */

const char *const test_both_disks[] = { "vda", "vdb", NULL };

VirtCaptureRequest
test_request(TestBed *self, const char *uuid, const char *job_id)
{
    return (VirtCaptureRequest){
        .uuid = uuid, .job_id = job_id, .disks = test_both_disks, .scratch_folder = self->scratch,
        .socket_folder = self->root, .scratch_max_bytes = UINT64_C(1) << 30, .timeout_sec = 60,
    };
}

VirtCapture *
test_begin(TestBed *self, const VirtCaptureRequest *request)
{
    g_autoptr(GError) error = NULL;
    VirtCapture *capture = virt_capture_begin(self->host, request, &error);
    g_assert_no_error(error);
    g_assert_nonnull(capture);
    return capture;
}

void
test_make_checkpoint(TestBed *self, const char *uuid, const char *name)
{
    VirtCaptureRequest request = test_request(self, uuid, name);
    request.checkpoint = name;
    virt_capture_end(test_begin(self, &request));
}

void
test_assert_no_checkpoint(TestBed *self, const char *uuid, const char *name)
{
    g_auto(GStrv) names = virt_checkpoint_list(self->host, uuid, NULL);
    g_assert_nonnull(names);
    g_assert_false(g_strv_contains((const char *const *)names, name));
}

void
test_assert_clean(TestBed *self, const char *uuid)
{
    g_assert_false(test_has_job(self, uuid));
    g_assert_false(test_has_file_of_ours(self->scratch));
    g_assert_false(test_has_file_of_ours(self->root));
}

/* ---- looking into captures ---- */

/* The sector's first 16 bytes from qemu-io's dump: "00080000:  05 00 00 00 00 00 00 00 ..." */
static void
parse_round(const char *dump, unsigned *ret_round, unsigned *ret_failed)
{
    const char *line = strstr(dump, "00080000:");
    unsigned b[8];
    g_assert_nonnull(line);
    g_assert_cmpint(sscanf(line, "00080000: %2x %2x %2x %2x %2x %2x %2x %2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
                           &b[6], &b[7]), ==, 8);
    *ret_round = b[0] | b[1] << 8 | b[2] << 16 | b[3] << 24;
    *ret_failed = b[4] | b[5] << 8 | b[6] << 16 | b[7] << 24;
}

static char *
export_uri(VirtCapture *capture, const char *target)
{
    return g_strdup_printf("nbd+unix:///%s?socket=%s", virt_capture_export(capture, target),
                           virt_capture_socket(capture));
}

void
test_read_round(VirtCapture *capture, const char *target, unsigned *ret_round, unsigned *ret_failed)
{
    g_autofree char *uri = export_uri(capture, target);
    g_autofree char *dump = test_run("qemu-io", "-r", "-f", "raw", "-c", "read -v 524288 16", uri, NULL);
    parse_round(dump, ret_round, ret_failed);
}

void
test_read_image_round(const char *path, unsigned *ret_round, unsigned *ret_failed)
{
    g_autofree char *dump = test_run("qemu-io", "-r", "-f", "qcow2", "-c", "read -v 524288 16", path, NULL);
    parse_round(dump, ret_round, ret_failed);
}

uint64_t
test_dirty_bytes(VirtCapture *capture, const char *target)
{
    /* With x-dirty-bitmap, "data": false marks what is dirty. */
    g_autofree char *options = g_strdup_printf(
        "driver=nbd,export=%s,server.type=unix,server.path=%s,x-dirty-bitmap=qemu:dirty-bitmap:%s",
        virt_capture_export(capture, target), virt_capture_socket(capture), virt_capture_bitmap(capture, target));
    g_autofree char *map = test_run("qemu-img", "map", "--output=json", "--image-opts", options, NULL);
    g_auto(GStrv) entries = g_strsplit(map, "}", -1);
    uint64_t dirty = 0;
    for (size_t i = 0; entries[i] != NULL; i++) {
        const char *length = strstr(entries[i], "\"length\": ");
        if (length != NULL && strstr(entries[i], "\"data\": false") != NULL)
            dirty += g_ascii_strtoull(length + strlen("\"length\": "), NULL, 10);
    }
    return dirty;
}

VirtCaptureStatus
test_wait_status(VirtCapture *capture, unsigned timeout_sec)
{
    int64_t deadline = g_get_monotonic_time() + (int64_t)timeout_sec * G_USEC_PER_SEC;
    while (virt_capture_status(capture) == VIRT_CAPTURE_ACTIVE && g_get_monotonic_time() < deadline)
        g_usleep(LOOK_USEC);
    return virt_capture_status(capture);
}
