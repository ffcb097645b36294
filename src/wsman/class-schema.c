/* class-schema: Get and Enumerate of class definitions as CIM-XML. */
#include "wsman/fault.h"
#include "wsman/operation.h"

static char *
class_text(const Request *request, const CimClass *cim_class)
{
    return cim_class_to_xml(cim_class, request_option_true(request, "IncludeInheritedElements", true),
                            request_option_true(request, "IncludeQualifiers", true),
                            request_option_true(request, "IncludeClassOrigin", false));
}

static bool
unknown_class(const Resource *resource, GError **error)
{
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_RESOURCE_URI, "There is no class '%s' in namespace '%s'.",
                resource->class_name != NULL ? resource->class_name : "", resource->cim_namespace);
    return false;
}

bool
operation_get_class(Operation *self, GError **error)
{
    const Resource *resource = self->request->resource;
    g_autofree char *text = NULL;

    if (resource->class_name == NULL || *resource->class_name == '\0') {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_SELECTORS_INSUFFICIENT,
                    "Selector 'ClassName' says which class is wanted.");
        return false;
    }
    if (resource->cim_class == NULL)
        return unknown_class(resource, error);
    text = class_text(self->request, resource->cim_class);
    xml_raw(self->body, text);
    return true;
}

/* All classes of the namespace, or one and those below it. */
bool
operation_enumerate_classes(Operation *self, GError **error)
{
    const Resource *resource = self->request->resource;
    const CimClass *const *classes = cim_classes(resource->cim_namespace);
    bool all = resource->class_name == NULL || *resource->class_name == '\0' || g_str_equal(resource->class_name, "*");
    GPtrArray *items = NULL;

    if (classes == NULL || (!all && resource->cim_class == NULL))
        return unknown_class(resource, error);
    items = g_ptr_array_new_with_free_func(g_free);
    for (; *classes != NULL; classes++) {
        if (all || cim_class_is_a(*classes, resource->cim_class))
            g_ptr_array_add(items, class_text(self->request, *classes));
    }
    return operation_start_enumeration(self, self->request->body, items, true, error);
}
