#include "cim/provider.h"

#define NAMESPACE "root/virtualization/v2"

static CimValue *
constant_value(const CimProperty *property, const char *text)
{
    g_autoptr(GError) error = NULL;
    CimValue *value = cim_value_from_text(property->type, text, &error), *array;

    g_assert_no_error(error);
    if ((property->flags & CIM_ARRAY) == 0)
        return value;
    array = cim_value_new_array(property->type);
    cim_value_append(array, value);
    return array;
}

void
provider_set_constants(CimInstance *instance, const PropertyRow *rows)
{
    for (const PropertyRow *row = rows; row != NULL && row->name != NULL; row++) {
        if (row->get == NULL)
            cim_instance_set(instance, row->name,
                             constant_value(cim_class_property(cim_instance_class(instance), row->name),
                                            row->constant));
    }
}

CimInstance *
provider_make(const Provider *self, const CimClass *cim_class, ReplicationService *service, const void *view)
{
    CimInstance *instance = cim_instance_new(cim_class);

    provider_set_constants(instance, self->rows);
    for (const PropertyRow *row = self->rows; row->name != NULL; row++) {
        if (row->get != NULL)
            cim_instance_set(instance, row->name, row->get(service, view));
    }
    return instance;
}

static bool
collect_all(const Provider *self, const CimClass *cim_class, ReplicationService *service, GPtrArray *instances,
            GError **error)
{
    g_autoptr(GPtrArray) views = self->list(service, error);

    if (views == NULL)
        return false;
    for (unsigned i = 0; i < views->len; i++)
        g_ptr_array_add(instances, provider_make(self, cim_class, service, views->pdata[i]));
    return true;
}

bool
provider_collect(const Provider *self, const CimClass *cim_class, ReplicationService *service, const char *key,
                 GPtrArray *instances, GError **error)
{
    g_autoptr(GError) own_error = NULL;
    void *view;

    if (key == NULL)
        return collect_all(self, cim_class, service, instances, error);
    view = self->find(service, key, &own_error);
    if (view == NULL) {
        bool is_unknown = own_error == NULL || g_error_matches(own_error, REPLICATION_ERROR,
                                                               REPLICATION_ERROR_INVALID_PARAMETER);
        if (!is_unknown)
            g_propagate_error(error, g_steal_pointer(&own_error));
        return is_unknown;
    }
    g_ptr_array_add(instances, provider_make(self, cim_class, service, view));
    self->free_view(view);
    return true;
}

bool
provider_foreach(const CimClass *ancestor, bool exact, ProviderFunc each, void *data, GError **error)
{
    const Provider *const tables[] = { system_providers, adapter_providers, replication_providers, job_providers };

    for (unsigned i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const Provider *provider = tables[i]; provider->class_name != NULL; provider++) {
            const CimClass *cim_class = cim_class_find(NAMESPACE, provider->class_name);
            bool wanted = exact ? cim_class == ancestor : cim_class_is_a(cim_class, ancestor);
            if (wanted && !each(provider, cim_class, data, error))
                return false;
        }
    }
    return true;
}

typedef struct {
    ReplicationService *service;
    const char *key;
    GPtrArray  *instances;
} Collection;

static bool
collect_one(const Provider *provider, const CimClass *cim_class, void *data, GError **error)
{
    Collection *into = data;

    return provider_collect(provider, cim_class, into->service, into->key, into->instances, error);
}

bool
provider_collect_class(const char *class_name, ReplicationService *service, const char *key, GPtrArray *instances,
                       GError **error)
{
    Collection into = { service, key, instances };

    return provider_foreach(cim_class_find(NAMESPACE, class_name), true, collect_one, &into, error);
}

GPtrArray *
provider_instances_new(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify) cim_instance_free);
}

GPtrArray *
provider_list_of_each_vm(ReplicationService *service, ProviderListFunc list, GDestroyNotify free_item, GError **error)
{
    g_autoptr(GPtrArray) vms = replication_service_vms(service, error);
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(free_item);

    if (vms == NULL)
        return NULL;
    for (unsigned i = 0; i < vms->len; i++) {
        g_autoptr(GError) own_error = NULL;
        GPtrArray *items = list(service, ((VmView *) vms->pdata[i])->uuid, &own_error);
        if (items != NULL)
            g_ptr_array_extend_and_steal(all, items);
        else if (!g_error_matches(own_error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER)) {
            g_propagate_error(error, g_steal_pointer(&own_error));
            return NULL;
        }
    }
    return g_steal_pointer(&all);
}
