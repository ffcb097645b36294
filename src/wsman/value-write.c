#include <string.h>

#include "wsman/names.h"
#include "wsman/values.h"

/* WS-CIM names of the types (DSP0230), for xsi:type. Values that hold elements get none: a client that reads the parts of a
 * datetime as an embedded instance takes the attribute for the name of its class, and fails. */
static const char *const type_names[] = {
    [CIM_BOOLEAN] = "cim:cimBoolean", [CIM_UINT8] = "cim:cimUnsignedByte", [CIM_SINT8] = "cim:cimByte",
    [CIM_UINT16] = "cim:cimUnsignedShort", [CIM_SINT16] = "cim:cimShort", [CIM_UINT32] = "cim:cimUnsignedInt",
    [CIM_SINT32] = "cim:cimInt", [CIM_UINT64] = "cim:cimUnsignedLong", [CIM_SINT64] = "cim:cimLong",
    [CIM_REAL32] = "cim:cimFloat", [CIM_REAL64] = "cim:cimDouble", [CIM_CHAR16] = "cim:cimChar16",
    [CIM_STRING] = "cim:cimString", [CIM_DATETIME] = NULL, [CIM_REFERENCE] = NULL, [CIM_INSTANCE] = NULL,
};

static void write_scalar(XmlWriter *writer, const char *element, const CimValue *value, const ValueStyle *style,
                         unsigned depth);

static void
write_null(XmlWriter *writer, const char *element, bool is_array, const ValueStyle *style)
{
    xml_open(writer, element);
    xml_attribute(writer, "xsi:nil", "true");
    if (is_array && style->precise_arrays) {
        xml_attribute(writer, "xmlns:m", NS_MS_WSMAN);
        xml_attribute(writer, "m:IsNullArray", "true");
    }
    xml_close(writer);
}

static void
write_value(XmlWriter *writer, const char *element, const CimValue *value, const ValueStyle *style, unsigned depth)
{
    if (value->is_null) {
        write_null(writer, element, value->is_array, style);
    } else if (value->is_array) {
        for (guint i = 0; i < value->v.items->len; i++)
            write_scalar(writer, element, g_ptr_array_index(value->v.items, i), style, depth);
    } else {
        write_scalar(writer, element, value, style, depth);
    }
}

static void
write_properties(XmlWriter *writer, const CimInstance *instance, const char *prefix, const ValueStyle *style, unsigned depth)
{
    const CimClass *cim_class = cim_instance_class(instance);

    for (unsigned i = 0; i < cim_class->n_properties; i++) {
        const char *name = cim_class->properties[i].name;
        g_autofree char *element = g_strconcat(prefix, ":", name, NULL);

        write_value(writer, element, cim_instance_get(instance, name), style, depth);
    }
}

static void
write_datetime(XmlWriter *writer, const char *dmtf)
{
    bool is_interval = false;
    g_autofree char *iso = cim_datetime_to_iso(dmtf, &is_interval);

    xml_element(writer, is_interval ? "cim:Interval" : "cim:Datetime", iso);
}

/* The element is the instance: its class goes into xsi:type, and a prefix of its own (p1, p2, ...) marks the properties. */
static void
write_embedded(XmlWriter *writer, const CimInstance *instance, const ValueStyle *style, unsigned depth)
{
    const CimClass *cim_class = cim_instance_class(instance);
    g_autofree char *uri = resource_uri_of(style->family, cim_class->cim_namespace, cim_class->name);
    g_autofree char *prefix = g_strdup_printf("p%u", depth + 1);
    g_autofree char *declaration = g_strconcat("xmlns:", prefix, NULL);
    g_autofree char *type = g_strconcat(prefix, ":", cim_class->name, "_Type", NULL);

    xml_attribute(writer, declaration, uri);
    xml_attribute(writer, "xsi:type", type);
    write_properties(writer, instance, prefix, style, depth + 1);
}

static void
write_text(XmlWriter *writer, const CimValue *value)
{
    g_autofree char *text = NULL;

    if (value->type == CIM_BOOLEAN)
        text = g_strdup(value->v.boolean ? "true" : "false");
    else if (value->type == CIM_STRING)
        text = g_strdup(value->v.string);
    else
        text = cim_value_to_text(value);
    if (*text != '\0')
        xml_text(writer, text);
}

static void
write_scalar(XmlWriter *writer, const char *element, const CimValue *value, const ValueStyle *style, unsigned depth)
{
    if (value->is_null) {
        write_null(writer, element, false, style);
        return;
    }
    xml_open(writer, element);
    if (style->family == FAMILY_CIM_SCHEMA && type_names[value->type] != NULL)
        xml_attribute(writer, "xsi:type", type_names[value->type]);
    if (value->type == CIM_REFERENCE)
        epr_write(writer, value->v.path, style->family);
    else if (value->type == CIM_DATETIME)
        write_datetime(writer, value->v.string);
    else if (value->type == CIM_INSTANCE)
        write_embedded(writer, value->v.instance, style, depth);
    else
        write_text(writer, value);
    xml_close(writer);
}

void
value_write(XmlWriter *writer, const char *element, const CimValue *value, const ValueStyle *style)
{
    write_value(writer, element, value, style, 0);
}

void
instance_write(XmlWriter *writer, const CimInstance *instance, const ValueStyle *style)
{
    const CimClass *cim_class = cim_instance_class(instance);
    g_autofree char *uri = resource_uri_of(style->family, cim_class->cim_namespace, cim_class->name);
    g_autofree char *element = g_strconcat("p:", cim_class->name, NULL);
    g_autofree char *type = g_strconcat(element, "_Type", NULL);

    xml_open(writer, element);
    xml_attribute(writer, "xmlns:p", uri);
    xml_attribute(writer, "xmlns:xsi", NS_XSI);
    xml_attribute(writer, "xmlns:cim", NS_CIM_COMMON);
    xml_attribute(writer, "xsi:type", type);
    write_properties(writer, instance, "p", style, 0);
    xml_close(writer);
}
