/* points: recovery points of one replica: which are kept, which go, and the undo logs between them.
 *
 * Stateless over the store; the caller holds the relationship's work.
 */
#pragma once

#include "replication/context.h"
#include "replication/service.h"

/* The clock of recovery points: how long daemons have run here since the oldest point, in microseconds. It goes on from the newest point
 * at each start, and a change of the host's clock does not move it: whoever sets that a day ahead loses no point. */
int64_t points_clock(const ReplicationContext *context);
/* Sets the clock by the points of the store. */
bool points_clock_start(ReplicationContext *context, GError **error);

/* Notes that position @position is received, captured @age_usec ago; decides whether it will be kept: the first of each hour and, whenever it
 * comes, an application-consistent one, up to RecoveryHistory of both together. What was noted of the position before is replaced. */
bool points_received(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings,
                     uint64_t position, PointKind kind, int64_t age_usec, GError **error);
/* Newest kept point at or before @position; false when there is none. */
bool points_newest_kept(const ReplicationContext *context, const char *vm_uuid, uint64_t position, uint64_t *ret_position,
                        GError **error);
/* Drops what need not be kept now that @applied is applied. The point of a position that was only the latest goes at once; the rest of
 * the pruning is done when @thorough. */
bool points_prune(const ReplicationContext *context, const StoreRelationship *row, const RelationshipSettings *settings,
                  uint64_t applied, bool thorough, GError **error);
/* Removes files in the undo folder that no row names: left by a crash. */
bool points_clean_folder(const ReplicationContext *context, const StoreRelationship *row, GError **error);
