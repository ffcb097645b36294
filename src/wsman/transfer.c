/* transfer: Get and Put of instances. */
#include <string.h>

#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/operation.h"
#include "wsman/xml-read.h"

static bool
get_instance(Operation *self, const CimPath *path, CimInstance **ret, GError **error)
{
    g_autoptr(GError) reason = NULL;

    if (cim_broker_get(self->server->broker, self->caller, path, ret, &reason))
        return true;
    operation_naming_error(path, g_steal_pointer(&reason), error);
    return false;
}

static void
write_and_free(Operation *self, CimInstance *instance)
{
    ValueStyle style = operation_style(self);

    instance_write(self->body, instance, &style);
    cim_instance_free(instance);
}

bool
operation_get(Operation *self, GError **error)
{
    CimInstance *instance = NULL;
    CimPath *path = NULL;
    bool good = false;

    if (resource_class(self->request->resource, error) == NULL)
        return false;
    path = resource_path(self->request->resource, self->request->selectors, error);
    if (path == NULL)
        return false;
    good = get_instance(self, path, &instance, error);
    cim_path_free(path);
    if (good)
        write_and_free(self, instance);
    return good;
}

/* ---- Put ---- */

/* Clients that send every property say with this option, once for each, which they mean. */
#define MODIFIED_LIST "__MIInstanceModifiedPropertiesList"

static bool
is_listed(const Request *request, const char *property)
{
    for (guint i = 0; i < request->options->len; i++) {
        const RequestOption *option = g_ptr_array_index(request->options, i);

        if (g_str_has_suffix(option->name, MODIFIED_LIST) && g_ascii_strcasecmp(option->value, property) == 0)
            return true;
    }
    return false;
}

/* Exactly, while cim_value_equal compares strings without case. */
static bool
is_same_value(const CimValue *a, const CimValue *b)
{
    if (!cim_value_equal(a, b))
        return false;
    if (a->is_null || b->is_null)
        return a->is_null == b->is_null;
    if (a->type != CIM_STRING)
        return true;
    if (!a->is_array)
        return g_str_equal(a->v.string, b->v.string);
    for (guint i = 0; i < a->v.items->len; i++) {
        const CimValue *item_a = g_ptr_array_index(a->v.items, i), *item_b = g_ptr_array_index(b->v.items, i);

        if (!is_same_value(item_a, item_b))
            return false;
    }
    return true;
}

/* One property of the body. With a list of modified properties only those count; without one, those that differ. */
static bool
take_change(Operation *self, const CimInstance *current, const CimProperty *property, const GPtrArray *nodes,
            CimInstance *changes, GError **error)
{
    bool has_list = request_option(self->request, MODIFIED_LIST) != NULL;
    CimValue *value = NULL;

    if (has_list && !is_listed(self->request, property->name))
        return true;
    value = value_read(property, nodes, self->request->resource->cim_namespace, error);
    if (value == NULL)
        return false;
    if (!has_list && is_same_value(value, cim_instance_get(current, property->name)))
        cim_value_free(value);
    else
        cim_instance_set(changes, property->name, value);
    return true;
}

static bool
read_changes(Operation *self, const CimInstance *current, CimInstance *changes, GError **error)
{
    const CimClass *cim_class = cim_instance_class(current);
    g_autoptr(GHashTable) groups = values_group(self->request->body);
    GHashTableIter iter;
    void *name = NULL, *nodes = NULL;

    g_hash_table_iter_init(&iter, groups);
    while (g_hash_table_iter_next(&iter, &name, &nodes)) {
        const CimProperty *property = cim_class_property(cim_class, name);

        if (property == NULL) {
            g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_PARAMETER_NAME,
                        "Class '%s' has no property '%s'.", cim_class->name,
                        (const char *)name);
            return false;
        }
        if (!take_change(self, current, property, nodes, changes, error))
            return false;
    }
    return true;
}

static bool
change_instance(Operation *self, const CimPath *path, CimInstance **ret_after, GError **error)
{
    CimInstance *current = NULL, *changes = NULL;
    bool good = false;

    if (!get_instance(self, path, &current, error))
        return false;
    changes = cim_instance_new(cim_instance_class(current));
    good = read_changes(self, current, changes, error) &&
           cim_broker_modify(self->server->broker, self->caller, path, changes, error) &&
           get_instance(self, path, ret_after, error);
    cim_instance_free(changes);
    cim_instance_free(current);
    return good;
}

bool
operation_put(Operation *self, GError **error)
{
    CimInstance *after = NULL;
    CimPath *path = NULL;
    bool good = false;

    if (resource_class(self->request->resource, error) == NULL)
        return false;
    if (self->request->body == NULL) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_SCHEMA_VALIDATION, "Put needs an instance in the body.");
        return false;
    }
    path = resource_path(self->request->resource, self->request->selectors, error);
    if (path == NULL)
        return false;
    good = change_instance(self, path, &after, error);
    cim_path_free(path);
    if (good)
        write_and_free(self, after);
    return good;
}
