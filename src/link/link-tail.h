/* link-tail: the last bytes that were written to a stream, so that they can be sent again in another one.
 *
 * Private to link/. Takes memory as it fills, never more than its limit and two pieces of 1 MiB; without memory it holds less.
 * No lock: one thread at a time.
 */
#pragma once

#include "changelog/changelog.h"

typedef struct LinkTail LinkTail;

/* @limit: bytes that are held at least, once so many were written */
LinkTail *link_tail_new(size_t limit);
void      link_tail_free(LinkTail *self);
void      link_tail_add(LinkTail *self, const void *data, size_t length);
/* Are all bytes from @offset to the end here? Counted from the first that was ever added; also true at the very end. */
bool      link_tail_holds(const LinkTail *self, uint64_t offset);
/* @offset must be held. */
bool      link_tail_write(const LinkTail *self, uint64_t offset, ChangeLogSink sink, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LinkTail, link_tail_free)
