/* primary: the sending side of one relationship: cycles, first copy, resynchronization.
 *
 * A Primary is used by the one worker that holds the relationship's work.
 */
#pragma once

#include "link/link.h"
#include "replication/context.h"
#include "replication/plan.h"
#include "replication/relationship.h"
#include "replication/upstream.h"

typedef struct Primary Primary;
/* Of a VM of this host; or, with @upstream (nullable, taken), of a replica that is sent on to a third host. */
Primary *primary_new(const ReplicationContext *context, Relationship *relationship, Upstream *upstream);
void     primary_free(Primary *self);

/* Agrees the relationship with the replica server: there must be a server that accepts us, and all disks must be such that
 * they can be tracked. Errors are REPLICATION_ERROR. */
bool primary_offer(const ReplicationContext *context, const StoreRelationship *row, const RelationshipSettings *settings,
                   GError **error);
/* Disks to replicate: those of the settings, else all that can be. (transfer full) targets, NULL at the end. */
char **primary_disks(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings,
                     GError **error);
/* What is sent of @row's relationship: those, or all of a replica that is sent on. (transfer full) */
char **primary_sent_disks(const ReplicationContext *context, const StoreRelationship *row, const RelationshipSettings *settings,
                          GError **error);

typedef enum {
    CYCLE_DONE,       /* wait for the next interval */
    CYCLE_GO_ON,      /* more to do at once: the next pass */
    CYCLE_RETRY,      /* failed; try again after a back-off */
    CYCLE_YIELDED,    /* an operation wants the VM */
    CYCLE_HELD,       /* waits for a person, or for a time of day: @error says what for */
} CycleResult;

/* Is its first copy being written into a folder? */
bool primary_is_exporting(const StoreRelationship *row);
/* Was it written, and the replica has not said yet that it has it? */
bool primary_awaits_import(const StoreRelationship *row);

/* One cycle or pass, as the state asks for. Begin the relationship's work before. @error is set with CYCLE_RETRY and CYCLE_HELD. */
CycleResult primary_cycle(Primary *self, GError **error);
/* Microseconds until the copy that @row's state asks for may begin; 0: now, or there is none. */
int64_t     primary_start_wait(const StoreRelationship *row);

/* ---- new settings ---- */
/* Whether the replica has yet to be told of the settings, durably. */
bool primary_note_settings_untold(const ReplicationContext *context, const StoreRelationship *row, bool untold, GError **error);
/* Tells it those of @row, and notes that it has them; @hurry as of primary_connect_peer(). Errors are those of link and virt, too. */
bool primary_tell_settings(const ReplicationContext *context, const StoreRelationship *row, const RelationshipSettings *settings,
                           const gint *hurry, GError **error);
/* By the operation that changed them: the next cycle goes by them, and tells them unless they are told. */
void primary_settings_changed(Primary *self);

/* ---- a change of the disks that replicate ---- */
/* The disks that are to replicate when it is done; NULL without @error when there is no change. (transfer full) */
char **primary_wanted_disks(const ReplicationContext *context, const char *vm_uuid, GError **error);
/* Durably; NULL @wanted: none any more. Before the state that it belongs to. */
bool   primary_note_wanted_disks(const ReplicationContext *context, const char *vm_uuid, char *const *wanted, GError **error);
/* Is each of @targets a disk of the VM that can be replicated, also after it was turned off and started? */
bool   primary_check_new_disks(const ReplicationContext *context, const char *vm_uuid, char *const *targets, GError **error);
/* The disks that the VM has now need not be told of again. */
bool   primary_note_seen_disks(const ReplicationContext *context, const char *vm_uuid, GError **error);

/* ---- planned failover ---- */
/* The next cycle sends the last changes and locks the VM; the relationship's job ends with it. By the operation that wants it. */
void primary_prepare(Primary *self);
/* May the replica take what it has for the last changes, although they were not acknowledged? From any thread. */
bool primary_is_unclear(const Primary *self);
/* The replica agreed that the VM may run here. */
bool primary_clear_planned(Primary *self, GError **error);
/* Keeps the VM from being started by anybody, and lets go again. */
bool primary_lock(Primary *self, GError **error);
void primary_unlock(Primary *self);
/* The lock is somebody else's to end: by disk_server_end_left_over() in primary_lock_folder(). */
void primary_leave_lock(Primary *self);
/* Autostart is off while the VM may run elsewhere. */
bool primary_hold_autostart(const ReplicationContext *context, const char *vm_uuid, GError **error);
/* As it was before, unless it is held for as long as the VM is protected; what fails is logged. */
void primary_give_back_autostart(const ReplicationContext *context, const char *vm_uuid);
/* In any case: the VM is not protected any more. */
void primary_release_autostart(const ReplicationContext *context, const char *vm_uuid);
/* It is not started with its host any more: somebody wants it off. By the operation that does. */
bool primary_drop_autostart(Primary *self, GError **error);
/* At start, before members are loaded: VMs whose autostart is held are to be started, if the host was. */
bool primary_note_boot(const ReplicationContext *context, GError **error);
bool primary_forget_autostart(const ReplicationContext *context, const char *vm_uuid, GError **error);
/* Sockets and pid file of the lock's storage daemon; (transfer full) */
#define PRIMARY_LOCK_PREFIX "l-"
char *primary_lock_folder(const ReplicationContext *context, const char *vm_uuid);
/* At start: a VM that was locked is locked again, and one that is not has its autostart back. */
bool primary_recover(Primary *self, GError **error);

/* ---- reversing ---- */
/* What is said of a VM to the other host; link_offer_clear() it whatever comes of it. */
bool primary_fill_offer(const ReplicationContext *context, const StoreRelationship *row, char *const *targets, LinkOffer *offer,
                        GError **error);
/* A connection to the replica server of @settings, made when it is first used; @hurry (nullable) as of HttpClientConfig. (transfer full) */
LinkClient *primary_connect_peer(const ReplicationContext *context, const RelationshipSettings *settings, const gint *hurry,
                                 GError **error);
/* What the next pass goes on from. */
bool primary_save_plan(const ReplicationContext *context, const StoreRelationship *row, const Plan *plan, GError **error);

/* Tells the replica that the VM may run here again, so that it does not take its failover for a planned one; @hurry as of
 * primary_connect_peer(). LINK_ERROR. */
bool primary_keep_role(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings, const gint *hurry,
                       GError **error);
/* Where the replica is, asked of its host. */
bool primary_ask_position(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings,
                          LinkPosition *ret_position, GError **error);
/* The state of the replica, asked of its host. */
bool primary_ask_state(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings,
                       ReplicationState *ret_state, GError **error);

/* Tells the replica server that replication was removed here; what comes of it is its own business. */
void primary_say_removed(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *settings);

/* Drops the plan of a copy under way: a later copy that went on with it would leave out what this one has sent. */
bool primary_forget_plan(const ReplicationContext *context, const StoreRelationship *row, GError **error);

/* Deletes our checkpoints from the VM, so that a removal leaves nothing in the guest, and the plan of a copy under way. False when
 * the plan stays. */
bool primary_forget(const ReplicationContext *context, const char *vm_uuid, GError **error);
/* The same of what @self sends, a VM or a replica. */
bool primary_leave(Primary *self, GError **error);
/* Of a replica that is sent on: what the third host lacks of its disks, all of it in the plan, and perhaps more; sizes are not those of the disks.
 * With `compare` that is not known. (transfer full) */
Plan *primary_left_to_send(Primary *self, GError **error);
