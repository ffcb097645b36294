/* durable: files that survive a power cut.
 *
 * "Durable" means written, the file synced, renamed into place, the folder
 * synced. A failed fsync is final for that file: it is removed, never retried.
 * Stateless; safe from any thread.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

/* Replaces @path by @length bytes of @data, durably. */
bool durable_replace(const char *path, const void *data, size_t length, GError **error);

/* Syncs a folder, so that names made, renamed or removed in it stay so. */
bool durable_sync_folder(const char *folder, GError **error);

/* Renames @from to @to (same folder or same file system) and syncs the folder of @to.
 * The content of @from must be synced by the caller before. */
bool durable_rename(const char *from, const char *to, GError **error);

/* Removes @path, which need not exist, and syncs its folder. */
bool durable_unlink(const char *path, GError **error);

/* Makes @folder and what is missing above it, mode 0700, each level synced. */
bool durable_mkdir(const char *folder, GError **error);

/* The same with mode 0711 for what it makes: other users, such as QEMU's, can get to files whose names they know, but see no
 * names. A folder that is there keeps its mode. */
bool durable_mkdir_passable(const char *folder, GError **error);

/* Removes a folder and all that is in it; symbolic links are removed, not followed. */
bool durable_remove_tree(const char *folder, GError **error);
