/* failover-private: what the files of this folder share. Nothing outside includes it. */
#pragma once

#include "failover/failover.h"
#include "replication/service-private.h"

/* ---- failover.c ---- */
/* The replica of that VM, or a refusal; @what: "fail over" and the like. (transfer full) */
Member *failover_find_replica(ReplicationService *self, const char *vm_uuid, const char *what, bool must_be_off, GError **error);
/* A job "WHAT 'NAME'" about the VM; (transfer full) */
Job *failover_add_job(Member *member, JobType type, const char *what, const char *owner);

/* What must be done before the disks of a VM are its own no more; NULL when it is off. */
const char *failover_not_off(const VirtDomain *domain);
/* Asked again by a job: between the first look and its begin somebody may have started the VM. */
bool failover_check_is_off(Member *member, GError **error);
/* The position to go to: that of the point, or the latest. */
bool failover_find_position(Member *member, const StoreRelationship *row, const char *point_id, uint64_t *ret_position,
                            PointKind *ret_kind, GError **error);
/* Everything that can refuse @operation to that point without having changed anything; the point will not be pruned
 * then. */
bool failover_check_point(Member *member, Operation operation, const char *point_id, GError **error);
/* Applies what was received, as far as it is needed to get to the point. */
bool failover_apply_for(Member *member, const StoreRelationship *row, const char *point_id, GError **error);

/* ---- failover-test.c ---- */
/* Ends a test failover, whatever its VM does; true when there is none. By the operation that has the member. */
bool failover_drop_test(Member *member, GError **error);
/* Takes up a test failover that was interrupted, and ends one whose VM is gone. */
void failover_resume_test(Member *member, const StoreRelationship *row);

/* ---- commit.c ---- */
/* A committed VM whose overlays are still there: its commit was interrupted. */
bool failover_commit_is_open(const StoreRelationship *row);
/* Everything that can refuse a commit; then the decision is durable. */
bool failover_commit_begin(Member *member, GError **error);
/* Brings a commit to its end; a MemberJobFunc. May be repeated. */
bool failover_commit_job(Member *member, Job *job, void *data, GError **error);
