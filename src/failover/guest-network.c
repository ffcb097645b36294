/* Addresses of guests after a failover, or on the VM of its test: set through the guest's agent when the VM runs.
 *
 * What is to be done is noted in the store (StoreRelationship.guest_todo) together with the failover, and gone from there
 * when it is done: a guest gets its addresses once, also when the daemon ends meanwhile, and what its administrator
 * changes later stays. Nothing waits for it: a guest that cannot be set runs as it is, and says so in the log, in a job
 * that failed and in the health; it is tried again at its next start. */
#include "failover/failover-private.h"

#include "failover/guest-commands.h"
#include "replication/adapter.h"
#include "util/log.h"

#include <string.h>

#define AGENT_WAIT_SEC  600 /* from a start until the agent answers; a Windows that installs updates takes long */
#define AGENT_LOOK_USEC G_USEC_PER_SEC
#define RUN_SEC         120 /* of one command in the guest: DHCP without a server takes a minute */
#define SETTLE_SEC      30  /* until the guest's kernel has what it was told */
#define TRIES           3
#define TRY_PAUSE_USEC  (5 * G_USEC_PER_SEC)

typedef struct {
    Member   *member;
    GuestTodo which;
    char     *uuid, *name; /* of the VM: the replica, or that of its test */
} Guest;

static void
guest_free(Guest *self)
{
    member_unref(self->member);
    g_free(self->uuid);
    g_free(self->name);
    g_free(self);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Guest, guest_free)

static VirtHost *
virt_of(const Guest *self)
{
    return self->member->service->context.virt;
}

static const gint *
stop_of(const Guest *self)
{
    return &self->member->service->stop_flag;
}

static bool
is_wanted(const Guest *self)
{
    g_autoptr(StoreRelationship) row = relationship_row(self->member->relationship);
    return replication_mode_is_replica(row->mode) && (row->guest_todo & self->which) != 0;
}

static bool
is_running(const Guest *self)
{
    g_autoptr(VirtDomain) domain = virt_host_find(virt_of(self), self->uuid, NULL);
    return domain != NULL && domain->state != VIRT_OFF && domain->state != VIRT_CRASHED && domain->state != VIRT_SAVED;
}

/* Is there still somebody to be looked after? */
static bool
goes_on(const Guest *self)
{
    return !service_is_stopping(self->member->service) && is_wanted(self) && is_running(self);
}

/* ---- one adapter ---- */

/* A bridge or a VLAN in the guest has the MAC address of the adapter below it, which then has no addresses. */
static bool
is_in_use(const VirtGuestInterface *interface)
{
    for (char **address = interface->addresses; *address != NULL; address++) {
        if (!g_str_has_prefix(*address, "fe80:") && !g_str_has_prefix(*address, "169.254."))
            return true;
    }
    return false;
}

static const VirtGuestInterface *
find_interface(const GPtrArray *interfaces, const AdapterView *adapter, GError **error)
{
    const VirtGuestInterface *found = NULL;
    for (guint i = 0; i < interfaces->len; i++) {
        const VirtGuestInterface *interface = g_ptr_array_index(interfaces, i);
        if (strcmp(interface->mac, adapter->mac) == 0 && (found == NULL || (!is_in_use(found) && is_in_use(interface))))
            found = interface;
    }
    if (found == NULL)
        replication_refuse(error, REPLICATION_ERROR_FAILED, "the guest has no network device with the address %s",
                           adapter->mac);
    return found;
}

static bool
has_addresses(const GPtrArray *interfaces, const AdapterView *adapter, const char *device)
{
    for (guint i = 0; i < interfaces->len; i++) {
        const VirtGuestInterface *interface = g_ptr_array_index(interfaces, i);
        if (strcmp(interface->name, device) == 0)
            return guest_has_addresses(adapter, (const char *const *)interface->addresses);
    }
    return false;
}

static bool
set_linux(const Guest *self, const AdapterView *adapter, const char *device, GError **error)
{
    g_auto(GStrv) command = guest_linux_command(adapter, device);
    g_autofree char *by = NULL;
    if (!virt_agent_run(virt_of(self), self->uuid, (const char *const *)command, guest_linux_script(), RUN_SEC,
                        stop_of(self), &by, error))
        return false;
    log_info("guest", self->name, "adapter %s is set by %s", adapter->mac, by);
    return true;
}

/* A command that fails does not keep the others from being run, such as DHCP that is on already: what counts is what
 * the adapter has then.
 * @ret_cause: of the first that failed, if any. */
static void
run_windows(const Guest *self, const AdapterView *adapter, const char *device, GError **ret_cause)
{
    g_autoptr(GPtrArray) commands = guest_windows_commands(adapter, device);
    for (guint i = 0; i < commands->len; i++) {
        g_autoptr(GError) cause = NULL;
        if (virt_agent_run(virt_of(self), self->uuid, g_ptr_array_index(commands, i), NULL, RUN_SEC, stop_of(self), NULL,
                           &cause))
            continue;
        log_info("guest", self->name, "adapter %s: %s; continuing", adapter->mac, cause->message);
        if (*ret_cause == NULL)
            *ret_cause = g_steal_pointer(&cause);
    }
}

static bool
wait_for_addresses(const Guest *self, const AdapterView *adapter, const char *device, GError **error)
{
    int64_t deadline = g_get_monotonic_time() + SETTLE_SEC * G_USEC_PER_SEC;
    do {
        g_autoptr(GPtrArray) interfaces = virt_agent_interfaces(virt_of(self), self->uuid, error);
        if (interfaces == NULL)
            return false;
        if (has_addresses(interfaces, adapter, device))
            return true;
        g_usleep(AGENT_LOOK_USEC);
    } while (g_get_monotonic_time() < deadline && goes_on(self));
    return replication_refuse(error, REPLICATION_ERROR_FAILED,
                              "the guest was told the addresses of adapter %s and does not have them", adapter->mac);
}

static bool
set_windows(const Guest *self, const AdapterView *adapter, const char *device, GError **error)
{
    g_autoptr(GError) cause = NULL;
    run_windows(self, adapter, device, &cause);
    if (wait_for_addresses(self, adapter, device, error))
        return true;
    if (cause != NULL)
        g_prefix_error(error, "%s; ", cause->message);
    return false;
}

static bool
set_adapter(const Guest *self, const AdapterView *adapter, bool is_windows, GError **error)
{
    g_autoptr(GPtrArray) interfaces = virt_agent_interfaces(virt_of(self), self->uuid, error);
    const VirtGuestInterface *interface = interfaces != NULL ? find_interface(interfaces, adapter, error) : NULL;
    if (interface == NULL)
        return false;
    if (is_windows)
        return set_windows(self, adapter, interface->name, error);
    return set_linux(self, adapter, interface->name, error) && wait_for_addresses(self, adapter, interface->name, error);
}

/* ---- all of them ---- */

/* One that fails does not hinder the others. What is set leaves @adapters, and is not touched again. */
static bool
set_all(const Guest *self, GPtrArray *adapters, GError **error)
{
    /* Which agents before 2.10 do not know; they are of Linux then */
    g_autofree char *system = virt_agent_system(virt_of(self), self->uuid, NULL);
    bool is_windows = g_strcmp0(system, "mswindows") == 0;
    g_autoptr(GError) first = NULL;
    for (guint i = 0; i < adapters->len;) {
        if (set_adapter(self, g_ptr_array_index(adapters, i), is_windows, first == NULL ? &first : NULL))
            g_ptr_array_remove_index(adapters, i);
        else
            i++;
    }
    if (first != NULL)
        g_propagate_error(error, g_steal_pointer(&first));
    return adapters->len == 0;
}

/* Early in a guest's life its own services may be in the way. */
static bool
set_with_patience(const Guest *self, GPtrArray *adapters, Job *job, GError **error)
{
    guint n = adapters->len;
    for (unsigned i = 1;; i++) {
        g_autoptr(GError) cause = NULL;
        if (set_all(self, adapters, &cause))
            return true;
        job_set_percent(job, (n - adapters->len) * 100 / n);
        int64_t end = g_get_monotonic_time() + TRY_PAUSE_USEC;
        while (i < TRIES && goes_on(self) && g_get_monotonic_time() < end)
            g_usleep(AGENT_LOOK_USEC);
        if (i == TRIES || !goes_on(self)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
        log_info("guest", self->name, "%s; trying again", cause->message);
    }
}

/* Those that something was set for, and that the VM has here now. On an adapter of a test VM that is connected to
 * nothing there is nobody to ask for DHCP. */
static GPtrArray *
adapters_to_set(const Guest *self, GError **error)
{
    const char *replica = relationship_vm(self->member->relationship);
    g_autoptr(GPtrArray) all = replication_service_adapters(self->member->service, replica, error);
    if (all == NULL)
        return NULL;
    GPtrArray *adapters = g_ptr_array_new_with_free_func((GDestroyNotify)adapter_view_free);
    for (guint i = 0; i < all->len; i++) {
        const AdapterView *adapter = g_ptr_array_index(all, i);
        bool alone = self->which == GUEST_OF_TEST && adapter->test_network == NULL && adapter->test_pool == NULL;
        if (!adapter->is_set || (alone && adapter->addresses[0] == NULL))
            continue;
        AdapterView *copy = adapter_view_copy(adapter);
        copy->dhcp &= !alone;
        g_ptr_array_add(adapters, copy);
    }
    return adapters;
}

/* ---- when ---- */

/* False without an error when there is nobody to wait for any more. */
static bool
wait_for_agent(const Guest *self, GError **error)
{
    int64_t deadline = g_get_monotonic_time() + AGENT_WAIT_SEC * G_USEC_PER_SEC;
    while (goes_on(self)) {
        g_autoptr(GError) cause = NULL;
        if (virt_agent_is_ready(virt_of(self), self->uuid, &cause))
            return true;
        if (!g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_STATE) || g_get_monotonic_time() > deadline) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
        g_usleep(AGENT_LOOK_USEC);
    }
    return false;
}

/* In the store: is there still something to be done? */
static void
note(const Guest *self, bool todo)
{
    g_autoptr(GError) error = NULL;
    StoreRelationship *edit = relationship_edit(self->member->relationship);
    edit->guest_todo = (edit->guest_todo & ~(unsigned)self->which) | (todo ? self->which : 0);
    if (!relationship_edit_end(self->member->relationship, edit, &error))
        log_warning("guest", self->name, "that its addresses are set is not noted: %s; they are set again at its next start",
                    error->message);
}

/* False: the guest does not have them. */
static bool
run(const Guest *self, GPtrArray *adapters)
{
    g_autofree char *what = g_strdup_printf("Setting the network addresses in the guest of '%s'", self->name);
    JobType type = self->which == GUEST_OF_TEST ? JOB_TEST_FAILOVER : JOB_INITIATE_FAILOVER;
    JobList *jobs = replication_service_jobs(self->member->service);
    g_autoptr(Job) job = job_list_add(jobs, type, self->uuid, "virt-replicad", what, false);
    GError *cause = NULL;
    g_autoptr(GError) error = NULL;
    relationship_set_guest_error(self->member->relationship, NULL);
    if (wait_for_agent(self, &cause) && set_with_patience(self, adapters, job, &cause)) {
        note(self, false);
        log_notice("guest", self->name, "its guest has the network addresses that were set for a failover");
        job_end(job, NULL);
        return true;
    }
    if (cause == NULL || !goes_on(self)) {
        g_clear_error(&cause);
        replication_refuse(&error, REPLICATION_ERROR_INVALID_STATE, "the VM was turned off, or the daemon ends");
    } else {
        service_fail(cause, &error);
        relationship_set_guest_error(self->member->relationship, error->message);
    }
    log_warning("guest", self->name,
                "its guest does not have the network addresses that were set for a failover: %s; trying again when it is "
                "started next", error->message);
    job_end(job, error);
    return false;
}

/* One text of all that is to be set; (transfer full) */
static char *
text_of(const GPtrArray *adapters)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < adapters->len; i++) {
        const AdapterView *adapter = g_ptr_array_index(adapters, i);
        g_autofree char *json = adapter_to_json(adapter);
        g_string_append_printf(text, "%s %s\n", adapter->mac, json);
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* @before: what was set already by this start; replaced by what is now. */
static void
look_once(const Guest *self, char **before)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) adapters = is_wanted(self) && is_running(self) ? adapters_to_set(self, &error) : NULL;
    g_autofree char *now = adapters != NULL ? text_of(adapters) : NULL;
    if (error != NULL)
        log_warning("guest", self->name, "what addresses its guest gets cannot be read: %s", error->message);
    if (adapters == NULL)
        return;
    bool has = g_strcmp0(now, *before) == 0 || adapters->len == 0; /* the guest has them, or keeps what it has */
    if (has)
        note(self, false);
    else
        has = run(self, adapters);
    g_free(*before);
    *before = has ? g_steal_pointer(&now) : NULL;
}

/* ANOTHER: somebody asked while we were at it, maybe for other addresses, and what he noted we may have taken for
 * ours. */
#define ANOTHER(which) ((guint)(which) << 8)

static void
take_another(guint *guests, GuestTodo which)
{
    g_atomic_int_and(guests, ~ANOTHER(which));
}

/* Unless somebody asked in the last moment. */
static bool
leave(guint *guests, GuestTodo which)
{
    for (;;) {
        guint seen = (guint)g_atomic_int_get(guests);
        if ((seen & ANOTHER(which)) != 0)
            return false;
        if (g_atomic_int_compare_and_exchange(guests, seen, seen & ~(guint)which))
            return true;
    }
}

static void
look_after(ReplicationService *service, void *data)
{
    g_autoptr(Guest) self = data;
    g_autofree char *before = NULL;
    guint *guests = (guint *)&self->member->guests;
    look_once(self, &before);
    while (!leave(guests, self->which)) {
        if (service_is_stopping(service)) {
            g_atomic_int_and(guests, ~(guint)self->which);
            return;
        }
        take_another(guests, self->which);
        note(self, true);
        look_once(self, &before);
    }
}

static void
begin(Member *member, GuestTodo which, const char *uuid, char *name)
{
    guint *guests = (guint *)&member->guests;
    Guest *self = g_new0(Guest, 1);
    self->member = member_ref(member);
    self->which = which;
    self->uuid = g_strdup(uuid);
    self->name = name;
    if (!is_running(self)) {
        guest_free(self);
    } else if ((g_atomic_int_or(guests, which) & (guint)which) != 0) {
        g_atomic_int_or(guests, ANOTHER(which));
        guest_free(self);
    } else {
        service_run_thread(member->service, look_after, self);
    }
}

void
failover_look_after_guest(ReplicationService *service, const char *vm_uuid)
{
    g_autoptr(Member) member = service_find_member(service, vm_uuid);
    g_autoptr(StoreRelationship) row = member != NULL ? relationship_row(member->relationship) : NULL;
    if (row == NULL || !replication_mode_is_replica(row->mode) || service_is_stopping(service))
        return;
    if ((row->guest_todo & GUEST_OF_FAILOVER) != 0 && (row->state == STATE_RECOVERED || row->state == STATE_COMMITTED))
        begin(member, GUEST_OF_FAILOVER, row->vm_uuid, g_strdup(row->vm_name));
    if ((row->guest_todo & GUEST_OF_TEST) != 0 && row->test_uuid != NULL)
        begin(member, GUEST_OF_TEST, row->test_uuid, service_test_name(row));
}
