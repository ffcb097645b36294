/* service-private: the inside of the service, for the files of replication/ and failover/ that make it up. */
#pragma once

#include "link/link.h"
#include "replication/context.h"
#include "replication/primary.h"
#include "replication/relationship.h"
#include "replication/replica.h"
#include "replication/service-setup.h"

/* One relationship of a VM that replicates: with its replica or its primary, or, of a replica, with a third host. Reference counted; `due_usec`,
 * `failures` and `queued` under the service's lock. */
typedef struct {
    gint          references;
    char         *key;      /* its place in the service's table */
    ReplicationService *service;
    Relationship *relationship;
    Primary      *primary;  /* NULL on a replica */
    Replica      *replica;  /* NULL on a primary */
    int64_t       due_usec; /* monotonic */
    unsigned      failures; /* cycles that failed in a row */
    bool          queued;   /* a worker has it or will */
    bool          again;    /* something came up while it was queued */
    int64_t       looked_usec; /* monotonic: when it was looked after its test VM; the worker's */
    gint          no_room;  /* atomic: its newest log was not taken for want of room */
    gint          guests;   /* atomic: GuestTodo of guests that are looked after now */
} Member;

struct ReplicationService {
    ReplicationContext context;
    ServiceConfig config;
    JobList      *jobs;

    GMutex        lock; /* guards what follows; taken after any lock of a relationship, held briefly */
    GCond         scheduler_wake;
    GHashTable   *members;    /* Member.key -> Member */
    bool          stopping;
    gint          stop_flag; /* atomic copy of it, not under the lock */
    unsigned      running_jobs;
    GCond         jobs_ended;
    ServiceSettings settings;

    GThread      *scheduler;
    GThreadPool  *workers;
    GMutex        link_lock; /* starting and stopping the replica server */
    LinkServer   *link;
};

Member *member_ref(Member *self);
void    member_unref(Member *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Member, member_unref)

/* Relationship 0 of a VM; (transfer full)(nullable) */
Member *service_find_member(ReplicationService *self, const char *vm_uuid);
/* @index 1: of a replica with a third host. (transfer full)(nullable) */
Member *service_find_member_at(ReplicationService *self, const char *vm_uuid, unsigned index);
/* The relationship in which the VM is sent from here: that of a primary, or of a replica with a third host; else relationship 0. (transfer
 * full)(nullable) */
Member *service_find_sender(ReplicationService *self, const char *vm_uuid);
/* All of them now; of Member, owned by the array. */
GPtrArray *service_members(ReplicationService *self);
/* Takes @row; the member is known to others from now on. */
Member *service_add_member(ReplicationService *self, StoreRelationship *row, GError **error);
/* The VM has another role now, as its row says: a new member in the place of this one, by the operation that has it. (transfer full) */
Member *service_replace_member(ReplicationService *self, Member *member, GError **error);
void    service_drop_member(ReplicationService *self, Member *member);
/* Has a worker look at it now. */
void    service_wake_member(Member *member);

/* Says which VM is unknown, or gives it. Errors are REPLICATION_ERROR. */
VirtDomain *service_find_domain(ReplicationService *self, const char *vm_uuid, GError **error);
/* What stands for a VM that has a relationship and is no longer defined: off, with the name that it had. (transfer full) */
VirtDomain *service_undefined_domain(Member *member);
/* service-test.c: VMs of test failovers. The replica whose test VM that is; (transfer full)(nullable) */
Member *service_find_test_of(ReplicationService *self, const char *test_uuid);
char   *service_test_name(const StoreRelationship *row);
/* What stands for a test VM that is not defined, not yet or no more; NULL when there is no test. */
VirtDomain *service_test_domain(Member *member);
/* False with @error when @domain is a test VM: replication has nothing to do with it. */
bool    service_refuse_test_vm(ReplicationService *self, const VirtDomain *domain, const char *what, GError **error);
/* Any error as REPLICATION_ERROR with its text; takes @cause, always returns false. */
bool    service_fail(GError *cause, GError **error);

/* Runs @func on a thread of its own as the operation that the caller has begun on the member; ends operation and job after it. */
typedef bool (*MemberJobFunc)(Member *member, Job *job, void *data, GError **error);
void    service_run_job(Member *member, Job *job, MemberJobFunc func, void *data, GDestroyNotify free_data);

/* Runs @func on a thread that the service's end waits for; it has to look at service_is_stopping() meanwhile. Takes @data. */
typedef void (*ServiceThreadFunc)(ReplicationService *self, void *data);
void    service_run_thread(ReplicationService *self, ServiceThreadFunc func, void *data);
bool    service_is_stopping(ReplicationService *self);
/* Has failover/ set what is to be set in guests of the member that run. */
void    service_look_after_guest(Member *member);

/* service-planned.c. Job and errors as in service.h. */
/* Sends the last changes of a VM that is off and locks it. */
bool    service_prepare_planned(Member *member, const Caller *caller, Job **ret_job, GError **error);
/* Takes that back, or a role that was given up. */
bool    service_cancel_prepared(Member *member, const Caller *caller, GError **error);
/* Is this a primary that one of the two locked? */
bool    service_is_locked(Member *member);
/* Cancels the first copy (OPERATION_CANCEL_INITIAL) or the resynchronization (OPERATION_CANCEL_RESYNC) under way, and ends its job. */
bool    service_cancel_copy(Member *member, const Caller *caller, Operation operation, GError **error);
/* On the replica, by the operation that has it: back to what it was before the resynchronization. The primary begins that anew. */
bool    service_take_back_resync(Member *member, GError **error);
/* Lets the former replica turn this primary into its replica. */
bool    service_give_up_role(Member *member, const Caller *caller, GError **error);

/* service-disks.c: a change of the disks that replicate. Errors as in service.h. */
/* Of a primary to those in @wanted, with the other settings in it. (transfer full) @ret_job lasts until they all replicate. */
bool    service_change_disks(Member *member, const Caller *caller, const RelationshipSettings *wanted, Job **ret_job, GError **error);
/* One that failed. */
bool    service_retry_disks(Member *member, const Caller *caller, Job **ret_job, GError **error);
bool    service_is_changing_disks(Member *member);
/* On either side: back to the disks of before. */
bool    service_cancel_disks(Member *member, const Caller *caller, GError **error);
/* What a primary's offer for a replica that is here says of its disks. Errors are LINK_ERROR for the peer. */
bool    service_take_disks(Member *member, const LinkOffer *offer, GError **error);

/* service-power.c: has the administrator named the VM as one that he keeps from running twice himself? */
bool    service_fence_is_waived(Member *member);
/* Is it a replica that is failed over and runs? */
bool    service_runs_failed_over(Member *member);

/* service-turn.c: a primary that becomes the replica of its former replica. Errors are LINK_ERROR for the peer. @entry: what the
 * peer is authorized by. */
bool    service_take_reversal(ReplicationService *self, Member *member, const LinkPeer *peer, const AuthorizationEntry *entry,
                              const LinkReversal *reversal, LinkPosition *ret_position, GError **error);
/* service-seed.c: a VM of this host that becomes a replica on its own images. */
/* Its administrator wants it: durable, and nothing but that changes until a primary comes. @domain does not replicate. Errors as in
 * service.h, here only. */
bool    service_await_primary(ReplicationService *self, const Caller *caller, const VirtDomain *domain, GError **error);
/* A primary, authorized by @entry, comes for a member that replica_is_awaited(). */
bool    service_take_awaited(ReplicationService *self, Member *member, const AuthorizationEntry *entry, const LinkOffer *offer,
                             GError **error);
/* It comes again with another history, before the first copy is complete. */
bool    service_take_seeded_again(Member *member, const AuthorizationEntry *entry, const LinkOffer *offer, GError **error);
/* Before the replication of one whose first copy is not complete is removed, by the operation that does: it has its own definition again.
 * May be repeated. @ret_word: what became of its images, for whoever removes it; NULL when it is none. */
bool    service_leave_seed(Member *member, char **ret_word, GError **error);
/* After it: removes what was made in the folder. */
void    service_clean_seed(const StoreRelationship *row);
/* service-first.c */
/* What the first copy needs before it is started; @type and @location as of StartReplication. By the operation that starts it. */
bool    service_plan_first_copy(Member *member, unsigned type, const char *location, GError **error);
/* What whoever started it should know at the end of its job: where an exported copy is. */
void    service_note_export(Member *member, Job *job);
/* Is @location, which came as @parameter, a folder on this host? */
bool    service_check_location(const char *parameter, const char *location, GError **error);
/* service-commands.c */
/* The relationship of a VM that must have one; @what for the refusal. (transfer full) */
Member *service_find_replicating(ReplicationService *self, const char *vm_uuid, const char *what, GError **error);
/* That one of its relationships, 0 or 1; (transfer full) */
Member *service_find_relationship(ReplicationService *self, const char *vm_uuid, unsigned index, const char *what, GError **error);
/* Has the VM the disks in IncludedDisks of @settings? */
bool    service_check_included(ReplicationService *self, const char *vm_uuid, const RelationshipSettings *settings, GError **error);
/* Settings with what a client cannot know; (transfer full) */
RelationshipSettings *service_complete_settings(ReplicationService *self, const RelationshipSettings *wanted);

/* service-extend.c: a replica that is sent on to a third host. Errors as in service.h. */
/* A row for its relationship, when it may be extended with @settings; (transfer full) */
StoreRelationship *service_extended_row(ReplicationService *self, const VirtDomain *domain, RelationshipSettings *settings, GError **error);
/* Are @wanted settings that such a relationship can have? */
bool    service_check_extended(ReplicationService *self, const StoreRelationship *row, const RelationshipSettings *wanted, GError **error);
/* False with @error when it is relationship 0 of a replica that is sent on: @what is not possible then. */
bool    service_refuse_extended(Member *member, const char *what, GError **error);
/* May its last changes be sent as those of a planned failover? */
bool    service_check_extended_planned(Member *member, GError **error);
/* Is the VM not prepared for a planned failover to a third host? By the operation that has relationship 0, @member; what comes of that must
 * be noted before it ends. */
bool    service_check_not_prepared(Member *member, GError **error);

/* link-ops.c: what peers may ask */
/* Where replicas go that a host sends which @entry authorizes; (transfer full) */
char   *service_replica_folder(ReplicationService *self, const AuthorizationEntry *entry, const char *vm_uuid);
bool    service_deny_peer(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
LinkServerOps service_link_ops(ReplicationService *self);
/* service-statistics.c */
/* After a worker's look at a member; before its error is set, so that health never sees one without the other. */
void    service_count_cycle(Member *member, CycleResult result, int64_t started_usec, const GError *error);
FailureKind service_failure_of_received(const GError *error);
/* Brings windows to now, and saves what is unsaved for long; of all members, now and then. */
void    service_tend_statistics(ReplicationService *self);
/* The settings of windows for one member, or after they changed. */
void    service_plan_statistics(ReplicationService *self, Member *member);
/* @lag_usec: -1 no copy; @ret_issues (nullable): of HealthIssue */
ReplicationHealth service_judge(Relationship *relationship, const StoreRelationship *row, const RelationshipSettings *settings,
                                const char *last_error, int64_t lag_usec, GPtrArray **ret_issues);
/* Microseconds since the capture of the newest complete copy; -1 there is none. */
int64_t service_lag(Relationship *relationship, const StoreRelationship *row);
/* server-settings.c */
bool    service_load_settings(ReplicationService *self, GError **error);
bool    service_update_link_server(ReplicationService *self, GError **error);
