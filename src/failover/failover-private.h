/* failover-private: what the files of this folder share. Nothing outside includes it. */
#pragma once

#include "failover/failover.h"
#include "replication/service-private.h"

/* ---- failover.c ---- */
/* The replica of that VM, or a refusal; @what: "fail over" and the like. (transfer full) */
Member *failover_find_replica(ReplicationService *self, const char *vm_uuid, const char *what, bool must_be_off, GError **error);
/* A job "WHAT 'NAME'" about the VM; (transfer full) */
Job *failover_add_job(Member *member, JobType type, const char *what, const char *owner);

/* ---- commit.c ---- */
/* A committed VM whose overlays are still there: its commit was interrupted. */
bool failover_commit_is_open(const StoreRelationship *row);
/* Everything that can refuse a commit; then the decision is durable. */
bool failover_commit_begin(Member *member, GError **error);
/* Brings a commit to its end; a MemberJobFunc. May be repeated. */
bool failover_commit_job(Member *member, Job *job, void *data, GError **error);
