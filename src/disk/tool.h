/* tool: running QEMU's tools on images, and naming images to them so that no character of a path has a meaning.
 *
 * Stateless; safe from any thread; blocks.
 */
#pragma once

#include "disk/disk-client.h"

#include <json-glib/json-glib.h>

typedef enum {
    NODE_WRITABLE = 0,
    NODE_READ_ONLY = 1 << 0,
    NODE_FORCE_SHARE = 1 << 1,    /* opens while another process has it open; with NODE_READ_ONLY only */
    NODE_FOLLOW_HEADER = 1 << 2,  /* uses the backing file that the image's header names; else there is none */
} NodeFlags;

/* Runs @argv to its end. When it fails, @error has its last words and DISK_ERROR_LOCKED, DISK_ERROR_MISSING or
 * DISK_ERROR_TOOL. @ret_status (optional) takes the exit code, or -1 when it did not get that far. */
bool tool_run(const char *const *argv, char **ret_output, int *ret_status, GError **error);

/* (transfer full): @path from the root on */
char *tool_absolute_path(const char *path);

/* DISK_ERROR_MISSING when there is no such file. */
bool tool_check_present(const char *path, GError **error);
/* The same, and refuses a qcow2 whose header names another file for its data. */
bool tool_check_self_contained(const char *path, const char *format, GError **error);

/* (transfer full): description of the file below an image, @node_name nullable */
JsonObject *tool_file_node(const char *path, const char *node_name, NodeFlags flags);
/* (transfer full): description of an image; @file is taken */
JsonObject *tool_format_node(const char *format, const char *node_name, JsonObject *file, NodeFlags flags);
/* (transfer full): one line; @object is taken */
char *tool_json(JsonObject *object);
/* (transfer full): image name for qemu-img */
char *tool_image_name(const char *path, const char *format, NodeFlags flags);
