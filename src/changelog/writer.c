/* The change log's writer; the format is described in reader.c.
 *
 * Contents that are to be compressed go through an encoder, whose threads compress while the thread that writes brings
 * the next and gives finished ones to the sink. What has no content takes its place in the same queue, so the order stays.
 */
#include "changelog/encoder.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

struct ChangeLogWriter {
    ChangeLogSink sink;
    ChangeLogHeader header;
    gnutls_hash_hd_t hash; /* over header and record headers */
    Encoder *encoder;      /* NULL: nothing is compressed */
    uint64_t bytes, records;
    unsigned blobs;
    uint64_t blob_bytes;
    bool closed; /* END is written, or the sink failed: nothing more may follow */
};

static bool
put(ChangeLogWriter *self, const void *data, size_t length, GError **error)
{
    if (length == 0)
        return true;
    if (!self->sink.write(self->sink.opaque, data, length, error)) {
        self->closed = true;
        return false;
    }
    self->bytes += length;
    return true;
}

/* Headers are what the digest is made of. */
static bool
put_hashed(ChangeLogWriter *self, const void *data, size_t length, GError **error)
{
    if (gnutls_hash(self->hash, data, length) < 0) {
        self->closed = true;
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "SHA-256 could not be computed.");
        return false;
    }
    return put(self, data, length, error);
}

ChangeLogWriter *
change_log_writer_new(ChangeLogSink sink, const ChangeLogHeader *header, bool compress, GError **error)
{
    if (!change_log_format_header_check(header, error))
        return NULL;

    g_autoptr(ChangeLogWriter) self = g_new0(ChangeLogWriter, 1);
    self->sink = sink;
    self->header = *header;
    if (gnutls_hash_init(&self->hash, GNUTLS_DIG_SHA256) < 0) {
        self->hash = NULL;
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "SHA-256 is not available.");
        return NULL;
    }
    if (compress)
        self->encoder = encoder_new();
    uint8_t bytes[CHANGE_LOG_FORMAT_HEADER_MAX];
    size_t length = change_log_format_header_encode(header, bytes);
    if (!put_hashed(self, bytes, length, error))
        return NULL;
    return g_steal_pointer(&self);
}

void
change_log_writer_free(ChangeLogWriter *self)
{
    if (self == NULL)
        return;
    if (self->hash != NULL)
        gnutls_hash_deinit(self->hash, NULL);
    encoder_free(self->encoder);
    g_free(self);
}

uint64_t
change_log_writer_bytes(const ChangeLogWriter *self)
{
    return self->bytes;
}

uint64_t
change_log_writer_records(const ChangeLogWriter *self)
{
    return self->records;
}

static bool
check_open(const ChangeLogWriter *self, GError **error)
{
    if (!self->closed)
        return true;
    g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO,
                "The change log is finished or could not be written: nothing can be added.");
    return false;
}

static bool
check_place(const ChangeLogWriter *self, unsigned disk, uint64_t offset, uint64_t length, GError **error)
{
    if (disk >= self->header.n_disks) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET, "The change log has no disk number %u.", disk);
        return false;
    }
    const ChangeLogDisk *d = &self->header.disks[disk];
    if (offset > d->size_bytes || length > d->size_bytes - offset) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET,
                    "Disk '%s' has %" G_GUINT64_FORMAT " bytes: %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
                    " are not inside it.", d->id, d->size_bytes, length, offset);
        return false;
    }
    return true;
}

static bool
is_zero(const uint8_t *data, size_t length)
{
    return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

/* Numbers the record and writes it with its stored payload, whose checksum it has. */
static bool
put_record(ChangeLogWriter *self, const ChangeLogFormatRecord *record, const void *stored, GError **error)
{
    uint8_t bytes[CHANGE_LOG_FORMAT_RECORD_SIZE];
    ChangeLogFormatRecord numbered = *record;
    numbered.sequence = self->records;
    change_log_format_record_encode(&numbered, bytes);
    if (!put_hashed(self, bytes, sizeof bytes, error) || !put(self, stored, record->stored_length, error))
        return false;
    self->records++;
    return true;
}

/* Gives the sink what is encoded, and waits for the rest until no more than @left pieces are in the queue. */
static bool
put_encoded(ChangeLogWriter *self, unsigned left, GError **error)
{
    while (self->encoder != NULL && encoder_count(self->encoder) > 0) {
        const EncoderPiece *piece = encoder_head(self->encoder, encoder_count(self->encoder) > left);
        if (piece == NULL)
            return true;
        if (!put_record(self, &piece->record, piece->stored, error))
            return false;
        encoder_pop(self->encoder);
    }
    return true;
}

/* A record of DATA or, with @data NULL, of ZERO. */
static bool
add_record(ChangeLogWriter *self, ChangeLogFormatRecord *record, const void *data, GError **error)
{
    if (self->encoder != NULL) {
        if (!put_encoded(self, ENCODER_PIECES - 1, error))
            return false;
        encoder_push(self->encoder, record, data);
        return put_encoded(self, ENCODER_PIECES, error);
    }
    if (data != NULL)
        change_log_format_checksum(data, record->stored_length, record->checksum);
    return put_record(self, record, data, error);
}

bool
change_log_writer_data(ChangeLogWriter *self, unsigned disk, uint64_t offset, const void *data, size_t length,
                       GError **error)
{
    if (!check_open(self, error) || !check_place(self, disk, offset, length, error))
        return false;
    if (length > CHANGE_LOG_RECORD_MAX) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT, "%zu bytes are too many for one record.", length);
        return false;
    }
    if (length == 0)
        return true;
    if (is_zero(data, length))
        return change_log_writer_zero(self, disk, offset, length, error);

    ChangeLogFormatRecord record = {
        .type = CHANGE_LOG_RECORD_DATA,
        .codec = CHANGE_LOG_CODEC_RAW,
        .disk = (uint16_t)disk,
        .offset = offset,
        .length = length,
        .stored_length = (uint32_t)length,
    };
    return add_record(self, &record, data, error);
}

bool
change_log_writer_zero(ChangeLogWriter *self, unsigned disk, uint64_t offset, uint64_t length, GError **error)
{
    if (!check_open(self, error) || !check_place(self, disk, offset, length, error))
        return false;
    while (length > 0) {
        uint64_t part = MIN(length, CHANGE_LOG_ZERO_MAX);
        ChangeLogFormatRecord record = {
            .type = CHANGE_LOG_RECORD_ZERO,
            .disk = (uint16_t)disk,
            .offset = offset,
            .length = part,
        };
        if (!add_record(self, &record, NULL, error))
            return false;
        offset += part;
        length -= part;
    }
    return true;
}

static bool
check_blob(const ChangeLogWriter *self, const char *name, size_t length, GError **error)
{
    if (!change_log_format_name_is_valid(name, strlen(name))) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_TARGET, "'%s' is no valid name of a blob.", name);
        return false;
    }
    if (length > CHANGE_LOG_BLOB_MAX || self->blobs >= CHANGE_LOG_BLOBS_MAX ||
        length > CHANGE_LOG_BLOBS_BYTES_MAX - self->blob_bytes) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT,
                    "Blob '%s' with %zu bytes is too large, or the log has too many or too large blobs.", name, length);
        return false;
    }
    return true;
}

bool
change_log_writer_blob(ChangeLogWriter *self, const char *name, GBytes *content, GError **error)
{
    gsize length = 0;
    const void *data = content != NULL ? g_bytes_get_data(content, &length) : NULL;
    if (!check_open(self, error) || !check_blob(self, name, length, error))
        return false;

    size_t name_length = strlen(name);
    ChangeLogFormatRecord record = {
        .type = CHANGE_LOG_RECORD_BLOB,
        .codec = content != NULL ? CHANGE_LOG_CODEC_RAW : CHANGE_LOG_CODEC_NONE,
        .flags = content != NULL ? CHANGE_LOG_FLAG_PRESENT : 0,
        .name_length = (uint8_t)name_length,
        .length = length,
        .stored_length = (uint32_t)(name_length + length),
    };
    g_autofree uint8_t *stored = g_malloc(name_length + length);
    memcpy(stored, name, name_length);
    size_t compressed = self->encoder != NULL ? encoder_compress(data, length, stored + name_length) : 0;
    if (compressed > 0) {
        record.codec = CHANGE_LOG_CODEC_ZSTD;
        record.stored_length = (uint32_t)(name_length + compressed);
    } else if (length > 0) {
        memcpy(stored + name_length, data, length);
    }
    change_log_format_checksum(stored, record.stored_length, record.checksum);
    self->blobs++;
    self->blob_bytes += length;
    return put_encoded(self, 0, error) && put_record(self, &record, stored, error);
}

bool
change_log_writer_end(ChangeLogWriter *self, uint8_t ret_digest[CHANGE_LOG_DIGEST_SIZE], GError **error)
{
    if (!check_open(self, error) || !put_encoded(self, 0, error))
        return false;
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    gnutls_hash_output(self->hash, digest);

    uint8_t bytes[CHANGE_LOG_FORMAT_RECORD_SIZE];
    ChangeLogFormatRecord record = {
        .type = CHANGE_LOG_RECORD_END,
        .stored_length = sizeof digest,
        .sequence = self->records,
    };
    change_log_format_checksum(digest, sizeof digest, record.checksum);
    change_log_format_record_encode(&record, bytes);
    if (!put(self, bytes, sizeof bytes, error) || !put(self, digest, sizeof digest, error))
        return false;
    self->closed = true;
    if (ret_digest != NULL)
        memcpy(ret_digest, digest, sizeof digest);
    return true;
}
