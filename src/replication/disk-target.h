/* disk-target: images and a folder of blobs, as a place that change logs are applied to.
 *
 * Holds the images open writable in a storage daemon: as long as it is open nobody can start a VM on them or on overlays of them. One thread at a time.
 */
#pragma once

#include "disk/disk-server.h"
#include "replication/replica-space.h"

typedef struct DiskTarget DiskTarget;

/* @run_folder: short private folder for the storage daemon. @images with their ids, all "qcow2". */
DiskTarget *disk_target_open(const ReplicationContext *context, const char *run_folder, const DiskServerImage *images,
                             unsigned n_images, const char *blob_folder, GError **error);
void        disk_target_close(DiskTarget *self); /* NULL is fine */
bool        disk_target_is_alive(DiskTarget *self);
/* What is written from now on is a peer's: blobs must be known ones, and room is asked of @watch; NULL: no longer. The caller keeps it alive. */
void        disk_target_watch(DiskTarget *self, SpaceWatch *watch);
/* Valid as long as @self. */
ChangeLogTarget disk_target_as_target(DiskTarget *self);
/* Where its disks are served, by their ids; borrowed. */
const char *disk_target_socket(const DiskTarget *self);
/* (nullable) NBD access to one disk */
DiskClient *disk_target_client(DiskTarget *self, const char *id, GError **error);
/* From now on a log must not bring blobs; or may again. */
void        disk_target_refuse_blobs(DiskTarget *self, bool refuse);
/* Blobs were set since the last call. */
bool        disk_target_take_blobs_changed(DiskTarget *self);
