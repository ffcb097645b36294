/* replica-folder: where the files of one replica VM are. Every name is made here, from ids and numbers, never from a peer's paths.
 *
 *   FOLDER/disks/ID.qcow2               the replica disk: always the latest applied state
 *   FOLDER/disks/ID.path                or where it is: an image of a VM that was the primary here before
 *   FOLDER/reversed/from                the history that such a VM had
 *   FOLDER/reversed/seeded              its images are those of a VM that was here, and its first copy is not complete
 *   FOLDER/reversed/changed             something of that copy may have been written into them
 *   FOLDER/reversed/autostart           that VM started with the host
 *   FOLDER/reversed/ID.bits             what a VM that was the primary here had written when it became the replica
 *   FOLDER/reversed/known               these tell all that it has written
 *   FOLDER/reversed/settled             it is defined as a replica, and its images are this replica's
 *   FOLDER/failover/ID.qcow2            what a failed-over VM runs on: an overlay of it
 *   FOLDER/failover/blobs/NAME          blobs of the point that was failed over to
 *   FOLDER/sizes/ID                     bytes that the disk had at that point
 *   FOLDER/test/ID.qcow2, blobs/NAME    the same of a test failover
 *   FOLDER/definition-before.xml        of a VM that was no replica before
 *   FOLDER/blobs/NAME                   domain XML, firmware variables, TPM state: latest
 *   FOLDER/staging/POSITION.log         received, not yet applied
 *   FOLDER/staging/incoming.part        a log on its way
 *   FOLDER/undo/BASE-POSITION-PASS.log  takes the disks back
 *   FOLDER/extended/                    what is to be sent on to a third host (change-journal.h)
 *   FOLDER/position                     what the disks hold, for comparison with the store
 *   FOLDER/left/ID                      the position from which on the disk does not replicate: recovery points before it need it
 *   FOLDER/made-as                      whose making it was (replica-making.h)
 *
 * QEMU, which may be another user, passes through FOLDER, disks, failover and test; libvirt gives it the files there that it starts a VM on.
 * All other folders are closed to it.
 */
#pragma once

#include "replication/context.h"
#include "util/extent-set.h"

char *replica_disk_path(const char *folder, const char *id);
/* Makes the image at @path the replica's disk @id. */
bool  replica_disk_adopt(const char *folder, const char *id, const char *path, GError **error);
/* Is it such an image? Its backing files are those that its header names. */
bool  replica_disk_is_adopted(const char *folder, const char *id);
/* A bit for each CHANGE_LOG_GRAIN of a disk. @offset must be a multiple of 8 grains; appends to @bits. */
bool  replica_changes_write(const char *folder, const char *id, const ExtentSet *changes, uint64_t size_bytes, GError **error);
bool  replica_changes_read(const char *folder, const char *id, uint64_t offset, uint64_t length, GByteArray *bits, GError **error);
/* Facts about the turn of a primary, or of a VM that did not replicate, into a replica. */
#define TURN_FROM    "from" /* with the lineage that the primary had; is there from the turn to the end of the resynchronization */
#define TURN_KNOWN   "known"
#define TURN_SETTLED "settled"
#define TURN_SEEDED  "seeded"
#define TURN_CHANGED "changed"
#define TURN_AUTOSTART "autostart"
bool  replica_turn_note(const char *folder, const char *fact, const char *text, GError **error);
bool  replica_turn_unnote(const char *folder, const char *fact, GError **error);
/* Its text; (transfer full)(nullable) */
char *replica_turn_fact(const char *folder, const char *fact);
/* All facts and bits. */
bool  replica_turn_forget(const char *folder, GError **error);
/* Where the definition goes that a VM had before it became a replica. */
char *replica_definition_before(const char *folder);
/* Empties what belongs to an earlier replica, but for disks and what a failed-over VM of it is defined on. */
bool  replica_folder_clear(const char *folder, GError **error);
/* The size of a disk at the point of a failover; reading it fails when it is not known. */
bool  replica_failover_size_write(const char *folder, const char *id, uint64_t size_bytes, GError **error);
bool  replica_failover_size_read(const char *folder, const char *id, uint64_t *ret_size_bytes, GError **error);
char *replica_overlay_path(const char *folder, const char *id);
char *replica_blob_folder(const char *folder);
char *replica_failover_blob_folder(const char *folder);
char *replica_test_folder(const char *folder);
char *replica_test_disk_path(const char *folder, const char *id);
char *replica_test_blob_folder(const char *folder);
char *replica_staging_folder(const char *folder);
char *replica_staging_path(const char *folder, uint64_t position);
char *replica_resync_staging_path(const char *folder);
char *replica_incoming_path(const char *folder);
char *replica_undo_path(const char *folder, const StoreUndo *undo);
/* Sockets and pid file of its storage daemon. */
char *replica_run_folder(const ReplicationContext *context, const char *vm_uuid);
bool  replica_folder_make(const char *folder, GError **error);

/* Ids of the disks that are there, sorted; (transfer full), NULL at the end. */
char **replica_folder_disks(const char *folder, GError **error);

/* A disk that does not replicate from a position on; its image stays for the recovery points before. */
bool  replica_left_write(const char *folder, const char *id, uint64_t position, GError **error);
bool  replica_left_forget(const char *folder, const char *id, GError **error);
bool  replica_left_read(const char *folder, const char *id, uint64_t *ret_position);
/* Its image goes, unless it lies elsewhere, and its overlay. */
bool  replica_disk_remove(const char *folder, const char *id, GError **error);

typedef struct {
    char     lineage[37];
    uint64_t position;
    uint8_t  digest[CHANGE_LOG_DIGEST_SIZE];
} ReplicaPosition;
/* False without @error when there is none. */
bool replica_position_read(const char *folder, ReplicaPosition *ret_position, GError **error);
bool replica_position_write(const char *folder, const ReplicaPosition *position, GError **error);
