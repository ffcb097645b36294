/* Fuzz target of the change log: any bytes, as a log, on a small VM.
 *
 * As a program: with files as arguments it replays them; without, it runs a fixed number of mutations of logs that the
 * writer made, always the same ones. For libFuzzer, compile it with clang, -fsanitize=fuzzer and -DFUZZ_WITHOUT_MAIN.
 *
 * Checksums would stop nearly every mutation at once, so each input is tried twice: as it is, and with all checksums and the
 * digest made right, as somebody who means harm would.
 */
#include "changelog/format.h"
#include "changelog/memory-vm.h"

#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- making the checksums right ---- */

static uint32_t
number_at(const uint8_t *at, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = bytes; i > 0; i--)
        value = value << 8 | at[i - 1];
    return value;
}

/* Mends one record, as far as it is there. Returns its length in the stream, or 0 when it is the last. */
static size_t
mend_record(uint8_t *at, size_t left, uint64_t sequence, gnutls_hash_hd_t hash)
{
    if (left < CHANGE_LOG_FORMAT_RECORD_SIZE)
        return 0;
    bool is_end = at[0] == CHANGE_LOG_RECORD_END;
    size_t stored = number_at(at + 24, 4);
    if (stored > left - CHANGE_LOG_FORMAT_RECORD_SIZE)
        return 0;
    uint8_t *payload = at + CHANGE_LOG_FORMAT_RECORD_SIZE;
    if (is_end && stored == CHANGE_LOG_DIGEST_SIZE)
        gnutls_hash_output(hash, payload);

    ChangeLogFormatRecord record = {
        .type = at[0],
        .codec = at[1],
        .flags = at[2],
        .name_length = at[3],
        .disk = (uint16_t)number_at(at + 4, 2),
        .offset = number_at(at + 8, 4) | (uint64_t)number_at(at + 12, 4) << 32,
        .length = number_at(at + 16, 4) | (uint64_t)number_at(at + 20, 4) << 32,
        .stored_length = (uint32_t)stored,
        .sequence = sequence,
    };
    if (stored > 0)
        change_log_format_checksum(payload, stored, record.checksum);
    change_log_format_record_encode(&record, at);
    gnutls_hash(hash, at, CHANGE_LOG_FORMAT_RECORD_SIZE);
    return is_end ? 0 : CHANGE_LOG_FORMAT_RECORD_SIZE + stored;
}

static void
mend(uint8_t *data, size_t size)
{
    size_t at = 0;
    if (size < CHANGE_LOG_FORMAT_HEADER_FIXED || !change_log_format_header_length(data, &at, NULL) || at > size)
        return;
    change_log_format_checksum(data, at - CHANGE_LOG_FORMAT_CHECKSUM_SIZE, data + at - CHANGE_LOG_FORMAT_CHECKSUM_SIZE);
    gnutls_hash_hd_t hash;
    if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0)
        return;
    gnutls_hash(hash, data, (unsigned)at);
    size_t length;
    for (uint64_t sequence = 0; (length = mend_record(data + at, size - at, sequence, hash)) > 0; sequence++)
        at += length;
    gnutls_hash_deinit(hash, NULL);
}

/* ---- what every input must bear ---- */

static bool
rewind_memory(void *opaque, GError **error)
{
    ChangeLogMemory *memory = opaque;
    memory->offset = 0;
    return true;
}

/* A call either works or says why not. */
static bool
told(bool done, GError **error)
{
    g_assert_true(done == (*error == NULL));
    g_clear_error(error);
    return done;
}

static MemoryVm *
small_vm(void)
{
    MemoryVm *vm = memory_vm_new();
    memory_vm_add_disk(vm, "vda", 150 * 1024);
    memory_vm_add_disk(vm, "vdb", 70 * 1024);
    for (guint i = 0; i < vm->disks->len; i++) {
        MemoryDisk *disk = g_ptr_array_index(vm->disks, i);
        memset(disk->content->data, 0x55 + (int)i, disk->content->len);
    }
    g_autoptr(GBytes) domain = g_bytes_new_static("<domain/>", 9);
    memory_vm_set_blob(vm, "domain.xml", domain);
    return vm;
}

static void
try_merge(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    ChangeLogMemory memories[2] = { { data, size, 0 }, { data, size, 0 } };
    ChangeLogSource sources[2] = { change_log_source_memory(&memories[0]), change_log_source_memory(&memories[1]) };
    for (unsigned n = 1; n <= 2; n++) {
        g_autoptr(GByteArray) merged = g_byte_array_new();
        if (!told(change_log_merge(sources, n, rewind_memory, true, change_log_sink_bytes(merged), NULL, &error), &error))
            continue;
        ChangeLogMemory again = { merged->data, merged->len, 0 };
        g_assert_true(change_log_verify(change_log_source_memory(&again), NULL, NULL));
    }
}

/* What can be captured and applied can be taken back. */
static void
try_inverse(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MemoryVm) vm = small_vm();
    g_autoptr(MemoryVm) before = memory_vm_copy(vm);
    ChangeLogTarget target = memory_vm_target(vm);
    g_autoptr(ChangeLogCaptured) captured = change_log_captured_new();
    g_autoptr(GByteArray) undo = g_byte_array_new();
    ChangeLogMemory log = { data, size, 0 };
    bool inverse = told(change_log_capture(change_log_source_memory(&log), &target, captured,
                                           change_log_sink_bytes(undo), NULL, &error), &error);
    log.offset = 0;
    bool applied = told(change_log_apply(change_log_source_memory(&log), &target, &error), &error);
    if (!inverse || !applied)
        return;
    ChangeLogMemory back = { undo->data, undo->len, 0 };
    g_assert_true(change_log_apply(change_log_source_memory(&back), &target, NULL));
    g_assert_true(memory_vm_equal(vm, before));
}

static void
try_as_undo(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MemoryVm) vm = small_vm();
    ChangeLogTarget target = memory_vm_target(vm);
    g_autoptr(ChangeLogCaptured) captured = change_log_captured_new();
    ChangeLogMemory memories[2] = { { data, size, 0 }, { data, size, 0 } };
    ChangeLogSource sources[2] = { change_log_source_memory(&memories[0]), change_log_source_memory(&memories[1]) };
    told(change_log_captured_add_log(captured, sources[0], &error), &error);
    memories[0].offset = 0;
    told(change_log_apply_undo_chain(sources, 2, &target, &error), &error);
}

static void
try_all(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    ChangeLogMemory memory = { data, size, 0 };
    told(change_log_verify(change_log_source_memory(&memory), NULL, &error), &error);
    try_inverse(data, size);
    try_as_undo(data, size);
    try_merge(data, size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_all(data, size);
    g_autofree uint8_t *mended = g_memdup2(data, size);
    if (size > 0) {
        mend(mended, size);
        try_all(mended, size);
    }
    return 0;
}

#ifndef FUZZ_WITHOUT_MAIN

/* ---- a fixed run of mutations ---- */

enum { MUTATIONS = 3000 };

static GByteArray *
seed_log(ChangeLogKind kind, bool compress)
{
    ChangeLogHeader header = { .kind = kind, .point_kind = POINT_KIND_STANDARD,
                               .position = kind == CHANGE_LOG_DELTA, .n_disks = 2,
                               .disks = { { "vda", 100 * 1024 }, { "vdb", 140 * 1024 } } };
    g_strlcpy(header.vm_uuid, "01234567-89ab-cdef-0123-456789abcdef", sizeof header.vm_uuid);
    g_strlcpy(header.lineage, "fedcba98-7654-3210-fedc-ba9876543210", sizeof header.lineage);
    GByteArray *bytes = g_byte_array_new();
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(change_log_sink_bytes(bytes), &header, compress, NULL);
    uint8_t data[2048];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i / 16);
    g_autoptr(GBytes) blob = g_bytes_new(data, 200);
    change_log_writer_data(writer, 0, 4096, data, sizeof data, NULL);
    change_log_writer_zero(writer, 1, 0, 130 * 1024, NULL);
    change_log_writer_blob(writer, "domain.xml", blob, NULL);
    change_log_writer_data(writer, 1, 65000, data + 16, 1000, NULL);
    change_log_writer_blob(writer, "nvram", NULL, NULL);
    change_log_writer_end(writer, NULL, NULL);
    return bytes;
}

/* Fields hold small numbers, and what is wrong with them lies at their ends. */
static void
mutate_byte(GRand *rand, GByteArray *bytes)
{
    static const uint8_t ends[] = { 0x00, 0x01, 0x02, 0x7f, 0x80, 0xff, 0x40 };
    guint at = (guint)g_rand_int_range(rand, 0, (gint)bytes->len);
    if (g_rand_boolean(rand))
        bytes->data[at] = ends[g_rand_int_range(rand, 0, G_N_ELEMENTS(ends))];
    else
        bytes->data[at] ^= (uint8_t)(1 << g_rand_int_range(rand, 0, 8));
}

static void
mutate(GRand *rand, GByteArray *bytes)
{
    for (int n = g_rand_int_range(rand, 1, 4); n > 0 && bytes->len > 1; n--) {
        guint at = (guint)g_rand_int_range(rand, 0, (gint)bytes->len);
        guint length = (guint)g_rand_int_range(rand, 1, 80);
        length = MIN(length, bytes->len - at);
        switch (g_rand_int_range(rand, 0, 8)) {
        case 0:
            g_byte_array_set_size(bytes, at);
            break;
        case 1:
            g_byte_array_remove_range(bytes, at, length);
            break;
        case 2: {
            g_autofree uint8_t *piece = g_memdup2(bytes->data + at, length);
            g_byte_array_append(bytes, piece, length);
            break;
        }
        default:
            mutate_byte(rand, bytes);
            break;
        }
    }
}

static int
replay(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *content = NULL;
        gsize length = 0;
        if (!g_file_get_contents(argv[i], &content, &length, &error)) {
            fprintf(stderr, "%s\n", error->message);
            return 1;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)content, length);
    }
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc > 1)
        return replay(argc, argv);
    g_autoptr(GRand) rand = g_rand_new_with_seed(20221122);
    for (int i = 0; i < MUTATIONS; i++) {
        g_autoptr(GByteArray) bytes = seed_log((ChangeLogKind)(CHANGE_LOG_DELTA + i % 4), i % 8 < 4);
        if (i >= 8)
            mutate(rand, bytes);
        LLVMFuzzerTestOneInput(bytes->data, bytes->len);
    }
    return 0;
}

#endif
