/* plan: what is still to be sent of a first copy or a resynchronization, pass by pass.
 *
 * For each disk the extents to send; what gets dirty is added at every pass. When nothing is left at the end of a pass, the copy is that
 * of the pass's moment. Kept in a file, so that hours of copying go on after a restart. One thread at a time.
 */
#pragma once

#include "util/extent-set.h"

typedef struct {
    char      *id;
    uint64_t   size_bytes;
    ExtentSet *todo;
} PlanDisk;

typedef struct {
    unsigned   pass;        /* passes done */
    char      *checkpoint;  /* (nullable): changes since it are not in `todo` yet */
    bool       compare;     /* ask the other side for hashes and send only what differs */
    GPtrArray *disks;       /* PlanDisk; empty: everything, of all disks */
    uint64_t   total_bytes; /* to send when it was begun; for progress */
} Plan;

Plan *plan_new(bool compare, const char *checkpoint);
void  plan_free(Plan *self);
/* (nullable) the disk of that name */
PlanDisk *plan_disk(const Plan *self, const char *id);
/* Adds a disk, all of it to send. */
PlanDisk *plan_add_disk(Plan *self, const char *id, uint64_t size_bytes);
/* Follows a size change: new space is to send, space that is gone is forgotten. */
void      plan_disk_resize(PlanDisk *disk, uint64_t size_bytes);
/* What is to send in the window of @bytes that begins with the grain of its first extent; there must be one. (transfer full) */
ExtentSet *plan_disk_window(const PlanDisk *disk, uint64_t bytes, uint64_t *ret_window);
uint64_t  plan_left(const Plan *self);    /* bytes to send */
unsigned  plan_percent(const Plan *self);

/* NULL without @error when there is no file. */
Plan *plan_load(const char *path, GError **error);
bool  plan_save(const Plan *self, const char *path, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Plan, plan_free)
