#include "cim/embedded.h"

#include <string.h>

CimInstance *
embedded_instance_new(const char *cim_namespace, const char *class_name, GError **error)
{
    const CimClass *cim_class = cim_class_find(cim_namespace, class_name);

    if (cim_class == NULL) {
        g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_CLASS,
                    "The embedded instance is of class '%.80s', which is not known in %s",
                    class_name, cim_namespace);
        return NULL;
    }
    return cim_instance_new(cim_class);
}

bool
embedded_property(const CimInstance *instance, const char *name, const CimProperty **ret, GError **error)
{
    const CimClass *cim_class = cim_instance_class(instance);
    const CimProperty *property = cim_class_property(cim_class, name);

    if (property == NULL && strncmp(name, "__", 2) != 0) {
        g_set_error(error, CIM_ERROR, CIM_ERROR_NO_SUCH_PROPERTY, "Class %s has no property '%.80s'", cim_class->name,
                    name);
        return false;
    }
    *ret = property;
    return true;
}

static CimValue *
scalar_from_text(const CimProperty *property, const char *text, GError **error)
{
    CimValue *value = text == NULL ? cim_value_new_null(property->type, false)
                                   : cim_value_from_text(property->type, text, error);

    if (value == NULL)
        g_prefix_error(error, "Property %s: ", property->name);
    return value;
}

static CimValue *
array_from_texts(const CimProperty *property, const GPtrArray *texts, GError **error)
{
    CimValue *array = cim_value_new_array(property->type);

    for (unsigned i = 0; i < texts->len; i++) {
        CimValue *item = scalar_from_text(property, texts->pdata[i], error);
        if (item == NULL) {
            cim_value_free(array);
            return NULL;
        }
        cim_value_append(array, item);
    }
    return array;
}

bool
embedded_set(CimInstance *instance, const CimProperty *property, const GPtrArray *texts, bool is_array, GError **error)
{
    bool wants_array = (property->flags & CIM_ARRAY) != 0;
    CimValue *value;

    if (texts == NULL)
        value = cim_value_new_null(property->type, wants_array);
    else if (wants_array)
        value = array_from_texts(property, texts, error);
    else if (is_array || texts->len != 1) {
        g_set_error(error, CIM_ERROR, CIM_ERROR_TYPE_MISMATCH, "Property %s takes one value, not an array",
                    property->name);
        return false;
    } else
        value = scalar_from_text(property, texts->pdata[0], error);
    if (value == NULL)
        return false;
    cim_instance_set(instance, property->name, value);
    return true;
}

static const char *
skip_byte_order_mark(const char *text)
{
    return strncmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text;
}

CimInstance *
cim_instance_from_text(const char *text, const char *cim_namespace, GError **error)
{
    text = skip_byte_order_mark(text);
    while (g_ascii_isspace(*text))
        text++;
    if (strlen(text) > EMBEDDED_MAX_BYTES || !g_utf8_validate(text, -1, NULL)) {
        g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER,
                    "The embedded instance is longer than %d bytes, or no UTF-8 text",
                    EMBEDDED_MAX_BYTES);
        return NULL;
    }
    if (*text == '<')
        return embedded_from_xml(text, cim_namespace, error);
    if (embedded_is_mof(text))
        return embedded_from_mof(text, cim_namespace, error);
    g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER,
                "'%.40s' is no embedded instance: give it as CIM-XML (<INSTANCE CLASSNAME=...>) or MOF (instance of ...)", text);
    return NULL;
}
