/* replica: the receiving side of one relationship: takes logs in, keeps them, applies them, keeps the way back.
 *
 * Receiving runs on the link's threads, applying on a worker; both are safe beside each other. Disk access happens only under the
 * relationship's work or operation.
 */
#pragma once

#include "link/link.h"
#include "replication/change-journal.h"
#include "replication/context.h"
#include "replication/relationship.h"
#include "replication/replica-space.h"

#define REPLICA_DISK_SIZE_MAX (64ull << 40) /* bytes; what QEMU's qcow2 can hold with 64 KiB clusters is far above */

typedef struct Replica Replica;

/* @wake: called from any thread when there is something to apply. */
Replica *replica_new(const ReplicationContext *context, Relationship *relationship, void (*wake)(void *opaque), void *opaque);
Replica *replica_ref(Replica *self);
void     replica_unref(Replica *self);

/* Is it a VM of this host that may become a replica, as its administrator said, and that no primary has asked for yet? */
bool     replica_is_awaited(const StoreRelationship *row);
/* Is it one whose first copy goes into the images of a VM that was here, and is not complete? */
bool     replica_is_seeded(const StoreRelationship *row);

/* Makes folder, empty disks and the placeholder domain of a new relationship, noted as unfinished until @row is saved. On failure
 * replica_making_undo() removes them. */
bool replica_create(const ReplicationContext *context, const StoreRelationship *row, const LinkOffer *offer, GError **error);

/* After a start of the daemon: opens the disks, compares the position file with the store, removes what an interrupted step left. */
bool replica_recover(Replica *self, GError **error);

/* Under the relationship's work or operation: */
/* Completes the turn of a primary, or of a VM that did not replicate, into this replica, if it is one: its definition, its images. @locked: they were locked all the time since what
 * it wrote was asked; else that is taken for unknown, where the VM may have run meanwhile. True when there is nothing to do. */
bool replica_settle(Replica *self, bool locked, GError **error);
/* Applies what was received; while a test failover runs that waits, and the fence is kept up. */
bool replica_apply_pending(Replica *self, GError **error);
/* Applies it also for a test failover that is being made; else as above. */
bool replica_apply_received(Replica *self, GError **error);
/* Takes the disks back to what they were before the resynchronization whose passes they hold, and forgets these. Nothing to do without any.
 * What it has begun is done again, at the latest with the next pass or start, until it succeeds. */
bool replica_give_up_passes(Replica *self, GError **error);
/* Opens the disks writable: the fence that keeps everybody from starting the VM. Not while a test VM reads them. */
bool replica_open_disks(Replica *self, GError **error);
void replica_close_disks(Replica *self);
/* While they are open: where they are served, by their ids; borrowed. */
const char *replica_disk_socket(const Replica *self);
/* The fence while the replica disks are only read: the overlays that the VM is defined on are held open instead. */
bool replica_open_fence(Replica *self, GError **error);
void replica_close_fence(Replica *self);
/* Defines the domain from the blobs in @blob_folder on the overlays of @row's folder. */
bool replica_define(const ReplicationContext *context, const StoreRelationship *row, const char *blob_folder,
                    bool connect_interfaces, GError **error);
/* Is the VM defined on the overlays of the replica? */
bool replica_is_on_overlays(const ReplicationContext *context, const StoreRelationship *row);
/* Both: empty overlays, and the domain on them in the place of any other definition of the VM, which must be off. */
bool replica_place_domain(const ReplicationContext *context, const StoreRelationship *row, GError **error);
/* Defines the VM of @row's test failover on the test overlays, its interfaces disconnected but for those that have a network for tests. */
bool replica_define_test(const ReplicationContext *context, const StoreRelationship *row, const char *name, GError **error);
/* Puts empty overlays in place of what is there. */
bool replica_make_overlays(const StoreRelationship *row, GError **error);

/* What is applied, for a third host that it is sent on to; borrowed. */
ChangeJournal *replica_journal(Replica *self);

/* ---- replica-disks.c: which disks it has ---- */
/* Those that replicate, as of the newest log received; (transfer full) ids, NULL at the end */
char **replica_set(const StoreRelationship *row, GError **error);
/* Those of the state that the blobs in @blob_folder belong to; others may lie beside them. (transfer full) */
char **replica_set_of_state(const StoreRelationship *row, const char *blob_folder, GError **error);
/* Are these ids the disks of a change that has begun, and in which they are being copied? */
bool   replica_is_pending(const StoreRelationship *row, char *const *set, const char *id);
/* The primary wants the disks of @offer to replicate: makes what is new of them, empty. May be repeated. LINK_ERROR. By the operation that has it. */
bool   replica_begin_change(Replica *self, const LinkOffer *offer, const ReplicaLimits *limits, GError **error);
/* There is no such change any more: what was being copied goes. By the operation that has it. */
bool   replica_end_change(Replica *self, GError **error);
/* From position @position on the disks of @ids replicate; durable before the position is. */
bool   replica_note_leaving(const StoreRelationship *row, const ChangeLogHeader *header, GError **error);
/* Removes the images of disks that left and that no recovery point needs. */
bool   replica_tidy_disks(Replica *self, const StoreRelationship *row, GError **error);

/* Would a log with @header be taken now? Errors are LINK_ERROR. */
bool     replica_check_header(Replica *self, const ChangeLogHeader *header, const ReplicaLimits *limits, GError **error);
/* Applies one log of a first copy that comes in whole and checked logs, all of which are durable: @header and @digest of the one in @fd.
 * With the last of them the first copy is complete, as it was at @captured_usec, monotonic. Under the relationship's work or operation. */
bool     replica_apply_first(Replica *self, const ChangeLogHeader *header, int fd, const uint8_t *digest, const char *token,
                             int64_t captured_usec, GError **error);

/* From the link. @limits (nullable): what more than the file system holds it back. */
bool replica_receive(Replica *self, ChangeLogSource log, const LinkStream *stream, const ReplicaLimits *limits,
                     LinkPosition *ret_position, GError **error);
bool replica_hashes(Replica *self, const char *disk, uint64_t offset, uint64_t length, GByteArray *hashes, GError **error);
void replica_position(Replica *self, LinkPosition *ret_position);
/* No log comes in until it is allowed again; false when one does just now, which may be noted at any moment. */
bool replica_bar_receiving(Replica *self);
void replica_allow_receiving(Replica *self);

/* Now and then: drops what is kept of a broken log whose sender surely has given it up. */
void replica_drop_stale(Replica *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Replica, replica_unref)
