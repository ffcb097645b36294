/* turn-folder: what the folder of a replica gets when a VM of this host becomes one on its own images. By the operation that has its member.
 */
#pragma once

#include "replication/service-private.h"

/* Notes the folder as the member's, durably, and makes it. It is this VM's before it is there: only then may what is in it be replaced
 * by a later attempt. */
bool turn_claim_folder(Member *member, const char *folder, GError **error);
/* Makes the images of the VM's disks @targets the replica's, where they are. */
bool turn_adopt_disks(const ReplicationContext *context, const char *vm_uuid, char *const *targets, const char *folder, GError **error);
/* The definition as it is: what is made of it for a replica holds only what a guest needs. */
bool turn_keep_definition(const ReplicationContext *context, const char *vm_uuid, const char *folder, GError **error);
