/* disk-set: which disks of a VM replicate, as a list of ids, in its written forms.
 *
 * Stateless. As the blob BLOB_DISKS it travels in the first log with a new set, and the undo of that log has the set before: so each
 * recovery point knows its disks.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define BLOB_DISKS "disks"

/* The same ids, in whatever order. */
bool    disk_set_equal(const char *const *a, const char *const *b);
/* Those of @a that are in @b, or that are not. (transfer full), NULL at the end */
char  **disk_set_common(const char *const *a, const char *const *b);
char  **disk_set_without(const char *const *a, const char *const *b);
/* Sorted, one on a line; (transfer full) */
GBytes *disk_set_to_blob(const char *const *ids);
/* What is no possible id is left out. (transfer full), NULL at the end */
char  **disk_set_from_text(const char *text, gsize length);
/* Tells sets apart; @ret_digest gets 32 hexadecimal digits and a zero. */
void    disk_set_digest(const char *const *ids, char ret_digest[33]);
