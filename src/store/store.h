/* store: what this host must remember, in one SQLite file (WAL, synchronous=FULL).
 *
 * The only place that knows SQLite. Rows in and out are plain structs; each call is one transaction, durable when it returns true.
 * Safe from any thread. The file must be on a local file system, not NFS.
 */
#pragma once

#include "changelog/changelog.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    STORE_ERROR_OPEN,    /* file cannot be opened, or was made by a newer version */
    STORE_ERROR_FAILED,  /* disk full, I/O error: nothing was changed */
} StoreError;
#define STORE_ERROR (store_error_quark())
GQuark store_error_quark(void);

typedef struct Store Store;
Store *store_open(const char *path, GError **error);
void   store_close(Store *self);

/* One relationship as this host holds it. Strings are owned by the row. */
typedef struct {
    char    *vm_uuid;
    unsigned index;           /* 0 primary, 1 extended */
    unsigned mode, state;     /* ReplicationMode, ReplicationState */
    unsigned resume_state;    /* state to go back to after a suspension */
    char    *vm_name;
    char    *lineage;
    char    *settings;        /* JSON */
    char    *peer;            /* replica: entry (AllowedPrimaryHostSystem) it is bound to; primary: unused */
    char    *folder;          /* replica: where its files are */
    bool     initial_complete;
    uint64_t position;        /* primary: acknowledged; replica: received and durable */
    uint8_t  digest[CHANGE_LOG_DIGEST_SIZE]; /* END digest of log `position` */
    uint64_t applied;         /* replica */
    uint8_t  applied_digest[CHANGE_LOG_DIGEST_SIZE];
    char    *checkpoint;      /* primary: changes since it are not yet acknowledged; NULL when unknown (resync needed) */
    char    *pass_token;      /* replica: token of the newest initial or resync pass */
    unsigned resync_passes;   /* replica: passes applied of a resync that is not complete */
    unsigned last_kind, failed_over_kind; /* PointKind */
    int64_t  last_replication_usec, last_apply_usec, last_application_consistent_usec; /* UTC */
    uint64_t bytes_sent;
    char    *failover_point;  /* replica: id of the point of a failover that runs or holds; NULL latest */
    char    *blob_hash;       /* primary: digest of the blobs the replica has */
    uint64_t declared_bytes;  /* replica: sizes of its disks, as the primary's newest log says */
    char    *statistics;      /* text of the window of statistics that runs; NULL when none was begun */
    char    *test_uuid;       /* replica: the VM of a test failover; NULL: there is none */
    char    *test_point;      /* id of the point that it is of; NULL latest */
    unsigned test_stage;      /* TestStage */
    char    *export_folder;   /* primary: where the first copy goes instead of over the link; NULL: over the link */
    bool     exported;        /* it is there whole, and its import has not been seen yet */
    int64_t  start_usec;      /* primary: UTC, when the copy that was asked for begins; 0: at once */
    unsigned guest_todo;      /* replica: VMs of it, as GuestTodo, whose guests get their addresses when they run */
} StoreRelationship;
StoreRelationship *store_relationship_new(const char *vm_uuid, unsigned index);
StoreRelationship *store_relationship_copy(const StoreRelationship *row);
void               store_relationship_free(StoreRelationship *row);
GPtrArray *store_relationships(Store *self, GError **error); /* of StoreRelationship, owned by the array */
bool       store_relationship_save(Store *self, const StoreRelationship *row, GError **error);

/* A replica that is being made or dropped: noted before its files and its domain are, and gone from here in the same transaction in
 * which it gets its relationship, or when all of it is removed. */
typedef struct {
    char *vm_uuid;
    char *folder; /* where its files are, or will be */
    char *token;  /* random: what bears it was made for this row, and may be removed */
} StoreUnfinished;
void       store_unfinished_free(StoreUnfinished *row);
GPtrArray *store_unfinished(Store *self, const char *vm_uuid, GError **error); /* of StoreUnfinished; NULL @vm_uuid: all */
bool       store_unfinished_save(Store *self, const StoreUnfinished *row, GError **error);
bool       store_unfinished_remove(Store *self, const char *vm_uuid, GError **error);

/* What the guest of a VM gets on one of its network adapters after a failover; JSON, as replication/adapter.h has it. */
typedef struct { char *vm_uuid, *mac, *settings; } StoreAdapter;
void       store_adapter_free(StoreAdapter *row);
GPtrArray *store_adapters(Store *self, const char *vm_uuid, GError **error); /* of StoreAdapter, by MAC */
/* In the place of all that the VM has, in one transaction; @adapters: of StoreAdapter. */
bool       store_adapters_set(Store *self, const char *vm_uuid, const GPtrArray *adapters, GError **error);

/* With its points, undo and adapter rows. @leaves (nullable): what is to be removed of it now, noted in the same transaction. */
bool       store_relationship_remove(Store *self, const char *vm_uuid, unsigned index, const StoreUnfinished *leaves,
                                     GError **error);

typedef struct {
    char    *id, *vm_uuid;
    uint64_t position;
    unsigned kind;          /* PointKind */
    bool     kept;          /* false: only the latest state, dropped when the next one comes */
    bool     hourly;        /* on the hourly grid of RecoveryHistory */
    int64_t  taken_usec;    /* UTC, this host's clock */
    int64_t  running_usec;  /* when it was taken, by the time that the daemon has run: no change of the clock moves it */
} StorePoint;
void       store_point_free(StorePoint *row);
GPtrArray *store_points(Store *self, const char *vm_uuid, GError **error); /* of StorePoint, by position; NULL @vm_uuid: all */
bool       store_point_save(Store *self, const StorePoint *row, GError **error);
bool       store_point_remove(Store *self, const char *id, GError **error);

/* An undo log: takes the disks from `position` back to `base`. */
typedef struct {
    char    *vm_uuid;
    uint64_t position, base;
    unsigned pass;          /* 0 for a cycle; 1.. for passes of a resync, in their order */
    uint8_t  digest[CHANGE_LOG_DIGEST_SIZE];
    uint64_t bytes;
} StoreUndo;
void       store_undo_free(StoreUndo *row);
GPtrArray *store_undos(Store *self, const char *vm_uuid, GError **error); /* of StoreUndo, oldest first: by base, pass */
bool       store_undo_save(Store *self, const StoreUndo *row, GError **error);
bool       store_undo_remove(Store *self, const StoreUndo *row, GError **error);
/* Puts @merged in the place of @old (an array of StoreUndo), in one transaction. */
bool       store_undo_replace(Store *self, const GPtrArray *old, const StoreUndo *merged, GError **error);

typedef struct { char *allowed_primary, *trust_group, *storage_location, *additional_settings; } StoreEntry;
void       store_entry_free(StoreEntry *row);
GPtrArray *store_entries(Store *self, GError **error);
bool       store_entry_save(Store *self, const StoreEntry *row, GError **error); /* identity: allowed_primary, without case */
bool       store_entry_remove(Store *self, const char *allowed_primary, bool *ret_existed, GError **error);

/* Named values: service settings. (transfer full)(nullable) */
char *store_value(Store *self, const char *name, GError **error);
bool  store_value_set(Store *self, const char *name, const char *value, GError **error);

/* When this host first saw a VM, microseconds UTC; noted at the first call. */
int64_t store_vm_created(Store *self, const char *vm_uuid, int64_t now_usec);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(StoreRelationship, store_relationship_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StoreUnfinished, store_unfinished_free)
