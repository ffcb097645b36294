/* tpm-state: the state of a VM's emulated TPM, as blobs on its way and as libvirt's files where it runs.
 *
 * swtpm replaces its file as a whole at each change, so that a file read while it works is whole; it is read after the moment of the
 * disks, hence at most newer. Stateless; safe from any thread.
 */
#pragma once

#include "replication/context.h"

#define TPM_STATE_MAX (1024 * 1024) /* bytes of one file; a full TPM 2.0 has below 200 KiB */

#define TPM_STATE_BLOB_PREFIX "tpm-"

/* Is it the name of a file with the permanent state of a TPM ("tpm2-00.permall"), and nothing else? */
bool tpm_state_is_name(const char *name);

/* Adds a blob "tpm-NAME" for each state file of @vm_uuid to @blobs (char* -> GBytes*, both owned). None without a TPM. */
bool tpm_state_read(const ReplicationContext *context, const char *vm_uuid, GHashTable *blobs, GError **error);

/* Puts the blobs of @blob_folder in place of the TPM state of the defined @vm_uuid, which must be off. libvirt gives the
 * files to swtpm's user when it starts the VM, and removes them with the definition. Nothing is done without a TPM. */
bool tpm_state_install(const ReplicationContext *context, const char *vm_uuid, const char *blob_folder, GError **error);
