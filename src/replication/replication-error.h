/* replication-error: why an operation on a relationship was refused or failed.
 *
 * The numbers are the return codes of Msvm_ReplicationService, so that no table is needed to answer a client; the names say what
 * the caller can do about it.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
    REPLICATION_ERROR_FAILED = 32768,            /* a tool, disk or peer failed: the text says which */
    REPLICATION_ERROR_ACCESS_DENIED = 32769,     /* the caller lacks the right */
    REPLICATION_ERROR_NOT_SUPPORTED = 32770,     /* this kind of VM, or this program, cannot do that */
    REPLICATION_ERROR_STATUS_UNKNOWN = 32771,
    REPLICATION_ERROR_TIMEOUT = 32772,
    REPLICATION_ERROR_INVALID_PARAMETER = 32773, /* unknown VM or point, value out of range */
    REPLICATION_ERROR_IN_USE = 32774,            /* another operation on the VM runs: wait for it */
    REPLICATION_ERROR_INVALID_STATE = 32775,     /* not possible in the relationship's or VM's state */
    REPLICATION_ERROR_WRONG_TYPE = 32776,        /* a reference to an object of another class */
    REPLICATION_ERROR_UNAVAILABLE = 32777,       /* libvirt or the other host is not reachable: retry */
    REPLICATION_ERROR_OUT_OF_MEMORY = 32778,
    REPLICATION_ERROR_FILE_NOT_FOUND = 32779,    /* a recovery point's files are gone */
} ReplicationError;
#define REPLICATION_ERROR (replication_error_quark())
GQuark replication_error_quark(void);

/* Sets @error and returns false, for `return replication_refuse(…)`. */
bool replication_refuse(GError **error, ReplicationError code, const char *format, ...) G_GNUC_PRINTF(3, 4);
