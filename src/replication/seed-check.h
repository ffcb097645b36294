/* seed-check: may the first copy go into the images of a VM that is on this host? Only seed_fold_overlays() changes anything.
 */
#pragma once

#include "replication/service-private.h"

/* As far as it shows without a primary: the VM is off, and its disks are single qcow2 images without snapshots. */
bool seed_check_vm(ReplicationService *self, const StoreRelationship *row, GError **error);

/* Is it off, and without snapshots that libvirt knows? */
bool seed_check_off(ReplicationService *self, const StoreRelationship *row, GError **error);
/* Puts a VM that is off and was a replica here on the images below its overlays, with what these hold. May be repeated (seed-fold.c). */
bool seed_fold_overlays(ReplicationService *self, const StoreRelationship *row, GError **error);

/* All of it, for the primary that sends @offer: the same disks with the same sizes, files and definition as a replica needs them, the
 * limits of @entry, images that nobody has open. Errors are those for a peer. */
bool seed_check_offer(ReplicationService *self, const StoreRelationship *row, const LinkOffer *offer, const AuthorizationEntry *entry,
                      const char *folder, GError **error);

/* Targets of the offer's disks; (transfer full), NULL at the end */
char **seed_targets(const LinkOffer *offer);
