/* disk-server: a qemu-storage-daemon that holds the disks of one replica VM open for writing, or a
 * qemu-nbd that shows the persistent bitmap of a VM that is off.
 *
 * While a disk-server holds an image writable, QEMU's image lock keeps every other process from starting a VM on it or on an
 * overlay of it: this is the fence that protects a replica before a failover. The process lives on when
 * virt-replicad dies (so the fence holds); the next virt-replicad ends it by its pid file and starts its own.
 */
#pragma once

#include "disk/disk-client.h"

typedef struct {
    const char *id;     /* export name, such as "vda" */
    const char *path;   /* image */
    const char *format; /* "qcow2" or "raw": always named, never probed */
} DiskServerImage;

typedef struct DiskServer DiskServer;

/**
 * disk_server_start:
 * @run_folder: private folder (short path, mode 0700) for socket, QMP socket, pid file and log of this server; a server left there by
 *   an earlier process of ours is ended first (checked by its command line, never by its number alone)
 * @writable: false opens read-only
 * Fails with DISK_ERROR_LOCKED when another process (a running guest) has an image open.
 */
DiskServer *disk_server_start(const char *run_folder, const DiskServerImage *images, unsigned n_images, bool writable,
                              GError **error);
/* qemu-nbd -t, read-only, with force-share so that `virsh start` is never in its way, showing @bitmap of one qcow2 image. */
DiskServer *disk_server_start_bitmap(const char *run_folder, const char *path, const char *bitmap, GError **error);
/* Flushes, closes the images, ends the process and waits for its end. */
void        disk_server_stop(DiskServer *self);
const char *disk_server_socket(const DiskServer *self);
bool        disk_server_is_alive(DiskServer *self);
/* Grows or shrinks an image that is open; bytes. */
bool        disk_server_resize(DiskServer *self, const char *id, uint64_t size, GError **error);
/* Ends a server left in @run_folder by an earlier process, if there is one. */
bool        disk_server_end_left_over(const char *run_folder, GError **error);
