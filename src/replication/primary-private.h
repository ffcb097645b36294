/* primary-private: the inside of a Primary, for the files that make it up: primary.c (agreements, what to do now), primary-log.c
 * (one log on its way), primary-resume.c (over a link that breaks), primary-delta.c (a cycle), primary-freeze.c
 * (application-consistent points), primary-pass.c (first copy and resynchronization), primary-planned.c
 * (the last changes before a planned failover), primary-settings.c (new settings), primary-export.c (a first copy into a folder).
 */
#pragma once

#include "disk/disk-server.h"
#include "link/link.h"
#include "replication/moment.h"
#include "replication/primary.h"

#define CAPTURE_TIMEOUT_SEC    120           /* a job open longer than that is given up */

struct Primary {
    const ReplicationContext *context;
    Relationship *relationship;
    Upstream     *upstream;    /* (nullable): a replica is sent on, no VM of libvirt's */
    LinkClient   *client;
    LinkClient   *asker;       /* for questions while `client` is sending; made when needed */
    int64_t       contact_usec; /* monotonic; of the last good exchange */
    bool          agreed;      /* positions were compared since the last failure */
    unsigned      give_ups;    /* captures in a row that were given up for the guest's sake */
    char         *sent_marker; /* the VM is off and all of that was sent */
    gint          unclear;     /* atomic: the replica may take what it has for the last changes, and may not */
    bool          preparing;   /* the next cycle sends the last changes before a planned failover */
    bool          autostart_due; /* the host was started, and the VM is to be */
    int64_t       due_usec;    /* monotonic: since when */
    int64_t       autostart_usec; /* monotonic: when its autostart was last looked at; 0 never */
    DiskServer   *lock;        /* keeps the VM from starting */
    bool          settings_told; /* the replica has the newest */
    int64_t       tell_usec;     /* monotonic; when they are told again */
    bool          set_offered;   /* the replica knows which disks are to replicate, in a change of them */
    bool          set_refused;   /* what failed last in such a change does not heal by itself */
    bool          name_set;      /* the next delta says which disks replicate: the replica has another set */
    int64_t       froze_usec;  /* monotonic; when freezing the guest was last tried, 0 never */
    char         *planned_marker; /* the VM is off and what is dirty in that is in the plan, or was sent */
};

typedef struct ExportedLog ExportedLog;

/* One log on its way; stays where it is from begin to clear. */
typedef struct {
    Primary         *primary;
    Moment          *moment;
    LinkUpload      *upload;
    ExportedLog     *exported; /* instead of the upload */
    ChangeLogWriter *writer;
    uint64_t         base, position;
    unsigned         breaks;  /* of its streams */
    bool             closes;  /* a first copy */
    bool             lost;    /* the last of them was for good */
    bool             ended;   /* END is written: the digest is known */
    uint8_t          digest[CHANGE_LOG_DIGEST_SIZE];
    char *const     *joins;   /* (nullable): the disks that replicate from this log on */
    bool             joins_all; /* with them the change of the set is complete */
    bool             arrived; /* whole, but its acknowledgement was lost; `answer` stands for it */
    LinkPosition     answer;
} Sending;

/* ---- primary.c ---- */
/* What the relationship replicates; an error that says what to do when the VM is gone. (transfer full) */
char **primary_find_disks(Primary *self, const StoreRelationship *row, const RelationshipSettings *settings, GError **error);
void primary_drop_contact(Primary *self);
/* A connection, and a position that both sides agree on. */
bool primary_make_contact(Primary *self, GError **error);
/* A copy of @cause as REPLICATION_ERROR; (transfer full) */
GError *primary_error_for_caller(const GError *cause);
/* Notes that a resynchronization is needed, durably; the plan of an earlier one goes. */
bool primary_changes_lost(Primary *self, const char *why, GError **error);
/* (transfer full) */
char *primary_plan_path(const Primary *self);
/* What the replica keeps to tell which pass it has; (transfer full) */
char *primary_pass_token(const StoreRelationship *row, unsigned pass);

/* ---- primary-log.c ---- */
void primary_sending_clear(Sending *sending);
/* A log that continues @row, of the moment. */
void primary_fill_header(const Primary *self, const StoreRelationship *row, const Moment *moment,
                         ChangeLogKind kind, uint64_t position, PointKind point, ChangeLogHeader *header);
/* Connects and writes the header; clear @sending whatever comes of it. */
bool primary_sending_begin(Primary *self, const ChangeLogHeader *header, Moment *moment, const char *token,
                           Sending *sending, GError **error);
/* The same for log @number of a first copy that goes into a folder. */
bool primary_sending_begin_export(Primary *self, const ChangeLogHeader *header, Moment *moment, const char *folder, unsigned number,
                                  Sending *sending, GError **error);
/* END, then waits for the acknowledgement. Of a log that goes into a folder: until it is durable there. */
bool primary_sending_finish(Sending *sending, LinkPosition *ret_position, GError **error);
/* Where extents of one disk go, and how long that may take. */
typedef struct {
    Primary         *primary;
    Moment          *moment;
    unsigned         disk;        /* index in the moment */
    unsigned         first;       /* index there of the log's first disk */
    ChangeLogWriter *writer;
    const uint8_t   *peer_hashes; /* (nullable): of the window; what has the same hash is left out */
    uint64_t         window;      /* where it starts, bytes */
    bool             may_stop;    /* a part of the extents is good too: a pass */
    int64_t          stop_usec;   /* monotonic: then it stops, as for want of room and for an operation that waits */
    uint64_t         done;        /* (out): everything below this offset was sent */
    bool             stopped;     /* (out) */
} SendExtents;
/* Reads @extents of one disk at the moment into the log. A stop is no failure, but no more of that disk can be read. */
bool primary_send_extents(SendExtents *send, const ExtentSet *extents, GError **error);
/* All of a table as moment_blobs() gives. */
bool primary_write_blobs(ChangeLogWriter *writer, GHashTable *blobs, GError **error);
/* Tells whether blobs changed; (transfer full) */
char *primary_hash_of_blobs(GHashTable *blobs);
/* @what: 'n' a cycle, 'p' a pass; (transfer full) */
char *primary_checkpoint_name(const StoreRelationship *row, char what, uint64_t number);
/* Removes every checkpoint of ours but the ones to keep (nullable); failures are left for the next time. */
void primary_drop_checkpoints(Primary *self, const char *keep, const char *keep_too);
/* Gives what changed since it to the one before. What fails is left for the next time. */
void primary_drop_checkpoint(Primary *self, const char *name);
/* A moment of the VM, or of the replica that is sent on, and the blobs that belong to it; as of moment.h. */
Moment     *primary_open_moment(Primary *self, const MomentRequest *request, GError **error);
GHashTable *primary_blobs(Primary *self, const StoreRelationship *row, GError **error);
/* Bytes count as sent even when the log is not acknowledged. */
void primary_add_sent(Primary *self, StoreRelationship *row, const Sending *sending);

/* Of a VM, without anybody who sends it. */
void primary_drop_vm_checkpoints(const ReplicationContext *context, const char *vm_uuid, const char *keep, const char *keep_too);

/* ---- primary-resume.c ---- */
/* How long a broken connection is waited for while a moment is held. */
typedef struct {
    int64_t stop_usec, pause_usec;
} Patience;
Patience primary_patience(void);
/* Pauses. False when waiting is of no use any more: time is up, an operation wants the VM, or the moment is lost. */
bool     primary_wait_for_link(Primary *self, Moment *moment, Patience *patience);
/* The stream broke with @cause (taken): goes on with the log in a new one, from where the replica has it. All that was
 * written to the sink is sent then, unless @sending has `arrived`. */
bool     primary_sending_resume(Sending *sending, GError *cause, GError **error);

/* ---- primary-delta.c ---- */
/* @kind: STANDARD, or PLANNED for the last changes before a planned failover, which are sent even when there are none. */
bool primary_run_delta(Primary *self, const StoreRelationship *row, char *const *targets, PointKind kind, GError **error);
/* @position is durable on the replica: notes it, with the checkpoint that the next delta starts from. */
bool primary_note_acknowledged(Primary *self, const Moment *moment, const Sending *sending, uint64_t position, PointKind kind,
                               const char *checkpoint, const char *blob_hash, GError **error);

/* Blobs when they differ from what the replica has; @ret_hash tells them. */
bool primary_changed_blobs(Primary *self, const StoreRelationship *row, GHashTable **ret_blobs, char **ret_hash, GError **error);

/* ---- primary-disks.c ---- */
/* One step of a change of the disks that replicate, in state DISK_UPDATE. */
bool primary_update_disks(Primary *self, GError **error);
/* It failed with @cause: when that does not heal by itself, the state is DISK_UPDATE_CRITICAL from now on, and true. */
bool primary_give_up_disks(Primary *self, const GError *cause);
/* Both sides have agreed on a position: has the replica another set of disks than ours, and what of it? */
bool primary_compare_disks(Primary *self, const LinkPosition *position, GError **error);
/* Names the disks that replicate from a log on, as one of its blobs. */
void primary_add_set(GHashTable *blobs, char *const *ids);
/* Tells once of disks that the VM got and that do not replicate. @all: of VirtDisk. */
void primary_look_for_new_disks(Primary *self, const StoreRelationship *row, const RelationshipSettings *settings);

/* ---- primary-freeze.c ---- */
/* Is it time for an application-consistent point? */
bool      primary_wants_freeze(Primary *self, const StoreRelationship *row);
/* The kind of point that a @moment gives for which freezing was asked; that it failed is counted and told. */
PointKind primary_point_kind(Primary *self, const Moment *moment);

/* ---- primary-pass.c ---- */
bool primary_run_pass(Primary *self, const StoreRelationship *row, char *const *targets, GError **error);
/* A delta that never fits the scratch space is sent in passes, from the checkpoint that it would have started from. */
bool primary_turn_to_passes(Primary *self, const StoreRelationship *row, GError **error);

/* ---- primary-planned.c ---- */
/* Sends the last changes, locks the VM, moves to PREPARED and ends the relationship's job either way. */
bool primary_run_preparation(Primary *self, GError **error);
/* While it is not clear whether the replica has them: sends them again, or has the replica know that the VM may run here. */
bool primary_settle_planned(Primary *self, GError **error);
bool primary_forget_planned(const ReplicationContext *context, const char *vm_uuid, unsigned index, GError **error);

/* The replica's position, told whether the VM runs here. LINK_ERROR_STATE when it is failed over. */
bool primary_ask_progress(Primary *self, LinkPosition *ret_position, GError **error);

bool primary_is_failed_over(const LinkPosition *position);

/* ---- primary-autostart.c ---- */
void primary_load_autostart(Primary *self);
/* Holds the autostart of a VM that is protected, or no longer. Now and then. */
void primary_tend_autostart(Primary *self, const StoreRelationship *row);
/* Starts a VM that is to start with the host, unless it is failed over. False with @error while that is not known. */
bool primary_run_autostart(Primary *self, const StoreRelationship *row, GError **error);

/* ---- primary-export.c ---- */
/* It and its sink fail before the file system of the folder is full. */
ExportedLog  *primary_export_begin(const ReplicationContext *context, const char *folder, unsigned number, GError **error);
ChangeLogSink primary_export_sink(ExportedLog *self);
/* Durable, and in the list; @taken_usec: UTC of the copy's moment with the log that closes it, else 0. */
bool          primary_export_finish(ExportedLog *self, const StoreRelationship *row, const uint8_t *digest, int64_t taken_usec, GError **error);
void          primary_exported_log_free(ExportedLog *self); /* one that is not finished goes */
/* Removes the logs behind @last that an earlier try has left. */
void          primary_export_tidy(const char *folder, unsigned last);

/* ---- primary-settings.c ---- */
/* Settings that the replica was not told yet are told again when it is time. What fails is logged, and no failure of the cycle. */
void primary_retry_settings(Primary *self);
