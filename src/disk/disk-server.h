/* disk-server: a qemu-storage-daemon that holds the disks of one replica VM open for writing, or one that shows
 * the persistent bitmap of a VM that is off.
 *
 * A DiskServer is used by one thread at a time.
 * While a disk-server holds an image writable, QEMU's image lock keeps every other process from starting a VM on it
 * or on an overlay of it: this is the fence that protects a replica before a failover. The process lives on when
 * virt-replicad dies (so the fence holds); the next virt-replicad ends it by its pid file and starts its own.
 */
#pragma once

#include "disk/disk-client.h"

typedef struct {
    const char *id;     /* export name, such as "vda" */
    const char *path;   /* image */
    const char *format; /* "qcow2" or "raw": always named, never probed */
    /* (nullable) what the image is an overlay of: opened read-only, with its format. Whatever image file the header of
     * an image names is not opened: without these an overlay reads as zeroes where it holds nothing. */
    const char *backing_path, *backing_format;
    /* Only for an image that the administrator of this host made: the backing files that its header, or that of the one in
     * @backing_path, names are opened, too. */
    bool follow_header;
} DiskServerImage;

typedef struct DiskServer DiskServer;

/**
 * disk_server_start:
 * @run_folder: private folder (made when missing; short path, mode 0700) for NBD socket, QMP socket and pid file of
 *   this server; a server left there by an earlier process of ours is ended first (checked by its command line, never
 *   by its number alone)
 * @writable: false opens read-only
 * Returns when the exports can be connected to.
 * Fails with DISK_ERROR_LOCKED when another process (a running guest) has an image open, with DISK_ERROR_MISSING
 * when an image is not there.
 */
DiskServer *disk_server_start(const char *run_folder, const DiskServerImage *images, unsigned n_images, bool writable,
                              GError **error);
/* Shows one image with its backing files, and its @bitmap (nullable), as export DISK_SERVER_BITMAP_EXPORT. Read-only and
 * without any lock, so that it is never in the way of `virsh start`; what was read while the VM was started is worth
 * nothing. DISK_ERROR_MISSING when there is no such bitmap or it is inconsistent (as it is while the VM runs). */
#define DISK_SERVER_BITMAP_EXPORT "disk"
DiskServer *disk_server_start_bitmap(const char *run_folder, const char *path, const char *format, const char *bitmap,
                                     GError **error);
/* Forgets the process, which goes on; disk_server_end_left_over() ends it. NULL is fine. */
void        disk_server_leave(DiskServer *self);
/* Closes the images, which flushes them and stores their bitmaps, ends the process and waits for its end. NULL is fine. */
void        disk_server_stop(DiskServer *self);
const char *disk_server_socket(const DiskServer *self);
bool        disk_server_is_alive(DiskServer *self);
/* Grows or shrinks an image that is open writable; bytes. Closes all connections to its export: flush before, connect
 * again after. */
bool        disk_server_resize(DiskServer *self, const char *id, uint64_t size, GError **error);
/* Ends a server left in @run_folder by an earlier process, if there is one, and waits for its end. */
bool        disk_server_end_left_over(const char *run_folder, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(DiskServer, disk_server_stop)
