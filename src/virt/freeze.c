/* File systems of a guest, frozen by its agent for the moment of a capture. */
#include "virt/virt-private.h"

#include "util/log.h"

#include <string.h>
#include <unistd.h>

/* INVARIANTS
 *  (1) The marker file is there before the guest is asked to freeze, and goes only when it was thawed, or is off, or runs in
 *      another QEMU: virt_release() misses no frozen guest.
 *  (2) Once the guest was asked, whatever came of it, it is thawed, by a thread of its own that nothing else can hold up:
 *      when virt_freeze_end() is called, and virt_freeze_hold_msec after the answer at the latest.
 *  (3) A thaw that fails is tried again while the guest runs, for THAW_FOR_USEC; after that by the next freeze or release.
 */

/* Windows thaws by itself after 10 s, of which its own preparation takes a part. Tests shorten it. */
gint virt_freeze_hold_msec = 5000;

#define FREEZE_TIMEOUT_SEC 10 /* of the agent's answer; the guest may be frozen in part for so long */
#define THAW_TIMEOUT_SEC   5
#define THAW_PAUSE_USEC    (1 * G_USEC_PER_SEC)
#define THAW_FOR_USEC      (600 * G_USEC_PER_SEC)
#define FROZEN_PREFIX      VIRT_NAME_PREFIX "frozen-" /* + UUID: the marker; its content is when that QEMU was started */

struct VirtFreeze {
    gint      references; /* of the owner, and of the thread */
    VirtHost *host;
    char     *uuid, *scratch_folder;
    int64_t   begun_usec; /* monotonic */
    int       n_frozen;   /* file systems */

    GMutex  lock;
    GCond   wake;
    int64_t deadline_usec; /* monotonic; 0 while the guest was not yet asked, or has not answered */
    bool    thaw_wanted;
    bool    was_late; /* the time was up before the owner came */
    bool    tried;    /* `n_thawed`, `thawed_usec` and `error` tell what came of it */
    int     n_thawed;
    int64_t thawed_usec;
    GError *error;
};

/* ---- markers ---- */

char *
virt_frozen_marker(const char *scratch_folder, const char *uuid)
{
    g_autofree char *name = g_strconcat(FROZEN_PREFIX, uuid, NULL);
    return g_build_filename(scratch_folder, name, NULL);
}

const char *
virt_frozen_uuid(const char *name)
{
    return g_str_has_prefix(name, FROZEN_PREFIX) ? name + strlen(FROZEN_PREFIX) : NULL;
}

static bool
write_marker(const char *path, int64_t started_usec, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT "\n", started_usec);
    if (g_file_set_contents(path, text, -1, &cause))
        return true;
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "'%s' cannot be written: %s", path, cause->message);
    return false;
}

/* A guest that was started again since is not frozen. */
static bool
is_of_earlier_run(const char *marker, const char *uuid, VirtHost *host)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(marker, &text, NULL, NULL))
        return false;
    int64_t then = g_ascii_strtoll(text, NULL, 10);
    g_autoptr(VirtDomain) domain = virt_host_find(host, uuid, NULL);
    return then != 0 && domain != NULL && domain->started_usec != 0 && domain->started_usec != then;
}

/* ---- thawing ---- */

int
virt_thaw(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error)
{
    g_autofree char *marker = virt_frozen_marker(scratch_folder, uuid);
    g_autoptr(GError) cause = NULL;
    int n_thawed = 0;
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, &cause);
    if (domain == NULL) {
        if (g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
            unlink(marker);
        g_propagate_error(error, g_steal_pointer(&cause));
        return -1;
    }
    if (virDomainIsActive(domain) == 1 && !is_of_earlier_run(marker, uuid, host)) {
        virDomainAgentSetResponseTimeout(domain, THAW_TIMEOUT_SEC, 0);
        n_thawed = virDomainFSThaw(domain, NULL, 0, 0);
        if (n_thawed < 0)
            virt_fail(host, domain, error, "may have file systems frozen by us that cannot be thawed");
        virDomainAgentSetResponseTimeout(domain, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0); /* as libvirt has it at a start */
    }
    if (n_thawed >= 0)
        unlink(marker);
    return n_thawed;
}

static void
freeze_unref(VirtFreeze *self)
{
    if (!g_atomic_int_dec_and_test(&self->references))
        return;
    virt_host_unref(self->host);
    g_free(self->uuid);
    g_free(self->scratch_folder);
    g_clear_error(&self->error);
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->wake);
    g_free(self);
}

static void
wait_until_wanted(VirtFreeze *self)
{
    g_mutex_lock(&self->lock);
    while (!self->thaw_wanted && (self->deadline_usec == 0 || g_get_monotonic_time() < self->deadline_usec)) {
        if (self->deadline_usec == 0)
            g_cond_wait(&self->wake, &self->lock);
        else
            g_cond_wait_until(&self->wake, &self->lock, self->deadline_usec);
    }
    self->was_late = !self->thaw_wanted;
    g_mutex_unlock(&self->lock);
}

static void
tell_owner(VirtFreeze *self, int n_thawed, const GError *error)
{
    g_mutex_lock(&self->lock);
    if (!self->tried) {
        self->tried = true;
        self->n_thawed = n_thawed;
        self->thawed_usec = g_get_monotonic_time();
        self->error = error != NULL ? g_error_copy(error) : NULL;
        g_cond_broadcast(&self->wake);
    }
    g_mutex_unlock(&self->lock);
}

static void *
thaw_in_time(void *opaque)
{
    VirtFreeze *self = opaque;
    wait_until_wanted(self);
    int64_t give_up = g_get_monotonic_time() + THAW_FOR_USEC;
    for (bool again = false; !virt_host_is_closing(self->host); again = true) {
        g_autoptr(GError) error = NULL;
        int n_thawed = virt_thaw(self->host, self->uuid, self->scratch_folder, &error);
        tell_owner(self, n_thawed, error);
        if (n_thawed >= 0 && again)
            log_notice("freeze", self->uuid, "the guest's agent answers again, its file systems are thawed");
        if (n_thawed >= 0 || g_error_matches(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
            break;
        if (!again)
            log_warning("freeze", self->uuid, "%s; trying again until it can", error->message);
        if (g_get_monotonic_time() > give_up) {
            log_error("freeze", self->uuid, "%s; look into the guest: its agent has to run, or 'virsh domfsthaw' it", error->message);
            break;
        }
        g_usleep(THAW_PAUSE_USEC);
    }
    tell_owner(self, -1, NULL);
    freeze_unref(self);
    return NULL;
}

/* ---- freezing ---- */

static bool
refuse(GError **error, VirtError code, const char *text)
{
    g_set_error_literal(error, VIRT_ERROR, code, text);
    return false;
}

static VirtFreeze *
freeze_new(VirtHost *host, const char *uuid, const char *scratch_folder)
{
    VirtFreeze *self = g_new0(VirtFreeze, 1);
    self->references = 2;
    self->host = virt_host_ref(host);
    self->uuid = g_strdup(uuid);
    self->scratch_folder = g_strdup(scratch_folder);
    self->begun_usec = g_get_monotonic_time();
    g_mutex_init(&self->lock);
    g_cond_init(&self->wake);
    g_thread_unref(g_thread_new("virt-thaw", thaw_in_time, self));
    return self;
}

static void
want_thaw(VirtFreeze *self, bool now)
{
    g_mutex_lock(&self->lock);
    if (now)
        self->thaw_wanted = true;
    else
        self->deadline_usec = g_get_monotonic_time() + g_atomic_int_get(&virt_freeze_hold_msec) * 1000;
    g_cond_broadcast(&self->wake);
    g_mutex_unlock(&self->lock);
}

VirtFreeze *
virt_freeze_begin(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error)
{
    g_autofree char *marker = virt_frozen_marker(scratch_folder, uuid);
    g_autoptr(VirtDomain) info = virt_host_find(host, uuid, error);
    g_auto(virDomainPtr) domain = info != NULL ? virt_host_domain(host, uuid, error) : NULL;
    if (domain == NULL || !virt_agent_check(host, domain, error))
        return NULL;
    if (access(marker, F_OK) == 0 && virt_thaw(host, uuid, scratch_folder, error) < 0)
        return NULL;
    if (!write_marker(marker, info->started_usec, error))
        return NULL;
    VirtFreeze *self = freeze_new(host, uuid, scratch_folder);
    virDomainAgentSetResponseTimeout(domain, FREEZE_TIMEOUT_SEC, 0);
    self->n_frozen = virDomainFSFreeze(domain, NULL, 0, 0);
    if (self->n_frozen > 0) {
        want_thaw(self, false);
        return self;
    }
    if (self->n_frozen == 0)
        refuse(error, VIRT_ERROR_FAILED, "the guest's agent found no file system to freeze");
    else
        virt_fail(host, domain, error, "was not frozen by its agent");
    virt_freeze_end(self, NULL, NULL);
    return NULL;
}

bool
virt_freeze_end(VirtFreeze *self, int64_t *ret_frozen_usec, GError **error)
{
    want_thaw(self, true);
    g_mutex_lock(&self->lock);
    while (!self->tried)
        g_cond_wait(&self->wake, &self->lock);
    int64_t frozen_usec = self->thawed_usec - self->begun_usec;
    bool good = false;
    if (ret_frozen_usec != NULL)
        *ret_frozen_usec = frozen_usec;
    if (self->error != NULL)
        g_set_error_literal(error, self->error->domain, self->error->code, self->error->message);
    else if (self->was_late)
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_GAVE_UP, "the guest was thawed after %.1f s, before the capture had begun; a "
                    "less busy host or guest helps", (double)frozen_usec / G_USEC_PER_SEC);
    else if (self->n_thawed < self->n_frozen)
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_GAVE_UP, "of %d frozen file systems %d were still frozen after the capture had "
                    "begun: the guest thaws by itself, or somebody else thawed it", self->n_frozen, MAX(self->n_thawed, 0));
    else
        good = true;
    g_mutex_unlock(&self->lock);
    freeze_unref(self);
    return good;
}
