/* virt: the hypervisor on this host, through libvirt.
 *
 * The only place that knows libvirt. A VirtHost is one connection that is reopened by itself when it breaks;
 * safe from any thread. An own thread runs libvirt's event loop; callbacks run on it and must not block.
 * Domains are named by UUID (lower case with dashes).
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    VIRT_ERROR_UNAVAILABLE,  /* libvirt is not reachable: wait and retry */
    VIRT_ERROR_NO_DOMAIN,
    VIRT_ERROR_BUSY,         /* another job has the domain (backup, migration, snapshot): wait and retry */
    VIRT_ERROR_GAVE_UP,      /* a capture was ended for the guest's sake: less of it at a time may work */
    VIRT_ERROR_BITMAP_LOST,  /* the checkpoint's bitmap is missing or inconsistent: changes since it are unknown */
    VIRT_ERROR_STATE,        /* domain is not in the needed state (running, off) */
    VIRT_ERROR_UNTRACKABLE,  /* a disk cannot be tracked: message names it and says what to do */
    VIRT_ERROR_LOCKED,       /* an image is open elsewhere: QEMU's lock refused the start */
    VIRT_ERROR_UNSAFE_XML,   /* a peer's domain XML was refused; message names the element */
    VIRT_ERROR_FAILED,
} VirtError;
#define VIRT_ERROR (virt_error_quark())
GQuark virt_error_quark(void);

typedef enum { VIRT_OFF, VIRT_RUNNING, VIRT_PAUSED, VIRT_SHUTTING_DOWN, VIRT_SAVED, VIRT_CRASHED } VirtState;

typedef struct {
    char     *uuid, *name;
    VirtState state;
    bool      persistent, autostart;
    uint64_t  memory_bytes;
    unsigned  n_cpus;
    int64_t   pid;             /* of its QEMU; 0 when off or unknown */
    int64_t   started_usec;    /* UTC, of the running QEMU; 0 when off */
} VirtDomain;
void virt_domain_free(VirtDomain *self);

typedef struct {
    char    *target;       /* "vda": the disk's id everywhere in this program */
    char    *path;         /* image file; NULL for an empty drive */
    char    *format;       /* driver type as written in the domain XML */
    char    *serial;       /* (nullable) */
    char    *bus;          /* "virtio", "sata" ... */
    uint64_t size_bytes;   /* virtual size */
    bool     replicable;   /* false: CD-ROM, floppy, read-only, shareable */
    char    *untrackable;  /* (nullable): why a replicable disk cannot be tracked, a sentence that says what to do */
    bool     forgets;      /* raw: what changes is known while the VM runs only, and must be compared after that */
} VirtDisk;
void virt_disk_free(VirtDisk *self);

typedef struct {
    char *mac, *kind /* "network", "bridge", "user" ... */, *source /* (nullable) */, *model, *alias;
} VirtInterface;
void virt_interface_free(VirtInterface *self);

typedef enum {
    VIRT_EVENT_DEFINED, VIRT_EVENT_UNDEFINED, VIRT_EVENT_STARTED, VIRT_EVENT_STOPPED, VIRT_EVENT_SUSPENDED,
    VIRT_EVENT_RESUMED,
    VIRT_EVENT_IO_ERROR,   /* a disk error paused or reached the guest; detail is the reason, "enospc" included */
    VIRT_EVENT_BLOCK_JOB,
    VIRT_EVENT_CONNECTED,  /* connection to libvirt is back; uuid is NULL */
} VirtEvent;
typedef void (*VirtEventFunc)(void *opaque, VirtEvent event, const char *uuid, const char *detail);

typedef struct VirtHost VirtHost;
VirtHost *virt_host_open(const char *uri, GError **error);
void      virt_host_close(VirtHost *self);
void      virt_host_on_event(VirtHost *self, VirtEventFunc func, void *opaque); /* set once, before use */
bool      virt_host_is_alive(VirtHost *self);

/* ---- domains ---- */
GPtrArray  *virt_host_list(VirtHost *self, GError **error); /* of VirtDomain, owned by the array */
VirtDomain *virt_host_find(VirtHost *self, const char *uuid, GError **error);
VirtDomain *virt_host_find_by_name(VirtHost *self, const char *name, GError **error);
char       *virt_host_xml(VirtHost *self, const char *uuid, GError **error); /* persistent definition, with secrets, migratable form */
GPtrArray  *virt_host_disks(VirtHost *self, const char *uuid, GError **error); /* of VirtDisk */
GPtrArray  *virt_host_interfaces(VirtHost *self, const char *uuid, GError **error);
bool        virt_host_define(VirtHost *self, const char *xml, GError **error);
bool        virt_host_undefine(VirtHost *self, const char *uuid, GError **error); /* with checkpoint metadata; keeps NVRAM */
/* Undefines a VM that gets another definition at once: the state of an emulated TPM stays, too. */
bool        virt_host_displace(VirtHost *self, const char *uuid, GError **error);
/* Powers the VM off, whatever it does, and undefines it with all that libvirt keeps of it: saved state, snapshots' and checkpoints'
 * metadata; no disks. True when there is none. */
bool        virt_host_discard(VirtHost *self, const char *uuid, GError **error);
bool        virt_host_start(VirtHost *self, const char *uuid, GError **error);
bool        virt_host_stop(VirtHost *self, const char *uuid, GError **error);     /* power off */
bool        virt_host_shutdown(VirtHost *self, const char *uuid, GError **error); /* asks the guest */
bool        virt_host_pause(VirtHost *self, const char *uuid, GError **error);
bool        virt_host_resume(VirtHost *self, const char *uuid, GError **error);
bool        virt_host_reset(VirtHost *self, const char *uuid, GError **error);
bool        virt_host_set_autostart(VirtHost *self, const char *uuid, bool on, GError **error);
/* How many snapshots libvirt knows of it. */
bool        virt_host_snapshots(VirtHost *self, const char *uuid, unsigned *ret_number, GError **error);
/* Path of the firmware variable store; NULL without UEFI. */
bool        virt_host_nvram_path(VirtHost *self, const char *uuid, char **ret_path, GError **error);
/* Folder of libvirt's with the state of its emulated TPM, which need not exist yet; NULL without one, and where the state is encrypted
 * with a secret of this host or lies at a place of the administrator's. libvirt removes it with the definition. */
bool        virt_host_tpm_folder(VirtHost *self, const char *uuid, char **ret_path, GError **error);

/* ---- the agent inside a guest; what it says is the guest's word ---- */
typedef struct {
    char  *name;      /* in the guest */
    char  *mac;       /* lower case with colons */
    char **addresses; /* "10.0.0.5/24"; NULL at the end */
} VirtGuestInterface;
void virt_guest_interface_free(VirtGuestInterface *self);
/* Does the VM run, with an agent that is connected? VIRT_ERROR_STATE for one that may come to that. */
bool       virt_agent_is_ready(VirtHost *self, const char *uuid, GError **error);
/* ID of the guest's system: "debian", "mswindows"; "" when the agent does not know. (transfer full) */
char      *virt_agent_system(VirtHost *self, const char *uuid, GError **error);
GPtrArray *virt_agent_interfaces(VirtHost *self, const char *uuid, GError **error); /* of VirtGuestInterface */
/* Runs a program in the guest, as its administrator, and waits for its end, or until @cancelled is not zero; then it goes on by itself.
 * @input (nullable) is its standard input; @ret_output (nullable) (transfer full) the last of what it said. False when it did not end with
 * status 0, with its complaint. */
bool       virt_agent_run(VirtHost *self, const char *uuid, const char *const *argv, const char *input, unsigned timeout_sec,
                          const gint *cancelled, char **ret_output, GError **error);

/* ---- overlays ---- */
typedef void (*VirtProgressFunc)(void *opaque, unsigned percent);
/* Folds the overlay that disk @target of a running VM is into the image right below it, and goes on with that; blocks as long as it
 * takes. After an interruption it is taken up again. The dirty bitmaps of the overlay move along. @progress is nullable. */
bool virt_host_commit_disk(VirtHost *self, const char *uuid, const char *target, VirtProgressFunc progress, void *opaque,
                           GError **error);
/* The file of a disk from the next start on. */
bool virt_host_set_disk_path(VirtHost *self, const char *uuid, const char *target, const char *path, GError **error);

/* ---- capture of one moment on a running domain (libvirt pull backup) ---- */
typedef struct {
    const char *uuid;
    const char *job_id;           /* short unique text; part of socket and scratch names */
    const char *const *disks;     /* targets, NULL at the end: all from one moment */
    const char *incremental;      /* (nullable): checkpoint whose changes are wanted; NULL: whole disks */
    const char *const *whole;     /* (nullable): those of `disks` that the incremental checkpoint does not cover; NULL at the end */
    const char *checkpoint;       /* (nullable): checkpoint to make in the same moment */
    const char *scratch_folder;   /* bounded place for scratch files; writable by QEMU's user */
    const char *socket_folder;    /* for a QEMU that runs as our user; libvirt's own folder of the VM otherwise */
    uint64_t    scratch_max_bytes; /* for all disks together; the capture is given up when this or free space runs low */
    unsigned    timeout_sec;       /* given up after that long */
    bool        freeze;            /* the guest's agent freezes its file systems at the moment, for a few seconds at most */
} VirtCaptureRequest;

typedef enum {
    VIRT_CAPTURE_ACTIVE,
    VIRT_CAPTURE_GAVE_UP_SCRATCH, /* scratch space about to run out; the guest was not harmed */
    VIRT_CAPTURE_GAVE_UP_TIME,
    VIRT_CAPTURE_GAVE_UP_GUEST,   /* the guest was paused by an I/O error: job ended, guest resumed */
    VIRT_CAPTURE_ENDED_OUTSIDE,   /* guest stopped, or somebody ended the job */
} VirtCaptureStatus;

typedef struct VirtCapture VirtCapture;
/* Starts the job and a watchdog on it. On failure nothing is left: no job, no checkpoint, no scratch. */
VirtCapture      *virt_capture_begin(VirtHost *host, const VirtCaptureRequest *request, GError **error);
const char       *virt_capture_socket(const VirtCapture *self);
/* Were the guest's file systems frozen at the moment? False too when that was not asked for; a freeze that failed does not hinder
 * the capture, and @ret_error (nullable, borrowed) says why. @ret_frozen_usec: how long the guest stood still at most. */
bool              virt_capture_is_consistent(const VirtCapture *self, int64_t *ret_frozen_usec, const GError **ret_error);
/* NBD export name of a target, and its dirty bitmap's name (NULL in a full capture), which is in another export where the
 * disk has no bitmap of its own. */
const char       *virt_capture_export(const VirtCapture *self, const char *target);
const char       *virt_capture_bitmap(const VirtCapture *self, const char *target);
const char       *virt_capture_bitmap_export(const VirtCapture *self, const char *target);
VirtCaptureStatus virt_capture_status(VirtCapture *self);
const gint       *virt_capture_cancelled(const VirtCapture *self); /* becomes non-zero when given up */
uint64_t          virt_capture_scratch_bytes(VirtCapture *self);   /* in use now */
/* Ends the job, waits for it, removes scratch and socket. Does not touch checkpoints. NULL is fine. */
void              virt_capture_end(VirtCapture *self);

/* ---- checkpoints ---- */
char **virt_checkpoint_list(VirtHost *host, const char *uuid, GError **error); /* names, NULL at the end; ours and others' */
/* Deletes bitmap and metadata, whatever state the domain is in (off: qemu-img, force removal of metadata); a missing one is fine. */
bool   virt_checkpoint_delete(VirtHost *host, const char *uuid, const char *name, GError **error);
/* Deletes bitmaps of ours in the VM's images that no checkpoint names: libvirt forgets its checkpoints when a running VM
 * is undefined. */
bool   virt_checkpoint_drop_unknown(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error);
/* Does the checkpoint tell what changed on disk @target since? */
bool   virt_checkpoint_covers(VirtHost *host, const char *uuid, const char *name, const char *target, bool *ret_covers,
                              GError **error);
/* Of a VM that is off: the checkpoint, which covers some of @disks, is for all of them from now on. Their images have the bitmap. */
bool   virt_checkpoint_extend(VirtHost *host, const char *uuid, const char *name, const char *const *disks, GError **error);
/* Registers a bitmap that exists in the images of @disks (name of bitmap = name of checkpoint), but for those that forget. */
bool   virt_checkpoint_adopt(VirtHost *host, const char *uuid, const char *name, const char *const *disks, GError **error);

/* After a crash of ours: ends our open backup job on every domain (or on @uuid), thaws, resumes guests that our job paused, removes left
 * scratch. Jobs and checkpoints of other tools stay. Ours are known by the "vr-" prefix of names and by the scratch folder. */
bool virt_release(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error);

/* ---- domain XML from a peer ---- */
/* A network as the administrator names it: of libvirt, "NAME" or "network/NAME", or "bridge/NAME". */
bool virt_network_is_valid(const char *name);

typedef struct {
    const char *name, *uuid;
    const char *const *targets, *const *paths; /* disk i of the peer's XML with this target gets this path; others become absent */
    const char *format;                        /* of all those disks, "qcow2" */
    const char *nvram_path;                    /* (nullable) path made here for UEFI variables */
    const char *domain_type;                   /* (nullable): "qemu" or "kvm"; NULL: kvm where usable, else qemu */
    const char *serial_log_folder;             /* (nullable): ports become files there, UUID-serial0.log, UUID-console0.log ...
                                                  appended to at each start; NULL: pty */
    bool        connect_interfaces;            /* false: type 'user' with link state down, needs no network here;
                                                  true: networks and bridges of the peer's names, others become 'user' */
    GHashTable *network_map;      /* (nullable): a network of the peer, as "network/NAME" or "bridge/NAME", or "*" for all others,
                                     to the one here that takes its place, or "none": link state down */
    GHashTable *mac_networks;     /* (nullable): MAC address in lower case to a network here, whatever the above say */
} VirtRebuild;
/* Builds a new domain XML holding only what is on the allow-list (allow-list.c); VIRT_ERROR_UNSAFE_XML for a document
 * that does not come from libvirt, and where a guest could not run without what was refused (host devices).
 * @ret_left_out (nullable) (transfer full): names of elements left out, for the log. */
char *virt_rebuild_xml(const char *peer_xml, const VirtRebuild *rebuild, char ***ret_left_out, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtDomain, virt_domain_free)
