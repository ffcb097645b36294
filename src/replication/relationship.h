/* relationship: one VM's replication as this host holds it: its row in the store, who works on it, and what is known
 * of it only while the daemon runs.
 *
 * Reference counted, safe from any thread. Two kinds of exclusive access:
 *  - work: one cycle, pass or apply at a time; gives way when an operation waits (relationship_should_yield);
 *  - operation: what a user asked for; only one at a time (else REPLICATION_ERROR_IN_USE), waits for work to end.
 * Lock order: access (operation, then work) before `lock`; `lock` is never held over I/O other than the store's.
 */
#pragma once

#include "replication/service.h"
#include "replication/state-table.h"
#include "replication/tally.h"
#include "store/store.h"

typedef struct Relationship Relationship;

/* Takes @row. */
Relationship *relationship_new(Store *store, StoreRelationship *row, GError **error);
Relationship *relationship_ref(Relationship *self);
void          relationship_unref(Relationship *self);

const char *relationship_vm(const Relationship *self);    /* UUID */
unsigned    relationship_index(const Relationship *self);

/* Of a test failover; while there is one the replica disks are frozen: what is received waits. */
typedef enum {
    TEST_NONE,
    TEST_MAKING, /* its VM is being made; a restart makes it anew */
    TEST_MADE,   /* its VM is there; it reads the replica disks, which nobody may write */
    TEST_ENDING, /* its VM is being removed; a restart goes on with that */
} TestStage;

/* StoreRelationship.guest_todo: VMs whose guests get their addresses (service_look_after_guest) when they run next. */
typedef enum { GUEST_OF_FAILOVER = 1, GUEST_OF_TEST = 2 } GuestTodo;

/* Copies of what holds now; (transfer full). */
StoreRelationship    *relationship_row(Relationship *self);
RelationshipSettings *relationship_settings(Relationship *self);
ReplicationState      relationship_state(Relationship *self);
/* Is @uuid, in any case, the VM of its test failover? */
bool                  relationship_has_test(Relationship *self, const char *uuid);

/* A change of the row: begin gives a copy to change and holds the row; end commits it durably (or, on failure, nothing changes);
 * cancel drops it. Settings are parsed again at end. */
StoreRelationship *relationship_edit(Relationship *self);
bool               relationship_edit_end(Relationship *self, StoreRelationship *row, GError **error);
void               relationship_edit_cancel(Relationship *self, StoreRelationship *row);
/* Moves along the state table, durably. */
bool               relationship_move(Relationship *self, Operation operation, GError **error);

/* Was the resynchronization that @row waits for cancelled? Then it does not start by itself. */
bool               relationship_resync_was_cancelled(const StoreRelationship *row);

/* Its statistics; what they are at an edit's end is saved with the row. Borrowed. */
Tally *relationship_tally(Relationship *self);
/* Saves them when they changed longer ago than @age_usec and no edit took them along. */
bool   relationship_save_statistics(Relationship *self, int64_t age_usec, GError **error);

/* While an operation on @self waits, whoever works on @downstream (borrowed) gives way, too: he reads its disks. */
void relationship_set_downstream(Relationship *self, Relationship *downstream);
/* No longer, if it still is @downstream. */
void relationship_forget_downstream(Relationship *self, Relationship *downstream);

/* Work. begin waits for other work, returns false when an operation has or wants the VM, or it is removed. */
bool relationship_begin_work(Relationship *self);
void relationship_end_work(Relationship *self);
bool relationship_should_yield(Relationship *self);
/* Non-zero as soon as an operation waits; for readers that take a flag. */
const gint *relationship_yield_flag(Relationship *self);

/* Until nobody works on it: what a worker had under way is known then, whatever operation has it. */
void relationship_wait_for_work(Relationship *self);
bool relationship_begin_operation(Relationship *self, const char *what, GError **error);
void relationship_end_operation(Relationship *self);
/* Takes it out of the store and closes it in one step, so that nobody's edit brings it back. By the operation that removes it.
 * @leaves (nullable): as of store_relationship_remove(). */
bool relationship_remove(Relationship *self, const StoreUnfinished *leaves, GError **error);
/* No more work, operations or edits; waits for those under way. Called by the operation that removes it (@inside) or at the service's end. */
void relationship_close(Relationship *self, bool inside);

/* Why cycles fail now; NULL clears it. Gives true when the text is new, so that it is logged once. */
/* Whether the VM was last seen to run on both hosts; a change is logged. */
void  relationship_set_runs_twice(Relationship *self, bool twice);
/* The same of a host that was the primary before, and is no side of the relationship any more. */
void  relationship_set_runs_at_former(Relationship *self, bool twice);
bool  relationship_runs_at_former(Relationship *self);
bool  relationship_runs_twice(Relationship *self);
bool  relationship_set_error(Relationship *self, const char *text);
char *relationship_error(Relationship *self);
/* Why application-consistent points fail now; NULL clears it. Gives true when the text is new. */
bool     relationship_set_consistent_error(Relationship *self, const char *text);
char    *relationship_consistent_error(Relationship *self);
/* Why a change of the disks that replicate was given up, durably; NULL: it was not. (transfer full) */
bool     relationship_note_disks_failure(Relationship *self, const char *text, GError **error);
char    *relationship_disks_failure(Relationship *self);
/* Disks that the VM got and that do not replicate; NULL: none. Gives true when the text is new. */
bool     relationship_set_left_out(Relationship *self, const char *names);
char    *relationship_left_out(Relationship *self);
/* Why the guest of a failed-over VM, or of its test, does not have its addresses; NULL clears it. */
void     relationship_set_guest_error(Relationship *self, const char *text);
char    *relationship_guest_error(Relationship *self);
/* Monotonic time of the capture of the newest complete copy; 0 unknown. */
void    relationship_set_captured(Relationship *self, int64_t monotonic_usec);
int64_t relationship_captured(Relationship *self);
void     relationship_set_percent(Relationship *self, unsigned percent);
unsigned relationship_percent(Relationship *self);
/* Job that shows the initial replication or resynchronization under way; (transfer full)(nullable). */
void relationship_set_job(Relationship *self, Job *job);
/* Ends the job that a copy under way has, if any; @error (nullable): it failed. */
void relationship_end_job(Relationship *self, const GError *error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Relationship, relationship_unref)
