/* points: recovery points of one replica: which are kept, which go, and the undo logs between them.
 *
 * Stateless over the store; the caller holds the relationship's work.
 */
#pragma once

#include "replication/context.h"
#include "replication/service.h"

/* Notes that position @position is received; decides whether it will be kept. What was noted of the position before is replaced. */
bool points_received(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings,
                     uint64_t position, PointKind kind, int64_t taken_usec, GError **error);
/* Newest kept point at or before @position; false when there is none. */
bool points_newest_kept(const ReplicationContext *context, const char *vm_uuid, uint64_t position, uint64_t *ret_position,
                        GError **error);
/* Drops what need not be kept now that @applied is applied. The point of a position that was only the latest goes at once; the rest of
 * the pruning is done when @thorough. */
bool points_prune(const ReplicationContext *context, const StoreRelationship *row, const RelationshipSettings *settings,
                  uint64_t applied, bool thorough, GError **error);
/* Removes files in the undo folder that no row names: left by a crash. */
bool points_clean_folder(const ReplicationContext *context, const StoreRelationship *row, GError **error);
