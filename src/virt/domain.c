#include "virt/virt-private.h"

#include <string.h>

#define START_TRIES      3
#define DISCARD_TRIES    3 /* somebody may start it just now */
#define SETTLE_USEC      (300 * 1000) /* on the safe side: the news waits for a worker of libvirt only */
#define SETTLE_LOOK_USEC (10 * 1000)

void
virt_domain_free(VirtDomain *self)
{
    if (self == NULL)
        return;
    g_free(self->uuid);
    g_free(self->name);
    g_free(self);
}

/* ---- reading ---- */

static VirtState
state_of(virDomainPtr domain, int state)
{
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        return VIRT_RUNNING;
    case VIR_DOMAIN_PAUSED:
    case VIR_DOMAIN_PMSUSPENDED:
        return VIRT_PAUSED;
    case VIR_DOMAIN_SHUTDOWN:
        return VIRT_SHUTTING_DOWN;
    case VIR_DOMAIN_CRASHED:
        return VIRT_CRASHED;
    default:
        return virDomainHasManagedSaveImage(domain, 0) == 1 ? VIRT_SAVED : VIRT_OFF;
    }
}

bool
virt_domain_is_io_paused(virDomainPtr domain)
{
    int state = 0, reason = 0;
    return virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
           reason == VIR_DOMAIN_PAUSED_IOERROR;
}

static VirtDomain *
domain_read(VirtHost *host, virDomainPtr domain, GError **error)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    virDomainInfo info;
    int autostart = 0;
    if (virDomainGetUUIDString(domain, uuid) < 0 || virDomainGetInfo(domain, &info) < 0) {
        virt_fail(host, domain, error, "cannot be looked at");
        return NULL;
    }
    VirtDomain *self = g_new0(VirtDomain, 1);
    self->uuid = g_strdup(uuid);
    self->name = g_strdup(virDomainGetName(domain));
    self->state = state_of(domain, info.state);
    self->persistent = virDomainIsPersistent(domain) == 1;
    self->autostart = self->persistent && virDomainGetAutostart(domain, &autostart) == 0 && autostart != 0;
    self->memory_bytes = (uint64_t)info.maxMem * 1024;
    self->n_cpus = info.nrVirtCpu;
    if (virDomainIsActive(domain) == 1)
        self->pid = virt_process_find(virt_host_uri(host), uuid, &self->started_usec);
    return self;
}

GPtrArray *
virt_host_list(VirtHost *self, GError **error)
{
    g_auto(virConnectPtr) conn = virt_host_connection(self, error);
    if (conn == NULL)
        return NULL;
    virDomainPtr *domains = NULL;
    int n_domains = virConnectListAllDomains(conn, &domains, 0);
    if (n_domains < 0) {
        virt_fail(self, NULL, error, "the VMs of this host cannot be listed");
        return NULL;
    }
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)virt_domain_free);
    for (int i = 0; i < n_domains; i++) {
        /* One that vanished since the listing is left out. */
        VirtDomain *one = domain_read(self, domains[i], NULL);
        if (one != NULL)
            g_ptr_array_add(list, one);
        virDomainFree(domains[i]);
    }
    free(domains);
    return g_steal_pointer(&list);
}

VirtDomain *
virt_host_find(VirtHost *self, const char *uuid, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self, uuid, error);
    return domain != NULL ? domain_read(self, domain, error) : NULL;
}

VirtDomain *
virt_host_find_by_name(VirtHost *self, const char *name, GError **error)
{
    g_auto(virConnectPtr) conn = virt_host_connection(self, error);
    if (conn == NULL)
        return NULL;
    g_auto(virDomainPtr) domain = virDomainLookupByName(conn, name);
    if (domain == NULL) {
        virt_fail(self, NULL, error, "VM '%s' is not known to libvirt on this host", name);
        return NULL;
    }
    return domain_read(self, domain, error);
}

char *
virt_host_xml(VirtHost *self, const char *uuid, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self, uuid, error);
    if (domain == NULL)
        return NULL;
    char *xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_MIGRATABLE);
    if (xml == NULL)
        virt_fail(self, domain, error, "has a definition that cannot be read");
    return xml;
}

/* ---- changing ---- */

bool
virt_resume_after_io_error(VirtHost *host, const char *uuid, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, error);
    if (domain == NULL)
        return false;
    return !virt_domain_is_io_paused(domain) || virDomainResume(domain) == 0 ||
           virt_fail(host, domain, error, "was paused by an I/O error and cannot be resumed");
}

bool
virt_host_define(VirtHost *self, const char *xml, GError **error)
{
    g_auto(virConnectPtr) conn = virt_host_connection(self, error);
    if (conn == NULL)
        return false;
    g_auto(virDomainPtr) domain = virDomainDefineXML(conn, xml);
    return domain != NULL || virt_fail(self, NULL, error, "the VM cannot be defined");
}

/* An operation of libvirt on a domain; the sentence start takes the UUID. */
static bool
operate(VirtHost *self, const char *uuid, int (*operation)(virDomainPtr domain), const char *what, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self, uuid, error);
    if (domain == NULL)
        return false;
    return operation(domain) == 0 ||
           virt_fail(self, domain, error, "cannot be %s", what);
}

static int
undefine(virDomainPtr domain)
{
    return virDomainUndefineFlags(domain, VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM);
}

static int
shut_down(virDomainPtr domain)
{
    return virDomainShutdownFlags(domain, VIR_DOMAIN_SHUTDOWN_DEFAULT);
}

static int
reset(virDomainPtr domain)
{
    return virDomainReset(domain, 0);
}

bool
virt_host_undefine(VirtHost *self, const char *uuid, GError **error)
{
    return operate(self, uuid, undefine, "undefined", error);
}

static int
displace(virDomainPtr domain)
{
    return virDomainUndefineFlags(domain, VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM |
                                  VIR_DOMAIN_UNDEFINE_KEEP_TPM);
}

bool
virt_host_displace(VirtHost *self, const char *uuid, GError **error)
{
    return operate(self, uuid, displace, "undefined", error);
}

static int
discard(virDomainPtr domain)
{
    return virDomainUndefineFlags(domain, VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                                  VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM);
}

bool
virt_host_discard(VirtHost *self, const char *uuid, GError **error)
{
    g_autoptr(GError) last = NULL;
    for (int i = 0; i < DISCARD_TRIES; i++) {
        g_autoptr(GError) cause = NULL;
        g_autoptr(VirtDomain) domain = virt_host_find(self, uuid, &cause);
        if (g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
            return true;
        if (domain == NULL) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
        bool active = domain->state != VIRT_OFF && domain->state != VIRT_SAVED && domain->state != VIRT_CRASHED;
        g_clear_error(&last);
        if ((!active || virt_host_stop(self, uuid, &last)) && domain->persistent)
            operate(self, uuid, discard, "removed", &last);
    }
    g_autoptr(VirtDomain) left = virt_host_find(self, uuid, NULL);
    if (left == NULL)
        return true;
    if (last != NULL)
        g_propagate_error(error, g_steal_pointer(&last));
    else
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_STATE, "VM '%s' is started again and again; turn it off", left->name);
    return false;
}

/* libvirt 9 may take the end of the QEMU before, which it hears of late, for the end of the one being started: a start right
 * after a stop or a crash then fails with these words, or succeeds and is undone a moment later, as if QEMU had crashed. The
 * late news is gone by then, so the next try works. */
static bool
is_late_news(const char *reason)
{
    return strstr(reason, "domain is no longer running") != NULL || strstr(reason, "domain is not running") != NULL;
}

/* False when it is off again as if QEMU had crashed; a guest that turned itself off stays off. */
static bool
stays_up(virDomainPtr domain)
{
    for (int64_t end = g_get_monotonic_time() + SETTLE_USEC; g_get_monotonic_time() < end; g_usleep(SETTLE_LOOK_USEC)) {
        int state = 0, reason = 0;
        if (virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_SHUTOFF)
            return reason != VIR_DOMAIN_SHUTOFF_CRASHED && reason != VIR_DOMAIN_SHUTOFF_FAILED;
    }
    return true;
}

static int
start_again(virDomainPtr domain)
{
    int result = -1;
    for (int i = 0; i < START_TRIES; i++) {
        result = virDomainCreate(domain);
        if (result == 0 ? stays_up(domain) : !is_late_news(virGetLastErrorMessage()))
            break;
    }
    return result;
}

bool
virt_host_start(VirtHost *self, const char *uuid, GError **error)
{
    return operate(self, uuid, start_again, "started", error);
}

bool
virt_host_stop(VirtHost *self, const char *uuid, GError **error)
{
    return operate(self, uuid, virDomainDestroy, "powered off", error);
}

bool
virt_host_shutdown(VirtHost *self, const char *uuid, GError **error)
{
    return operate(self, uuid, shut_down, "shut down", error);
}

bool
virt_host_pause(VirtHost *self, const char *uuid, GError **error)
{
    return operate(self, uuid, virDomainSuspend, "paused", error);
}

bool
virt_host_resume(VirtHost *self, const char *uuid, GError **error)
{
    return operate(self, uuid, virDomainResume, "resumed", error);
}

bool
virt_host_reset(VirtHost *self, const char *uuid, GError **error)
{
    return operate(self, uuid, reset, "reset", error);
}

bool
virt_host_set_autostart(VirtHost *self, const char *uuid, bool on, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self, uuid, error);
    if (domain == NULL)
        return false;
    return virDomainSetAutostart(domain, on ? 1 : 0) == 0 ||
           virt_fail(self, domain, error, "cannot have its automatic start set");
}

bool
virt_host_snapshots(VirtHost *self, const char *uuid, unsigned *ret_number, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self, uuid, error);
    int number = domain != NULL ? virDomainSnapshotNum(domain, 0) : -1;
    if (number < 0)
        return domain != NULL && virt_fail(self, domain, error, "cannot be asked for its snapshots");
    *ret_number = (unsigned)number;
    return true;
}
