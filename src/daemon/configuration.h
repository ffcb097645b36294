/* config: the configuration file of virt-replicad, read and checked.
 *
 * A key file; data/virt-replicad.conf shows every key with its default, virt-replicad.conf(5) explains them.
 */
#pragma once

#include "util/log.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    char    *host_name, *uri;
    char    *serial_log_folder; /* (nullable) */
    char    *qemu_user;         /* (nullable): whom QEMU runs as, when it is another user */
    char    *state, *run, *scratch;
    uint64_t scratch_max_bytes;
    uint64_t storage_reserve_bytes;
    uint64_t test_backlog_bytes;
    char    *replication_address;
    unsigned replication_port;
    char    *ca, *certificate, *key;
    unsigned workers;
    unsigned stale_action; /* a StaleAction */
    unsigned autostart_wait_sec;
    char    *fence_command, *fence_waived; /* (nullable) */
    GHashTable *network_map;    /* VirtRebuild.network_map; empty without the group */
    char    *api_socket, *api_group;
    char    *api_address;
    unsigned api_https_port;    /* 0 with api_https: a free one */
    bool     api_https;
    char    *api_certificate, *api_key, *password_file;
    LogLevel log_level;
} Config;

/* Names the file, group and key of what is wrong; unknown keys are wrong too. */
Config *config_load(const char *path, GError **error);
/* Beyond the form: do the files exist that it names? */
bool    config_check(const Config *self, GError **error);
/* Can QEMU reach what it must? Replicas work without, so the daemon starts with a warning. */
bool    config_check_places(const Config *self, GError **error);
void    config_free(Config *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Config, config_free)
