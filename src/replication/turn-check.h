/* turn-check: everything on this host that could keep a primary from becoming the replica, asked before anybody has given anything up. */
#pragma once

#include "replication/service-private.h"

/* Where its files as a replica go; (transfer full) */
char *turn_folder(ReplicationService *self, const StoreRelationship *row, const AuthorizationEntry *entry);

/* Changes nothing. Errors are those for a peer. */
bool turn_check(ReplicationService *self, const StoreRelationship *row, const RelationshipSettings *settings,
                const AuthorizationEntry *entry, const LinkReversal *reversal, GError **error);

/* Bytes that count against the entry: of the disks as they are, or as the new primary has them. */
bool turn_declared_bytes(ReplicationService *self, const char *vm_uuid, const LinkReversal *reversal, uint64_t *ret_bytes,
                         GError **error);
