/* retention: how long a replica keeps recovery points after its primary asked for fewer.
 *
 * The points are what helps against a primary in wrong hands, so its word alone must not drop them: what the settings before promised is
 * kept for as long as they promised it. Longer settings count at once.
 */
#pragma once

#include "replication/context.h"
#include "replication/service.h"

/* Notes, durably, what @before promises to the points that are there, as far as @after promises less. Call it before @after counts. */
bool retention_hold(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *before,
                    const RelationshipSettings *after, GError **error);
/* Raises RecoveryHistory and journal of @settings to what is still promised. */
bool retention_raise(const ReplicationContext *context, const char *vm_uuid, RelationshipSettings *settings, GError **error);
/* Of a replica that is gone, or not yet there. */
bool retention_forget(const ReplicationContext *context, const char *vm_uuid, GError **error);
