/* buffer-pool: what the other files of this folder need of a DiskBufferPool beside its public part in disk-client.h.
 *
 * Safe from any thread. The lock of a pool is taken last: nothing is called with it held.
 */
#pragma once

#include "disk/disk-client.h"

#define DISK_BUFFER_SIZE (1024u * 1024u) /* bytes */

/* A buffer if one is free and nobody waits for one, else NULL. */
void *disk_buffer_pool_try_take(DiskBufferPool *self);

/* Waits for a buffer. To be called only while holding none, which is why a thread that waits never
 * keeps another from going on. @cancelled is looked at several times a second. */
void *disk_buffer_pool_take(DiskBufferPool *self, const gint *cancelled, GError **error);

void disk_buffer_pool_give_back(DiskBufferPool *self, void *buffer); /* NULL is fine */
