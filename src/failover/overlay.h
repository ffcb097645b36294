/* overlay: the state of a replica at one recovery point, as overlays on its disks.
 *
 * The replica disks are only read. Every overlay of a failover gets a bitmap before anything is written into it, so that what the started VM writes, and what the
 * point differs from the latest state by, is known to a later reverse replication.
 */
#pragma once

#include "replication/context.h"

/* Name of the bitmap and checkpoint in the overlays. */
#define OVERLAY_CHECKPOINT "vr-failover"

/* Undo logs from position @point on, oldest first; (transfer full) array of StoreUndo. Checks that they are all there and follow each other
 * (REPLICATION_ERROR_FILE_NOT_FOUND when not), and reads nothing of their contents. */
GPtrArray *overlay_undo_chain(const ReplicationContext *context, const StoreRelationship *row, uint64_t point, GError **error);

/* Whom the overlays are for: each has a folder of its own. */
typedef enum { OVERLAY_FAILOVER, OVERLAY_TEST } OverlayPlace;

/* Makes the overlays and blobs of the point. @run_folder: short private folder. The replica disks must not be open for
 * writing. */
bool overlay_make(const ReplicationContext *context, const StoreRelationship *row, OverlayPlace place, const GPtrArray *chain,
                  const char *run_folder, GError **error);
