/* failover: makes a replica startable, at its latest state or at an older recovery point, and takes that back.
 *
 * Callers and errors as in replication/service.h.
 */
#pragma once

#include "replication/service.h"

/* @point_id NULL: the latest point. The VM may be started when the job has completed. */
bool failover_initiate(ReplicationService *service, const Caller *caller, const char *vm_uuid, const char *point_id,
                       Job **ret_job, GError **error);
/* Drops the failover: what the started VM wrote is gone, replication goes on. On a prepared primary: cancels the preparation. */
bool failover_revert(ReplicationService *service, const Caller *caller, const char *vm_uuid, Job **ret_job, GError **error);
/* Makes the failover final: what the VM wrote becomes its disk, recovery points go, revert is no longer possible. The VM may run. A
 * commit that failed half-way is called again. */
bool failover_commit(ReplicationService *service, const Caller *caller, const char *vm_uuid, Job **ret_job, GError **error);
/* ChangeReplicationModeToPrimary: a replica whose failover is committed is the primary of the third host that it was sent on to. */
bool failover_continue(ReplicationService *service, const Caller *caller, const char *vm_uuid, Job **ret_job, GError **error);
/* Makes a failed-over VM the primary and the host of @settings its replica server; commits the failover first. The other host must have
 * prepared the VM for a planned failover, or have given up its role. One that failed half-way is called again. */
bool failover_reverse(ReplicationService *service, const Caller *caller, const char *vm_uuid, const RelationshipSettings *settings,
                      Job **ret_job, GError **error);
/* Makes a second VM, "NAME - Test", of a recovery point (@point_id NULL: the latest), off and without network;
 * replication goes on. One for each replica. @ret_test_uuid: (transfer full) what it will be. */
bool failover_test(ReplicationService *service, const Caller *caller, const char *vm_uuid, const char *point_id,
                   char **ret_test_uuid, Job **ret_job, GError **error);
/* Removes the VM of a test failover, which must be off, and its disks; what was received meanwhile is applied. */
bool failover_end_test(ReplicationService *service, const Caller *caller, const char *test_uuid, Job **ret_job,
                       GError **error);
/* Sets the addresses of guests that run and wait for them; for replication_service_set_guest. */
void failover_look_after_guest(ReplicationService *service, const char *vm_uuid);
/* Takes up a failover, commit or test that the daemon's end interrupted, and ends a test whose VM is gone; for
 * replication_service_set_resume. */
void failover_resume(ReplicationService *service, const char *vm_uuid);
