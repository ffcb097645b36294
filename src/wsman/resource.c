#include "wsman/resource.h"

#include <string.h>

#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/xml-read.h"

static void
selector_free(void *data)
{
    Selector *self = data;

    g_free(self->name);
    g_free(self->text);
    g_free(self);
}

static const Selector *
selectors_find(const GPtrArray *selectors, const char *name)
{
    for (guint i = 0; i < selectors->len; i++) {
        const Selector *selector = g_ptr_array_index(selectors, i);

        if (g_ascii_strcasecmp(selector->name, name) == 0)
            return selector;
    }
    return NULL;
}

const char *
selectors_text(const GPtrArray *selectors, const char *name)
{
    const Selector *selector = selectors_find(selectors, name);

    return selector != NULL ? selector->text : NULL;
}

GPtrArray *
selectors_parse(const xmlNode *selector_set, GError **error)
{
    g_autoptr(GPtrArray) selectors = g_ptr_array_new_with_free_func(selector_free);

    for (xmlNode *node = xml_first_child(selector_set); node != NULL; node = xml_next(node)) {
        g_autofree char *name = xml_attribute_of(node, "Name");
        Selector *selector = NULL;

        if (!xml_is(node, NS_WSMAN, "Selector") || name == NULL) {
            g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_SCHEMA_VALIDATION,
                        "The selector set holds something that is not a Selector with a Name.");
            return NULL;
        }
        if (selectors_find(selectors, name) != NULL) {
            g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_SELECTORS_DUPLICATE, "Selector '%s' is given twice.", name);
            return NULL;
        }
        selector = g_new0(Selector, 1);
        selector->name = g_steal_pointer(&name);
        selector->reference = xml_child(node, NS_ADDRESSING, "EndpointReference");
        selector->text = xml_content(node);
        g_ptr_array_add(selectors, selector);
    }
    return g_steal_pointer(&selectors);
}

/* "root\a/b/" -> "root/a/b" */
static char *
clean_namespace(const char *text)
{
    g_autofree char *slashes = g_strdelimit(g_strdup(text), "\\", '/');
    const char *start = slashes + strspn(slashes, "/ ");

    for (gsize length = strlen(start); length > 0 && strchr("/ ", start[length - 1]) != NULL; length--)
        slashes[(start - slashes) + (gssize)length - 1] = '\0';
    return g_strdup(start);
}

static const char *
after_prefix(const char *uri, const char *prefix)
{
    gsize length = strlen(prefix);

    return g_ascii_strncasecmp(uri, prefix, length) == 0 ? uri + length : NULL;
}

/* @rest: "root/virtualization/v2/CLASS" */
static bool
parse_wmi(Resource *self, const char *rest)
{
    const char *slash = strrchr(rest, '/');
    g_autofree char *space = NULL;

    if (slash == NULL || slash[1] == '\0')
        return false;
    space = g_strndup(rest, (gsize)(slash - rest));
    self->family = FAMILY_WMI;
    self->cim_namespace = clean_namespace(space);
    self->class_name = g_strdup(slash + 1);
    return true;
}

static bool
parse_uri(Resource *self, const GPtrArray *selectors)
{
    const char *space = selectors_text(selectors, "__cimnamespace");
    const char *rest = after_prefix(self->uri, URI_WMI);

    if (rest != NULL)
        return parse_wmi(self, rest);

    self->family = FAMILY_CIM_SCHEMA;
    self->cim_namespace = clean_namespace(space != NULL ? space : DEFAULT_CIM_NAMESPACE);
    if ((rest = after_prefix(self->uri, URI_CIM_SCHEMA)) != NULL) {
        self->class_name = g_strdup(rest);
    } else if (g_ascii_strcasecmp(self->uri, URI_ALL_CLASSES) == 0) {
        self->class_name = g_strdup("*");
    } else if (after_prefix(self->uri, URI_CLASS_XML) != NULL) {
        self->kind = RESOURCE_CLASS_XML;
        self->class_name = g_strdup(selectors_text(selectors, "ClassName"));
    } else if (after_prefix(self->uri, URI_CLASS_XSD) != NULL) {
        self->kind = RESOURCE_CLASS_XSD;
    } else {
        return false;
    }
    return true;
}

Resource *
resource_parse(const char *uri, const GPtrArray *selectors, GError **error)
{
    g_autoptr(Resource) self = g_new0(Resource, 1);

    self->uri = g_strdup(uri);
    if (!parse_uri(self, selectors)) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_RESOURCE_URI, "The resource URI '%s' is not known here.", uri);
        return NULL;
    }
    if (self->kind == RESOURCE_CLASS && g_str_equal(self->class_name, "*"))
        self->kind = RESOURCE_ALL_CLASSES;
    else if (self->class_name != NULL)
        self->cim_class = cim_class_find(self->cim_namespace, self->class_name);
    if (self->cim_class != NULL) {
        g_free(self->class_name);
        self->class_name = g_strdup(self->cim_class->name);
        g_free(self->cim_namespace);
        self->cim_namespace = g_strdup(self->cim_class->cim_namespace);
    }
    return g_steal_pointer(&self);
}

void
resource_free(Resource *self)
{
    if (self == NULL)
        return;
    g_free(self->uri);
    g_free(self->cim_namespace);
    g_free(self->class_name);
    g_free(self);
}

const CimClass *
resource_class(const Resource *self, GError **error)
{
    if (self->kind == RESOURCE_CLASS && self->cim_class != NULL)
        return self->cim_class;
    if (self->kind == RESOURCE_CLASS)
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_RESOURCE_URI, "There is no class '%s' in namespace '%s'.",
                    self->class_name, self->cim_namespace);
    else
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_RESOURCE_URI,
                    "This operation needs the URI of one class, not '%s'.",
                    self->uri);
    return NULL;
}

static bool
has_keys(const CimClass *cim_class)
{
    for (unsigned i = 0; i < cim_class->n_properties; i++) {
        if (cim_class->properties[i].flags & CIM_KEY)
            return true;
    }
    return false;
}

static CimValue *
selector_value(const Selector *selector, CimType type, GError **error)
{
    g_autoptr(GError) reason = NULL;
    CimValue *value = NULL;

    if (selector->reference != NULL || type == CIM_REFERENCE) {
        CimPath *path = selector->reference != NULL ? epr_parse(selector->reference, &reason)
                                                    : cim_path_from_text(selector->text, DEFAULT_CIM_NAMESPACE, &reason);
        if (path != NULL)
            value = cim_value_new_reference(path);
    } else {
        value = cim_value_from_text(type, selector->text, &reason);
    }
    if (value == NULL)
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_SELECTORS_TYPE,
                    "Selector '%s' has no usable value: %s", selector->name,
                    reason->message);
    return value;
}

static bool
add_key(const Resource *self, const Selector *selector, bool keyed, CimPath *path, GError **error)
{
    const CimProperty *property = NULL;
    CimValue *value = NULL;

    if (self->cim_class != NULL) {
        property = cim_class_property(self->cim_class, selector->name);
        if (property == NULL || (keyed && !(property->flags & CIM_KEY))) {
            g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_SELECTORS_UNEXPECTED, "'%s' is not a key of class '%s'.",
                        selector->name, self->class_name);
            return false;
        }
    }
    value = selector_value(selector, property != NULL ? property->type : CIM_STRING, error);
    if (value == NULL)
        return false;
    cim_path_add(path, property != NULL ? property->name : selector->name, value);
    return true;
}

CimPath *
resource_path(const Resource *self, const GPtrArray *selectors, GError **error)
{
    CimPath *path = cim_path_new(self->cim_namespace, self->class_name);
    bool keyed = self->cim_class != NULL && has_keys(self->cim_class);

    for (guint i = 0; i < selectors->len; i++) {
        const Selector *selector = g_ptr_array_index(selectors, i);

        if (g_ascii_strcasecmp(selector->name, "__cimnamespace") == 0)
            continue;
        if (!add_key(self, selector, keyed, path, error)) {
            cim_path_free(path);
            return NULL;
        }
    }
    return path;
}

char *
resource_uri_of(UriFamily family, const char *cim_namespace, const char *class_name)
{
    if (family == FAMILY_CIM_SCHEMA)
        return g_strconcat(URI_CIM_SCHEMA, class_name, NULL);
    return g_strconcat(URI_WMI, cim_namespace, "/", class_name, NULL);
}

bool
epr_is(const xmlNode *holder)
{
    return xml_child(holder, NS_ADDRESSING, "ReferenceParameters") != NULL ||
           xml_child(holder, NS_ADDRESSING, "ReferenceProperties") != NULL;
}

CimPath *
epr_parse(const xmlNode *holder, GError **error)
{
    const xmlNode *parameters = xml_child(holder, NS_ADDRESSING, "ReferenceParameters");
    const xmlNode *uri_node = NULL;
    g_autoptr(GPtrArray) selectors = NULL;
    g_autoptr(Resource) resource = NULL;
    g_autoptr(GError) reason = NULL;
    g_autofree char *uri = NULL;

    if (parameters == NULL)
        parameters = xml_child(holder, NS_ADDRESSING, "ReferenceProperties");
    uri_node = xml_child(parameters, NS_WSMAN, "ResourceURI");
    if (uri_node == NULL) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_PARAMETER_VALUE, "An endpoint reference lacks its ResourceURI.");
        return NULL;
    }
    selectors = selectors_parse(xml_child(parameters, NS_WSMAN, "SelectorSet"), error);
    if (selectors == NULL)
        return NULL;
    uri = xml_trimmed(uri_node);
    resource = resource_parse(uri, selectors, &reason);
    if (resource == NULL || resource->kind != RESOURCE_CLASS) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_PARAMETER_VALUE,
                    "An endpoint reference names no class: '%s'.", uri);
        return NULL;
    }
    return resource_path(resource, selectors, error);
}

static void
write_selector(XmlWriter *writer, const char *name, const CimValue *value, UriFamily family)
{
    xml_open(writer, "w:Selector");
    xml_attribute(writer, "Name", name);
    if (value->type == CIM_REFERENCE && !value->is_null) {
        xml_open(writer, "a:EndpointReference");
        epr_write(writer, value->v.path, family);
        xml_close(writer);
    } else if (!value->is_null) {
        g_autofree char *text = value->type == CIM_BOOLEAN ? g_strdup(value->v.boolean ? "true" : "false")
                                                           : cim_value_to_text(value);
        xml_text(writer, text);
    }
    xml_close(writer);
}

/* Keys last: one client takes the last text in a Job reference as the job's id. */
void
epr_write(XmlWriter *writer, const CimPath *path, UriFamily family)
{
    g_autofree char *uri = resource_uri_of(family, path->cim_namespace, path->class_name);

    xml_element(writer, "a:Address", ADDRESS_ANONYMOUS);
    xml_open(writer, "a:ReferenceParameters");
    xml_element(writer, "w:ResourceURI", uri);
    xml_open(writer, "w:SelectorSet");
    if (family == FAMILY_CIM_SCHEMA) {
        xml_open(writer, "w:Selector");
        xml_attribute(writer, "Name", "__cimnamespace");
        xml_text(writer, path->cim_namespace);
        xml_close(writer);
    }
    for (guint i = 0; i < path->names->len; i++)
        write_selector(writer, g_ptr_array_index(path->names, i), g_ptr_array_index(path->values, i), family);
    xml_close(writer);
    xml_close(writer);
}
