/* sent-parts: what was sent of a VM that is off since its newest checkpoint.
 *
 * A VM that is off gets no new checkpoint: each cycle sends all since the last one. An image that is put back to an earlier moment of that time
 * has the bitmap of that moment, which does not tell what came later and is on the replica by now. So this is sent again.
 */
#pragma once

#include "replication/moment.h"

/* Adds to what changed in each disk of @moment since @checkpoint what was sent since then. */
bool sent_parts_add(const ReplicationContext *context, const char *vm_uuid, const char *checkpoint, Moment *moment, GError **error);
/* Notes durably that what changed in @moment since @checkpoint is about to be sent. */
bool sent_parts_note(const ReplicationContext *context, const char *vm_uuid, const char *checkpoint, const Moment *moment, GError **error);
bool sent_parts_forget(const ReplicationContext *context, const char *vm_uuid, GError **error);
