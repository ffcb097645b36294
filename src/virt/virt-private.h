/* virt-private: what the files of this folder share. Nothing outside includes it.
 *
 * Safe from any thread, as virt.h.
 */
#pragma once

#include "virt/virt.h"

#include <json-glib/json-glib.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#define VIRT_NAME_PREFIX "vr-" /* of every job, socket and scratch file of ours */

/* ---- errors ---- */

/* Sets @error from libvirt's last error of this thread, its code mapped to a VirtError, after the name of @domain
 * (nullable) and the words that @format gives ("cannot be started"). Asking libvirt for anything before, even a name,
 * would lose that error. A dead connection is noticed here and reopened. Returns false. */
bool virt_fail(VirtHost *host, virDomainPtr domain, GError **error, const char *format, ...) G_GNUC_PRINTF(4, 5);

/* ---- connection ---- */

/* A domain of @uuid, or NULL with VIRT_ERROR_NO_DOMAIN or VIRT_ERROR_UNAVAILABLE; (transfer full). */
virDomainPtr virt_host_domain(VirtHost *self, const char *uuid, GError **error);
/* The connection with a reference of its own; NULL with VIRT_ERROR_UNAVAILABLE while it is down. */
virConnectPtr virt_host_connection(VirtHost *self, GError **error);
/* Looks whether the connection is alive after a call failed, and has it reopened when it is not. */
void        virt_host_suspect(VirtHost *self);
const char *virt_host_uri(const VirtHost *self);

/* What outlives its caller holds a reference; the connection is gone when virt_host_close() was called. */
VirtHost   *virt_host_ref(VirtHost *self);
void        virt_host_unref(void *self);
bool        virt_host_is_closing(VirtHost *self);

/* ---- events for captures; called on the event loop's thread, must not block nor call libvirt ---- */
typedef enum {
    VIRT_NOTICE_IO_ERROR,
    VIRT_NOTICE_BACKUP_ENDED, /* a backup job of this domain ended, maybe not the newest one: look */
    VIRT_NOTICE_STOPPED,
} VirtNotice;
typedef void (*VirtNoticeFunc)(void *opaque, VirtNotice notice);

/* At most one watcher per @opaque; when unwatch returned, the function is not running and will not be called. */
void virt_host_watch(VirtHost *self, const char *uuid, VirtNoticeFunc func, void *opaque);
void virt_host_unwatch(VirtHost *self, void *opaque);
bool virt_host_is_watched(VirtHost *self, const char *uuid);

/* ---- what a process that died left ---- */

/* To be called before @uri is opened: takes backup jobs that a killed process was beginning, and which libvirt can neither
 * use nor end, out of libvirt's status. Only for a hypervisor inside this process that nobody else has open. */
void virt_repair_status(const char *uri);

/**
 * virt_sweep:
 * @scratch_folder: where our scratch files lie
 *
 * Removes what a capture of ours left in the QEMU of @uuid and libvirt knows nothing of: block jobs, exports and nodes
 * over our scratch files, and bitmaps with our prefix that belong to no checkpoint. Does nothing while libvirt has
 * a backup job, nor to a VM that is off. Marks the VM as "custom-monitor" in libvirt's log.
 */
bool virt_sweep(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error);

/* ---- QEMU's monitor, past libvirt, whose own record of the VM must stay true ---- */

/* What QEMU returned; NULL with @error set when libvirt or QEMU refused the command. Takes @arguments (nullable).
 * (transfer full) */
JsonNode *virt_monitor_ask(VirtHost *host, virDomainPtr domain, const char *command, JsonObject *arguments,
                           GError **error);

/* ---- dirty bitmaps in the memory of QEMU, for disks whose format has no place for them; see memory-bitmap.c ---- */

/* Before a backup job: has the disk at @path, as it is in QEMU, the bitmap of checkpoint @since (nullable)? Then one
 * named @next (nullable) is begun, and those of checkpoints that are gone go. VIRT_ERROR_BITMAP_LOST. */
bool  virt_memory_bitmap_begin(VirtHost *host, virDomainPtr domain, const VirtDisk *disk, const char *since,
                               const char *next, GError **error);
/* Within a backup job: serves what was written since checkpoint @since, until now at least, as bitmap @name of an export of
 * that name on the job's server. */
bool  virt_memory_bitmap_serve(VirtHost *host, virDomainPtr domain, const VirtDisk *disk, const char *since,
                               const char *name, GError **error);

/* ---- QEMU processes ---- */

/* The folder of a hypervisor that runs inside our process, a part of @uri; NULL for one that does not. */
const char *virt_embed_root(const char *uri);

/* The QEMU process of a domain of this host, 0 when not found, with its start in microseconds UTC. */
int64_t virt_process_find(const char *uri, const char *uuid, int64_t *ret_started_usec);

bool virt_domain_is_io_paused(virDomainPtr domain);

/* ---- backup jobs ---- */

typedef struct {
    char      *socket;  /* (nullable) */
    GPtrArray *scratch; /* of paths */
} VirtBackupJob;
void virt_backup_job_free(VirtBackupJob *self);

/* @ret_job becomes the domain's open backup job, or NULL when it has none (or is off or gone).
 * Returns: false when libvirt could not tell, with libvirt's last error set. */
bool virt_backup_job_get(virDomainPtr domain, VirtBackupJob **ret_job);
/* True for a path with our prefix that lies directly in @folder. */
bool virt_scratch_is_ours(const char *path, const char *folder);
/* True when a scratch file of it carries our prefix and lies directly in @folder. */
bool virt_backup_job_is_in(const VirtBackupJob *self, const char *folder);

/**
 * virt_backup_job_end:
 * @folder: ends a job whose scratch files are ours and lie here ...
 * @socket: (nullable): ... and that serves this socket; NULL: any
 *
 * Ends the job and waits up to @timeout_sec until it is gone; removes its files. A job of somebody else is left
 * alone. Returns: true when no such job is open any more and libvirt has taken what it had in QEMU away: a process that
 * dies from then on leaves nothing.
 */
bool virt_backup_job_end(VirtHost *host, const char *uuid, const char *folder, const char *socket,
                         unsigned timeout_sec, GError **error);

/* Lets a guest go on that an I/O error had paused; with one that is not paused this way nothing is done. */
bool virt_resume_after_io_error(VirtHost *host, const char *uuid, GError **error);

/* A note beside the scratch files, "vr-JOB.job", says which VM and socket they belong to. It is written before the
 * job begins and removed after the guest was looked after, so that virt_release() misses nothing. */
bool virt_job_note_write(const char *scratch_folder, const char *job_id, const char *uuid, const char *socket,
                         GError **error);
void virt_job_note_remove(const char *scratch_folder, const char *job_id);
/* False when @path is no such note. */
bool virt_job_note_read(const char *path, char **ret_uuid, char **ret_socket);

/* virt_release() without its thawing: jobs of @uuid (nullable: of all) in @scratch_folder, and guests they paused. */
bool virt_release_jobs(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error);

/* ---- freezing ---- */

typedef struct VirtFreeze VirtFreeze;
/**
 * virt_freeze_begin:
 * @scratch_folder: where the marker lies that has virt_release() thaw the guest after our death
 *
 * Has the guest's agent freeze its file systems, and run the hooks that it has for that. The guest is thawed after
 * virt_freeze_hold_msec at the latest, whatever the caller does.
 *
 * Returns: NULL with @error set when it is not frozen, or will not be for long
 */
VirtFreeze *virt_freeze_begin(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error);
/* Thaws and frees. True when the guest was frozen all the time from the end of virt_freeze_begin() to here; @ret_frozen_usec
 * (nullable) is how long at most it stood, from the question on, also on failure. */
bool        virt_freeze_end(VirtFreeze *self, int64_t *ret_frozen_usec, GError **error);
/* Thaws a guest that was frozen by us, and removes its marker; nothing is done to one that is off or was started since. The
 * number of file systems, or -1. */
int         virt_thaw(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error);
char       *virt_frozen_marker(const char *scratch_folder, const char *uuid); /* (transfer full) */
/* The UUID in the name of a marker; NULL for another file. */
const char *virt_frozen_uuid(const char *name);
/* How long a guest is held frozen at most after it answered; tests shorten it. Milliseconds, atomic. */
extern gint virt_freeze_hold_msec;

/* False with the reason when the guest has no agent that answers. Asking one that is not there takes long, and leaves open what became
 * of the command. */
bool virt_agent_check(VirtHost *host, virDomainPtr domain, GError **error);

/* The watchdog's period; tests slow it down to see what happens without it. Milliseconds, atomic. */
extern gint virt_capture_poll_msec;

G_DEFINE_AUTO_CLEANUP_FREE_FUNC(virDomainPtr, virDomainFree, NULL)
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(virConnectPtr, virConnectClose, NULL)
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(virDomainCheckpointPtr, virDomainCheckpointFree, NULL)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtBackupJob, virt_backup_job_free)
