/* replica-space: whether what a peer sends may still be written: free space of the storage location, and what an authorization entry
 * allows. The disks of other replicas are on the same file system, so it is never filled.
 *
 * A SpaceWatch is used by one thread at a time.
 */
#pragma once

#include "replication/context.h"

/* What the entry that a replica is bound to allows; asked again and again, as other replicas of the entry count too. */
typedef struct {
    /* Are the sizes that the replicas of the entry declare, as they stand in their rows, within its limit? */
    bool (*check_declared)(void *opaque, GError **error);
    /* May @wanted bytes more be staged? @ret_left: how many may. */
    bool (*check_staging)(void *opaque, uint64_t wanted, uint64_t *ret_left, GError **error);
    void *opaque;
} ReplicaLimits;

typedef struct {
    const ReplicationContext *context;
    const char          *folder; /* borrowed: on the file system that is watched */
    const char *const   *more;   /* (nullable), borrowed, NULL at the end: on other file systems that are watched, too */
    const ReplicaLimits *limits; /* (nullable): what is written is staged */
    uint64_t             written, allowed; /* since the last look, and until the next */
} SpaceWatch;

/* Bytes of what waits in the staging folder of the replica in @folder. */
uint64_t space_staged_bytes(const char *folder);

/* LINK_ERROR_NO_SPACE, which says what to do, when nothing may be written now. */
bool space_watch_begin(SpaceWatch *self, const ReplicationContext *context, const char *folder, const ReplicaLimits *limits,
                       GError **error);
/* The same for what is written into the replica disks of @folder: some may be images elsewhere, whose folders are in @more, which must
 * stay as long as @self. */
bool space_watch_begin_disks(SpaceWatch *self, const ReplicationContext *context, const char *folder, char *const *more, GError **error);
/* Folders of the replica disks that are files outside of @folder; (transfer full), NULL at the end; NULL with @error */
char **space_disk_places(const char *folder, GError **error);
/* May @bytes more be written? */
bool space_watch_take(SpaceWatch *self, uint64_t bytes, GError **error);

typedef struct { SpaceWatch *watch; ChangeLogSink sink; } SpaceSink;
/* @self->sink, as far as @self->watch allows. The caller keeps @self alive. */
ChangeLogSink space_sink(SpaceSink *self);
