/* invoke: method calls. */
#include <string.h>

#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/operation.h"
#include "wsman/xml-read.h"

static void
free_value(void *value)
{
    cim_value_free(value);
}

static const CimProperty *
find_parameter(const CimMethod *method, const char *name)
{
    for (unsigned i = 0; i < method->n_parameters; i++) {
        if (g_ascii_strcasecmp(method->parameters[i].name, name) == 0)
            return &method->parameters[i];
    }
    return NULL;
}

static bool
check_input(const xmlNode *body, const CimMethod *method, GError **error)
{
    g_autofree char *wanted = g_strconcat(method->name, "_INPUT", NULL);

    if (body == NULL || g_ascii_strcasecmp((const char *)body->name, wanted) == 0)
        return true;
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_SCHEMA_VALIDATION,
                "The body holds '%s' instead of '%s'.", (const char *)body->name,
                wanted);
    return false;
}

static bool
read_parameters(const Operation *self, const CimMethod *method, GHashTable *values, GError **error)
{
    g_autoptr(GHashTable) groups = values_group(self->request->body);
    GHashTableIter iter;
    void *name = NULL, *nodes = NULL;

    g_hash_table_iter_init(&iter, groups);
    while (g_hash_table_iter_next(&iter, &name, &nodes)) {
        const CimProperty *parameter = find_parameter(method, name);
        CimValue *value = NULL;

        if (parameter == NULL || !(parameter->flags & CIM_IN)) {
            g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_PARAMETER_NAME,
                        "Method '%s' takes no parameter '%s'.", method->name,
                        (const char *)name);
            return false;
        }
        value = value_read(parameter, nodes, self->request->resource->cim_namespace, error);
        if (value == NULL)
            return false;
        g_hash_table_insert(values, (char *)parameter->name, value);
    }
    return true;
}

static int
compare_names(const void *a, const void *b)
{
    const CimProperty *const *left = a, *const *right = b;

    return g_ascii_strcasecmp((*left)->name, (*right)->name);
}

/* Out parameters in alphabetical order, ReturnValue last. */
static void
write_output(Operation *self, const CimMethod *method, GHashTable *out, uint32_t return_value)
{
    const Resource *resource = self->request->resource;
    g_autofree char *element = g_strconcat("p:", method->name, "_OUTPUT", NULL);
    g_autofree char *uri = resource_uri_of(resource->family, resource->cim_namespace, resource->class_name);
    g_autofree char *code = g_strdup_printf("%u", return_value);
    g_autofree const CimProperty **sorted = g_new(const CimProperty *, method->n_parameters + 1);
    ValueStyle style = operation_style(self);

    xml_open(self->body, element);
    xml_attribute(self->body, "xmlns:p", uri);
    xml_attribute(self->body, "xmlns:xsi", NS_XSI);
    xml_attribute(self->body, "xmlns:cim", NS_CIM_COMMON);
    for (unsigned i = 0; i < method->n_parameters; i++)
        sorted[i] = &method->parameters[i];
    qsort(sorted, method->n_parameters, sizeof *sorted, compare_names);
    for (unsigned i = 0; i < method->n_parameters; i++) {
        g_autofree char *name = g_strconcat("p:", sorted[i]->name, NULL);
        const CimValue *value = out != NULL ? g_hash_table_lookup(out, sorted[i]->name) : NULL;

        if (sorted[i]->flags & CIM_OUT && value != NULL) {
            value_write(self->body, name, value, &style);
        } else if (sorted[i]->flags & CIM_OUT) {
            CimValue *null = cim_value_new_null(sorted[i]->type, (sorted[i]->flags & CIM_ARRAY) != 0);

            value_write(self->body, name, null, &style);
            cim_value_free(null);
        }
    }
    xml_element(self->body, "p:ReturnValue", code);
    xml_close(self->body);
}

static bool
call(Operation *self, const CimPath *path, const CimMethod *method, GError **error)
{
    g_autoptr(GHashTable) in = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, free_value);
    g_autoptr(GHashTable) out = NULL;
    g_autoptr(GError) reason = NULL;
    uint32_t return_value = 0;

    if (!check_input(self->request->body, method, error) || !read_parameters(self, method, in, error))
        return false;
    if (!cim_broker_invoke(self->server->broker, self->caller, path, method, in, &out, &return_value, &self->message,
                           &reason)) {
        operation_naming_error(path, g_steal_pointer(&reason), error);
        return false;
    }
    write_output(self, method, out, return_value);
    return true;
}

bool
operation_invoke(Operation *self, GError **error)
{
    const Resource *resource = self->request->resource;
    const CimClass *cim_class = resource_class(resource, error);
    const char *slash = strrchr(self->request->action, '/');
    const CimMethod *method = NULL;
    CimPath *path = NULL;
    bool good = false;

    if (cim_class == NULL)
        return false;
    method = slash != NULL ? cim_class_method(cim_class, slash + 1) : NULL;
    if (method == NULL) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_ACTION, "Class '%s' has no operation '%s'.", cim_class->name,
                    slash != NULL ? slash + 1 : self->request->action);
        return false;
    }
    path = resource_path(resource, self->request->selectors, error);
    if (path == NULL)
        return false;
    good = call(self, path, method, error);
    cim_path_free(path);
    return good;
}
