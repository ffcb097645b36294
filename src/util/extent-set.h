/* extent-set: a set of byte positions of one disk, kept as sorted extents [start, end).
 *
 * Used for what is dirty, what is captured in an undo, what is already sent.
 * Plain data without a lock: one thread at a time.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t start; /* inclusive, bytes */
    uint64_t end;   /* exclusive, bytes */
} Extent;

typedef struct ExtentSet ExtentSet;

ExtentSet *extent_set_new(void);
ExtentSet *extent_set_copy(const ExtentSet *self);
void       extent_set_free(ExtentSet *self); /* NULL is fine */

/* Adds or removes [start, start + length); length 0 changes nothing. */
void extent_set_add(ExtentSet *self, uint64_t start, uint64_t length);
void extent_set_remove(ExtentSet *self, uint64_t start, uint64_t length);
void extent_set_add_set(ExtentSet *self, const ExtentSet *other);
void extent_set_remove_set(ExtentSet *self, const ExtentSet *other);
void extent_set_clear(ExtentSet *self);

/* Widens every extent outward to multiples of @grain bytes, the ends cut at @limit. */
void extent_set_align(ExtentSet *self, uint64_t grain, uint64_t limit);

size_t        extent_set_count(const ExtentSet *self); /* extents */
const Extent *extent_set_at(const ExtentSet *self, size_t index);
uint64_t      extent_set_bytes(const ExtentSet *self); /* sum of lengths */
bool          extent_set_contains(const ExtentSet *self, uint64_t start, uint64_t length);

/* The parts of [start, start + length) that are not in the set; (transfer full). */
ExtentSet *extent_set_missing(const ExtentSet *self, uint64_t start, uint64_t length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ExtentSet, extent_set_free)
