#include "virt/virt-private.h"

#include "util/log.h"

#include <string.h>

/* The connection, its repair, and events.
 *
 * A keeper thread sleeps until the connection is found dead, then reopens it with growing pauses. Calls made
 * meanwhile fail at once with VIRT_ERROR_UNAVAILABLE, so no caller hangs on a libvirtd that is away.
 *
 * Locks, in the order they may be taken: delivery, then lock. libvirt is never called with `lock` held.
 */
#define PAUSE_FIRST_MSEC 250
#define PAUSE_LAST_MSEC  15000
#define KEEPALIVE_SEC    5
#define KEEPALIVE_COUNT  6

typedef struct {
    char          *uuid;
    VirtNoticeFunc func;
    void          *opaque;
} Watcher;

enum { N_CALLBACKS = 4 };

struct VirtHost {
    gint  refs;
    char *uri;

    GRecMutex     delivery; /* held while events are handed out */
    VirtEventFunc func;
    void         *opaque;
    GPtrArray    *watchers; /* of Watcher */

    GMutex        lock;
    GCond         wake; /* for the keeper */
    virConnectPtr conn; /* NULL while down */
    int           callbacks[N_CALLBACKS];
    bool          dead, closing;
    char         *reason; /* why it is down */
    GThread      *keeper;
};

/* ---- libvirt's event loop, one for the process ---- */

static void
swallow_error(void *opaque, virErrorPtr error)
{
    /* Every error is returned to the caller; libvirt would print it too. */
}

static void *
run_loop(void *opaque)
{
    while (virEventRunDefaultImpl() == 0)
        ;
    log_error("virt", NULL, "libvirt's event loop stopped: %s", virGetLastErrorMessage());
    return NULL;
}

static void *
start_loop(void *opaque)
{
    virSetErrorFunc(NULL, swallow_error);
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
        return NULL;
    g_thread_unref(g_thread_new("virt-events", run_loop, NULL));
    return GINT_TO_POINTER(1);
}

static bool
ensure_loop(GError **error)
{
    static GOnce once = G_ONCE_INIT;
    if (g_once(&once, start_loop, NULL) != NULL)
        return true;
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "libvirt cannot be initialized: %s", virGetLastErrorMessage());
    return false;
}

/* ---- life ---- */

static void
watcher_free(void *data)
{
    Watcher *self = data;
    g_free(self->uuid);
    g_free(self);
}

VirtHost *
virt_host_ref(VirtHost *self)
{
    g_atomic_int_inc(&self->refs);
    return self;
}

void
virt_host_unref(void *data)
{
    VirtHost *self = data;
    if (!g_atomic_int_dec_and_test(&self->refs))
        return;
    g_ptr_array_unref(self->watchers);
    g_rec_mutex_clear(&self->delivery);
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->wake);
    g_free(self->reason);
    g_free(self->uri);
    g_free(self);
}

/* ---- events ---- */

static void
deliver(VirtHost *self, VirtEvent event, const char *uuid, const char *detail)
{
    g_rec_mutex_lock(&self->delivery);
    if (self->func != NULL)
        self->func(self->opaque, event, uuid, detail);
    g_rec_mutex_unlock(&self->delivery);
}

static void
notify_watchers(VirtHost *self, const char *uuid, VirtNotice notice)
{
    g_rec_mutex_lock(&self->delivery);
    for (guint i = 0; i < self->watchers->len; i++) {
        Watcher *watcher = g_ptr_array_index(self->watchers, i);
        if (strcmp(watcher->uuid, uuid) == 0)
            watcher->func(watcher->opaque, notice);
    }
    g_rec_mutex_unlock(&self->delivery);
}

static int
on_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail, void *opaque)
{
    static const int map[] = {
        [VIR_DOMAIN_EVENT_DEFINED] = VIRT_EVENT_DEFINED,     [VIR_DOMAIN_EVENT_UNDEFINED] = VIRT_EVENT_UNDEFINED,
        [VIR_DOMAIN_EVENT_STARTED] = VIRT_EVENT_STARTED,     [VIR_DOMAIN_EVENT_SUSPENDED] = VIRT_EVENT_SUSPENDED,
        [VIR_DOMAIN_EVENT_RESUMED] = VIRT_EVENT_RESUMED,     [VIR_DOMAIN_EVENT_STOPPED] = VIRT_EVENT_STOPPED,
        [VIR_DOMAIN_EVENT_SHUTDOWN] = -1,                    [VIR_DOMAIN_EVENT_PMSUSPENDED] = VIRT_EVENT_SUSPENDED,
        [VIR_DOMAIN_EVENT_CRASHED] = VIRT_EVENT_STOPPED,
    };
    char uuid[VIR_UUID_STRING_BUFLEN];
    if (event < 0 || event >= (int)G_N_ELEMENTS(map) || map[event] < 0 || virDomainGetUUIDString(domain, uuid) < 0)
        return 0;
    if (map[event] == VIRT_EVENT_STOPPED)
        notify_watchers(opaque, uuid, VIRT_NOTICE_STOPPED);
    deliver(opaque, (VirtEvent)map[event], uuid, NULL);
    return 0;
}

static void
on_io_error(virConnectPtr conn, virDomainPtr domain, const char *path, const char *alias, int action,
            const char *reason, void *opaque)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    if (virDomainGetUUIDString(domain, uuid) < 0)
        return;
    notify_watchers(opaque, uuid, VIRT_NOTICE_IO_ERROR);
    deliver(opaque, VIRT_EVENT_IO_ERROR, uuid, reason);
}

static void
on_block_job(virConnectPtr conn, virDomainPtr domain, const char *disk, int type, int status, void *opaque)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    if (virDomainGetUUIDString(domain, uuid) == 0)
        deliver(opaque, VIRT_EVENT_BLOCK_JOB, uuid, disk);
}

static void
on_job_completed(virConnectPtr conn, virDomainPtr domain, virTypedParameterPtr params, int n_params, void *opaque)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    int operation = -1;
    if (virTypedParamsGetInt(params, n_params, VIR_DOMAIN_JOB_OPERATION, &operation) == 1 &&
        operation == VIR_DOMAIN_JOB_OPERATION_BACKUP && virDomainGetUUIDString(domain, uuid) == 0)
        notify_watchers(opaque, uuid, VIRT_NOTICE_BACKUP_ENDED);
}

static void
mark_dead(VirtHost *self, const char *reason)
{
    g_mutex_lock(&self->lock);
    self->dead = true;
    g_free(self->reason);
    self->reason = g_strdup(reason);
    g_cond_signal(&self->wake);
    g_mutex_unlock(&self->lock);
}

static void
on_close(virConnectPtr conn, int reason, void *opaque)
{
    if (reason != VIR_CONNECT_CLOSE_REASON_CLIENT)
        mark_dead(opaque, "the connection was lost");
}

/* ---- connecting ---- */

static bool
register_callbacks(VirtHost *self, virConnectPtr conn, int ids[N_CALLBACKS])
{
    const struct {
        int                               id;
        virConnectDomainEventGenericCallback func;
    } wanted[N_CALLBACKS] = {
        { VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle) },
        { VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, VIR_DOMAIN_EVENT_CALLBACK(on_io_error) },
        { VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, VIR_DOMAIN_EVENT_CALLBACK(on_block_job) },
        { VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job_completed) },
    };
    for (size_t i = 0; i < N_CALLBACKS; i++) {
        ids[i] = virConnectDomainEventRegisterAny(conn, NULL, wanted[i].id, wanted[i].func, virt_host_ref(self), virt_host_unref);
        if (ids[i] < 0) {
            virt_host_unref(self);
            return false;
        }
    }
    return true;
}

static void
disconnect(VirtHost *self, virConnectPtr conn, const int ids[N_CALLBACKS])
{
    for (size_t i = 0; i < N_CALLBACKS; i++) {
        if (ids[i] >= 0)
            virConnectDomainEventDeregisterAny(conn, ids[i]);
    }
    virConnectUnregisterCloseCallback(conn, on_close);
    virConnectClose(conn);
}

static bool
connect_now(VirtHost *self, GError **error)
{
    int ids[N_CALLBACKS] = { -1, -1, -1, -1 };
    virt_repair_status(self->uri);
    virConnectPtr conn = virConnectOpen(self->uri);
    if (conn == NULL) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNAVAILABLE, "libvirt at '%s' cannot be reached: %s", self->uri,
                    virGetLastErrorMessage());
        return false;
    }
    if (!register_callbacks(self, conn, ids)) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNAVAILABLE, "libvirt at '%s' sends no events: %s", self->uri,
                    virGetLastErrorMessage());
        disconnect(self, conn, ids);
        return false;
    }
    /* The driver inside our own process has neither, and says so of the second only. No reference goes along: it would
     * not come back from there, and disconnect() takes the callback away before the host can go. */
    virConnectRegisterCloseCallback(conn, on_close, self, NULL);
    virConnectSetKeepAlive(conn, KEEPALIVE_SEC, KEEPALIVE_COUNT);

    g_mutex_lock(&self->lock);
    self->conn = conn;
    self->dead = false;
    memcpy(self->callbacks, ids, sizeof ids);
    g_mutex_unlock(&self->lock);
    return true;
}

static void
drop_connection(VirtHost *self)
{
    int ids[N_CALLBACKS];
    g_mutex_lock(&self->lock);
    virConnectPtr conn = g_steal_pointer(&self->conn);
    memcpy(ids, self->callbacks, sizeof ids);
    g_mutex_unlock(&self->lock);
    if (conn != NULL)
        disconnect(self, conn, ids);
}

/* Reopens until it works or the host is closed. */
static void
reopen(VirtHost *self)
{
    int64_t pause_msec = PAUSE_FIRST_MSEC;
    drop_connection(self);
    for (;;) {
        g_autoptr(GError) error = NULL;
        if (connect_now(self, &error)) {
            log_notice("virt", NULL, "connection to libvirt at '%s' is back", self->uri);
            deliver(self, VIRT_EVENT_CONNECTED, NULL, NULL);
            return;
        }
        g_mutex_lock(&self->lock);
        g_free(self->reason);
        self->reason = g_strdup(error->message);
        int64_t until = g_get_monotonic_time() + pause_msec * 1000;
        while (!self->closing && g_cond_wait_until(&self->wake, &self->lock, until))
            ;
        bool closing = self->closing;
        g_mutex_unlock(&self->lock);
        if (closing)
            return;
        pause_msec = MIN(pause_msec * 2, PAUSE_LAST_MSEC);
    }
}

static void *
keep(void *opaque)
{
    VirtHost *self = opaque;
    g_mutex_lock(&self->lock);
    while (!self->closing) {
        if (!self->dead) {
            g_cond_wait(&self->wake, &self->lock);
            continue;
        }
        g_autofree char *reason = g_strdup(self->reason);
        g_mutex_unlock(&self->lock);
        log_warning("virt", NULL, "libvirt at '%s': %s, reopening", self->uri, reason);
        reopen(self);
        g_mutex_lock(&self->lock);
    }
    g_mutex_unlock(&self->lock);
    return NULL;
}

VirtHost *
virt_host_open(const char *uri, GError **error)
{
    if (!ensure_loop(error))
        return NULL;
    VirtHost *self = g_new0(VirtHost, 1);
    self->refs = 1;
    self->uri = g_strdup(uri);
    self->watchers = g_ptr_array_new_with_free_func(watcher_free);
    g_rec_mutex_init(&self->delivery);
    g_mutex_init(&self->lock);
    g_cond_init(&self->wake);
    if (!connect_now(self, error)) {
        virt_host_unref(self);
        return NULL;
    }
    self->keeper = g_thread_new("virt-keeper", keep, self);
    return self;
}

/* A libvirt inside this process looks at the host's processor in a thread of its own when it starts, which crashes in an exit
 * that comes meanwhile. This question is answered when that is done. */
static void
wait_for_start(VirtHost *self)
{
    g_auto(virConnectPtr) conn = virt_embed_root(self->uri) != NULL ? virt_host_connection(self, NULL) : NULL;
    if (conn != NULL)
        virConnectCompareCPU(conn, "<cpu><arch>x86_64</arch><model>qemu64</model></cpu>", 0);
}

void
virt_host_close(VirtHost *self)
{
    if (self == NULL)
        return;
    wait_for_start(self);
    g_rec_mutex_lock(&self->delivery);
    self->func = NULL;
    g_rec_mutex_unlock(&self->delivery);
    g_mutex_lock(&self->lock);
    self->closing = true;
    g_cond_signal(&self->wake);
    g_mutex_unlock(&self->lock);
    g_thread_join(self->keeper);
    drop_connection(self);
    virt_host_unref(self);
}

void
virt_host_on_event(VirtHost *self, VirtEventFunc func, void *opaque)
{
    g_rec_mutex_lock(&self->delivery);
    self->func = func;
    self->opaque = opaque;
    g_rec_mutex_unlock(&self->delivery);
}

bool
virt_host_is_alive(VirtHost *self)
{
    g_auto(virConnectPtr) conn = virt_host_connection(self, NULL);
    if (conn != NULL && virConnectIsAlive(conn) == 1)
        return true;
    virt_host_suspect(self);
    return false;
}

bool
virt_host_is_closing(VirtHost *self)
{
    g_mutex_lock(&self->lock);
    bool closing = self->closing;
    g_mutex_unlock(&self->lock);
    return closing;
}

const char *
virt_host_uri(const VirtHost *self)
{
    return self->uri;
}

virConnectPtr
virt_host_connection(VirtHost *self, GError **error)
{
    g_mutex_lock(&self->lock);
    virConnectPtr conn = self->dead ? NULL : self->conn;
    if (conn == NULL)
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNAVAILABLE, "libvirt at '%s' is not reachable: %s", self->uri,
                    self->reason != NULL ? self->reason : "it is being opened");
    else if (virConnectRef(conn) < 0)
        conn = NULL;
    g_mutex_unlock(&self->lock);
    return conn;
}

void
virt_host_suspect(VirtHost *self)
{
    g_auto(virConnectPtr) conn = virt_host_connection(self, NULL);
    if (conn != NULL && virConnectIsAlive(conn) != 1)
        mark_dead(self, "the connection was lost");
}

virDomainPtr
virt_host_domain(VirtHost *self, const char *uuid, GError **error)
{
    g_auto(virConnectPtr) conn = virt_host_connection(self, error);
    if (conn == NULL)
        return NULL;
    virDomainPtr domain = virDomainLookupByUUIDString(conn, uuid);
    if (domain == NULL)
        virt_fail(self, NULL, error, "VM '%s' is not known to libvirt on this host", uuid);
    return domain;
}

/* ---- watchers ---- */

void
virt_host_watch(VirtHost *self, const char *uuid, VirtNoticeFunc func, void *opaque)
{
    Watcher *watcher = g_new0(Watcher, 1);
    watcher->uuid = g_strdup(uuid);
    watcher->func = func;
    watcher->opaque = opaque;
    g_rec_mutex_lock(&self->delivery);
    g_ptr_array_add(self->watchers, watcher);
    g_rec_mutex_unlock(&self->delivery);
}

void
virt_host_unwatch(VirtHost *self, void *opaque)
{
    g_rec_mutex_lock(&self->delivery);
    for (guint i = 0; i < self->watchers->len; i++) {
        Watcher *watcher = g_ptr_array_index(self->watchers, i);
        if (watcher->opaque == opaque) {
            g_ptr_array_remove_index_fast(self->watchers, i);
            break;
        }
    }
    g_rec_mutex_unlock(&self->delivery);
}

bool
virt_host_is_watched(VirtHost *self, const char *uuid)
{
    bool found = false;
    g_rec_mutex_lock(&self->delivery);
    for (guint i = 0; i < self->watchers->len && !found; i++) {
        const Watcher *watcher = g_ptr_array_index(self->watchers, i);
        found = strcmp(watcher->uuid, uuid) == 0;
    }
    g_rec_mutex_unlock(&self->delivery);
    return found;
}
