/* captured: how the operations of changelog/ extend a ChangeLogCaptured. Private to changelog/. */
#pragma once

#include "changelog/gather.h"

/* What one undo holds, collected before it counts. Disks by number in @header. */
typedef struct {
    const ChangeLogHeader *header; /* borrowed */
    Gather *disks[CHANGE_LOG_DISKS_MAX];
    GPtrArray *blobs; /* names, owned */
} CapturedAddition;

void captured_addition_init(CapturedAddition *self, const ChangeLogHeader *header);
void captured_addition_clear(CapturedAddition *self);
/* Each blob is noted once, whatever its name is called with. */
void captured_addition_blob(CapturedAddition *self, const char *name);
/* All of it or, with @error, nothing. */
bool change_log_captured_add(ChangeLogCaptured *self, CapturedAddition *addition, GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CapturedAddition, captured_addition_clear)
