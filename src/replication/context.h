/* context: what the parts of replication share: the hypervisor, the store, places and limits.
 *
 * Filled once by the service before anything runs; read-only afterwards.
 */
#pragma once

#include "disk/disk-client.h"
#include "store/store.h"
#include "virt/virt.h"

/* What becomes of a VM that runs here as a primary while its replica, failed over, runs, too. */
typedef enum { STALE_LEAVE, STALE_SHUT_DOWN, STALE_TURN_OFF } StaleAction;

typedef struct {
    char           *host_name;
    Store          *store;
    VirtHost       *virt;
    DiskBufferPool *pool;
    char           *state_folder;    /* durable files */
    char           *run_folder;      /* sockets: short */
    char           *scratch_folder;
    uint64_t        scratch_max_bytes; /* of one capture */
    uint64_t        storage_reserve_bytes; /* kept free where replicas are */
    StaleAction     stale_action;
    unsigned        autostart_wait_sec;    /* 0: autostart of protected VMs is libvirt's */
    uint64_t        test_backlog_bytes;    /* of one replica: what may wait for the end of its test failover */
    char           *qemu_user;         /* (nullable): whom QEMU runs as, when that is somebody else */
    char           *serial_log_folder; /* (nullable): where serial ports of replicas write */
    GHashTable     *network_map;       /* (nullable): networks of other hosts to those here, as VirtRebuild has it */
    int64_t         running_base_usec; /* points_clock() at the zero of the monotonic clock */
    /* the other host: who it must be, and who we are */
    char           *ca_file, *certificate_file, *key_file;
} ReplicationContext;
