/* The change log's format, and its reader.
 *
 * All numbers are little endian. XXH128 is the 128-bit XXH3 of the bytes named, stored low half first. A field called
 * "zero" must be zero: a reader refuses what it does not know. Names are 1 to 63 bytes of
 * [A-Za-z0-9._-], not starting with a dot.
 *
 *   log      = header record* end            nothing may follow
 *
 *   header   at  bytes
 *             0    8   magic "VRCLOG\r\n"
 *             8    2   format version: 1
 *            10    2   flags: zero
 *            12    4   length of the header: 104 + 72 * disks + 16
 *            16    1   kind: 1 delta, 2 initial, 3 resync, 4 undo
 *            17    1   point kind: 0 none, 1 standard, 2 application-consistent, 3 planned
 *            18    2   number of disks: 0 to 64
 *            20    4   zero
 *            24    8   base       <= position; for a delta, < position
 *            32    8   position
 *            40   16   UUID of the VM, in the order its digits are written
 *            56   16   UUID of the lineage
 *            72   32   digest of the log before, or zeroes
 *           104        for each disk: 8 bytes size after the log (a multiple of 512, below 2^63), 64 bytes id (a name
 *                      that no other disk has, filled up with zeroes)
 *            ..   16   XXH128 of the header up to here
 *
 *   record   at  bytes                DATA            ZERO          BLOB                     END
 *             0    1   type           1               2             3                        4
 *             1    1   codec          1 raw, 2 zstd   0             0 if absent, else 1, 2   0
 *             2    1   flags          0               0             1 present, 0 absent      0
 *             3    1   name length    0               0             1 to 63                  0
 *             4    2   disk           its number in the header      0                        0
 *             6    2   zero
 *             8    8   offset         bytes on the disk             0                        0
 *            16    8   length         1 to 2^20       1 to 2^40     0 to 2^24                0
 *            24    4   stored length  of the payload  0             of the payload           32
 *            28    4   zero
 *            32   16   XXH128 of the stored payload; zeroes when there is none
 *            48    8   sequence: number of records before this one
 *            56    8   XXH3 (64 bits) of the record header up to here
 *            64        payload        content         -             name, content            digest
 *
 * Content is raw (its stored length is its length) or one zstd frame that is shorter than the content. A name is never
 * compressed. DATA and ZERO lie inside their disk's size. At most 256 BLOB records, with 2^26 bytes of content in all.
 *
 * The digest of the log is the SHA-256 of the header and of all record headers before END, in their order; these hold
 * the checksums of the payloads, so that the digest stands for all of it, and can be made again from the headers alone.
 *
 * INVARIANTS
 *
 *  (1) A reader hands out a record only after its own checksums and those of all records before it were right.
 *  (2) A log counts only with its END, whose sequence and digest vouch that no record is missing, added or exchanged.
 *  (3) Records have no order of offsets. Where two overlap, the later one holds.
 *  (4) No field makes a reader allocate more than the limits in changelog.h.
 */
#include "changelog/format.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include <zstd.h>

struct ChangeLogReader {
    ChangeLogSource source;
    ChangeLogHeader header;
    gnutls_hash_hd_t hash; /* over header and record headers */
    ZSTD_DCtx *zstd;
    GByteArray *stored;  /* payload as in the stream */
    GByteArray *content; /* decoded DATA */
    GBytes *blob;        /* of the record handed out last */
    char name[CHANGE_LOG_NAME_MAX + 1];
    uint64_t good_bytes, records;
    unsigned blobs;
    uint64_t blob_bytes;
    bool skip_payloads;
    bool closed; /* END was read, or something was wrong */
};

static bool
malformed(GError **error, const char *what)
{
    g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MALFORMED, "The change log is damaged: %s.", what);
    return false;
}

/* All @length bytes, or an error. */
static bool
take(ChangeLogReader *self, void *buffer, size_t length, GError **error)
{
    uint8_t *at = buffer;
    while (length > 0) {
        ssize_t n = self->source.read(self->source.opaque, at, length, error);
        if (n < 0)
            return false;
        if (n == 0) {
            g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TRUNCATED,
                        "The change log ends after %" G_GUINT64_FORMAT " records, before its end record.",
                        self->records);
            return false;
        }
        g_assert((size_t)n <= length);
        at += n;
        length -= (size_t)n;
    }
    return true;
}

static bool
hash_add(ChangeLogReader *self, const void *data, size_t length, GError **error)
{
    if (gnutls_hash(self->hash, data, length) == 0)
        return true;
    g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "SHA-256 could not be computed.");
    return false;
}

static bool
read_header(ChangeLogReader *self, GError **error)
{
    uint8_t bytes[CHANGE_LOG_FORMAT_HEADER_MAX];
    size_t length = 0;
    if (!take(self, bytes, CHANGE_LOG_FORMAT_HEADER_FIXED, error) ||
        !change_log_format_header_length(bytes, &length, error) ||
        !take(self, bytes + CHANGE_LOG_FORMAT_HEADER_FIXED, length - CHANGE_LOG_FORMAT_HEADER_FIXED, error) ||
        !change_log_format_header_decode(bytes, length, &self->header, error))
        return false;
    self->good_bytes = length;
    return hash_add(self, bytes, length, error);
}

ChangeLogReader *
change_log_reader_new(ChangeLogSource source, GError **error)
{
    g_autoptr(ChangeLogReader) self = g_new0(ChangeLogReader, 1);
    self->source = source;
    self->stored = g_byte_array_new();
    self->content = g_byte_array_new();
    self->zstd = ZSTD_createDCtx();
    if (gnutls_hash_init(&self->hash, GNUTLS_DIG_SHA256) < 0)
        self->hash = NULL;
    if (self->hash == NULL || self->zstd == NULL) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "SHA-256 or zstd is not available.");
        return NULL;
    }
    if (!read_header(self, error))
        return NULL;
    return g_steal_pointer(&self);
}

void
change_log_reader_free(ChangeLogReader *self)
{
    if (self == NULL)
        return;
    if (self->hash != NULL)
        gnutls_hash_deinit(self->hash, NULL);
    ZSTD_freeDCtx(self->zstd);
    g_byte_array_unref(self->stored);
    g_byte_array_unref(self->content);
    g_clear_pointer(&self->blob, g_bytes_unref);
    g_free(self);
}

const ChangeLogHeader *
change_log_reader_header(const ChangeLogReader *self)
{
    return &self->header;
}

void
change_log_reader_skip_payloads(ChangeLogReader *self)
{
    self->skip_payloads = true;
}

uint64_t
change_log_reader_good_bytes(const ChangeLogReader *self)
{
    return self->good_bytes;
}

uint64_t
change_log_reader_good_records(const ChangeLogReader *self)
{
    return self->records;
}

/* What a record header says, held against the log's header and the records before. */
static bool
check_in_log(const ChangeLogReader *self, const ChangeLogFormatRecord *record, GError **error)
{
    if (record->sequence != self->records)
        return malformed(error, "a record is missing, repeated or out of order");
    if (record->type == CHANGE_LOG_RECORD_BLOB && self->blobs >= CHANGE_LOG_BLOBS_MAX) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT, "The change log has more than %u blobs.",
                    CHANGE_LOG_BLOBS_MAX);
        return false;
    }
    if (record->type == CHANGE_LOG_RECORD_BLOB && record->length > CHANGE_LOG_BLOBS_BYTES_MAX - self->blob_bytes) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT, "The change log has more than %u bytes of blobs.",
                    CHANGE_LOG_BLOBS_BYTES_MAX);
        return false;
    }
    if (record->type != CHANGE_LOG_RECORD_DATA && record->type != CHANGE_LOG_RECORD_ZERO)
        return true;
    if (record->disk >= self->header.n_disks)
        return malformed(error, "a record is for a disk that its header does not list");
    uint64_t size = self->header.disks[record->disk].size_bytes;
    if (record->offset > size || record->length > size - record->offset) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET,
                    "The change log changes disk '%s' beyond its size of %" G_GUINT64_FORMAT " bytes.",
                    self->header.disks[record->disk].id, size);
        return false;
    }
    return true;
}

static bool
read_payload(ChangeLogReader *self, const ChangeLogFormatRecord *record, GError **error)
{
    if (record->stored_length == 0)
        return true;
    uint8_t checksum[CHANGE_LOG_FORMAT_CHECKSUM_SIZE];
    g_byte_array_set_size(self->stored, record->stored_length);
    if (!take(self, self->stored->data, record->stored_length, error))
        return false;
    change_log_format_checksum(self->stored->data, record->stored_length, checksum);
    if (memcmp(checksum, record->checksum, sizeof checksum) != 0)
        return malformed(error, "the checksum of a record's content is wrong");
    return true;
}

/* Decodes the stored content that begins after @skip bytes to @length bytes at @ret. */
static bool
decompress(ChangeLogReader *self, const ChangeLogFormatRecord *record, size_t skip, void *ret, GError **error)
{
    size_t n = ZSTD_decompressDCtx(self->zstd, ret, record->length, self->stored->data + skip,
                                   record->stored_length - skip);
    if (ZSTD_isError(n) || n != record->length)
        return malformed(error, "compressed content cannot be decoded to its length");
    return true;
}

static bool
decode_data(ChangeLogReader *self, const ChangeLogFormatRecord *record, ChangeLogRecord *ret_record, GError **error)
{
    if (self->skip_payloads)
        return true;
    if (record->codec == CHANGE_LOG_CODEC_RAW) {
        ret_record->data = self->stored->data;
        return true;
    }
    g_byte_array_set_size(self->content, (guint)record->length);
    if (!decompress(self, record, 0, self->content->data, error))
        return false;
    ret_record->data = self->content->data;
    return true;
}

static bool
decode_blob(ChangeLogReader *self, const ChangeLogFormatRecord *record, ChangeLogRecord *ret_record, GError **error)
{
    memcpy(self->name, self->stored->data, record->name_length);
    self->name[record->name_length] = '\0';
    if (!change_log_format_name_is_valid((const char *)self->stored->data, record->name_length))
        return malformed(error, "the name of a blob is not valid");
    self->blobs++;
    self->blob_bytes += record->length;
    ret_record->name = self->name;
    if ((record->flags & CHANGE_LOG_FLAG_PRESENT) == 0 || self->skip_payloads)
        return true;

    g_autofree uint8_t *content = g_malloc(MAX(record->length, 1));
    if (record->codec == CHANGE_LOG_CODEC_RAW)
        memcpy(content, self->stored->data + record->name_length, record->length);
    else if (!decompress(self, record, record->name_length, content, error))
        return false;
    self->blob = g_bytes_new_take(g_steal_pointer(&content), record->length);
    ret_record->blob = self->blob;
    return true;
}

/* The digest must be right and the source must have nothing more. */
static bool
check_end(ChangeLogReader *self, ChangeLogRecord *ret_record, GError **error)
{
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    gnutls_hash_output(self->hash, digest);
    if (memcmp(digest, self->stored->data, sizeof digest) != 0)
        return malformed(error, "the digest in its end record is wrong");
    uint8_t more;
    ssize_t n = self->source.read(self->source.opaque, &more, 1, error);
    if (n < 0)
        return false;
    if (n > 0)
        return malformed(error, "something follows its end record");
    memcpy(ret_record->digest, digest, sizeof digest);
    self->closed = true;
    return true;
}

static bool
decode_payload(ChangeLogReader *self, const ChangeLogFormatRecord *record, ChangeLogRecord *ret_record, GError **error)
{
    switch (record->type) {
    case CHANGE_LOG_RECORD_DATA:
        return decode_data(self, record, ret_record, error);
    case CHANGE_LOG_RECORD_ZERO:
        return true;
    case CHANGE_LOG_RECORD_BLOB:
        return decode_blob(self, record, ret_record, error);
    case CHANGE_LOG_RECORD_END:
        return check_end(self, ret_record, error);
    }
    g_assert_not_reached();
}

static bool
read_record(ChangeLogReader *self, ChangeLogRecord *ret_record, GError **error)
{
    uint8_t bytes[CHANGE_LOG_FORMAT_RECORD_SIZE];
    ChangeLogFormatRecord record;
    if (!take(self, bytes, sizeof bytes, error) || !change_log_format_record_decode(bytes, &record, error) ||
        !check_in_log(self, &record, error))
        return false;
    bool is_end = record.type == CHANGE_LOG_RECORD_END;
    if ((!is_end && !hash_add(self, bytes, sizeof bytes, error)) || !read_payload(self, &record, error))
        return false;

    ChangeLogRecord out = {
        .type = record.type,
        .disk = record.disk,
        .offset = record.offset,
        .length = record.length,
    };
    if (!decode_payload(self, &record, &out, error))
        return false;
    self->good_bytes += sizeof bytes + record.stored_length;
    self->records += !is_end;
    *ret_record = out;
    return true;
}

bool
change_log_reader_next(ChangeLogReader *self, ChangeLogRecord *ret_record, GError **error)
{
    g_clear_pointer(&self->blob, g_bytes_unref);
    if (self->closed)
        return malformed(error, "it was read to its end or to an error before");
    if (!read_record(self, ret_record, error)) {
        self->closed = true;
        return false;
    }
    return true;
}
