/* disk-client: one disk reached over NBD, with many requests in flight.
 *
 * The disk may be a libvirt pull-backup export, a qemu-nbd or a qemu-storage-daemon export.
 * A DiskClient is used by one thread at a time. Data lives in buffers of a DiskBufferPool with a fixed
 * budget shared by the whole process, so that a busy disk slows down instead of filling memory.
 */
#pragma once

#include "util/extent-set.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    DISK_ERROR_CONNECT,  /* the server is not there (any more): the job or process has ended */
    DISK_ERROR_IO,       /* the disk gave an error, or the server died in the middle */
    DISK_ERROR_CANCELLED,
    DISK_ERROR_TOOL,     /* qemu-img, qemu-nbd or qemu-storage-daemon failed; text is theirs */
    DISK_ERROR_LOCKED,   /* another process has the image open */
    DISK_ERROR_MISSING,  /* image file, bitmap or export is not there */
} DiskError;
#define DISK_ERROR (disk_error_quark())
GQuark disk_error_quark(void);

typedef struct DiskBufferPool DiskBufferPool;
/* Thread-safe; buffers of 1 MiB, at least one. A reader that holds none waits for one and comes before readers that want
 * another; it never waits while it holds one. */
DiskBufferPool *disk_buffer_pool_new(size_t budget_bytes);
DiskBufferPool *disk_buffer_pool_ref(DiskBufferPool *self);
void            disk_buffer_pool_unref(DiskBufferPool *self);

typedef struct DiskClient DiskClient;

/**
 * disk_client_connect:
 * @socket_path: unix socket of the NBD server
 * @export_name: export on it
 * @bitmap: (nullable): name of the exported dirty bitmap: context "qemu:dirty-bitmap:@bitmap" is asked for and must be there
 */
DiskClient *disk_client_connect(const char *socket_path, const char *export_name, const char *bitmap,
                                DiskBufferPool *pool, GError **error);
void        disk_client_free(DiskClient *self);
uint64_t    disk_client_size(const DiskClient *self); /* bytes, when it was connected */
bool        disk_client_is_read_only(const DiskClient *self);

/* Extents of [start, end) that are dirty in the bitmap given at connect. (out)(transfer full) */
bool disk_client_dirty(DiskClient *self, uint64_t start, uint64_t end, ExtentSet **ret_dirty, GError **error);
/* Extents of [start, end) that read as zeroes, holes included. */
bool disk_client_zeroes(DiskClient *self, uint64_t start, uint64_t end, ExtentSet **ret_zeroes, GError **error);

/* Single requests of any length. Reading blocks until the data is there. Writing may return while the write is still
 * under way (the data is copied); it is never overtaken by a later request for the same place, and its error is reported
 * by a later write or at the latest by disk_client_flush. An error of writing is final: all later writes and
 * flushes of this client fail with it. */
bool disk_client_read(DiskClient *self, uint64_t offset, void *buffer, size_t length, GError **error);
bool disk_client_write(DiskClient *self, uint64_t offset, const void *data, size_t length, GError **error);
bool disk_client_zero(DiskClient *self, uint64_t offset, uint64_t length, GError **error);
/* Waits for all writes, and until they are on stable storage. */
bool disk_client_flush(DiskClient *self, GError **error);

#define DISK_ZERO_PIECE_MAX (1ull << 40) /* bytes of one piece of zeroes */

/* Gets each piece in order of offset. @data NULL: the piece reads as zeroes (content is not searched for zeroes); else it is
 * valid during the call. false with @error stops the reading. Must not start another disk_client_read_extents: buffers
 * of the pool are held during the call. */
typedef bool (*DiskPieceFunc)(void *opaque, uint64_t offset, uint64_t length, const void *data, GError **error);

/**
 * disk_client_read_extents:
 * @extents: what to read; pieces of at most 1 MiB are made of it, cut at multiples of 64 KiB
 * @zeroes: (nullable): parts known to be zero, handed to @piece without reading, in pieces as long as they are (at most
 *   DISK_ZERO_PIECE_MAX); less than whole grains of 64 KiB only at the ends of an extent
 * @in_flight: how many reads are under way at once
 * @cancelled: (nullable): set atomically to non-zero from any thread to give up soon with DISK_ERROR_CANCELLED
 * @last_offset: (out)(optional): end of the last piece that was handed over and taken; untouched when there was none
 *
 * After a failure, a refusal by @piece included, the connection is closed: further requests fail with DISK_ERROR_CONNECT.
 */
bool disk_client_read_extents(DiskClient *self, const ExtentSet *extents, const ExtentSet *zeroes, unsigned in_flight,
                              const gint *cancelled, DiskPieceFunc piece, void *opaque, uint64_t *last_offset,
                              GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(DiskClient, disk_client_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DiskBufferPool, disk_buffer_pool_unref)
