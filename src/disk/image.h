/* image: what qemu-img does to image files that nobody has open. Formats are named, never probed. */
#pragma once

#include "disk/disk-client.h"

typedef struct {
    uint64_t virtual_size;   /* bytes */
    uint64_t actual_size;    /* bytes on the host */
    char    *backing_path;   /* (nullable) */
    char   **bitmaps;        /* names, NULL at the end */
    unsigned n_snapshots;    /* internal ones */
    char   **broken_bitmaps; /* those flagged in-use: inconsistent */
} ImageInfo;
void image_info_free(ImageInfo *info);

bool image_create(const char *path, const char *format, uint64_t size, GError **error);
/* New qcow2 overlay on @base; must not exist. */
bool image_create_overlay(const char *path, const char *base, const char *base_format, uint64_t size, GError **error);
/* @force_share: works while a guest has it open */
bool image_info(const char *path, const char *format, bool force_share, ImageInfo **ret_info, GError **error);
bool image_bitmap_add(const char *path, const char *name, GError **error); /* granularity 64 KiB, persistent, enabled */
bool image_bitmap_remove(const char *path, const char *name, GError **error);
/* Adds to @path what the bitmap @name of another image holds; made when it is missing. */
bool image_bitmap_merge(const char *path, const char *name, const char *from_path, GError **error);
/* Writes what @overlay holds into @base, on which it lies, and gives @base the overlay's size. @bitmap (nullable): the one of this name in
 * @overlay is merged into that of @base before. May be repeated after it was interrupted. Neither may be in use: DISK_ERROR_LOCKED. */
bool image_commit(const char *overlay, const char *base, const char *bitmap, GError **error);
/* qemu-img check; false with DISK_ERROR_IO when the image is damaged */
bool image_check(const char *path, const char *format, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageInfo, image_info_free)
