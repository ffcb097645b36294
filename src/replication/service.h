/* service: replication on this host, as its callers see it.
 *
 * What the CIM layer, and any other API, calls. Views are copies: they do not change and hold no lock. Every call is safe from
 * any thread and may block for as long as a libvirt call takes; long work is a Job. Times are microseconds since the Unix epoch, UTC; 0 means never.
 * Errors are REPLICATION_ERROR only.
 */
#pragma once

#include "changelog/changelog.h"
#include "replication/job.h"

typedef enum { /* values of Msvm_ReplicationRelationship.ReplicationState */
    STATE_DISABLED = 0, STATE_READY = 1, STATE_WAITING_INITIAL = 2, STATE_REPLICATING = 3, STATE_PREPARED = 4, STATE_RECOVERED = 5,
    STATE_COMMITTED = 6, STATE_SUSPENDED = 7, STATE_CRITICAL = 8, STATE_WAITING_RESYNC = 9, STATE_RESYNCHRONIZING = 10,
    STATE_RESYNC_SUSPENDED = 11, STATE_FAILOVER_RUNNING = 12, STATE_FAILBACK_RUNNING = 13, STATE_FAILBACK_COMPLETE = 14,
    STATE_DISK_UPDATE = 15, STATE_DISK_UPDATE_CRITICAL = 16, STATE_UNKNOWN = 17, STATE_REPURPOSE = 18,
} ReplicationState;
typedef enum { MODE_NONE = 0, MODE_PRIMARY = 1, MODE_REPLICA = 2, MODE_TEST_REPLICA = 3, MODE_EXTENDED_REPLICA = 4 } ReplicationMode;
typedef enum { HEALTH_NOT_APPLICABLE = 0, HEALTH_OK = 1, HEALTH_WARNING = 2, HEALTH_CRITICAL = 3 } ReplicationHealth;
typedef enum { POWER_RUNNING = 2, POWER_OFF = 3, POWER_SHUTTING_DOWN = 4, POWER_SAVED = 6, POWER_PAUSED = 9, POWER_STARTING = 10 } PowerState; /* CIM EnabledState */

/* Settings of one relationship: Msvm_ReplicationSettingData. Strings are owned; NULL where never set. */
typedef struct {
    unsigned authentication_type;         /* 1 Kerberos, 2 certificate */
    char    *certificate_thumb_print;
    char    *root_certificate_thumb_print; /* read-only for clients */
    bool     compression_enabled;         /* default true */
    bool     bypass_proxy_server;
    char    *recovery_connection_point;   /* host name or address of the replica server */
    char    *recovery_host_system;        /* read-only */
    char    *primary_connection_point;    /* read-only */
    char    *primary_host_system;         /* read-only */
    unsigned recovery_server_port;
    bool     replicate_host_kvp_items;
    unsigned application_consistent_interval_h; /* 0 off, 1..12 */
    unsigned recovery_history;            /* hourly points kept: 0..24 */
    char   **included_disks;              /* targets ("vda"), NULL at the end; NULL: all replicable disks */
    bool     auto_resynchronize;          /* default true: it costs no more than reading both disks, and points survive it */
    unsigned auto_resynchronize_start_sec, auto_resynchronize_end_sec; /* local time of day; equal: any time */
    unsigned replication_interval_sec;    /* 30, 300, 900; AdditionalSettings "interval=N" takes any from 1 s */
    char    *additional_settings;         /* "key=value;..." : interval=1, journal=4h, consistent=30m; unknown keys are refused */
} RelationshipSettings;
RelationshipSettings *relationship_settings_new(void); /* defaults */
RelationshipSettings *relationship_settings_copy(const RelationshipSettings *self);
void                  relationship_settings_free(RelationshipSettings *self);

typedef struct {
    char             *vm_uuid, *vm_name;
    unsigned          index;      /* 0 primary, 1 extended */
    ReplicationState  state;
    ReplicationHealth health;
    PointKind         failed_over_kind, last_kind;
    int64_t           last_application_consistent_usec, last_replication_usec, last_apply_usec;
    RelationshipSettings *settings; /* defaults for a VM that does not replicate */
    /* beyond Hyper-V, shown by the command line */
    int64_t           lag_usec;       /* age of the newest complete copy from its capture; -1 when there is none */
    uint64_t          position;       /* newest acknowledged (primary) or applied (replica) */
    uint64_t          bytes_sent;     /* on the wire, since the relationship was made */
    unsigned          initial_percent;
    char             *last_error;     /* (nullable) why cycles fail now */
} RelationshipView;
void relationship_view_free(RelationshipView *self);

typedef struct {
    char  *uuid, *name;
    bool   is_host;
    PowerState power;
    ReplicationMode mode;
    int64_t created_usec;      /* first seen by this service */
    int64_t started_usec;      /* 0 when off */
    int64_t process_id;
    uint64_t memory_bytes;
    unsigned n_cpus;
    char  *test_vm_uuid;       /* (nullable) of a replica: the VM of its test failover */
    char  *replica_vm_uuid;    /* (nullable) of such a VM: its replica */
    unsigned n_relationships;  /* 1, or 2 on a replica */
    RelationshipView *relationships[2];
} VmView;
void vm_view_free(VmView *self);

typedef struct {
    char     *id;          /* GUID, stable */
    char     *vm_uuid, *vm_name;
    PointKind kind;
    uint64_t  position;
    int64_t   taken_usec;  /* by this host's clock minus the age the primary gave */
    bool      latest;
    char     *parent_id;   /* (nullable) the point before */
} PointView;
void point_view_free(PointView *self);

/* What is not well with a relationship. */
typedef struct {
    ReplicationHealth severity; /* HEALTH_WARNING or HEALTH_CRITICAL */
    char             *text;     /* one sentence: cause and cure */
} HealthIssue;
void health_issue_free(HealthIssue *self);

/* One window of statistics, as Msvm_ReplicationStatistics has it. */
typedef struct {
    int64_t  start_usec, end_usec;
    uint32_t success, missed, failed, network_failed, consistent_failed;
    uint64_t bytes, max_bytes, pending_bytes, resync_bytes;
    uint64_t latency_usec, max_latency_usec; /* of all cycles, and of the slowest one */
    int64_t  last_test_failover_usec;
    ReplicationHealth health;
    GPtrArray *issues; /* of HealthIssue; empty when all is well */
} StatisticsView;
void statistics_view_free(StatisticsView *self);

typedef struct { char *target, *path, *format, *bus; uint64_t size_bytes; bool replicable; char *untrackable; } DiskView;
void disk_view_free(DiskView *self);

/* A network adapter of a VM, and what its guest gets there after a failover: Msvm_FailoverNetworkAdapterSettingData. Lists end with NULL. */
typedef struct {
    char    *mac;             /* lower case with colons: what an adapter is known by */
    char    *model, *source;  /* (nullable) as the VM is defined here now */
    bool     is_set;          /* false: the guest keeps what it has, and what follows is empty */
    unsigned protocol;        /* ProtocolIFType: 4096 IPv4, 4097 IPv6, 4098 both, 0 as the addresses say */
    bool     dhcp;            /* IPv4 */
    char   **addresses;       /* "10.0.0.5", "fd00::5" */
    char   **subnets;         /* of each address: "255.255.255.0", "24", "64" */
    char   **gateways, **dns;
    char    *test_network;    /* (nullable) TestReplicaSwitchName: where the VM of a test failover is connected */
    char    *test_pool;       /* (nullable) TestReplicaPoolID */
} AdapterView;
AdapterView *adapter_view_new(const char *mac);
AdapterView *adapter_view_copy(const AdapterView *self);
void         adapter_view_free(AdapterView *self);

/* @additional_settings: "vms=10;size=2T;staging=50G", see entry-limits.h */
typedef struct { char *allowed_primary, *trust_group, *storage_location, *additional_settings; } AuthorizationEntry;
void authorization_entry_free(AuthorizationEntry *self);

typedef struct {
    bool     recovery_server_enabled;
    unsigned allowed_authentication_type; /* 0..3 */
    char    *certificate_thumb_print;
    unsigned http_port, https_port;
    unsigned monitoring_interval_sec, monitoring_start_sec; /* the start: time of day, UTC */
} ServiceSettings;
void service_settings_free(ServiceSettings *self);

typedef struct ReplicationService ReplicationService;

/* Who asks, for the log and for jobs' owner; rights were checked by the caller. */
typedef struct { const char *user; } Caller;

/* ---- reading ---- */
const char *replication_service_host_name(ReplicationService *self);
GPtrArray *replication_service_vms(ReplicationService *self, GError **error);      /* of VmView, host not among them */
VmView    *replication_service_vm(ReplicationService *self, const char *uuid, GError **error);
GPtrArray *replication_service_points(ReplicationService *self, const char *vm_uuid, GError **error); /* of PointView, oldest first */
PointView *replication_service_point(ReplicationService *self, const char *point_id, GError **error);
GPtrArray *replication_service_disks(ReplicationService *self, const char *vm_uuid, GError **error);  /* of DiskView */
GPtrArray *replication_service_adapters(ReplicationService *self, const char *vm_uuid, GError **error); /* of AdapterView */
/* Of the window that runs; REPLICATION_ERROR_INVALID_STATE when there is no replication. */
StatisticsView *replication_service_statistics(ReplicationService *self, const char *vm_uuid, unsigned index, GError **error);
ServiceSettings *replication_service_settings(ReplicationService *self);
GPtrArray *replication_service_entries(ReplicationService *self);                  /* of AuthorizationEntry */
/* Of base64 of X.509 certificates in DER: those that this host can show to its peers. */
GPtrArray *replication_service_certificates(ReplicationService *self, GError **error);
JobList   *replication_service_jobs(ReplicationService *self);                     /* borrowed */

/* ---- doing: true and @ret_job NULL: done; true and @ret_job set: runs (4096). false: REPLICATION_ERROR, nothing changed ---- */
/* @index 1: extends the replication of a replica to a third host */
bool replication_service_create(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index,
                                const RelationshipSettings *settings, Job **ret_job, GError **error);
/* Changes the settings of a relationship on its primary; the disks must stay. The replica gets them now, or when it is back. */
bool replication_service_modify(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index,
                                const RelationshipSettings *settings, Job **ret_job, GError **error);
/* Of a primary, or of a replica to the third host; so is replication_service_resynchronize(). @type 1 network, 2 export, 3 seeded; @start_usec 0: now */
bool replication_service_start_initial(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned type,
                                       const char *export_location, int64_t start_usec, Job **ret_job, GError **error);
/* On a replica: takes its first copy from a folder that its primary exported it to. */
bool replication_service_import_initial(ReplicationService *self, const Caller *caller, const char *vm_uuid, const char *location,
                                        Job **ret_job, GError **error);
/* Starts a resynchronization of a relationship that is suspended, critical or waits for one; @start_usec 0: now. */
bool replication_service_resynchronize(ReplicationService *self, const Caller *caller, const char *vm_uuid, int64_t start_usec,
                                       Job **ret_job, GError **error);
/* Cancels the copy that @job shows (JOB_START_INITIAL, JOB_RESYNC), as RequestReplicationStateChangeEx 1 or 9 does. */
bool replication_service_cancel_job(ReplicationService *self, const Caller *caller, Job *job, GError **error);
/* @index: relationship; @requested: as RequestReplicationStateChangeEx, 3 resume, 7 suspend ... */
bool replication_service_change_state(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index,
                                      unsigned requested, Job **ret_job, GError **error);
bool replication_service_remove(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index,
                                Job **ret_job, GError **error);
/* Begins a window of statistics now. */
bool replication_service_reset_statistics(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned index,
                                          GError **error);
/* @adapters: of AdapterView; each replaces what its adapter had, the others stay. Where the VM is failed over they are set in its guest
 * at once, or when it runs. */
bool replication_service_set_adapters(ReplicationService *self, const Caller *caller, const char *vm_uuid, const GPtrArray *adapters,
                                      GError **error);
/* Where the adapter of test VMs that are made from now on is connected; NULL or "": nowhere. */
bool replication_service_set_test_network(ReplicationService *self, const Caller *caller, const char *vm_uuid, const char *mac,
                                          const char *network, const char *pool, GError **error);
/* Power state as Msvm_ComputerSystem.RequestStateChange; a replica that is not failed over, and a prepared primary, do not start. */
bool replication_service_power(ReplicationService *self, const Caller *caller, const char *vm_uuid, unsigned requested,
                               Job **ret_job, GError **error);
bool replication_service_set_settings(ReplicationService *self, const Caller *caller, const ServiceSettings *settings,
                                      Job **ret_job, GError **error);
bool replication_service_add_entry(ReplicationService *self, const Caller *caller, const AuthorizationEntry *entry,
                                   GError **error);
/* Of @entry that the entry of that host gets; what is NULL stays. Files stay where they are. */
bool replication_service_change_entry(ReplicationService *self, const Caller *caller, const AuthorizationEntry *entry,
                                      GError **error);
/* From now on only the host of that entry, or another of its trust group, may send to the replica. */
bool replication_service_set_entry(ReplicationService *self, const Caller *caller, const char *vm_uuid, const char *allowed_primary,
                                   GError **error);
bool replication_service_remove_entry(ReplicationService *self, const Caller *caller, const char *allowed_primary,
                                      GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(RelationshipSettings, relationship_settings_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RelationshipView, relationship_view_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmView, vm_view_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AdapterView, adapter_view_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PointView, point_view_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StatisticsView, statistics_view_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ServiceSettings, service_settings_free)
