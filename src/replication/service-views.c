/* What callers of the service see. */
#include "replication/service-private.h"

#include "replication/settings.h"

#include <string.h>

const char *
replication_service_host_name(ReplicationService *self)
{
    return self->context.host_name;
}

JobList *
replication_service_jobs(ReplicationService *self)
{
    return self->jobs;
}

/* ---- relationships ---- */

int64_t
service_lag(Relationship *relationship, const StoreRelationship *row)
{
    int64_t captured = relationship_captured(relationship);
    if (!row->initial_complete)
        return -1;
    if (captured != 0)
        return g_get_monotonic_time() - captured;
    if (row->last_replication_usec != 0)
        return MAX(g_get_real_time() - row->last_replication_usec, 0);
    return -1;
}

static RelationshipView *
view_of_relationship(Relationship *relationship)
{
    g_autoptr(StoreRelationship) row = relationship_row(relationship);
    RelationshipView *view = g_new0(RelationshipView, 1);
    view->vm_uuid = g_strdup(row->vm_uuid);
    view->vm_name = g_strdup(row->vm_name);
    view->index = row->index;
    view->state = row->state;
    view->failed_over_kind = row->failed_over_kind;
    view->last_kind = row->last_kind;
    view->last_application_consistent_usec = row->last_application_consistent_usec;
    view->last_replication_usec = row->last_replication_usec;
    view->last_apply_usec = row->last_apply_usec;
    view->settings = relationship_settings(relationship);
    view->position = replication_mode_is_replica(row->mode) ? row->applied : row->position;
    view->bytes_sent = row->bytes_sent;
    view->initial_percent = row->initial_complete ? 100 : relationship_percent(relationship);
    view->last_error = relationship_error(relationship);
    view->lag_usec = service_lag(relationship, row);
    view->health = service_judge(relationship, row, view->settings, view->last_error, view->lag_usec, NULL);
    return view;
}

static RelationshipView *
view_of_nothing(const char *uuid, const char *name, unsigned index)
{
    RelationshipView *view = g_new0(RelationshipView, 1);
    view->vm_uuid = g_strdup(uuid);
    view->vm_name = g_strdup(name);
    view->index = index;
    view->settings = relationship_settings_new();
    view->lag_usec = -1;
    return view;
}

/* ---- VMs ---- */

static PowerState
power_of(VirtState state)
{
    switch (state) {
    case VIRT_RUNNING:
        return POWER_RUNNING;
    case VIRT_PAUSED:
        return POWER_PAUSED;
    case VIRT_SHUTTING_DOWN:
        return POWER_SHUTTING_DOWN;
    case VIRT_SAVED:
        return POWER_SAVED;
    case VIRT_OFF:
    case VIRT_CRASHED:
        break;
    }
    return POWER_OFF;
}

static VmView *
view_of_domain(ReplicationService *self, const VirtDomain *domain)
{
    VmView *view = g_new0(VmView, 1);
    view->uuid = g_strdup(domain->uuid);
    view->name = g_strdup(domain->name);
    view->power = power_of(domain->state);
    view->created_usec = store_vm_created(self->context.store, domain->uuid, g_get_real_time());
    view->started_usec = domain->started_usec;
    view->process_id = domain->pid;
    view->memory_bytes = domain->memory_bytes;
    view->n_cpus = domain->n_cpus;
    g_autoptr(Member) member = service_find_member(self, domain->uuid);
    view->n_relationships = 1;
    if (member != NULL) {
        g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
        view->mode = row->mode;
        view->relationships[0] = view_of_relationship(member->relationship);
        if (row->mode == MODE_REPLICA) {
            view->test_vm_uuid = g_strdup(row->test_uuid);
            g_autoptr(Member) onward = service_find_member_at(self, domain->uuid, 1);
            view->relationships[1] = onward != NULL ? view_of_relationship(onward->relationship) : view_of_nothing(domain->uuid, domain->name, 1);
            view->n_relationships = 2;
        }
    } else {
        g_autoptr(Member) tested = service_find_test_of(self, domain->uuid);
        view->relationships[0] = view_of_nothing(domain->uuid, domain->name, 0);
        if (tested != NULL) {
            view->mode = MODE_TEST_REPLICA;
            view->replica_vm_uuid = g_strdup(relationship_vm(tested->relationship));
        }
    }
    return view;
}

GPtrArray *
replication_service_vms(ReplicationService *self, GError **error)
{
    GError *cause = NULL;
    g_autoptr(GPtrArray) domains = virt_host_list(self->context.virt, &cause);
    if (domains == NULL) {
        service_fail(cause, error);
        return NULL;
    }
    g_autoptr(GHashTable) defined = g_hash_table_new(g_str_hash, g_str_equal);
    GPtrArray *views = g_ptr_array_new_with_free_func((GDestroyNotify)vm_view_free);
    for (guint i = 0; i < domains->len; i++) {
        const VirtDomain *domain = g_ptr_array_index(domains, i);
        g_hash_table_add(defined, domain->uuid);
        g_ptr_array_add(views, view_of_domain(self, domain));
    }
    /* Somebody may have undefined a VM that replicates: its replication is seen, and can be removed. */
    g_autoptr(GPtrArray) members = service_members(self);
    for (guint i = 0; i < members->len; i++) {
        Member *member = g_ptr_array_index(members, i);
        if (relationship_index(member->relationship) > 0)
            continue;
        g_autoptr(VirtDomain) domain = service_undefined_domain(member);
        g_autoptr(VirtDomain) test = service_test_domain(member);
        if (!g_hash_table_contains(defined, domain->uuid))
            g_ptr_array_add(views, view_of_domain(self, domain));
        if (test != NULL && !g_hash_table_contains(defined, test->uuid))
            g_ptr_array_add(views, view_of_domain(self, test));
    }
    return views;
}

VmView *
replication_service_vm(ReplicationService *self, const char *uuid, GError **error)
{
    g_autoptr(VirtDomain) domain = service_find_domain(self, uuid, error);
    return domain != NULL ? view_of_domain(self, domain) : NULL;
}

/* ---- points ---- */

/* What waits for the end of a test failover can be failed over to, which ends the test. */
static uint64_t
newest_shown(const StoreRelationship *row)
{
    return row->test_stage == TEST_NONE ? row->applied : row->position;
}

static PointView *
view_of_point(const StorePoint *point, const StoreRelationship *row, const char *parent_id)
{
    PointView *view = g_new0(PointView, 1);
    view->id = g_strdup(point->id);
    view->vm_uuid = g_strdup(point->vm_uuid);
    view->vm_name = g_strdup(row->vm_name);
    view->kind = point->kind;
    view->position = point->position;
    view->taken_usec = point->taken_usec;
    view->latest = point->position == newest_shown(row);
    view->parent_id = g_strdup(parent_id);
    return view;
}

GPtrArray *
replication_service_points(ReplicationService *self, const char *vm_uuid, GError **error)
{
    GPtrArray *views = g_ptr_array_new_with_free_func((GDestroyNotify)point_view_free);
    g_autoptr(Member) member = service_find_member(self, vm_uuid);
    if (member == NULL || member->replica == NULL)
        return views;
    GError *cause = NULL;
    g_autoptr(GPtrArray) points = store_points(self->context.store, relationship_vm(member->relationship), &cause);
    if (points == NULL) {
        g_ptr_array_unref(views);
        service_fail(cause, error);
        return NULL;
    }
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    const char *parent = NULL;
    for (guint i = 0; i < points->len; i++) {
        const StorePoint *point = g_ptr_array_index(points, i);
        if (!row->initial_complete || point->position > newest_shown(row) || (!point->kept && point->position != newest_shown(row)))
            continue;
        g_ptr_array_add(views, view_of_point(point, row, parent));
        parent = point->id;
    }
    return views;
}

PointView *
replication_service_point(ReplicationService *self, const char *point_id, GError **error)
{
    GError *cause = NULL;
    g_autoptr(GPtrArray) points = store_points(self->context.store, NULL, &cause);
    if (points == NULL) {
        service_fail(cause, error);
        return NULL;
    }
    for (guint i = 0; i < points->len; i++) {
        const StorePoint *point = g_ptr_array_index(points, i);
        if (g_ascii_strcasecmp(point->id, point_id) != 0)
            continue;
        g_autoptr(GPtrArray) views = replication_service_points(self, point->vm_uuid, error);
        for (guint j = 0; views != NULL && j < views->len; j++) {
            PointView *view = g_ptr_array_index(views, j);
            if (g_ascii_strcasecmp(view->id, point_id) == 0) {
                g_ptr_array_set_free_func(views, NULL);
                g_ptr_array_remove_index(views, j);
                g_ptr_array_set_free_func(views, (GDestroyNotify)point_view_free);
                return view;
            }
        }
        if (views == NULL)
            return NULL;
    }
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER, "there is no recovery point %s", point_id);
    return NULL;
}

/* ---- disks ---- */

GPtrArray *
replication_service_disks(ReplicationService *self, const char *vm_uuid, GError **error)
{
    GError *cause = NULL;
    g_autofree char *lower = g_ascii_strdown(vm_uuid, -1);
    g_autoptr(GPtrArray) disks = virt_host_disks(self->context.virt, lower, &cause);
    if (disks == NULL) {
        service_fail(cause, error);
        return NULL;
    }
    GPtrArray *views = g_ptr_array_new_with_free_func((GDestroyNotify)disk_view_free);
    for (guint i = 0; i < disks->len; i++) {
        const VirtDisk *disk = g_ptr_array_index(disks, i);
        DiskView *view = g_new0(DiskView, 1);
        view->target = g_strdup(disk->target);
        view->path = g_strdup(disk->path);
        view->format = g_strdup(disk->format);
        view->bus = g_strdup(disk->bus);
        view->size_bytes = disk->size_bytes;
        view->replicable = disk->replicable;
        view->untrackable = g_strdup(disk->untrackable);
        g_ptr_array_add(views, view);
    }
    return views;
}
