/* turn-check: everything on this host that could keep a primary, or a VM that does not replicate, from becoming the replica, asked before anybody has given anything up. */
#pragma once

#include "replication/service-private.h"

/* Where its files as a replica go; (transfer full) */
char *turn_folder(ReplicationService *self, const StoreRelationship *row, const AuthorizationEntry *entry);

/* Changes nothing. Errors are those for a peer. */
bool turn_check(ReplicationService *self, const StoreRelationship *row, const RelationshipSettings *settings,
                const AuthorizationEntry *entry, const LinkReversal *reversal, GError **error);

/* Parts of it, for any VM that becomes a replica on its own images. @row: its UUID and name. */
/* Is it off, and without a saved state? */
bool turn_check_off(ReplicationService *self, const StoreRelationship *row, GError **error);
/* Could a replica be defined from @definition, with disks @targets in @folder? */
bool turn_check_definition(ReplicationService *self, const StoreRelationship *row, const char *definition, char *const *targets,
                           const char *folder, GError **error);
/* Its images of @targets, its firmware variables, and what is in @folder. */
bool turn_check_files(ReplicationService *self, const StoreRelationship *row, char *const *targets, const char *folder, GError **error);

/* Bytes that count against the entry: of the disks as they are, or as the new primary has them. */
bool turn_declared_bytes(ReplicationService *self, const char *vm_uuid, const LinkReversal *reversal, uint64_t *ret_bytes,
                         GError **error);
