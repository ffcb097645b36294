/* replica-private: the inside of a Replica, for the files that make it up: replica.c (disks, domain, start), replica-fence.c,
 * replica-apply.c, replica-receive.c.
 */
#pragma once

#include "disk/disk-server.h"
#include "replication/disk-target.h"
#include "replication/incoming.h"
#include "replication/replica.h"

struct Replica {
    gint references;
    const ReplicationContext *context;
    Relationship *relationship;
    void (*wake)(void *opaque);
    void *wake_opaque;

    GMutex    receive_lock;
    bool      receiving; /* under receive_lock: who has set it has `incoming`; while it is not set, who has the lock */
    Incoming *incoming;  /* a log on its way, or what is kept of one */
    ChangeJournal *journal; /* of a replica that has a folder */
    GMutex backlog_lock;
    GCond  applied;      /* signalled with backlog_lock when a log was applied */

    /* under the relationship's work or operation */
    bool               checked;       /* what is on disk is what the store says */
    bool               settled;       /* nothing is left to do of a turn from primary into replica */
    DiskTarget        *disks;
    DiskServer        *fence;         /* in their place while a test failover runs */
    ChangeLogCaptured *captured;      /* what the undo logs from captured_base on hold */
    uint64_t           captured_base;
    int64_t            pruned_usec;
};

/* All of these under the relationship's work or operation. */

/* Is what is on disk what the store says? Nothing opens the disks before this was true once. */
bool replica_check_folder(Replica *self, GError **error);
/* Gives the domain its new definition when an applied log brought one. */
void replica_redefine_if_changed(Replica *self, const StoreRelationship *row);
/* What the disks hold, into the position file. */
bool replica_write_position(const StoreRelationship *row, uint64_t position, const uint8_t *digest, GError **error);
/* Makes `captured` hold what the undo logs from @base on hold. */
bool replica_load_captured(Replica *self, const StoreRelationship *row, uint64_t base, GError **error);
/* Writes the inverse of the log in @fd as undo @undo, durably. */
bool replica_capture_undo(Replica *self, const StoreRelationship *row, int fd, StoreUndo *undo, GError **error);
/* A log to read, to be closed; -1 with @error. */
int replica_open_log(const char *path, GError **error);
/* Goes on with taking the disks back if that was broken off. Before anything else is done with them. */
bool replica_end_taking_back(Replica *self, GError **error);
/* Applies @log; LINK_ERROR_NO_SPACE before the file system of the disks is full. */
bool replica_apply_source(Replica *self, ChangeLogSource log, GError **error);
/* Before the log in @fd is applied: what it writes goes to the journal of what is sent on to a third host. */
bool replica_note_changes(Replica *self, int fd, GError **error);
/* Applies the log in @fd, from where it stands, and notes what it writes. */
bool replica_apply_log(Replica *self, int fd, GError **error);
