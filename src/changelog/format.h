/* format: the bytes of a change log's header and record headers, both ways.
 *
 * Private to changelog/ (and to its fuzz target); the format itself is described above the reader, in reader.c.
 * Stateless; safe from any thread.
 */
#pragma once

#include "changelog/changelog.h"

#define CHANGE_LOG_FORMAT_VERSION       1u
#define CHANGE_LOG_FORMAT_CHECKSUM_SIZE 16u /* XXH128 */
#define CHANGE_LOG_FORMAT_HEADER_FIXED  104u
#define CHANGE_LOG_FORMAT_DISK_SIZE     72u
#define CHANGE_LOG_FORMAT_RECORD_SIZE   64u
#define CHANGE_LOG_FORMAT_HEADER_MAX \
    (CHANGE_LOG_FORMAT_HEADER_FIXED + CHANGE_LOG_DISKS_MAX * CHANGE_LOG_FORMAT_DISK_SIZE + \
     CHANGE_LOG_FORMAT_CHECKSUM_SIZE)

typedef enum {
    CHANGE_LOG_CODEC_NONE = 0, /* no payload that could be encoded */
    CHANGE_LOG_CODEC_RAW = 1,
    CHANGE_LOG_CODEC_ZSTD = 2,
} ChangeLogCodec;

#define CHANGE_LOG_FLAG_PRESENT 1u /* BLOB: it exists after the log */

typedef struct {
    ChangeLogRecordType type;
    ChangeLogCodec codec;
    uint8_t  flags;
    uint8_t  name_length;   /* BLOB: bytes of the name, which precede the content */
    uint16_t disk;
    uint64_t offset;
    uint64_t length;        /* decoded content */
    uint32_t stored_length; /* payload in the stream: name and encoded content */
    uint8_t  checksum[CHANGE_LOG_FORMAT_CHECKSUM_SIZE]; /* of the stored payload; zeroes without one */
    uint64_t sequence;      /* records before this one */
} ChangeLogFormatRecord;

bool change_log_format_name_is_valid(const char *name, size_t length);

/* XXH128, low half first, each half little endian. */
void change_log_format_checksum(const void *data, size_t length, uint8_t ret_checksum[CHANGE_LOG_FORMAT_CHECKSUM_SIZE]);

/* What the format demands of a header's values; the writer asks before it writes, the decoder after it has read. */
bool change_log_format_header_check(const ChangeLogHeader *header, GError **error);
/* Returns the length of what was written to @ret_bytes. */
size_t change_log_format_header_encode(const ChangeLogHeader *header, uint8_t ret_bytes[CHANGE_LOG_FORMAT_HEADER_MAX]);
/* How long the whole header is, from its fixed part; at most CHANGE_LOG_FORMAT_HEADER_MAX. */
bool change_log_format_header_length(const uint8_t fixed[CHANGE_LOG_FORMAT_HEADER_FIXED], size_t *ret_length,
                                     GError **error);
/* @length as change_log_format_header_length() gave it. */
bool change_log_format_header_decode(const uint8_t *bytes, size_t length, ChangeLogHeader *ret_header, GError **error);

void change_log_format_record_encode(const ChangeLogFormatRecord *record,
                                     uint8_t ret_bytes[CHANGE_LOG_FORMAT_RECORD_SIZE]);
/* Checks the checksum and everything that can be said without the log's header. */
bool change_log_format_record_decode(const uint8_t bytes[CHANGE_LOG_FORMAT_RECORD_SIZE],
                                     ChangeLogFormatRecord *ret_record, GError **error);
