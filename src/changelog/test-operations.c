/* Properties of capture, apply, chain and merge on random VMs and logs whose sizes and blobs change. */
#include "changelog/memory-vm.h"

#include <string.h>

enum { ROUNDS = 40, SEGMENT_MAX = 6, GRAINS_MAX = 7 };

static const char vm_uuid[] = "01234567-89ab-cdef-0123-456789abcdef";
static const char lineage[] = "fedcba98-7654-3210-fedc-ba9876543210";
static const char *const disk_ids[] = { "vda", "vdb" };
static const char *const blob_names[] = { "domain.xml", "nvram", "tpm" };

static int
random_below(int limit)
{
    return g_test_rand_int_range(0, limit);
}

/* Ends inside grains as often as between them, and sometimes nothing at all. */
static uint64_t
random_size(void)
{
    uint64_t size = (uint64_t)random_below(GRAINS_MAX) * CHANGE_LOG_GRAIN;
    return random_below(2) == 0 ? size : size + 512u * (unsigned)random_below(CHANGE_LOG_GRAIN / 512);
}

static void
random_fill(uint8_t *data, size_t length)
{
    for (size_t i = 0; i + 4 <= length; i += 4) {
        uint32_t value = (uint32_t)g_test_rand_int();
        memcpy(data + i, &value, 4);
    }
}

static GBytes *
random_blob(void)
{
    size_t length = 4u * (unsigned)random_below(2000);
    uint8_t *content = g_malloc0(MAX(length, 1));
    if (random_below(2) == 0)
        random_fill(content, length);
    return g_bytes_new_take(content, length);
}

static MemoryVm *
random_vm(void)
{
    MemoryVm *vm = memory_vm_new();
    for (size_t i = 0; i < G_N_ELEMENTS(disk_ids); i++) {
        MemoryDisk *disk = memory_vm_add_disk(vm, disk_ids[i], random_size());
        random_fill(disk->content->data, disk->content->len);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(blob_names); i++) {
        g_autoptr(GBytes) content = random_blob();
        if (random_below(2) == 0)
            memory_vm_set_blob(vm, blob_names[i], content);
    }
    return vm;
}

static void
random_extent_record(ChangeLogWriter *writer, unsigned disk, uint64_t size)
{
    g_autoptr(GError) error = NULL;
    uint64_t offset = (uint64_t)random_below((int)size);
    uint64_t length = 1 + (uint64_t)random_below((int)MIN(size - offset, 100000));
    if (random_below(4) == 0) {
        change_log_writer_zero(writer, disk, offset, length, &error);
    } else {
        g_autofree uint8_t *data = g_malloc0(length);
        if (random_below(3) > 0)
            random_fill(data, length);
        else
            data[random_below((int)length)] = 1;
        change_log_writer_data(writer, disk, offset, data, length, &error);
    }
    g_assert_no_error(error);
}

/* Header of a delta to @position that leaves the sizes as they are. */
static ChangeLogHeader
delta_header(const MemoryVm *vm, uint64_t position)
{
    ChangeLogHeader header = { .kind = CHANGE_LOG_DELTA, .base = position - 1, .position = position,
                               .point_kind = POINT_KIND_STANDARD, .n_disks = G_N_ELEMENTS(disk_ids) };
    g_strlcpy(header.vm_uuid, vm_uuid, sizeof header.vm_uuid);
    g_strlcpy(header.lineage, lineage, sizeof header.lineage);
    for (unsigned i = 0; i < header.n_disks; i++) {
        g_strlcpy(header.disks[i].id, disk_ids[i], sizeof header.disks[i].id);
        header.disks[i].size_bytes = memory_vm_disk(vm, disk_ids[i])->content->len;
    }
    return header;
}

/* A delta to @position for a VM whose disks may change their sizes. */
static GByteArray *
random_log(const MemoryVm *vm, uint64_t position)
{
    g_autoptr(GError) error = NULL;
    ChangeLogHeader header = delta_header(vm, position);
    for (unsigned i = 0; i < header.n_disks; i++) {
        if (random_below(3) == 0)
            header.disks[i].size_bytes = random_size();
    }
    GByteArray *bytes = g_byte_array_new();
    g_autoptr(ChangeLogWriter) writer =
        change_log_writer_new(change_log_sink_bytes(bytes), &header, random_below(2) == 0, &error);
    g_assert_no_error(error);
    for (int n = random_below(8); n > 0; n--) {
        unsigned disk = (unsigned)random_below((int)header.n_disks);
        if (header.disks[disk].size_bytes > 0)
            random_extent_record(writer, disk, header.disks[disk].size_bytes);
    }
    for (int n = random_below(3); n > 0; n--) {
        g_autoptr(GBytes) content = random_below(3) > 0 ? random_blob() : NULL;
        change_log_writer_blob(writer, blob_names[random_below(G_N_ELEMENTS(blob_names))], content, &error);
        g_assert_no_error(error);
    }
    change_log_writer_end(writer, NULL, &error);
    g_assert_no_error(error);
    return bytes;
}

static ChangeLogMemory
memory_of(const GByteArray *bytes)
{
    return (ChangeLogMemory){ .data = bytes->data, .length = bytes->len };
}

static void
apply(const GByteArray *log, MemoryVm *vm)
{
    g_autoptr(GError) error = NULL;
    ChangeLogMemory memory = memory_of(log);
    ChangeLogTarget target = memory_vm_target(vm);
    change_log_apply(change_log_source_memory(&memory), &target, &error);
    g_assert_no_error(error);
    g_assert_true(vm->flushed);
}

static GByteArray *
capture(const GByteArray *log, MemoryVm *vm, ChangeLogCaptured *captured)
{
    g_autoptr(GError) error = NULL;
    ChangeLogMemory memory = memory_of(log);
    ChangeLogTarget target = memory_vm_target(vm);
    unsigned changes = vm->changes;
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    GByteArray *undo = g_byte_array_new();
    change_log_capture(change_log_source_memory(&memory), &target, captured, change_log_sink_bytes(undo), digest, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(vm->changes, ==, changes);

    ChangeLogSummary summary;
    ChangeLogMemory again = memory_of(undo);
    change_log_verify(change_log_source_memory(&again), &summary, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(summary.digest, sizeof summary.digest, digest, sizeof digest);
    g_assert_cmpint(summary.header.kind, ==, CHANGE_LOG_UNDO);
    return undo;
}

/* ---- a segment: logs one after another, their undos sharing what is captured ---- */

typedef struct {
    unsigned n;
    MemoryVm *states[SEGMENT_MAX + 1]; /* before the first log .. after the last */
    GByteArray *logs[SEGMENT_MAX], *undos[SEGMENT_MAX];
    ChangeLogCaptured *captured; /* NULL: each undo is whole by itself */
} Segment;

static void
segment_init(Segment *self, bool share)
{
    *self = (Segment){ .n = 1 + (unsigned)random_below(SEGMENT_MAX) };
    self->captured = share ? change_log_captured_new() : NULL;
    self->states[0] = random_vm();
    for (unsigned i = 0; i < self->n; i++) {
        self->logs[i] = random_log(self->states[i], i + 1);
        self->undos[i] = capture(self->logs[i], self->states[i], self->captured);
        self->states[i + 1] = memory_vm_copy(self->states[i]);
        apply(self->logs[i], self->states[i + 1]);
    }
}

static void
segment_clear(Segment *self)
{
    for (unsigned i = 0; i < self->n; i++) {
        g_byte_array_unref(self->logs[i]);
        g_byte_array_unref(self->undos[i]);
    }
    for (unsigned i = 0; i <= self->n; i++)
        memory_vm_free(self->states[i]);
    change_log_captured_free(self->captured);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Segment, segment_clear)

static bool
rewind_memory(void *opaque, GError **error)
{
    ChangeLogMemory *memory = opaque;
    memory->offset = 0;
    return true;
}

static GByteArray *
merge(GByteArray **logs, unsigned n, bool backwards)
{
    g_autoptr(GError) error = NULL;
    ChangeLogMemory memories[SEGMENT_MAX];
    ChangeLogSource sources[SEGMENT_MAX];
    for (unsigned i = 0; i < n; i++) {
        memories[i] = memory_of(logs[backwards ? n - 1 - i : i]);
        sources[i] = change_log_source_memory(&memories[i]);
    }
    GByteArray *out = g_byte_array_new();
    change_log_merge(sources, n, rewind_memory, random_below(2) == 0, change_log_sink_bytes(out), NULL, &error);
    g_assert_no_error(error);
    return out;
}

static void
apply_chain(GByteArray **undos, unsigned n, MemoryVm *vm, GError **error)
{
    ChangeLogMemory memories[SEGMENT_MAX];
    ChangeLogSource sources[SEGMENT_MAX];
    for (unsigned i = 0; i < n; i++) {
        memories[i] = memory_of(undos[i]);
        sources[i] = change_log_source_memory(&memories[i]);
    }
    ChangeLogTarget target = memory_vm_target(vm);
    change_log_apply_undo_chain(sources, n, &target, error);
}

static void
test_inverse(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        g_autoptr(MemoryVm) before = random_vm();
        g_autoptr(MemoryVm) vm = memory_vm_copy(before);
        g_autoptr(GByteArray) log = random_log(vm, 1);
        g_autoptr(GByteArray) undo = capture(log, vm, NULL);
        apply(log, vm);
        apply(undo, vm);
        g_assert_true(memory_vm_equal(vm, before));
    }
}

static void
test_whole_undos(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        g_auto(Segment) segment = { 0 };
        segment_init(&segment, false);
        unsigned to = (unsigned)random_below((int)segment.n);

        g_autoptr(MemoryVm) stepwise = memory_vm_copy(segment.states[segment.n]);
        for (unsigned i = segment.n; i > to; i--) {
            apply(segment.undos[i - 1], stepwise);
            g_assert_true(memory_vm_equal(stepwise, segment.states[i - 1]));
        }
        g_autoptr(GError) error = NULL;
        g_autoptr(MemoryVm) at_once = memory_vm_copy(segment.states[segment.n]);
        apply_chain(&segment.undos[to], segment.n - to, at_once, &error);
        g_assert_no_error(error);
        g_assert_true(memory_vm_equal(at_once, segment.states[to]));

        g_autoptr(GByteArray) merged = merge(&segment.undos[to], segment.n - to, true);
        g_autoptr(MemoryVm) by_merge = memory_vm_copy(segment.states[segment.n]);
        apply(merged, by_merge);
        g_assert_true(memory_vm_equal(by_merge, segment.states[to]));
    }
}

static void
test_shared_undos(void)
{
    for (int round = 0; round < 2 * ROUNDS; round++) {
        g_auto(Segment) segment = { 0 };
        segment_init(&segment, true);

        g_autoptr(MemoryVm) stepwise = memory_vm_copy(segment.states[segment.n]);
        for (unsigned i = segment.n; i > 0; i--)
            apply(segment.undos[i - 1], stepwise);
        g_assert_true(memory_vm_equal(stepwise, segment.states[0]));

        g_autoptr(GError) error = NULL;
        g_autoptr(MemoryVm) at_once = memory_vm_copy(segment.states[segment.n]);
        apply_chain(segment.undos, segment.n, at_once, &error);
        g_assert_no_error(error);
        g_assert_true(memory_vm_equal(at_once, segment.states[0]));

        g_autoptr(GByteArray) merged = merge(segment.undos, segment.n, true);
        g_autoptr(MemoryVm) by_merge = memory_vm_copy(segment.states[segment.n]);
        apply(merged, by_merge);
        g_assert_true(memory_vm_equal(by_merge, segment.states[0]));
    }
}

/* Several segments, each merged to one undo, then the whole way back in one chain. */
static void
test_chain_of_merged(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        g_autoptr(MemoryVm) first = random_vm();
        g_autoptr(MemoryVm) vm = memory_vm_copy(first);
        GByteArray *segments[3];
        uint64_t position = 0;
        for (unsigned s = 0; s < G_N_ELEMENTS(segments); s++) {
            g_autoptr(ChangeLogCaptured) captured = change_log_captured_new();
            GByteArray *undos[3];
            for (unsigned i = 0; i < G_N_ELEMENTS(undos); i++) {
                g_autoptr(GByteArray) log = random_log(vm, ++position);
                undos[i] = capture(log, vm, captured);
                apply(log, vm);
            }
            segments[s] = merge(undos, G_N_ELEMENTS(undos), true);
            for (unsigned i = 0; i < G_N_ELEMENTS(undos); i++)
                g_byte_array_unref(undos[i]);
        }
        g_autoptr(GError) error = NULL;
        apply_chain(segments, G_N_ELEMENTS(segments), vm, &error);
        g_assert_no_error(error);
        g_assert_true(memory_vm_equal(vm, first));
        for (unsigned s = 0; s < G_N_ELEMENTS(segments); s++)
            g_byte_array_unref(segments[s]);
    }
}

static void
test_merge_forward(void)
{
    for (int round = 0; round < 2 * ROUNDS; round++) {
        g_auto(Segment) segment = { 0 };
        segment_init(&segment, false);
        g_autoptr(GByteArray) merged = merge(segment.logs, segment.n, false);
        g_autoptr(MemoryVm) vm = memory_vm_copy(segment.states[0]);
        g_autoptr(GByteArray) undo = capture(merged, vm, NULL);
        apply(merged, vm);
        g_assert_true(memory_vm_equal(vm, segment.states[segment.n]));
        apply(undo, vm);
        g_assert_true(memory_vm_equal(vm, segment.states[0]));

        g_autoptr(GError) error = NULL;
        ChangeLogSummary summary;
        ChangeLogMemory memory = memory_of(merged);
        g_assert_true(change_log_verify(change_log_source_memory(&memory), &summary, &error));
        g_assert_cmpuint(summary.header.base, ==, 0);
        g_assert_cmpuint(summary.header.position, ==, segment.n);
        g_assert_cmpint(summary.header.kind, ==, CHANGE_LOG_DELTA);
    }
}

/* Merging a log alone and merging in two steps change nothing, and a log fits any VM, not only the one it was made for. */
static void
test_merge_is_associative(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        g_auto(Segment) segment = { 0 };
        segment_init(&segment, false);
        unsigned cut = (unsigned)random_below((int)segment.n);
        g_autoptr(GByteArray) all = merge(segment.logs, segment.n, false);
        GByteArray *halves[2] = { NULL, merge(&segment.logs[cut], segment.n - cut, false) };
        if (cut > 0)
            halves[0] = merge(segment.logs, cut, false);
        g_autoptr(GByteArray) stepwise = cut > 0 ? merge(halves, 2, false) : g_byte_array_ref(halves[1]);

        g_autoptr(MemoryVm) one = random_vm();
        g_autoptr(MemoryVm) other = memory_vm_copy(one);
        g_autoptr(MemoryVm) third = memory_vm_copy(one);
        apply(all, one);
        apply(stepwise, other);
        for (unsigned i = 0; i < segment.n; i++)
            apply(segment.logs[i], third);
        g_assert_true(memory_vm_equal(one, other));
        g_assert_true(memory_vm_equal(one, third));
        g_clear_pointer(&halves[0], g_byte_array_unref);
        g_byte_array_unref(halves[1]);
    }
}

static void
test_apply_after_interruption(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        g_auto(Segment) segment = { 0 };
        segment_init(&segment, false);
        g_autoptr(MemoryVm) vm = memory_vm_copy(segment.states[0]);
        ChangeLogTarget target = memory_vm_target(vm);
        for (int fail_after = 0;; fail_after++) {
            g_autoptr(GError) error = NULL;
            ChangeLogMemory memory = memory_of(segment.logs[0]);
            vm->fail_after = fail_after;
            vm->changes = 0;
            if (change_log_apply(change_log_source_memory(&memory), &target, &error))
                break;
            g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO);
        }
        g_assert_true(memory_vm_equal(vm, segment.states[1]));
        vm->fail_after = -1;
        apply(segment.logs[0], vm);
        g_assert_true(memory_vm_equal(vm, segment.states[1]));
    }
}

static void
test_chain_after_interruption(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        g_auto(Segment) segment = { 0 };
        segment_init(&segment, true);
        g_autoptr(MemoryVm) vm = memory_vm_copy(segment.states[segment.n]);
        for (int fail_after = 0;; fail_after++) {
            g_autoptr(GError) error = NULL;
            vm->fail_after = fail_after;
            vm->changes = 0;
            apply_chain(segment.undos, segment.n, vm, &error);
            if (error == NULL)
                break;
            g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO);
        }
        g_assert_true(memory_vm_equal(vm, segment.states[0]));
    }
}

static void
expect_undo_holds(const GByteArray *undo, uint64_t disk_bytes, uint64_t records)
{
    g_autoptr(GError) error = NULL;
    ChangeLogSummary summary;
    ChangeLogMemory memory = memory_of(undo);
    g_assert_true(change_log_verify(change_log_source_memory(&memory), &summary, &error));
    g_assert_cmpuint(summary.data_bytes + summary.zero_bytes, ==, disk_bytes);
    g_assert_cmpuint(summary.records, ==, records);
}

/* One sector in the middle of a grain, one near the end of the disk, and a blob; then the same once more. */
static void
test_capture_by_grains(void)
{
    enum { SIZE = 3 * CHANGE_LOG_GRAIN + 1024 };
    g_autoptr(GError) error = NULL;
    g_autoptr(MemoryVm) vm = memory_vm_new();
    memset(memory_vm_add_disk(vm, "vda", SIZE)->content->data, 7, SIZE);
    memory_vm_add_disk(vm, "vdb", 0);
    ChangeLogHeader header = delta_header(vm, 1);
    g_autoptr(GByteArray) log = g_byte_array_new();
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(change_log_sink_bytes(log), &header, true, &error);
    g_assert_true(change_log_writer_zero(writer, 0, CHANGE_LOG_GRAIN + 4096, 512, &error));
    g_assert_true(change_log_writer_zero(writer, 0, SIZE - 512, 512, &error));
    g_assert_true(change_log_writer_blob(writer, "nvram", NULL, &error));
    g_assert_true(change_log_writer_end(writer, NULL, &error));

    g_autoptr(ChangeLogCaptured) captured = change_log_captured_new();
    g_autoptr(GByteArray) first = capture(log, vm, captured);
    expect_undo_holds(first, CHANGE_LOG_GRAIN + 1024, 3);
    g_autoptr(GByteArray) second = capture(log, vm, captured);
    expect_undo_holds(second, 0, 0);
    const ExtentSet *held = change_log_captured_disk(captured, "vda");
    g_assert_cmpuint(extent_set_count(held), ==, 2);
    g_assert_true(extent_set_contains(held, CHANGE_LOG_GRAIN, CHANGE_LOG_GRAIN));
    g_assert_true(extent_set_contains(held, 3 * CHANGE_LOG_GRAIN, 1024));
}

/* A trimmed disk that was nearly empty before: only what was not is read, and comes back. */
static void
test_capture_of_empty_area(void)
{
    enum { SIZE = 3 << 20, AT = (1 << 20) + 5000 };
    g_autoptr(GError) error = NULL;
    g_autoptr(MemoryVm) vm = memory_vm_new();
    memory_vm_add_disk(vm, "vda", SIZE)->content->data[AT] = 7;
    memory_vm_add_disk(vm, "vdb", 0);
    g_autoptr(MemoryVm) before = memory_vm_copy(vm);
    ChangeLogHeader header = delta_header(vm, 1);
    g_autoptr(GByteArray) log = g_byte_array_new();
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(change_log_sink_bytes(log), &header, true, &error);
    g_assert_true(change_log_writer_zero(writer, 0, 512, SIZE - 1024, &error));
    g_assert_true(change_log_writer_end(writer, NULL, &error));

    g_autoptr(GByteArray) undo = capture(log, vm, NULL);
    g_assert_cmpuint(vm->bytes_read, ==, 4096);
    expect_undo_holds(undo, SIZE, 3);
    apply(log, vm);
    g_assert_false(memory_vm_equal(vm, before));
    apply(undo, vm);
    g_assert_true(memory_vm_equal(vm, before));
}

static void
assert_same_captured(const ChangeLogCaptured *a, const ChangeLogCaptured *b)
{
    for (size_t i = 0; i < G_N_ELEMENTS(disk_ids); i++) {
        const ExtentSet *one = change_log_captured_disk(a, disk_ids[i]);
        const ExtentSet *other = change_log_captured_disk(b, disk_ids[i]);
        g_assert_cmpuint(extent_set_count(one), ==, extent_set_count(other));
        for (size_t k = 0; k < extent_set_count(one); k++) {
            g_assert_cmpuint(extent_set_at(one, k)->start, ==, extent_set_at(other, k)->start);
            g_assert_cmpuint(extent_set_at(one, k)->end, ==, extent_set_at(other, k)->end);
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(blob_names); i++)
        g_assert_true(change_log_captured_blob(a, blob_names[i]) == change_log_captured_blob(b, blob_names[i]));
}

static void
test_captured_is_rebuilt(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        g_autoptr(GError) error = NULL;
        g_auto(Segment) segment = { 0 };
        segment_init(&segment, true);
        g_autoptr(ChangeLogCaptured) rebuilt = change_log_captured_new();
        for (unsigned i = 0; i < segment.n; i++) {
            ChangeLogMemory memory = memory_of(segment.undos[i]);
            g_assert_true(change_log_captured_add_log(rebuilt, change_log_source_memory(&memory), &error));
        }
        assert_same_captured(rebuilt, segment.captured);
        g_autoptr(ChangeLogCaptured) copy = change_log_captured_copy(rebuilt);
        assert_same_captured(copy, segment.captured);

        ChangeLogMemory forward = memory_of(segment.logs[0]);
        g_assert_false(change_log_captured_add_log(rebuilt, change_log_source_memory(&forward), &error));
        g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT);
        assert_same_captured(rebuilt, segment.captured);
    }
}

static bool
refuse(void *opaque, const void *data, size_t length, GError **error)
{
    int *left = opaque;
    if ((*left)-- > 0)
        return true;
    g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "The sink is full, as it was told to be.");
    return false;
}

static void
test_failed_capture_counts_nothing(void)
{
    g_auto(Segment) segment = { 0 };
    segment_init(&segment, true);
    g_autoptr(MemoryVm) vm = segment.states[segment.n];
    segment.states[segment.n] = memory_vm_copy(vm);
    g_autoptr(GByteArray) log = random_log(vm, segment.n + 1);
    ChangeLogTarget target = memory_vm_target(vm);
    g_autoptr(ChangeLogCaptured) before = change_log_captured_copy(segment.captured);
    for (int writes = 0;; writes++) {
        g_autoptr(GError) error = NULL;
        int left = writes;
        ChangeLogMemory memory = memory_of(log);
        if (change_log_capture(change_log_source_memory(&memory), &target, segment.captured,
                               (ChangeLogSink){ .write = refuse, .opaque = &left }, NULL, &error))
            break;
        g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO);
        assert_same_captured(before, segment.captured);
    }
}

static void
test_wrong_neighbours(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MemoryVm) vm = random_vm();
    g_autoptr(GByteArray) one = random_log(vm, 1);
    g_autoptr(GByteArray) three = random_log(vm, 3);
    ChangeLogMemory memories[2] = { memory_of(one), memory_of(three) };
    ChangeLogSource sources[2] = { change_log_source_memory(&memories[0]), change_log_source_memory(&memories[1]) };
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_assert_false(change_log_merge(sources, 2, rewind_memory, true, change_log_sink_bytes(out), NULL, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT);
    g_clear_error(&error);
    g_assert_false(change_log_merge(sources, 0, rewind_memory, true, change_log_sink_bytes(out), NULL, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT);
    g_clear_error(&error);

    g_autoptr(MemoryVm) before = memory_vm_copy(vm);
    GByteArray *not_undos[1] = { one };
    apply_chain(not_undos, 1, vm, &error);
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT);
    g_clear_error(&error);
    g_assert_true(memory_vm_equal(before, vm));

    g_autoptr(GByteArray) undo_one = capture(one, vm, NULL);
    g_autoptr(GByteArray) undo_three = capture(three, vm, NULL);
    ChangeLogMemory undo = memory_of(undo_one);
    ChangeLogTarget target = memory_vm_target(vm);
    g_assert_false(change_log_capture(change_log_source_memory(&undo), &target, NULL, change_log_sink_bytes(out), NULL,
                                      &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT);
    g_clear_error(&error);

    GByteArray *gap[2] = { undo_one, undo_three };
    apply_chain(gap, 2, vm, &error);
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT);
}

/* Without the disk that a log names nothing is changed. */
static void
test_missing_disk(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MemoryVm) vm = random_vm();
    g_autoptr(GByteArray) log = random_log(vm, 1);
    g_autoptr(MemoryVm) other = memory_vm_new();
    ChangeLogTarget target = memory_vm_target(other);
    ChangeLogMemory memory = memory_of(log);
    g_assert_false(change_log_apply(change_log_source_memory(&memory), &target, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET);
    g_clear_error(&error);
    memory.offset = 0;
    g_autoptr(GByteArray) undo = g_byte_array_new();
    g_assert_false(change_log_capture(change_log_source_memory(&memory), &target, NULL, change_log_sink_bytes(undo), NULL,
                                      &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/operations/inverse-is-exact", test_inverse);
    g_test_add_func("/operations/whole-undos-lead-to-every-point", test_whole_undos);
    g_test_add_func("/operations/undos-sharing-the-captured-set-lead-to-the-first-point", test_shared_undos);
    g_test_add_func("/operations/merged-undos-chain", test_chain_of_merged);
    g_test_add_func("/operations/merge-equals-applying-one-after-another", test_merge_forward);
    g_test_add_func("/operations/merge-is-associative", test_merge_is_associative);
    g_test_add_func("/operations/apply-is-repeatable-after-any-interruption", test_apply_after_interruption);
    g_test_add_func("/operations/chain-is-repeatable-after-any-interruption", test_chain_after_interruption);
    g_test_add_func("/operations/whole-grains-are-captured-once", test_capture_by_grains);
    g_test_add_func("/operations/empty-areas-are-captured-unread", test_capture_of_empty_area);
    g_test_add_func("/operations/captured-set-is-rebuilt-from-undos", test_captured_is_rebuilt);
    g_test_add_func("/operations/failed-capture-counts-nothing", test_failed_capture_counts_nothing);
    g_test_add_func("/operations/wrong-neighbours-are-refused", test_wrong_neighbours);
    g_test_add_func("/operations/missing-disk-is-refused", test_missing_disk);
    return g_test_run();
}
