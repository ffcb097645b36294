/* replica-making: the making and dropping of a replica, so that a death in the middle leaves nothing that is in the way.
 *
 * What will be there is noted in the store first (StoreUnfinished). A folder is ours when it holds the note's token, or has it in its
 * name; a domain when all its disks are in that folder. Nothing else is ever removed.
 *
 *   FOLDER                  the replica; FOLDER/made-as holds the token
 *   PARENT/.UUID.TOKEN      the same before it has the token and the rest, and on its way out
 *
 * By whoever has the VM's member, or before anybody else is there.
 */
#pragma once

#include "link/link.h"
#include "replication/context.h"

/* Notes that the replica of @row will be made, and makes its folder. On failure what it left is for replica_making_undo(). The
 * note goes when @row is saved. */
bool replica_making_begin(const ReplicationContext *context, const StoreRelationship *row, GError **error);

/* What to hand to relationship_remove() for a replica that is dropped; (transfer full). Its folder gets the token. */
StoreUnfinished *replica_making_mark(const StoreRelationship *row, GError **error);

/* Removes all that is left of a replica of @vm_uuid that is noted as unfinished, and the note last. True when there is none. May
 * be repeated. */
bool replica_making_undo(const ReplicationContext *context, const char *vm_uuid, GError **error);
