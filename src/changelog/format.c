#include "changelog/format.h"

#include <string.h>
#include <xxhash.h>

static const uint8_t magic[8] = { 'V', 'R', 'C', 'L', 'O', 'G', '\r', '\n' };

G_DEFINE_QUARK(change-log-error-quark, change_log_error)

static void
put16(uint8_t *at, uint16_t value)
{
    value = GUINT16_TO_LE(value);
    memcpy(at, &value, sizeof value);
}

static void
put32(uint8_t *at, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    memcpy(at, &value, sizeof value);
}

static void
put64(uint8_t *at, uint64_t value)
{
    value = GUINT64_TO_LE(value);
    memcpy(at, &value, sizeof value);
}

static uint16_t
get16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return GUINT16_FROM_LE(value);
}

static uint32_t
get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return GUINT32_FROM_LE(value);
}

static uint64_t
get64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return GUINT64_FROM_LE(value);
}

static bool
malformed(GError **error, const char *what)
{
    g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MALFORMED, "The change log is damaged or is none: %s.", what);
    return false;
}

static bool
over_limit(GError **error, const char *what)
{
    g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT, "The change log exceeds a limit: %s.", what);
    return false;
}

bool
change_log_format_name_is_valid(const char *name, size_t length)
{
    if (length == 0 || length > CHANGE_LOG_NAME_MAX || name[0] == '.')
        return false;
    for (size_t i = 0; i < length; i++) {
        if (!g_ascii_isalnum(name[i]) && name[i] != '.' && name[i] != '_' && name[i] != '-')
            return false;
    }
    return true;
}

void
change_log_format_checksum(const void *data, size_t length, uint8_t ret_checksum[CHANGE_LOG_FORMAT_CHECKSUM_SIZE])
{
    XXH128_hash_t hash = XXH3_128bits(data, length);
    put64(ret_checksum, hash.low64);
    put64(ret_checksum + 8, hash.high64);
}

/* ---- header ---- */

static bool
uuid_is_dash(int i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

static bool
uuid_is_valid(const char text[37])
{
    for (int i = 0; i < 36; i++) {
        bool good = uuid_is_dash(i) ? text[i] == '-'
                                    : g_ascii_isdigit(text[i]) || (text[i] >= 'a' && text[i] <= 'f');
        if (!good)
            return false;
    }
    return text[36] == '\0';
}

static void
uuid_encode(const char text[37], uint8_t bytes[16])
{
    int digit = 0;
    for (int i = 0; i < 36; i++) {
        if (uuid_is_dash(i))
            continue;
        uint8_t value = (uint8_t)g_ascii_xdigit_value(text[i]);
        if (digit % 2 == 0)
            bytes[digit / 2] = (uint8_t)(value << 4);
        else
            bytes[digit / 2] |= value;
        digit++;
    }
}

static void
uuid_decode(const uint8_t bytes[16], char text[37])
{
    int digit = 0;
    for (int i = 0; i < 36; i++) {
        if (uuid_is_dash(i)) {
            text[i] = '-';
            continue;
        }
        uint8_t value = bytes[digit / 2];
        text[i] = "0123456789abcdef"[digit % 2 == 0 ? value >> 4 : value & 15];
        digit++;
    }
    text[36] = '\0';
}

static bool
check_disks(const ChangeLogHeader *header, GError **error)
{
    if (header->n_disks > CHANGE_LOG_DISKS_MAX)
        return over_limit(error, "too many disks");
    for (unsigned i = 0; i < header->n_disks; i++) {
        const ChangeLogDisk *disk = &header->disks[i];
        if (!change_log_format_name_is_valid(disk->id, strnlen(disk->id, sizeof disk->id)))
            return malformed(error, "the id of a disk is not a valid name");
        if (disk->size_bytes % 512 != 0)
            return malformed(error, "the size of a disk is no multiple of 512 bytes");
        if (disk->size_bytes > INT64_MAX)
            return over_limit(error, "a disk is too large");
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(header->disks[k].id, disk->id) == 0)
                return malformed(error, "two disks have the same id");
        }
    }
    return true;
}

bool
change_log_format_header_check(const ChangeLogHeader *header, GError **error)
{
    if (header->kind < CHANGE_LOG_DELTA || header->kind > CHANGE_LOG_UNDO)
        return malformed(error, "unknown kind of log");
    if (header->point_kind > POINT_KIND_PLANNED)
        return malformed(error, "unknown kind of recovery point");
    if (!uuid_is_valid(header->vm_uuid))
        return malformed(error, "the UUID of the VM is not in lower case with dashes");
    if (!uuid_is_valid(header->lineage))
        return malformed(error, "the lineage is not a UUID in lower case with dashes");
    if (header->base > header->position || (header->kind == CHANGE_LOG_DELTA && header->base == header->position))
        return malformed(error, "its position does not come after its base");
    return check_disks(header, error);
}

static size_t
header_length(unsigned n_disks)
{
    return CHANGE_LOG_FORMAT_HEADER_FIXED + (size_t)n_disks * CHANGE_LOG_FORMAT_DISK_SIZE +
           CHANGE_LOG_FORMAT_CHECKSUM_SIZE;
}

size_t
change_log_format_header_encode(const ChangeLogHeader *header, uint8_t ret_bytes[CHANGE_LOG_FORMAT_HEADER_MAX])
{
    size_t length = header_length(header->n_disks);
    memset(ret_bytes, 0, length);
    memcpy(ret_bytes, magic, sizeof magic);
    put16(ret_bytes + 8, CHANGE_LOG_FORMAT_VERSION);
    put32(ret_bytes + 12, (uint32_t)length);
    ret_bytes[16] = (uint8_t)header->kind;
    ret_bytes[17] = (uint8_t)header->point_kind;
    put16(ret_bytes + 18, (uint16_t)header->n_disks);
    put64(ret_bytes + 24, header->base);
    put64(ret_bytes + 32, header->position);
    uuid_encode(header->vm_uuid, ret_bytes + 40);
    uuid_encode(header->lineage, ret_bytes + 56);
    memcpy(ret_bytes + 72, header->previous_digest, CHANGE_LOG_DIGEST_SIZE);

    uint8_t *at = ret_bytes + CHANGE_LOG_FORMAT_HEADER_FIXED;
    for (unsigned i = 0; i < header->n_disks; i++, at += CHANGE_LOG_FORMAT_DISK_SIZE) {
        put64(at, header->disks[i].size_bytes);
        memcpy(at + 8, header->disks[i].id, strlen(header->disks[i].id));
    }
    change_log_format_checksum(ret_bytes, length - CHANGE_LOG_FORMAT_CHECKSUM_SIZE, at);
    return length;
}

bool
change_log_format_header_length(const uint8_t fixed[CHANGE_LOG_FORMAT_HEADER_FIXED], size_t *ret_length, GError **error)
{
    if (memcmp(fixed, magic, sizeof magic) != 0)
        return malformed(error, "it does not begin as one");
    if (get16(fixed + 8) != CHANGE_LOG_FORMAT_VERSION)
        return malformed(error, "its format version is not known to this program");
    unsigned n_disks = get16(fixed + 18);
    if (n_disks > CHANGE_LOG_DISKS_MAX || get32(fixed + 12) != header_length(n_disks))
        return malformed(error, "the length of its header is wrong");
    *ret_length = header_length(n_disks);
    return true;
}

/* The id fills its field with zeroes; nothing may hide behind the first of them. */
static bool
decode_disk(const uint8_t *at, ChangeLogDisk *disk, GError **error)
{
    disk->size_bytes = get64(at);
    memcpy(disk->id, at + 8, sizeof disk->id);
    size_t length = strnlen(disk->id, sizeof disk->id);
    for (size_t i = length; i < sizeof disk->id; i++) {
        if (disk->id[i] != '\0')
            return malformed(error, "the id of a disk is not padded with zeroes");
    }
    return true;
}

bool
change_log_format_header_decode(const uint8_t *bytes, size_t length, ChangeLogHeader *ret_header, GError **error)
{
    uint8_t checksum[CHANGE_LOG_FORMAT_CHECKSUM_SIZE];
    change_log_format_checksum(bytes, length - sizeof checksum, checksum);
    if (memcmp(checksum, bytes + length - sizeof checksum, sizeof checksum) != 0)
        return malformed(error, "the checksum of its header is wrong");
    if (get16(bytes + 10) != 0 || get32(bytes + 20) != 0)
        return malformed(error, "its header has flags that are not known to this program");

    ChangeLogHeader header = {
        .kind = bytes[16],
        .point_kind = bytes[17],
        .n_disks = get16(bytes + 18),
        .base = get64(bytes + 24),
        .position = get64(bytes + 32),
    };
    uuid_decode(bytes + 40, header.vm_uuid);
    uuid_decode(bytes + 56, header.lineage);
    memcpy(header.previous_digest, bytes + 72, CHANGE_LOG_DIGEST_SIZE);
    for (unsigned i = 0; i < header.n_disks; i++) {
        if (!decode_disk(bytes + CHANGE_LOG_FORMAT_HEADER_FIXED + (size_t)i * CHANGE_LOG_FORMAT_DISK_SIZE,
                         &header.disks[i], error))
            return false;
    }
    if (!change_log_format_header_check(&header, error))
        return false;
    *ret_header = header;
    return true;
}

/* ---- records ---- */

void
change_log_format_record_encode(const ChangeLogFormatRecord *record, uint8_t ret_bytes[CHANGE_LOG_FORMAT_RECORD_SIZE])
{
    memset(ret_bytes, 0, CHANGE_LOG_FORMAT_RECORD_SIZE);
    ret_bytes[0] = (uint8_t)record->type;
    ret_bytes[1] = (uint8_t)record->codec;
    ret_bytes[2] = record->flags;
    ret_bytes[3] = record->name_length;
    put16(ret_bytes + 4, record->disk);
    put64(ret_bytes + 8, record->offset);
    put64(ret_bytes + 16, record->length);
    put32(ret_bytes + 24, record->stored_length);
    memcpy(ret_bytes + 32, record->checksum, sizeof record->checksum);
    put64(ret_bytes + 48, record->sequence);
    put64(ret_bytes + 56, XXH3_64bits(ret_bytes, 56));
}

static bool
check_data(const ChangeLogFormatRecord *r, GError **error)
{
    if (r->length > CHANGE_LOG_RECORD_MAX)
        return over_limit(error, "a data record is too long");
    bool raw = r->codec == CHANGE_LOG_CODEC_RAW && r->stored_length == r->length;
    bool zstd = r->codec == CHANGE_LOG_CODEC_ZSTD && r->stored_length > 0 && r->stored_length < r->length;
    if (r->length == 0 || (!raw && !zstd) || r->flags != 0 || r->name_length != 0)
        return malformed(error, "the lengths or flags of a data record contradict each other");
    return true;
}

static bool
check_zero(const ChangeLogFormatRecord *r, GError **error)
{
    if (r->length > CHANGE_LOG_ZERO_MAX)
        return over_limit(error, "a zero record is too long");
    if (r->length == 0 || r->codec != CHANGE_LOG_CODEC_NONE || r->stored_length != 0 || r->flags != 0 ||
        r->name_length != 0)
        return malformed(error, "the lengths or flags of a zero record contradict each other");
    return true;
}

static bool
check_blob(const ChangeLogFormatRecord *r, GError **error)
{
    if (r->length > CHANGE_LOG_BLOB_MAX)
        return over_limit(error, "a blob is too large");
    uint64_t plain = r->name_length + r->length;
    bool absent = r->flags == 0 && r->codec == CHANGE_LOG_CODEC_NONE && r->length == 0 && r->stored_length == plain;
    bool present = r->flags == CHANGE_LOG_FLAG_PRESENT;
    bool raw = present && r->codec == CHANGE_LOG_CODEC_RAW && r->stored_length == plain;
    bool zstd = present && r->codec == CHANGE_LOG_CODEC_ZSTD && r->stored_length > r->name_length &&
                r->stored_length < plain;
    if ((!absent && !raw && !zstd) || r->disk != 0 || r->offset != 0 || r->name_length == 0 ||
        r->name_length > CHANGE_LOG_NAME_MAX)
        return malformed(error, "the lengths or flags of a blob contradict each other");
    return true;
}

static bool
check_end(const ChangeLogFormatRecord *r, GError **error)
{
    if (r->codec != CHANGE_LOG_CODEC_NONE || r->flags != 0 || r->name_length != 0 || r->disk != 0 || r->offset != 0 ||
        r->length != 0 || r->stored_length != CHANGE_LOG_DIGEST_SIZE)
        return malformed(error, "its end record has fields that must be zero");
    return true;
}

static bool
check_record(const ChangeLogFormatRecord *record, GError **error)
{
    switch (record->type) {
    case CHANGE_LOG_RECORD_DATA:
        return check_data(record, error);
    case CHANGE_LOG_RECORD_ZERO:
        return check_zero(record, error);
    case CHANGE_LOG_RECORD_BLOB:
        return check_blob(record, error);
    case CHANGE_LOG_RECORD_END:
        return check_end(record, error);
    }
    return malformed(error, "a record is of no known type");
}

bool
change_log_format_record_decode(const uint8_t bytes[CHANGE_LOG_FORMAT_RECORD_SIZE], ChangeLogFormatRecord *ret_record,
                                GError **error)
{
    if (get64(bytes + 56) != XXH3_64bits(bytes, 56))
        return malformed(error, "the checksum of a record header is wrong");
    if (get16(bytes + 6) != 0 || get32(bytes + 28) != 0)
        return malformed(error, "a record has flags that are not known to this program");
    ChangeLogFormatRecord record = {
        .type = bytes[0],
        .codec = bytes[1],
        .flags = bytes[2],
        .name_length = bytes[3],
        .disk = get16(bytes + 4),
        .offset = get64(bytes + 8),
        .length = get64(bytes + 16),
        .stored_length = get32(bytes + 24),
        .sequence = get64(bytes + 48),
    };
    memcpy(record.checksum, bytes + 32, sizeof record.checksum);
    static const uint8_t zeroes[CHANGE_LOG_FORMAT_CHECKSUM_SIZE];
    if (record.stored_length == 0 && memcmp(record.checksum, zeroes, sizeof zeroes) != 0)
        return malformed(error, "a record without content has a checksum of content");
    if (!check_record(&record, error))
        return false;
    *ret_record = record;
    return true;
}
