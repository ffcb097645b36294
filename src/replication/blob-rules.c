#include "replication/blob-rules.h"

#include "changelog/changelog.h"
#include "link/link.h"
#include "replication/disk-set.h"
#include "replication/tpm-state.h"

#include <string.h>

#define DOMAIN_MAX (4ull * 1024 * 1024) /* bytes; a definition with 64 disks has below 100 KiB */

static uint64_t
length_max(const char *name)
{
    if (strcmp(name, BLOB_DOMAIN) == 0)
        return DOMAIN_MAX;
    if (strcmp(name, BLOB_DISKS) == 0)
        return (uint64_t)CHANGE_LOG_DISKS_MAX * (CHANGE_LOG_NAME_MAX + 1);
    if (strcmp(name, BLOB_NVRAM) == 0)
        return CHANGE_LOG_BLOB_MAX;
    return g_str_has_prefix(name, TPM_STATE_BLOB_PREFIX) && tpm_state_is_name(name + strlen(TPM_STATE_BLOB_PREFIX))
               ? TPM_STATE_MAX : 0;
}

bool
blob_rules_check(const char *name, uint64_t length, GError **error)
{
    uint64_t allowed = length_max(name);
    if (allowed > 0 && length <= allowed)
        return true;
    g_set_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL, "the log has a blob '%s' that is unknown or too large", name);
    return false;
}
