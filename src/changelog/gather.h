/* gather: extents collected in any order, turned into an ExtentSet at the end.
 *
 * Collecting is cheap for every order, also for one that a hostile log chose; memory is bounded by CHANGE_LOG_EXTENTS_MAX.
 * Private to changelog/. One thread at a time.
 */
#pragma once

#include "changelog/changelog.h"

typedef struct Gather Gather;

Gather *gather_new(void);
void    gather_free(Gather *self); /* NULL is fine */
/* [start, start + length); CHANGE_LOG_ERROR_LIMIT when there are too many. */
bool    gather_add(Gather *self, uint64_t start, uint64_t length, GError **error);
/* What was collected together with @other (nullable); empties the collection. (transfer full), NULL with
 * CHANGE_LOG_ERROR_LIMIT when there are too many. */
ExtentSet *gather_union(Gather *self, const ExtentSet *other, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Gather, gather_free)
