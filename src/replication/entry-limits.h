/* entry-limits: how much the replicas of one authorization entry may take: the words in its AdditionalSettings, and holding
 * replicas to them. A wildcard entry's limits are for all its hosts together. Safe from any thread.
 */
#pragma once

#include "replication/replica-space.h"
#include "replication/service-private.h"

/* 0: no limit. */
typedef struct {
    unsigned vms;
    uint64_t size_bytes;    /* of all disks of all replicas, as their VMs see them */
    uint64_t staging_bytes; /* of logs that are received and not applied */
} EntryLimits;

/* "vms=10;size=2T;staging=50G": keys with values, apart by ';'. Sizes are bytes with an optional K, M, G or T. NULL or "": no limits. */
bool entry_limits_parse(const char *text, EntryLimits *ret_limits, GError **error);

/* May @member, which is new and counts already, be a replica of its entry? LINK_ERROR_NO_SPACE says what to change. */
bool entry_limits_check_new(ReplicationService *self, Member *member, GError **error);

/* May a primary with disks of @bytes become one more replica of the entry? LINK_ERROR_NO_SPACE as above. */
bool entry_limits_check_turn(ReplicationService *self, const char *allowed_primary, uint64_t bytes, GError **error);

/* What replica_receive() asks. @member is borrowed. */
ReplicaLimits entry_limits_of(Member *member);
