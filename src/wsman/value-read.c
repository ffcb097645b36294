#include <string.h>

#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/values.h"
#include "wsman/xml-read.h"

static void
free_nodes(void *nodes)
{
    g_ptr_array_unref(nodes);
}

GHashTable *
values_group(const xmlNode *parent)
{
    GHashTable *groups = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, free_nodes);

    for (xmlNode *node = xml_first_child(parent); node != NULL; node = xml_next(node)) {
        g_autofree char *key = g_ascii_strdown((const char *)node->name, -1);
        GPtrArray *nodes = g_hash_table_lookup(groups, key);

        if (nodes == NULL) {
            nodes = g_ptr_array_new();
            g_hash_table_insert(groups, g_steal_pointer(&key), nodes);
        }
        g_ptr_array_add(nodes, node);
    }
    return groups;
}

/* ---- embedded instances ---- */

/* "http://.../root/virtualization/v2/CLASS" -> "CLASS" */
static const char *
last_segment(const char *uri)
{
    const char *slash = strrchr(uri, '/');

    return slash != NULL ? slash + 1 : uri;
}

/* The class of an element that holds the properties of an instance, by the namespace of those or by its type attribute
 * ("p1:CLASS_Type"); NULL when neither names one. */
static char *
class_of_holder(const xmlNode *node)
{
    const xmlNode *child = xml_first_child(node);
    g_autofree char *type = xml_attribute_of(node, "type");
    const char *colon = type != NULL ? strchr(type, ':') : NULL;
    const char *name = colon != NULL ? colon + 1 : type;

    if (name != NULL && g_str_has_suffix(name, "_Type"))
        return g_strndup(name, strlen(name) - strlen("_Type"));
    if (child == NULL || child->ns == NULL)
        return NULL;
    return g_strdup(last_segment((const char *)child->ns->href));
}

/* An element whose name is that of a class, or the root of CIM-XML */
static bool
is_instance_element(const xmlNode *node, const char *cim_namespace)
{
    const char *name = (const char *)node->name;

    return g_str_equal(name, "INSTANCE") || g_str_equal(name, "CIM") ||
           (xml_first_child(node) != NULL && cim_class_find(cim_namespace, name) != NULL);
}

/* Text of the instance inside @node, whatever its form; NULL with CIM_ERROR_INVALID_PARAMETER */
static char *
embedded_text(const xmlNode *node, const char *cim_namespace, GError **error)
{
    const xmlNode *child = xml_first_child(node);
    g_autofree char *class_name = NULL;
    g_autofree char *uri = NULL;

    if (child == NULL)
        return xml_content(node);
    if (xml_next(child) == NULL && is_instance_element(child, cim_namespace))
        return xml_serialize(child, NULL, NULL);
    class_name = class_of_holder(node);
    if (class_name == NULL || cim_class_find(cim_namespace, class_name) == NULL) {
        g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER, "the elements inside are of no known class");
        return NULL;
    }
    uri = resource_uri_of(FAMILY_WMI, cim_namespace, class_name);
    return xml_serialize(node, class_name, uri);
}

static CimValue *
read_instance(const xmlNode *node, const char *cim_namespace, GError **error)
{
    g_autofree char *text = embedded_text(node, cim_namespace, error);
    CimInstance *instance = text != NULL ? cim_instance_from_text(text, cim_namespace, error) : NULL;
    CimValue *value = NULL;

    if (instance == NULL)
        return NULL;
    value = cim_value_new_null(CIM_INSTANCE, false);
    value->is_null = false;
    value->v.instance = instance;
    return value;
}

/* ---- references ---- */

static CimPath *
path_from_text(const char *text, const char *cim_namespace, GError **error)
{
    CimInstance *instance = NULL;
    CimPath *path = NULL;

    if (*text != '<')
        return cim_path_from_text(text, cim_namespace, error);
    instance = cim_instance_from_text(text, cim_namespace, error);
    if (instance == NULL)
        return NULL;
    path = cim_instance_path(instance);
    cim_instance_free(instance);
    return path;
}

static CimValue *
read_reference(const xmlNode *node, const char *cim_namespace, GError **error)
{
    const xmlNode *wrapper = xml_child(node, NS_ADDRESSING, "EndpointReference");
    g_autofree char *text = NULL;
    CimPath *path = NULL;

    if (wrapper != NULL || epr_is(node)) {
        path = epr_parse(wrapper != NULL ? wrapper : node, error);
    } else {
        text = embedded_text(node, cim_namespace, error);
        if (text == NULL)
            return NULL;
        g_strstrip(text);
        if (*text == '\0')
            return cim_value_new_null(CIM_REFERENCE, false);
        path = path_from_text(text, cim_namespace, error);
    }
    if (path != NULL && cim_class_find(path->cim_namespace, path->class_name) == NULL) {
        g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER,
                    "the reference is to an unknown class '%s'", path->class_name);
        g_clear_pointer(&path, cim_path_free);
    }
    return path != NULL ? cim_value_new_reference(path) : NULL;
}

/* ---- plain values ---- */

static CimValue *
read_datetime(const xmlNode *node, GError **error)
{
    const xmlNode *child = xml_first_child(node);
    g_autofree char *text = xml_trimmed(child != NULL ? child : node);
    g_autofree char *dmtf = NULL;

    if (*text == '\0')
        return cim_value_new_null(CIM_DATETIME, false);
    dmtf = cim_datetime_from_any(text, error);
    return dmtf != NULL ? cim_value_from_text(CIM_DATETIME, dmtf, error) : NULL;
}

static CimValue *
read_string(const CimProperty *declared, const xmlNode *node, const char *cim_namespace, GError **error)
{
    g_autofree char *text = NULL;

    if (xml_first_child(node) == NULL)
        text = xml_content(node);
    else if (declared->reference_class != NULL)
        text = embedded_text(node, cim_namespace, error);
    else
        g_set_error(error, CIM_ERROR, CIM_ERROR_TYPE_MISMATCH, "a string does not hold elements");
    return text != NULL ? cim_value_new_string(text) : NULL;
}

static CimValue *
read_scalar(const CimProperty *declared, const xmlNode *node, const char *cim_namespace, GError **error)
{
    g_autofree char *text = NULL;

    if (xml_is_nil(node))
        return cim_value_new_null(declared->type, false);
    switch (declared->type) {
    case CIM_STRING: return read_string(declared, node, cim_namespace, error);
    case CIM_DATETIME: return read_datetime(node, error);
    case CIM_REFERENCE: return read_reference(node, cim_namespace, error);
    case CIM_INSTANCE: return read_instance(node, cim_namespace, error);
    case CIM_CHAR16: text = xml_content(node); break;
    default: text = xml_trimmed(node); break;
    }
    return cim_value_from_text(declared->type, text, error);
}

/* uint8[] as one base64 element */
static bool
is_base64(const CimProperty *declared, const GPtrArray *nodes)
{
    g_autofree char *type = NULL;

    if (declared->type != CIM_UINT8 || nodes->len != 1)
        return false;
    type = xml_attribute_of(g_ptr_array_index(nodes, 0), "type");
    return type != NULL && g_str_has_suffix(type, "imBase64Binary");
}

static CimValue *
read_base64(const xmlNode *node)
{
    g_autofree char *text = xml_trimmed(node);
    CimValue *array = cim_value_new_array(CIM_UINT8);
    gsize length = 0;
    g_autofree guchar *bytes = g_base64_decode(text, &length);

    for (gsize i = 0; i < length; i++) {
        char number[4];
        g_snprintf(number, sizeof number, "%u", bytes[i]);
        cim_value_append(array, cim_value_from_text(CIM_UINT8, number, NULL));
    }
    return array;
}

static CimValue *
read_array(const CimProperty *declared, const GPtrArray *nodes, const char *cim_namespace, GError **error)
{
    CimValue *array = NULL;

    if (nodes->len == 1 && xml_is_nil(g_ptr_array_index(nodes, 0)))
        return cim_value_new_null(declared->type, true);
    if (is_base64(declared, nodes))
        return read_base64(g_ptr_array_index(nodes, 0));
    array = cim_value_new_array(declared->type);
    for (guint i = 0; i < nodes->len; i++) {
        CimValue *item = read_scalar(declared, g_ptr_array_index(nodes, i), cim_namespace, error);

        if (item == NULL) {
            cim_value_free(array);
            return NULL;
        }
        cim_value_append(array, item);
    }
    return array;
}

static CimValue *
read_declared(const CimProperty *declared, const GPtrArray *nodes, const char *cim_namespace, GError **error)
{
    if ((declared->flags & CIM_ARRAY) != 0)
        return read_array(declared, nodes, cim_namespace, error);
    if (nodes->len > 1) {
        g_set_error(error, CIM_ERROR, CIM_ERROR_TYPE_MISMATCH, "no array, and given %u times", nodes->len);
        return NULL;
    }
    return read_scalar(declared, g_ptr_array_index(nodes, 0), cim_namespace, error);
}

CimValue *
value_read(const CimProperty *declared, const GPtrArray *nodes, const char *cim_namespace, GError **error)
{
    g_autoptr(GError) reason = NULL;
    CimValue *value = NULL;

    if (nodes == NULL)
        return cim_value_new_null(declared->type, (declared->flags & CIM_ARRAY) != 0);
    value = read_declared(declared, nodes, cim_namespace, &reason);
    if (value == NULL) {
        bool is_type = g_error_matches(reason, CIM_ERROR, CIM_ERROR_TYPE_MISMATCH);

        g_set_error(error, WSMAN_ERROR, is_type ? WSMAN_ERROR_PARAMETER_TYPE : WSMAN_ERROR_PARAMETER_VALUE, "'%s': %s",
                    declared->name, reason->message);
    }
    return value;
}
