/* moment: all replicated disks of one VM as they were at one moment, ready to be read.
 *
 * For a running VM it is a libvirt pull backup, which holds scratch space and bars snapshots and migration until it is closed: keep it
 * short. For a VM that is off it is the images themselves, read beside whoever starts the VM; then the reading is void and
 * moment_check says so. One thread at a time.
 */
#pragma once

#include "replication/context.h"

typedef struct {
    char       *id;       /* target, "vda" */
    char       *path;
    uint64_t    size_bytes;
    DiskClient *client;
    ExtentSet  *dirty;    /* changed since the asked checkpoint; NULL when none was asked for */
} MomentDisk;

typedef struct Moment Moment;

typedef struct {
    const char        *vm_uuid;
    const char *const *disks;       /* targets, NULL at the end */
    const char        *incremental; /* (nullable): checkpoint since which changes are wanted */
    const char *const *may_lack;    /* (nullable): those of `disks` that `incremental` may not cover: they have no `dirty` then */
    const char        *checkpoint;  /* checkpoint to make at the moment */
    const char        *known;       /* (nullable): moment_marker() of an earlier one since that checkpoint, all of which is known: raw
                                       disks of a VM that is off have no other way to tell that nothing was written */
    unsigned           timeout_sec;
    bool               planned;     /* the last one before a planned failover: of a replica only as its primary's was */
    bool               freeze;      /* the guest's agent is to freeze its file systems at the moment; not for a VM that is off */
} MomentRequest;

/* Who keeps the disks as they are, where that is neither libvirt nor a VM that is off. */
typedef struct {
    void *opaque;
    bool (*check)(void *opaque, GError **error); /* as moment_check() */
    void (*release)(void *opaque);               /* once, at the end */
    const gint *cancelled;                       /* non-zero: stop reading */
} MomentHolder;
/* A moment of disks that @holder keeps since @taken_usec, with a checkpoint that was made there. */
Moment *moment_new_held(const ReplicationContext *context, const MomentHolder *holder, int64_t taken_usec);
/* Its next disk, served as export @id at @socket. @dirty (nullable) is taken. */
bool    moment_add_held(Moment *self, const char *socket, const char *id, ExtentSet *dirty, GError **error);

/* Errors are VIRT_ERROR and DISK_ERROR; on failure nothing is left behind. */
Moment *moment_open(const ReplicationContext *context, const MomentRequest *request, GError **error);
/* Ends the backup job; checkpoints stay. NULL is fine. */
void    moment_close(Moment *self);

unsigned          moment_disk_count(const Moment *self);
const MomentDisk *moment_disk(const Moment *self, unsigned index);
/* False for a VM that is off when changes were asked for: the asked checkpoint goes on being the base of the next delta. */
bool              moment_made_checkpoint(const Moment *self);
int64_t           moment_taken(const Moment *self); /* monotonic, microseconds */
/* Were the guest's file systems frozen at the moment? What was asked for and failed is told by @ret_error (nullable, borrowed; NULL for
 * a VM that is off). @ret_frozen_usec: how long the guest stood still at most. */
bool              moment_is_consistent(const Moment *self, int64_t *ret_frozen_usec, const GError **ret_error);
/* A text that stays equal as long as a VM that is off was not touched; NULL for a running one, and where nothing tells that
 * (block devices). */
const char       *moment_marker(const Moment *self);
/* Non-zero when the capture was given up; NULL for a VM that is off. */
const gint       *moment_cancelled(const Moment *self);
/* True as long as half of the scratch space is free. */
bool              moment_has_room(Moment *self);
/* Is everything read up to now good? VIRT_ERROR_GAVE_UP when the capture was given up for the guest's sake,
 * VIRT_ERROR_STATE when the guest started or stopped meanwhile: throw away what was read. */
bool              moment_check(Moment *self, GError **error);
/* The same, when everything was read: ends the backup job, so that the guest need not wait for the peer's answer. */
bool              moment_finish(Moment *self, GError **error);

/* Reading of a capture that was given up fails in many ways: puts that cause in the place of @error's. */
void              moment_explain(Moment *self, GError **error);

/* Domain XML, firmware variables and TPM state, by blob name; (transfer full) table of char* -> GBytes*. */
GHashTable *moment_blobs(const ReplicationContext *context, const char *vm_uuid, GError **error);

/* As moment_marker, for a VM that is off now; NULL when it is not. (transfer full) */
char *moment_marker_now(const ReplicationContext *context, const char *vm_uuid, const char *const *disks,
                        const char *checkpoint);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Moment, moment_close)
