/* client: the inside of a DiskClient, for disk-client.c, reader.c and writer.c.
 *
 * One thread at a time, as the client itself.
 */
#pragma once

#include "disk/buffer-pool.h"
#include "disk/connection.h"

struct DiskClient {
    struct nbd_handle *nbd;    /* NULL once it was given up: see disk_client_give_up */
    struct nbd_handle *bitmap_nbd; /* only asked for the dirty bitmap, so that no allocation is looked up for it */
    DiskBufferPool    *pool;
    char              *bitmap_context;
    uint64_t           size;      /* bytes */
    uint64_t           piece_max; /* bytes of one read or write */
    bool               read_only, can_flush;
    GPtrArray         *writes;        /* Write, under way, none overlapping another, and flushes */
    uint64_t           writes_bytes;  /* held by them */
    uint64_t           unflushed_bytes; /* written since the last flush was sent */
    GError            *write_error;   /* the first that failed; stays */
};

/* False with @error when the connection is gone, or [offset, offset + length) is not inside the disk. */
bool disk_client_check(const DiskClient *self, uint64_t offset, uint64_t length, GError **error);

/* Closes the connection, with whatever is under way on it; buffers of requests may be freed afterwards. */
void disk_client_give_up(DiskClient *self);

/* Waits until no write that touches [offset, offset + length) is under way. False: the connection is dead. */
bool disk_client_settle(DiskClient *self, uint64_t offset, uint64_t length, GError **error);
