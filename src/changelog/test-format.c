/* The format: what goes in comes out, and every damage is found. */
#include "changelog/format.h"

#include <fcntl.h>
#include <gnutls/crypto.h>
#include <string.h>
#include <unistd.h>

static const char vm_uuid[] = "01234567-89ab-cdef-0123-456789abcdef";
static const char lineage[] = "fedcba98-7654-3210-fedc-ba9876543210";

static ChangeLogHeader
some_header(void)
{
    ChangeLogHeader header = { .kind = CHANGE_LOG_DELTA, .point_kind = POINT_KIND_APPLICATION_CONSISTENT, .base = 41,
                               .position = 42, .n_disks = 2,
                               .disks = { { "vda", 4u << 20 }, { "scsi0-0.1_x", UINT64_C(5) << 40 } } };
    g_strlcpy(header.vm_uuid, vm_uuid, sizeof header.vm_uuid);
    g_strlcpy(header.lineage, lineage, sizeof header.lineage);
    memset(header.previous_digest, 0xab, sizeof header.previous_digest);
    return header;
}

/* The contents of some_log(): text compresses, noise does not. */
enum { TEXT_LENGTH = 3000, NOISE_LENGTH = 300 };

static void
fill_text(uint8_t *data)
{
    for (int i = 0; i < TEXT_LENGTH; i++)
        data[i] = (uint8_t)("change log "[i % 11]);
}

static void
fill_noise(uint8_t *data)
{
    uint32_t state = 12345;
    for (int i = 0; i < NOISE_LENGTH; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (uint8_t)(state >> 24);
    }
}

/* Each type of record in each codec. */
static void
write_some_log(ChangeLogSink sink, uint8_t ret_digest[CHANGE_LOG_DIGEST_SIZE])
{
    g_autoptr(GError) error = NULL;
    ChangeLogHeader header = some_header();
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(sink, &header, true, &error);
    g_assert_no_error(error);
    uint8_t text[TEXT_LENGTH], noise[NOISE_LENGTH];
    fill_text(text);
    fill_noise(noise);
    static const uint8_t zeroes[4096];
    g_autoptr(GBytes) domain = g_bytes_new(text, sizeof text);
    g_autoptr(GBytes) nvram = g_bytes_new(noise, sizeof noise);
    g_autoptr(GBytes) empty = g_bytes_new(NULL, 0);
    g_assert_true(change_log_writer_blob(writer, "domain.xml", domain, &error));
    g_assert_true(change_log_writer_data(writer, 0, 65536, text, sizeof text, &error));
    g_assert_true(change_log_writer_data(writer, 1, (UINT64_C(5) << 40) - sizeof noise, noise, sizeof noise, &error));
    g_assert_true(change_log_writer_data(writer, 0, 0, zeroes, sizeof zeroes, &error));
    g_assert_true(change_log_writer_zero(writer, 1, 512, (UINT64_C(1) << 40) + 512, &error));
    g_assert_true(change_log_writer_blob(writer, "nvram", nvram, &error));
    g_assert_true(change_log_writer_blob(writer, "tpm", NULL, &error));
    g_assert_true(change_log_writer_blob(writer, "empty", empty, &error));
    g_assert_true(change_log_writer_end(writer, ret_digest, &error));
    g_assert_cmpuint(change_log_writer_records(writer), ==, 9);

    g_assert_false(change_log_writer_zero(writer, 0, 0, 512, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO);
}

static GByteArray *
some_log(void)
{
    GByteArray *bytes = g_byte_array_new();
    write_some_log(change_log_sink_bytes(bytes), NULL);
    return bytes;
}

static void
expect_record(ChangeLogReader *reader, ChangeLogRecordType type, unsigned disk, uint64_t offset, uint64_t length,
              const void *data)
{
    g_autoptr(GError) error = NULL;
    ChangeLogRecord record;
    change_log_reader_next(reader, &record, &error);
    g_assert_no_error(error);
    g_assert_cmpint(record.type, ==, type);
    g_assert_cmpuint(record.disk, ==, disk);
    g_assert_cmpuint(record.offset, ==, offset);
    g_assert_cmpuint(record.length, ==, length);
    if (data != NULL)
        g_assert_cmpmem(record.data, record.length, data, length);
}

static void
expect_blob(ChangeLogReader *reader, const char *name, const void *content, size_t length)
{
    g_autoptr(GError) error = NULL;
    ChangeLogRecord record;
    change_log_reader_next(reader, &record, &error);
    g_assert_no_error(error);
    g_assert_cmpint(record.type, ==, CHANGE_LOG_RECORD_BLOB);
    g_assert_cmpstr(record.name, ==, name);
    if (content == NULL)
        g_assert_null(record.blob);
    else
        g_assert_cmpmem(g_bytes_get_data(record.blob, NULL), g_bytes_get_size(record.blob), content, length);
}

static void
expect_some_log(ChangeLogSource source, const uint8_t digest[CHANGE_LOG_DIGEST_SIZE])
{
    g_autoptr(GError) error = NULL;
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(source, &error);
    g_assert_no_error(error);
    ChangeLogHeader header = some_header();
    g_assert_cmpmem(change_log_reader_header(reader), sizeof header, &header, sizeof header);

    uint8_t text[TEXT_LENGTH], noise[NOISE_LENGTH];
    fill_text(text);
    fill_noise(noise);
    expect_blob(reader, "domain.xml", text, sizeof text);
    expect_record(reader, CHANGE_LOG_RECORD_DATA, 0, 65536, sizeof text, text);
    expect_record(reader, CHANGE_LOG_RECORD_DATA, 1, (UINT64_C(5) << 40) - sizeof noise, sizeof noise, noise);
    expect_record(reader, CHANGE_LOG_RECORD_ZERO, 0, 0, 4096, NULL);
    expect_record(reader, CHANGE_LOG_RECORD_ZERO, 1, 512, UINT64_C(1) << 40, NULL);
    expect_record(reader, CHANGE_LOG_RECORD_ZERO, 1, (UINT64_C(1) << 40) + 512, 512, NULL);
    expect_blob(reader, "nvram", noise, sizeof noise);
    expect_blob(reader, "tpm", NULL, 0);
    expect_blob(reader, "empty", "", 0);
    ChangeLogRecord record;
    g_assert_true(change_log_reader_next(reader, &record, &error));
    g_assert_cmpint(record.type, ==, CHANGE_LOG_RECORD_END);
    g_assert_cmpmem(record.digest, sizeof record.digest, digest, CHANGE_LOG_DIGEST_SIZE);
    g_assert_cmpuint(change_log_reader_good_records(reader), ==, 9);
    g_assert_false(change_log_reader_next(reader, &record, &error));
}

static void
test_file_round_trip(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("change-log-XXXXXX", &path, &error);
    g_assert_no_error(error);
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    write_some_log(change_log_sink_fd(&fd), digest);
    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    expect_some_log(change_log_source_fd(&fd), digest);

    ChangeLogSummary summary;
    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    g_assert_true(change_log_verify(change_log_source_fd(&fd), &summary, &error));
    g_assert_cmpuint(summary.bytes, ==, (uint64_t)lseek(fd, 0, SEEK_END));
    g_assert_cmpuint(summary.records, ==, 9);
    g_assert_cmpuint(summary.data_bytes, ==, TEXT_LENGTH + NOISE_LENGTH);
    g_assert_cmpuint(summary.zero_bytes, ==, 4096 + (UINT64_C(1) << 40) + 512);
    g_assert_cmpmem(summary.digest, sizeof summary.digest, digest, sizeof digest);
    close(fd);
    unlink(path);
}

static void
test_fd_errors(void)
{
    g_autoptr(GError) error = NULL;
    int closed = -1;
    ChangeLogHeader header = some_header();
    g_assert_null(change_log_writer_new(change_log_sink_fd(&closed), &header, false, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO);
    g_clear_error(&error);
    g_assert_null(change_log_reader_new(change_log_source_fd(&closed), &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO);
}

/* A source that gives one byte at a time is as good as any. */
static ssize_t
read_one(void *opaque, void *buffer, size_t length, GError **error)
{
    ChangeLogSource source = change_log_source_memory(opaque);
    return source.read(source.opaque, buffer, MIN(length, 1), error);
}

static void
test_dribble(void)
{
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    write_some_log(change_log_sink_bytes(bytes), digest);
    ChangeLogMemory memory = { .data = bytes->data, .length = bytes->len };
    expect_some_log((ChangeLogSource){ .read = read_one, .opaque = &memory }, digest);
}

/* The digest is what the format's description says, computed from the bytes alone. */
static void
test_digest_from_headers(void)
{
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE], again[CHANGE_LOG_DIGEST_SIZE];
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    write_some_log(change_log_sink_bytes(bytes), digest);
    gnutls_hash_hd_t hash;
    g_assert_cmpint(gnutls_hash_init(&hash, GNUTLS_DIG_SHA256), ==, 0);
    const uint8_t *at = bytes->data;
    size_t header_length = (size_t)at[12] | (size_t)at[13] << 8;
    gnutls_hash(hash, at, header_length);
    for (at += header_length; at[0] != CHANGE_LOG_RECORD_END;) {
        gnutls_hash(hash, at, 64);
        at += 64 + ((size_t)at[24] | (size_t)at[25] << 8 | (size_t)at[26] << 16);
    }
    gnutls_hash_deinit(hash, again);
    g_assert_cmpmem(again, sizeof again, digest, sizeof digest);
    g_assert_cmpmem(at + 64, CHANGE_LOG_DIGEST_SIZE, digest, sizeof digest);
    g_assert_true(at + 64 + CHANGE_LOG_DIGEST_SIZE == bytes->data + bytes->len);
}

/* A log that an older build wrote must stay readable: its bytes may only change together with the format version. */
static void
test_stable_bytes(void)
{
    static const char want[] = "792ab521f094fa0fefdb87e2640775e72438a06916b48c4ad2d59f1da4ace6a8";
    g_autoptr(GError) error = NULL;
    ChangeLogHeader header = some_header();
    g_autoptr(GByteArray) log = g_byte_array_new();
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(change_log_sink_bytes(log), &header, false, &error);
    uint8_t noise[NOISE_LENGTH];
    fill_noise(noise);
    g_autoptr(GBytes) nvram = g_bytes_new(noise, sizeof noise);
    change_log_writer_data(writer, 0, 4096, noise, sizeof noise, &error);
    change_log_writer_zero(writer, 1, 512, 1024, &error);
    change_log_writer_blob(writer, "nvram", nvram, &error);
    change_log_writer_blob(writer, "tpm", NULL, &error);
    change_log_writer_end(writer, NULL, &error);
    g_assert_no_error(error);
    g_autofree char *found = g_compute_checksum_for_data(G_CHECKSUM_SHA256, log->data, log->len);
    g_assert_cmpstr(found, ==, want);
}

/* ---- damage ---- */

static bool
verify_bytes(const uint8_t *data, size_t length, GError **error)
{
    ChangeLogMemory memory = { .data = data, .length = length };
    return change_log_verify(change_log_source_memory(&memory), NULL, error);
}

static void
expect_damaged(const uint8_t *data, size_t length)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(verify_bytes(data, length, &error));
    g_assert_true(error->domain == CHANGE_LOG_ERROR);
    g_assert_true(error->code == CHANGE_LOG_ERROR_MALFORMED || error->code == CHANGE_LOG_ERROR_TRUNCATED);
}

static void
test_every_changed_byte(void)
{
    g_autoptr(GByteArray) log = some_log();
    static const uint8_t flips[] = { 0x01, 0x80, 0xff, 0x20 };
    for (guint i = 0; i < log->len; i++) {
        for (size_t k = 0; k < G_N_ELEMENTS(flips); k++) {
            log->data[i] ^= flips[k];
            expect_damaged(log->data, log->len);
            log->data[i] ^= flips[k];
        }
    }
    g_assert_true(verify_bytes(log->data, log->len, NULL));
}

static void
test_every_missing_byte(void)
{
    g_autoptr(GByteArray) log = some_log();
    g_autofree uint8_t *copy = g_malloc(log->len);
    for (guint i = 0; i < log->len; i++) {
        memcpy(copy, log->data, i);
        memcpy(copy + i, log->data + i + 1, log->len - i - 1);
        expect_damaged(copy, log->len - 1);
    }
}

static void
test_every_added_byte(void)
{
    g_autoptr(GByteArray) log = some_log();
    g_autofree uint8_t *copy = g_malloc(log->len + 1);
    for (guint i = 0; i <= log->len; i++) {
        memcpy(copy, log->data, i);
        memcpy(copy + i + 1, log->data + i, log->len - i);
        for (unsigned k = 0; k < 2; k++) {
            copy[i] = k == 0 ? 0 : copy[i == 0 ? 1 : i - 1];
            expect_damaged(copy, log->len + 1);
        }
    }
}

/* Cut anywhere, it is told as truncated, and where to go on is the end of the last whole record. */
static void
test_every_truncation(void)
{
    g_autoptr(GByteArray) log = some_log();
    uint64_t good_before = 0;
    for (guint length = 0; length < log->len; length++) {
        g_autoptr(GError) error = NULL;
        ChangeLogMemory memory = { .data = log->data, .length = length };
        g_autoptr(ChangeLogReader) reader = change_log_reader_new(change_log_source_memory(&memory), &error);
        ChangeLogRecord record;
        while (reader != NULL && change_log_reader_next(reader, &record, &error))
            g_assert_cmpint(record.type, !=, CHANGE_LOG_RECORD_END);
        g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TRUNCATED);
        uint64_t good = reader != NULL ? change_log_reader_good_bytes(reader) : 0;
        g_assert_cmpuint(good, <=, length);
        g_assert_cmpuint(good, >=, good_before);
        good_before = good;
    }
    g_assert_cmpuint(good_before, ==, log->len - 64 - CHANGE_LOG_DIGEST_SIZE);
}

/* Two records of equal length exchanged: all their checksums are right, their places are not. */
static void
test_exchanged_records(void)
{
    g_autoptr(GError) error = NULL;
    ChangeLogHeader header = some_header();
    g_autoptr(GByteArray) log = g_byte_array_new();
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(change_log_sink_bytes(log), &header, false, &error);
    guint begin = log->len;
    change_log_writer_zero(writer, 0, 0, 512, &error);
    change_log_writer_zero(writer, 0, 1024, 512, &error);
    change_log_writer_end(writer, NULL, &error);
    g_assert_no_error(error);
    uint8_t first[64];
    memcpy(first, log->data + begin, 64);
    memmove(log->data + begin, log->data + begin + 64, 64);
    memcpy(log->data + begin + 64, first, 64);
    expect_damaged(log->data, log->len);
}

/* A record of another log with the right number and right checksums: only the digest tells. */
static void
test_foreign_record(void)
{
    g_autoptr(GError) error = NULL;
    ChangeLogHeader header = some_header();
    GByteArray *logs[2] = { g_byte_array_new(), g_byte_array_new() };
    guint begin = 0;
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(ChangeLogWriter) writer =
            change_log_writer_new(change_log_sink_bytes(logs[i]), &header, false, &error);
        begin = logs[i]->len;
        change_log_writer_zero(writer, 0, 512 * i, 512, &error);
        change_log_writer_end(writer, NULL, &error);
        g_assert_no_error(error);
    }
    memcpy(logs[0]->data + begin, logs[1]->data + begin, 64);
    expect_damaged(logs[0]->data, logs[0]->len);
    g_byte_array_unref(logs[0]);
    g_byte_array_unref(logs[1]);
}

/* ---- headers and records that are whole but not allowed ---- */

static void
spoil_kind(ChangeLogHeader *h) { h->kind = 5; }
static void
spoil_point(ChangeLogHeader *h) { h->point_kind = 4; }
static void
spoil_position(ChangeLogHeader *h) { h->position = h->base; }
static void
spoil_order(ChangeLogHeader *h) { h->kind = CHANGE_LOG_RESYNC; h->base = h->position + 1; }
static void
spoil_size(ChangeLogHeader *h) { h->disks[0].size_bytes = 513; }
static void
spoil_huge(ChangeLogHeader *h) { h->disks[0].size_bytes = UINT64_C(1) << 63; }
static void
spoil_dot(ChangeLogHeader *h) { h->disks[0].id[0] = '.'; }
static void
spoil_slash(ChangeLogHeader *h) { h->disks[0].id[1] = '/'; }
static void
spoil_no_id(ChangeLogHeader *h) { h->disks[0].id[0] = '\0'; }
static void
spoil_same_id(ChangeLogHeader *h) { memcpy(h->disks[1].id, h->disks[0].id, sizeof h->disks[0].id); }
static void
spoil_long_id(ChangeLogHeader *h) { memset(h->disks[0].id, 'a', sizeof h->disks[0].id); }
static void
spoil_disks(ChangeLogHeader *h) { h->n_disks = CHANGE_LOG_DISKS_MAX + 1; }
static void
spoil_uuid(ChangeLogHeader *h) { h->vm_uuid[0] = 'A'; }
static void
spoil_lineage(ChangeLogHeader *h) { h->lineage[35] = '\0'; }

static const struct {
    const char *name;
    void (*spoil)(ChangeLogHeader *header);
    ChangeLogError want;
} bad_headers[] = {
    { "kind", spoil_kind, CHANGE_LOG_ERROR_MALFORMED },
    { "point-kind", spoil_point, CHANGE_LOG_ERROR_MALFORMED },
    { "delta-without-progress", spoil_position, CHANGE_LOG_ERROR_MALFORMED },
    { "base-after-position", spoil_order, CHANGE_LOG_ERROR_MALFORMED },
    { "size-in-half-sectors", spoil_size, CHANGE_LOG_ERROR_MALFORMED },
    { "size-too-large", spoil_huge, CHANGE_LOG_ERROR_LIMIT },
    { "hidden-disk", spoil_dot, CHANGE_LOG_ERROR_MALFORMED },
    { "path-as-disk", spoil_slash, CHANGE_LOG_ERROR_MALFORMED },
    { "nameless-disk", spoil_no_id, CHANGE_LOG_ERROR_MALFORMED },
    { "same-disk-twice", spoil_same_id, CHANGE_LOG_ERROR_MALFORMED },
    { "endless-disk-id", spoil_long_id, CHANGE_LOG_ERROR_MALFORMED },
    { "too-many-disks", spoil_disks, CHANGE_LOG_ERROR_LIMIT },
    { "upper-case-uuid", spoil_uuid, CHANGE_LOG_ERROR_MALFORMED },
    { "short-lineage", spoil_lineage, CHANGE_LOG_ERROR_MALFORMED },
};

static void
test_bad_headers(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(bad_headers); i++) {
        g_autoptr(GError) error = NULL;
        ChangeLogHeader header = some_header();
        bad_headers[i].spoil(&header);
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        g_test_message("%s", bad_headers[i].name);
        g_assert_null(change_log_writer_new(change_log_sink_bytes(bytes), &header, false, &error));
        g_assert_error(error, CHANGE_LOG_ERROR, (int)bad_headers[i].want);
    }
}

/* One field of the encoded header changed and its checksum made right again: each field that must be zero is. */
static void
test_reserved_header_fields(void)
{
    static const unsigned fields[] = { 8, 10, 11, 12, 18, 20, 23, 104 + 8 + 5 };
    ChangeLogHeader header = some_header();
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
        g_autoptr(GError) error = NULL;
        uint8_t bytes[CHANGE_LOG_FORMAT_HEADER_MAX];
        size_t length = change_log_format_header_encode(&header, bytes);
        bytes[fields[i]] ^= 0x40;
        change_log_format_checksum(bytes, length - 16, bytes + length - 16);
        g_assert_false(verify_bytes(bytes, length, &error));
        g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MALFORMED);
    }
}

#define DATA(...) { .type = CHANGE_LOG_RECORD_DATA, .codec = CHANGE_LOG_CODEC_RAW, .length = 512, \
                    .stored_length = 512, __VA_ARGS__ }
#define ZERO(...) { .type = CHANGE_LOG_RECORD_ZERO, .length = 512, __VA_ARGS__ }
#define BLOB(...) { .type = CHANGE_LOG_RECORD_BLOB, .codec = CHANGE_LOG_CODEC_RAW, .flags = CHANGE_LOG_FLAG_PRESENT, \
                    .name_length = 3, .length = 5, .stored_length = 8, __VA_ARGS__ }
#define END(...)  { .type = CHANGE_LOG_RECORD_END, .stored_length = 32, __VA_ARGS__ }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
static const struct {
    const char *name;
    ChangeLogFormatRecord record;
    ChangeLogError want;
} bad_records[] = {
    { "no-type", { .type = 0 }, CHANGE_LOG_ERROR_MALFORMED },
    { "unknown-type", { .type = 5 }, CHANGE_LOG_ERROR_MALFORMED },
    { "data-unknown-codec", DATA(.codec = 3), CHANGE_LOG_ERROR_MALFORMED },
    { "data-without-codec", DATA(.codec = 0), CHANGE_LOG_ERROR_MALFORMED },
    { "data-empty", DATA(.length = 0, .stored_length = 0), CHANGE_LOG_ERROR_MALFORMED },
    { "data-raw-of-other-length", DATA(.stored_length = 511), CHANGE_LOG_ERROR_MALFORMED },
    { "data-zstd-longer", DATA(.codec = CHANGE_LOG_CODEC_ZSTD), CHANGE_LOG_ERROR_MALFORMED },
    { "data-zstd-empty", DATA(.codec = CHANGE_LOG_CODEC_ZSTD, .stored_length = 0), CHANGE_LOG_ERROR_MALFORMED },
    { "data-no-zstd-frame", DATA(.codec = CHANGE_LOG_CODEC_ZSTD, .stored_length = 32), CHANGE_LOG_ERROR_MALFORMED },
    { "data-too-long", DATA(.length = (1 << 20) + 1, .stored_length = (1 << 20) + 1), CHANGE_LOG_ERROR_LIMIT },
    { "data-zstd-bomb", DATA(.codec = CHANGE_LOG_CODEC_ZSTD, .length = UINT64_MAX, .stored_length = 32),
      CHANGE_LOG_ERROR_LIMIT },
    { "data-flags", DATA(.flags = 1), CHANGE_LOG_ERROR_MALFORMED },
    { "data-name", DATA(.name_length = 1), CHANGE_LOG_ERROR_MALFORMED },
    { "data-unknown-disk", DATA(.disk = 2), CHANGE_LOG_ERROR_MALFORMED },
    { "data-beyond-disk", DATA(.offset = (4 << 20) - 511), CHANGE_LOG_ERROR_TARGET },
    { "data-offset-overflow", DATA(.offset = UINT64_MAX - 511), CHANGE_LOG_ERROR_TARGET },
    { "data-out-of-order", DATA(.sequence = 1), CHANGE_LOG_ERROR_MALFORMED },
    { "zero-with-payload", ZERO(.stored_length = 1), CHANGE_LOG_ERROR_MALFORMED },
    { "zero-with-codec", ZERO(.codec = CHANGE_LOG_CODEC_RAW), CHANGE_LOG_ERROR_MALFORMED },
    { "zero-empty", ZERO(.length = 0), CHANGE_LOG_ERROR_MALFORMED },
    { "zero-with-checksum", ZERO(.checksum = { 1 }), CHANGE_LOG_ERROR_MALFORMED },
    { "zero-too-long", ZERO(.disk = 1, .length = (UINT64_C(1) << 40) + 1), CHANGE_LOG_ERROR_LIMIT },
    { "zero-beyond-disk", ZERO(.offset = 4 << 20), CHANGE_LOG_ERROR_TARGET },
    { "blob-too-large", BLOB(.length = (1 << 24) + 1, .stored_length = (1 << 24) + 4), CHANGE_LOG_ERROR_LIMIT },
    { "blob-nameless", BLOB(.name_length = 0, .stored_length = 5), CHANGE_LOG_ERROR_MALFORMED },
    { "blob-long-name", BLOB(.name_length = 64, .stored_length = 69), CHANGE_LOG_ERROR_MALFORMED },
    { "blob-bad-name", BLOB(.name_length = 2, .length = 6), CHANGE_LOG_ERROR_MALFORMED },
    { "blob-unknown-flag", BLOB(.flags = 3), CHANGE_LOG_ERROR_MALFORMED },
    { "blob-absent-with-content", BLOB(.flags = 0), CHANGE_LOG_ERROR_MALFORMED },
    { "blob-present-without-codec", BLOB(.codec = 0), CHANGE_LOG_ERROR_MALFORMED },
    { "blob-of-disk", BLOB(.disk = 1), CHANGE_LOG_ERROR_MALFORMED },
    { "blob-at-offset", BLOB(.offset = 1), CHANGE_LOG_ERROR_MALFORMED },
    { "end-with-length", END(.length = 1), CHANGE_LOG_ERROR_MALFORMED },
    { "end-short", END(.stored_length = 31), CHANGE_LOG_ERROR_MALFORMED },
    { "end-too-early", END(.sequence = 1), CHANGE_LOG_ERROR_MALFORMED },
    { "end-wrong-digest", END(.sequence = 0), CHANGE_LOG_ERROR_MALFORMED },
};
#pragma GCC diagnostic pop

/* Records with right checksums after a right header. The payload is dots, so it begins no name. */
static void
test_bad_records(void)
{
    ChangeLogHeader header = some_header();
    for (size_t i = 0; i < G_N_ELEMENTS(bad_records); i++) {
        g_autoptr(GError) error = NULL;
        ChangeLogFormatRecord record = bad_records[i].record;
        g_autoptr(GByteArray) log = g_byte_array_new();
        uint8_t bytes[CHANGE_LOG_FORMAT_HEADER_MAX];
        size_t header_length = change_log_format_header_encode(&header, bytes);
        g_byte_array_append(log, bytes, (guint)header_length);
        g_autofree uint8_t *payload = g_malloc(MAX(record.stored_length, 1));
        memset(payload, '.', record.stored_length);
        if (record.stored_length > 0)
            change_log_format_checksum(payload, record.stored_length, record.checksum);
        change_log_format_record_encode(&record, bytes);
        g_byte_array_append(log, bytes, CHANGE_LOG_FORMAT_RECORD_SIZE);
        g_byte_array_append(log, payload, record.stored_length);
        g_test_message("%s", bad_records[i].name);
        g_assert_false(verify_bytes(log->data, log->len, &error));
        g_assert_error(error, CHANGE_LOG_ERROR, (int)bad_records[i].want);
    }
}

/* Blobs as large as may be, one more than may be in one log: refused at its header, before its content is taken. */
static void
test_blobs_in_all(void)
{
    ChangeLogHeader header = some_header();
    g_autoptr(GByteArray) log = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    uint8_t bytes[CHANGE_LOG_FORMAT_HEADER_MAX];
    g_byte_array_append(log, bytes, (guint)change_log_format_header_encode(&header, bytes));
    g_autofree uint8_t *payload = g_malloc(1 + CHANGE_LOG_BLOB_MAX);
    memset(payload, 'n', 1 + CHANGE_LOG_BLOB_MAX);
    ChangeLogFormatRecord record = { .type = CHANGE_LOG_RECORD_BLOB, .codec = CHANGE_LOG_CODEC_RAW,
                                     .flags = CHANGE_LOG_FLAG_PRESENT, .name_length = 1, .length = CHANGE_LOG_BLOB_MAX,
                                     .stored_length = 1 + CHANGE_LOG_BLOB_MAX };
    change_log_format_checksum(payload, record.stored_length, record.checksum);
    for (; record.sequence < CHANGE_LOG_BLOBS_BYTES_MAX / CHANGE_LOG_BLOB_MAX; record.sequence++) {
        change_log_format_record_encode(&record, bytes);
        g_byte_array_append(log, bytes, CHANGE_LOG_FORMAT_RECORD_SIZE);
        g_byte_array_append(log, payload, record.stored_length);
    }
    record.length = 1;
    record.stored_length = 2;
    change_log_format_record_encode(&record, bytes);
    g_byte_array_append(log, bytes, CHANGE_LOG_FORMAT_RECORD_SIZE);
    g_assert_false(verify_bytes(log->data, log->len, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT);
}

static void
test_reserved_record_fields(void)
{
    static const unsigned fields[] = { 6, 7, 28, 31 };
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
        ChangeLogFormatRecord record = ZERO(.disk = 0), back;
        uint8_t bytes[CHANGE_LOG_FORMAT_RECORD_SIZE];
        change_log_format_record_encode(&record, bytes);
        g_assert_true(change_log_format_record_decode(bytes, &back, NULL));
        bytes[fields[i]] = 1;
        g_autoptr(GError) error = NULL;
        g_assert_false(change_log_format_record_decode(bytes, &back, &error));
        g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MALFORMED);
    }
}

/* ---- the writer's limits ---- */

static void
test_writer_limits(void)
{
    g_autoptr(GError) error = NULL;
    ChangeLogHeader header = some_header();
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(change_log_sink_bytes(bytes), &header, true, &error);
    g_autofree uint8_t *data = g_malloc0(CHANGE_LOG_BLOB_MAX + 1);
    data[0] = 1;
    g_assert_false(change_log_writer_data(writer, 0, 0, data, CHANGE_LOG_RECORD_MAX + 1, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT);
    g_clear_error(&error);
    g_assert_false(change_log_writer_data(writer, 0, (4u << 20) - 1, data, 2, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET);
    g_clear_error(&error);
    g_assert_false(change_log_writer_zero(writer, 0, UINT64_MAX, 2, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET);
    g_clear_error(&error);
    g_assert_false(change_log_writer_zero(writer, 2, 0, 1, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET);
    g_clear_error(&error);
    g_assert_false(change_log_writer_blob(writer, "../domain.xml", NULL, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET);
    g_clear_error(&error);
    g_autoptr(GBytes) large = g_bytes_new_static(data, CHANGE_LOG_BLOB_MAX + 1);
    g_assert_false(change_log_writer_blob(writer, "nvram", large, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT);
    g_clear_error(&error);

    g_autoptr(GBytes) largest = g_bytes_new_static(data, CHANGE_LOG_BLOB_MAX);
    g_assert_true(change_log_writer_blob(writer, "nvram", largest, &error));
    g_assert_true(change_log_writer_data(writer, 0, 0, data, CHANGE_LOG_RECORD_MAX, &error));
    for (uint64_t total = 2ull * CHANGE_LOG_BLOB_MAX; total <= CHANGE_LOG_BLOBS_BYTES_MAX; total += CHANGE_LOG_BLOB_MAX)
        g_assert_true(change_log_writer_blob(writer, "nvram", largest, &error));
    g_autoptr(GBytes) one = g_bytes_new_static(data, 1);
    g_assert_false(change_log_writer_blob(writer, "tpm", one, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT);
    g_clear_error(&error);
    for (unsigned i = CHANGE_LOG_BLOBS_BYTES_MAX / CHANGE_LOG_BLOB_MAX; i < CHANGE_LOG_BLOBS_MAX; i++)
        g_assert_true(change_log_writer_blob(writer, "tpm", NULL, &error));
    g_assert_false(change_log_writer_blob(writer, "tpm", NULL, &error));
    g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT);
    g_clear_error(&error);
    g_assert_true(change_log_writer_end(writer, NULL, &error));
    g_assert_true(verify_bytes(bytes->data, bytes->len, &error));
    g_assert_cmpuint(bytes->len, ==, change_log_writer_bytes(writer));
    g_assert_cmpuint(bytes->len, <, 100000);
}

/* ---- fits ---- */

static void
expect_misfit(const ChangeLogHeader *header, const char *uuid, const char *line, uint64_t base, uint8_t digest_byte,
              const char *word)
{
    g_autoptr(GError) error = NULL;
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    memset(digest, digest_byte, sizeof digest);
    bool fits = change_log_fits(header, uuid, line, base, digest, &error);
    g_assert_true(fits == (word == NULL));
    if (word != NULL) {
        g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT);
        g_assert_nonnull(strstr(error->message, word));
    }
}

static void
test_fits(void)
{
    ChangeLogHeader header = some_header();
    expect_misfit(&header, vm_uuid, lineage, 41, 0xab, NULL);
    expect_misfit(&header, lineage, lineage, 41, 0xab, "VM");
    expect_misfit(&header, vm_uuid, vm_uuid, 41, 0xab, "lineage");
    expect_misfit(&header, vm_uuid, lineage, 40, 0xab, "base position");
    expect_misfit(&header, vm_uuid, lineage, 41, 0xaa, "digest");
    header.kind = CHANGE_LOG_UNDO;
    expect_misfit(&header, vm_uuid, lineage, 41, 0xab, "undo");
}

/* ---- contents that are compressed by several threads ---- */

enum { MANY = 96, MANY_LENGTH = CHANGE_LOG_RECORD_MAX };

/* Noise and text in turn, so that some contents take much longer than others; the length varies. */
static size_t
many_content(unsigned number, uint8_t *data)
{
    size_t length = number % 4 == 3 ? 512 * (number + 1) : MANY_LENGTH;
    uint32_t state = number + 1;
    for (size_t i = 0; i < length; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = number % 2 == 0 ? (uint8_t)(state >> 24) : (uint8_t)("0123456"[state >> 30] + number);
    }
    return length;
}

static ChangeLogHeader
header_of_many(void)
{
    ChangeLogHeader header = some_header();
    header.disks[0].size_bytes = (uint64_t)MANY * MANY_LENGTH;
    return header;
}

static bool
write_many(ChangeLogSink sink, uint8_t *ret_digest, GError **error)
{
    ChangeLogHeader header = header_of_many();
    g_autofree uint8_t *data = g_malloc(MANY_LENGTH);
    g_autoptr(ChangeLogWriter) writer = change_log_writer_new(sink, &header, true, error);
    for (unsigned i = 0; writer != NULL && i < MANY; i++) {
        size_t length = many_content(i, data);
        uint64_t offset = (uint64_t)i * MANY_LENGTH;
        bool good = i % 7 == 6 ? change_log_writer_zero(writer, 0, offset, MANY_LENGTH, error)
                               : change_log_writer_data(writer, 0, offset, data, length, error);
        if (!good)
            return false;
    }
    return writer != NULL && change_log_writer_end(writer, ret_digest, error);
}

static void
test_many_stay_in_order(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) log = g_byte_array_new();
    g_autoptr(GByteArray) again = g_byte_array_new();
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE], second[CHANGE_LOG_DIGEST_SIZE];
    g_assert_true(write_many(change_log_sink_bytes(log), digest, &error));
    g_assert_true(write_many(change_log_sink_bytes(again), second, &error));
    g_assert_cmpmem(digest, sizeof digest, second, sizeof second);
    g_assert_cmpmem(log->data, log->len, again->data, again->len);

    ChangeLogMemory memory = { log->data, log->len, 0 };
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(change_log_source_memory(&memory), &error);
    g_assert_no_error(error);
    g_autofree uint8_t *data = g_malloc(MANY_LENGTH);
    ChangeLogRecord record;
    for (unsigned i = 0; i < MANY; i++) {
        size_t length = many_content(i, data);
        g_assert_true(change_log_reader_next(reader, &record, &error));
        g_assert_cmpuint(record.offset, ==, (uint64_t)i * MANY_LENGTH);
        g_assert_cmpint(record.type, ==, i % 7 == 6 ? CHANGE_LOG_RECORD_ZERO : CHANGE_LOG_RECORD_DATA);
        if (record.type == CHANGE_LOG_RECORD_DATA)
            g_assert_cmpmem(record.data, record.length, data, length);
    }
    g_assert_true(change_log_reader_next(reader, &record, &error));
    g_assert_cmpint(record.type, ==, CHANGE_LOG_RECORD_END);
}

/* Takes so many bytes and then fails. */
static bool
limited_write(void *opaque, const void *data, size_t length, GError **error)
{
    uint64_t *left = opaque;
    if (length > *left) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "full");
        return false;
    }
    *left -= length;
    return true;
}

/* Wherever the sink fails, the log is not ended, and what is still being compressed is left in peace. */
static void
test_many_and_a_failing_sink(void)
{
    for (unsigned mib = 1; mib < 40; mib += 6) {
        g_autoptr(GError) error = NULL;
        uint64_t left = (uint64_t)mib * 1024 * 1024;
        uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
        g_assert_false(write_many((ChangeLogSink){ limited_write, &left }, digest, &error));
        g_assert_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO);
        g_assert_cmpstr(error->message, ==, "full");
    }
}

/* A writer that is given up takes nothing with it. */
static void
test_given_up_while_compressing(void)
{
    g_autofree uint8_t *data = g_malloc(MANY_LENGTH);
    many_content(1, data);
    for (unsigned pieces = 1; pieces < 12; pieces++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GByteArray) log = g_byte_array_new();
        ChangeLogHeader header = header_of_many();
        g_autoptr(ChangeLogWriter) writer = change_log_writer_new(change_log_sink_bytes(log), &header, true, &error);
        for (unsigned i = 0; i < pieces; i++)
            g_assert_true(change_log_writer_data(writer, 0, 0, data, MANY_LENGTH, &error));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/format/round-trip-through-a-file", test_file_round_trip);
    g_test_add_func("/format/file-errors-are-told", test_fd_errors);
    g_test_add_func("/format/short-reads-are-no-end", test_dribble);
    g_test_add_func("/format/digest-can-be-made-from-the-headers", test_digest_from_headers);
    g_test_add_func("/format/bytes-stay-those-of-version-1", test_stable_bytes);
    g_test_add_func("/format/every-changed-byte-is-found", test_every_changed_byte);
    g_test_add_func("/format/every-missing-byte-is-found", test_every_missing_byte);
    g_test_add_func("/format/every-added-byte-is-found", test_every_added_byte);
    g_test_add_func("/format/every-truncation-is-told-as-one", test_every_truncation);
    g_test_add_func("/format/exchanged-records-are-found", test_exchanged_records);
    g_test_add_func("/format/foreign-record-is-found", test_foreign_record);
    g_test_add_func("/format/bad-headers-are-refused", test_bad_headers);
    g_test_add_func("/format/unknown-header-fields-are-refused", test_reserved_header_fields);
    g_test_add_func("/format/bad-records-are-refused", test_bad_records);
    g_test_add_func("/format/blobs-in-all-are-bounded", test_blobs_in_all);
    g_test_add_func("/format/unknown-record-fields-are-refused", test_reserved_record_fields);
    g_test_add_func("/format/writer-keeps-the-limits", test_writer_limits);
    g_test_add_func("/format/contents-compressed-at-the-same-time-stay-in-order", test_many_stay_in_order);
    g_test_add_func("/format/failing-sink-is-told-with-contents-being-compressed", test_many_and_a_failing_sink);
    g_test_add_func("/format/writer-may-be-given-up-while-compressing", test_given_up_while_compressing);
    g_test_add_func("/format/fits-only-its-predecessor", test_fits);
    return g_test_run();
}
