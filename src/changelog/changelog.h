/* changelog: everything that changed in one VM between two moments, as a stream of bytes.
 *
 * Pure data: no policy, no network, no files. Bytes come from a ChangeLogSource and go to a
 * ChangeLogSink; disks are reached through a ChangeLogTarget. Memory is bounded by a few records
 * whatever the input, and for capture, undo chain and merge by a set of extents (CHANGE_LOG_EXTENTS_MAX).
 * Errors that a source, sink or target sets are passed on unchanged. One thread at a time may use an object.
 * The format is written in full above the reader (reader.c) and in docs/design/change-log.md.
 */
#pragma once

#include "util/extent-set.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHANGE_LOG_GRAIN       65536u           /* bytes; unit of capture and of hashing */
#define CHANGE_LOG_RECORD_MAX  (1024u * 1024u)  /* bytes of disk data in one record, before compression */
#define CHANGE_LOG_ZERO_MAX    (1ull << 40)     /* bytes one zero record may cover */
#define CHANGE_LOG_DISKS_MAX   64u
#define CHANGE_LOG_BLOB_MAX    (16u * 1024u * 1024u)
#define CHANGE_LOG_BLOBS_MAX   256u             /* blob records in one log */
#define CHANGE_LOG_BLOBS_BYTES_MAX (64u * 1024u * 1024u) /* of all blobs in one log; a VM has one definition, NVRAM and TPM */
#define CHANGE_LOG_EXTENTS_MAX (16u << 20)      /* extents of one disk in memory: every other grain of 2 TiB, 256 MiB */
#define CHANGE_LOG_NAME_MAX    63u              /* bytes of a disk id or a blob name; [A-Za-z0-9._-]+, no leading dot */
#define CHANGE_LOG_DIGEST_SIZE 32u              /* SHA-256 */

typedef enum {
    CHANGE_LOG_ERROR_MALFORMED, /* not a change log, or damaged: ask for it again */
    CHANGE_LOG_ERROR_TRUNCATED, /* ends before its END record: resume or ask again */
    CHANGE_LOG_ERROR_MISFIT,    /* whole, but for another VM, lineage, position or predecessor */
    CHANGE_LOG_ERROR_LIMIT,     /* exceeds a bound of this program */
    CHANGE_LOG_ERROR_TARGET,    /* a disk or blob it names is not there, or an offset is outside it */
    CHANGE_LOG_ERROR_IO,        /* source, sink or target failed */
} ChangeLogError;
#define CHANGE_LOG_ERROR (change_log_error_quark())
GQuark change_log_error_quark(void);

typedef enum {
    CHANGE_LOG_DELTA = 1,   /* one replication cycle: position - 1 to position */
    CHANGE_LOG_INITIAL = 2, /* a pass of the first copy; position stays 0 */
    CHANGE_LOG_RESYNC = 3,  /* a pass of a resynchronization */
    CHANGE_LOG_UNDO = 4,    /* the inverse of a delta: takes `position` back to `base` */
} ChangeLogKind;

typedef enum {
    POINT_KIND_NONE = 0,
    POINT_KIND_STANDARD = 1,               /* crash-consistent */
    POINT_KIND_APPLICATION_CONSISTENT = 2, /* guest was frozen */
    POINT_KIND_PLANNED = 3,                /* guest was off: planned failover */
} PointKind;

typedef struct {
    char     id[CHANGE_LOG_NAME_MAX + 1]; /* stable name of the disk within the VM, such as "vda" */
    uint64_t size_bytes;                  /* after the log is applied; multiple of 512 */
} ChangeLogDisk;

typedef struct {
    ChangeLogKind kind;
    PointKind     point_kind;
    char          vm_uuid[37];  /* lower case with dashes */
    char          lineage[37];  /* UUID of the line of history */
    uint64_t      base;         /* position it starts from */
    uint64_t      position;     /* position it leads to */
    uint8_t       previous_digest[CHANGE_LOG_DIGEST_SIZE]; /* END digest of the log before; zeroes when none */
    unsigned      n_disks;      /* all disks of the VM, changed or not */
    ChangeLogDisk disks[CHANGE_LOG_DISKS_MAX];
} ChangeLogHeader;

/* Reads up to @length bytes; 0 at the end, also when asked again; -1 with @error set. */
typedef struct {
    ssize_t (*read)(void *opaque, void *buffer, size_t length, GError **error);
    void *opaque;
} ChangeLogSource;

/* Takes all @length bytes, or false with @error set. */
typedef struct {
    bool (*write)(void *opaque, const void *data, size_t length, GError **error);
    void *opaque;
} ChangeLogSink;

/* ---- files and memory as source and sink; the caller keeps @fd, @bytes and @memory alive.
 * A file is read and written from where it stands; its failures are CHANGE_LOG_ERROR_IO. ---- */
ChangeLogSource change_log_source_fd(const int *fd);
ChangeLogSink   change_log_sink_fd(const int *fd);
ChangeLogSink   change_log_sink_bytes(GByteArray *bytes);
typedef struct { const uint8_t *data; size_t length, offset; } ChangeLogMemory;
ChangeLogSource change_log_source_memory(ChangeLogMemory *memory);

/* ---- writing ---- */
typedef struct ChangeLogWriter ChangeLogWriter;

/* Writes the header at once. @compress: zstd where it pays, by threads that all writers share; a record may then be given
 * to the sink in a later call, at the latest by change_log_writer_end(), and its failure is told by that. The sink is
 * called by the caller's thread only, in the order of the records. NULL with @error on failure. */
ChangeLogWriter *change_log_writer_new(ChangeLogSink sink, const ChangeLogHeader *header, bool compress,
                                       GError **error);
void             change_log_writer_free(ChangeLogWriter *self); /* without END, if not finished */
/* @length at most CHANGE_LOG_RECORD_MAX; [offset, offset + length) inside the disk, else CHANGE_LOG_ERROR_TARGET. All-zero
 * data becomes a zero record. Records may come in any order; where two of one log overlap, the later one holds. */
bool change_log_writer_data(ChangeLogWriter *self, unsigned disk, uint64_t offset, const void *data,
                            size_t length, GError **error);
/* Any length inside the disk. */
bool change_log_writer_zero(ChangeLogWriter *self, unsigned disk, uint64_t offset, uint64_t length, GError **error);
/* @content NULL: the blob is absent after the log. */
bool change_log_writer_blob(ChangeLogWriter *self, const char *name, GBytes *content, GError **error);
/* Writes END; @ret_digest (optional) takes the log's digest. Nothing can be written after it. */
bool change_log_writer_end(ChangeLogWriter *self, uint8_t ret_digest[CHANGE_LOG_DIGEST_SIZE], GError **error);
uint64_t change_log_writer_bytes(const ChangeLogWriter *self);   /* given to the sink so far */
uint64_t change_log_writer_records(const ChangeLogWriter *self); /* likewise; without header and END */

/* ---- reading ---- */
typedef struct ChangeLogReader ChangeLogReader;

typedef enum { CHANGE_LOG_RECORD_DATA = 1, CHANGE_LOG_RECORD_ZERO = 2, CHANGE_LOG_RECORD_BLOB = 3,
               CHANGE_LOG_RECORD_END = 4 } ChangeLogRecordType;

typedef struct {
    ChangeLogRecordType type;
    unsigned    disk;       /* index into the header's disks; DATA and ZERO */
    uint64_t    offset;     /* bytes; DATA and ZERO */
    uint64_t    length;     /* bytes; DATA, ZERO, BLOB */
    const void *data;       /* DATA: borrowed until the next call; NULL when payloads are skipped */
    const char *name;       /* BLOB; borrowed */
    GBytes     *blob;       /* BLOB: borrowed; NULL when the blob is absent afterwards */
    uint8_t     digest[CHANGE_LOG_DIGEST_SIZE]; /* END */
} ChangeLogRecord;

/* Reads and checks the header. */
ChangeLogReader *change_log_reader_new(ChangeLogSource source, GError **error);
void             change_log_reader_free(ChangeLogReader *self);
const ChangeLogHeader *change_log_reader_header(const ChangeLogReader *self);
/* From now on payloads are read and checked but not decoded: DATA comes without data, BLOB without content
 * (which then does not mean that it is absent). */
void change_log_reader_skip_payloads(ChangeLogReader *self);
/* One record at a time, checked. After END the source must be at its end. False with @error: nothing more to read. */
bool change_log_reader_next(ChangeLogReader *self, ChangeLogRecord *ret_record, GError **error);
/* Bytes of the stream up to and with the last good record: where a broken transfer resumes. */
uint64_t change_log_reader_good_bytes(const ChangeLogReader *self);
uint64_t change_log_reader_good_records(const ChangeLogReader *self); /* without header and END */

/* ---- operations ---- */

/* Where a log is applied. All calls block; false or NULL with @error on failure. */
typedef struct {
    void *opaque;
    bool (*disk_size)(void *opaque, const char *disk, uint64_t *ret_size, GError **error);
    bool (*read)(void *opaque, const char *disk, uint64_t offset, void *buffer, size_t length, GError **error);
    bool (*write)(void *opaque, const char *disk, uint64_t offset, const void *data, size_t length, GError **error);
    bool (*zero)(void *opaque, const char *disk, uint64_t offset, uint64_t length, GError **error);
    bool (*resize)(void *opaque, const char *disk, uint64_t size, GError **error); /* what grows reads as zeroes */
    bool (*flush)(void *opaque, GError **error); /* everything written is on stable storage */
    bool (*blob_get)(void *opaque, const char *name, GBytes **ret_blob, GError **error); /* NULL when absent */
    bool (*blob_set)(void *opaque, const char *name, GBytes *blob, GError **error);      /* NULL removes */
    /* (nullable): extents of [start, end) that are known to read as zeroes, (transfer full): capture of a large area
     * that a guest trimmed need not read what is empty already. */
    bool (*zeroes)(void *opaque, const char *disk, uint64_t start, uint64_t end, ExtentSet **ret_zeroes, GError **error);
} ChangeLogTarget;

typedef struct {
    ChangeLogHeader header;
    uint8_t  digest[CHANGE_LOG_DIGEST_SIZE];
    uint64_t bytes, records;
    uint64_t data_bytes; /* disk bytes covered by DATA records */
    uint64_t zero_bytes;
} ChangeLogSummary;

/* Reads to END, checking everything. */
bool change_log_verify(ChangeLogSource source, ChangeLogSummary *ret_summary, GError **error);

/* What a log writes to: for each disk of its header a set of whole grains, cut at the size that the log gives the disk. Reads to END, checking
 * everything but contents. @ret_sets: CHANGE_LOG_DISKS_MAX places, those of its disks are (transfer full). */
bool change_log_touched(ChangeLogSource log, ChangeLogHeader *ret_header, ExtentSet **ret_sets, GError **error);

/* Checks that a log continues a history: same VM and lineage, base and previous digest as given.
 * CHANGE_LOG_ERROR_MISFIT says what differs; an undo continues nothing and never fits. */
bool change_log_fits(const ChangeLogHeader *header, const char *vm_uuid, const char *lineage, uint64_t base,
                     const uint8_t previous_digest[CHANGE_LOG_DIGEST_SIZE], GError **error);

/* What an undo holds already, so that it is not captured twice between two kept points. Keyed by disk id and blob name. */
typedef struct ChangeLogCaptured ChangeLogCaptured;
ChangeLogCaptured *change_log_captured_new(void);
void               change_log_captured_free(ChangeLogCaptured *self);
ChangeLogCaptured *change_log_captured_copy(const ChangeLogCaptured *self);
/* Adds what an undo log holds; how the set is rebuilt at start. On failure the set is as it was. */
bool change_log_captured_add_log(ChangeLogCaptured *self, ChangeLogSource undo, GError **error);
/* (nullable) extents of one disk */
const ExtentSet *change_log_captured_disk(const ChangeLogCaptured *self, const char *disk);
bool             change_log_captured_blob(const ChangeLogCaptured *self, const char *name);

/**
 * change_log_capture:
 * Writes the inverse of @log to @undo: the old contents of every grain the log touches that are not in
 * @captured, old sizes, old blobs, and what a shrink would cut off. Reads @target, changes nothing in it.
 * @captured (nullable) is extended by what was captured, only on success. Undos that share it take back together:
 * only their whole chain, from the newest to the first that used the empty set, restores a state.
 * The undo's header is @log's with kind UNDO, base and position exchanged in meaning as the enum says, its disks' sizes
 * those of @target now. An undo has no undo: CHANGE_LOG_ERROR_MISFIT.
 */
bool change_log_capture(ChangeLogSource log, const ChangeLogTarget *target, ChangeLogCaptured *captured,
                        ChangeLogSink undo, uint8_t ret_digest[CHANGE_LOG_DIGEST_SIZE], GError **error);

/* Resizes, writes extents and blobs, flushes. Repeating it gives the same result, also after a call that failed or was
 * interrupted anywhere. Offsets are checked against the header. Records are applied as they are read: a log that
 * may be damaged is verified first. */
bool change_log_apply(ChangeLogSource log, const ChangeLogTarget *target, GError **error);

/**
 * change_log_apply_undo_chain:
 * Takes @target back over several undo logs in one pass: @undos from the oldest (the one that leads to the wanted
 * point) to the newest; where two hold the same place the oldest wins, and each place is written once.
 * Repeatable like change_log_apply().
 * CHANGE_LOG_ERROR_MISFIT when one is no undo, is of another VM, or does not begin where the one before ends.
 */
bool change_log_apply_undo_chain(const ChangeLogSource *undos, unsigned n_undos, const ChangeLogTarget *target,
                                 GError **error);

/**
 * change_log_merge:
 * One log with the effect of @logs applied in their order. Consecutive: each log's base is the position of the one before
 * (for undo logs, given from newest to oldest, the other way round), same VM, lineage and kind; else
 * CHANGE_LOG_ERROR_MISFIT.
 * The sources are read more than once: @rewind, called with a source's opaque before each reading, takes it to its begin.
 * The merged header: base and previous digest of the oldest, position and point kind of the newest.
 */
bool change_log_merge(const ChangeLogSource *logs, unsigned n_logs,
                      bool (*rewind)(void *opaque, GError **error), bool compress, ChangeLogSink out,
                      uint8_t ret_digest[CHANGE_LOG_DIGEST_SIZE], GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChangeLogWriter, change_log_writer_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChangeLogReader, change_log_reader_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChangeLogCaptured, change_log_captured_free)
