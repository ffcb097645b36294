/* service-setup: making and ending the service. For the daemon. */
#pragma once

#include "replication/service.h"

typedef struct {
    const char *host_name;
    const char *libvirt_uri;
    const char *state_folder, *run_folder, *scratch_folder;
    uint64_t    scratch_max_bytes;
    uint64_t    storage_reserve_bytes; /* kept free on the file systems of replicas */
    uint64_t    test_backlog_bytes;    /* of one replica: what may wait for the end of its test failover */
    const char *qemu_user;          /* (nullable): whom QEMU runs as, when that is not the user of this process */
    const char *serial_log_folder;  /* (nullable) */
    const char *listen_address;     /* of the replica server */
    unsigned    listen_port;        /* used until a client sets another; 0 takes a free one, which is then kept */
    const char *ca_file, *certificate_file, *key_file;
    const char *fence_command;      /* (nullable): must succeed before a VM starts after an unplanned failover */
    const char *fence_waived;       /* (nullable): names of VMs for which it is not asked, apart by ';' */
    unsigned    stale_action;       /* a StaleAction */
    unsigned    autostart_wait_sec; /* how long a VM that starts with the host waits for its replica; 0: that is libvirt's business */
    GHashTable *network_map;        /* of VirtRebuild: networks of other hosts to those here */
    unsigned    workers;
    void      (*port_changed)(void *opaque, unsigned port); /* (nullable): the replica server listens there; 0: no longer */
    void       *opaque;
} ServiceConfig;

/* Opens everything and takes up again what was under way. @config's strings must live as long as the service. */
ReplicationService *replication_service_start(const ServiceConfig *config, GError **error);
/* Ends workers, waits for running jobs' safe points, leaves no job of ours in a guest. */
void                replication_service_stop(ReplicationService *self);
/* Ends backup jobs that a dead daemon left in guests, thaws and resumes them. */
bool                replication_service_release(const ServiceConfig *config, GError **error);

/* failover/ registers how a failover, or a test of one, that was interrupted is taken up. Called once, before start. */
typedef void (*ServiceResumeFunc)(ReplicationService *self, const char *vm_uuid);
void                replication_service_set_resume(ServiceResumeFunc func);
/* And how guests get their addresses: called when a VM of that relationship runs and StoreRelationship.guest_todo says so. */
void                replication_service_set_guest(ServiceResumeFunc func);
