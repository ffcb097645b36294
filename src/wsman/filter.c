/* filter: what an Enumerate asks for beyond a class: WQL, selectors, associations. */
#include <string.h>

#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/operation.h"
#include "wsman/xml-read.h"

static bool
bad_filter(GError **error, const char *text)
{
    g_set_error_literal(error, WSMAN_ERROR, WSMAN_ERROR_FILTER, text);
    return false;
}

/* ---- WQL ---- */

/* The word after FROM; NULL when there is none (ASSOCIATORS OF, or no WQL at all) */
static char *
class_in_query(const char *wql)
{
    g_auto(GStrv) words = g_strsplit_set(wql, " \t\r\n", -1);
    bool after_from = false;

    for (guint i = 0; words[i] != NULL; i++) {
        if (*words[i] == '\0')
            continue;
        if (after_from)
            return g_strdup(words[i]);
        after_from = g_ascii_strcasecmp(words[i], "from") == 0;
    }
    return NULL;
}

static bool
run_wql(Operation *self, const xmlNode *filter, GPtrArray **ret, GError **error)
{
    const Resource *resource = self->request->resource;
    g_autofree char *wql = xml_trimmed(filter);
    g_autofree char *named = class_in_query(wql);

    if (resource->kind == RESOURCE_CLASS && resource_class(resource, error) == NULL)
        return false;
    if (resource->kind == RESOURCE_CLASS && named != NULL && g_ascii_strcasecmp(named, resource->class_name) != 0)
        return bad_filter(error, "The query is FROM another class than the resource URI names.");
    return cim_broker_query(self->server->broker, self->caller, resource->cim_namespace, wql, ret, error);
}

/* ---- selectors ---- */

static bool
wanted_values(const CimClass *cim_class, const GPtrArray *selectors, GPtrArray *values, GError **error)
{
    for (guint i = 0; i < selectors->len; i++) {
        const Selector *selector = g_ptr_array_index(selectors, i);
        const CimProperty *property = cim_class_property(cim_class, selector->name);
        CimValue *value = NULL;

        if (property == NULL)
            return bad_filter(error, "The filter names a property that the class does not have.");
        if (selector->reference != NULL) {
            CimPath *path = epr_parse(selector->reference, error);
            value = path != NULL ? cim_value_new_reference(path) : NULL;
        } else {
            value = cim_value_from_text(property->type, selector->text, error);
        }
        if (value == NULL)
            return false;
        g_ptr_array_add(values, value);
    }
    return true;
}

static bool
has_values(const CimInstance *instance, const GPtrArray *selectors, const GPtrArray *values)
{
    for (guint i = 0; i < selectors->len; i++) {
        const Selector *selector = g_ptr_array_index(selectors, i);

        if (!cim_value_equal(cim_instance_get(instance, selector->name), g_ptr_array_index(values, i)))
            return false;
    }
    return true;
}

static void
free_value(void *value)
{
    cim_value_free(value);
}

static bool
run_selectors(Operation *self, const xmlNode *filter, GPtrArray **ret, GError **error)
{
    const CimClass *cim_class = resource_class(self->request->resource, error);
    g_autoptr(GPtrArray) selectors = NULL;
    g_autoptr(GPtrArray) values = g_ptr_array_new_with_free_func(free_value);
    const xmlNode *set = xml_child(filter, NS_WSMAN, "SelectorSet");

    if (cim_class == NULL)
        return false;
    if (set == NULL)
        return bad_filter(error, "A selector filter must hold a SelectorSet.");
    selectors = selectors_parse(set, error);
    if (selectors == NULL || !wanted_values(cim_class, selectors, values, error))
        return false;
    if (!cim_broker_enumerate(self->server->broker, self->caller, cim_class->cim_namespace, cim_class->name, false, ret,
                              error))
        return false;
    for (guint i = (*ret)->len; i > 0; i--) {
        if (!has_values(g_ptr_array_index(*ret, i - 1), selectors, values))
            g_ptr_array_remove_index(*ret, i - 1);
    }
    return true;
}

/* ---- associations ---- */

static char *
text_of_child(const xmlNode *parent, const char *name)
{
    const xmlNode *child = xml_child(parent, NS_CIM_BINDING, name);
    g_autofree char *text = child != NULL ? xml_trimmed(child) : NULL;

    return text != NULL && *text != '\0' ? g_steal_pointer(&text) : NULL;
}

static CimPath *
object_of(const xmlNode *wanted, GError **error)
{
    const xmlNode *object = xml_child(wanted, NS_CIM_BINDING, "Object");
    const xmlNode *wrapper = xml_child(object, NS_ADDRESSING, "EndpointReference");

    if (object == NULL) {
        bad_filter(error, "An association filter must hold an Object.");
        return NULL;
    }
    return epr_parse(wrapper != NULL ? wrapper : object, error);
}

static bool
run_association(Operation *self, const xmlNode *filter, GPtrArray **ret, GError **error)
{
    const xmlNode *far_ends = xml_child(filter, NS_CIM_BINDING, "AssociatedInstances");
    const xmlNode *links = xml_child(filter, NS_CIM_BINDING, "AssociationInstances");
    const xmlNode *wanted = far_ends != NULL ? far_ends : links;
    g_autofree char *assoc_class = text_of_child(wanted, "AssociationClassName");
    g_autofree char *result_class = text_of_child(wanted, "ResultClassName");
    g_autofree char *role = text_of_child(wanted, "Role");
    g_autofree char *result_role = text_of_child(wanted, "ResultRole");
    CimAssociationFilter options = { assoc_class, result_class, role, result_role };
    CimPath *object = NULL;
    bool good = false;

    if (wanted == NULL)
        return bad_filter(error, "An association filter must hold AssociatedInstances or AssociationInstances.");
    object = object_of(wanted, error);
    if (object == NULL)
        return false;
    if (far_ends != NULL)
        good = cim_broker_associators(self->server->broker, self->caller, object, &options, ret, error);
    else
        good = cim_broker_references(self->server->broker, self->caller, object, &options, ret, error);
    cim_path_free(object);
    return good;
}

static const struct {
    const char *dialect;
    bool (*run)(Operation *self, const xmlNode *filter, GPtrArray **ret, GError **error);
} dialects[] = {
    { DIALECT_WQL, run_wql },
    { DIALECT_SELECTOR, run_selectors },
    { DIALECT_ASSOCIATION, run_association },
};

bool
filter_run(Operation *self, const xmlNode *filter, GPtrArray **ret, GError **error)
{
    g_autofree char *dialect = xml_attribute_of(filter, "Dialect");

    for (guint i = 0; i < G_N_ELEMENTS(dialects); i++) {
        if (dialect != NULL && g_ascii_strcasecmp(g_strstrip(dialect), dialects[i].dialect) == 0)
            return dialects[i].run(self, filter, ret, error);
    }
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_FILTER_DIALECT, "Filter dialect '%s' is not known here.",
                dialect != NULL ? dialect : "XPath");
    return false;
}
