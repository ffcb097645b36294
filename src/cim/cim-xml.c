/* Writes instances and classes as CIM-XML (DSP0201). */
#include "cim/cim.h"

#include <string.h>

static void
append_escaped(GString *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '&')
            g_string_append(out, "&amp;");
        else if (*text == '<')
            g_string_append(out, "&lt;");
        else if (*text == '>')
            g_string_append(out, "&gt;");
        else if (*text == '"')
            g_string_append(out, "&quot;");
        else if (*text == '\r')
            g_string_append(out, "&#13;");
        else if ((unsigned char) *text >= 0x20 || *text == '\n' || *text == '\t')
            g_string_append_c(out, *text);
    }
}

static void
append_attribute(GString *out, const char *name, const char *text)
{
    g_string_append_printf(out, " %s=\"", name);
    append_escaped(out, text);
    g_string_append_c(out, '"');
}

/* ---- instances ---- */

static void append_path(GString *out, const CimPath *path);

static void
append_key(GString *out, const char *name, const CimValue *value)
{
    g_autofree char *text = NULL;
    bool is_text = value->type == CIM_STRING || value->type == CIM_DATETIME;

    g_string_append(out, "<KEYBINDING");
    append_attribute(out, "NAME", name);
    g_string_append_c(out, '>');
    if (value->type == CIM_REFERENCE && !value->is_null) {
        g_string_append(out, "<VALUE.REFERENCE>");
        append_path(out, value->v.path);
        g_string_append(out, "</VALUE.REFERENCE>");
    } else {
        text = cim_value_to_text(value);
        g_string_append_printf(out, "<KEYVALUE VALUETYPE=\"%s\">",
                               is_text ? "string" : value->type == CIM_BOOLEAN ? "boolean" : "numeric");
        append_escaped(out, text);
        g_string_append(out, "</KEYVALUE>");
    }
    g_string_append(out, "</KEYBINDING>");
}

static void
append_path(GString *out, const CimPath *path)
{
    g_string_append(out, "<INSTANCENAME");
    append_attribute(out, "CLASSNAME", path->class_name);
    g_string_append_c(out, '>');
    for (unsigned i = 0; i < path->names->len; i++)
        append_key(out, path->names->pdata[i], path->values->pdata[i]);
    g_string_append(out, "</INSTANCENAME>");
}

static void
append_scalar(GString *out, const CimValue *value)
{
    g_autofree char *text = NULL;

    if (value->type == CIM_REFERENCE) {
        g_string_append(out, "<VALUE.REFERENCE>");
        append_path(out, value->v.path);
        g_string_append(out, "</VALUE.REFERENCE>");
        return;
    }
    text = cim_value_to_text(value);
    g_string_append(out, "<VALUE>");
    append_escaped(out, text);
    g_string_append(out, "</VALUE>");
}

static void
append_value(GString *out, const CimValue *value)
{
    if (!value->is_array) {
        append_scalar(out, value);
        return;
    }
    g_string_append(out, "<VALUE.ARRAY>");
    for (unsigned i = 0; i < value->v.items->len; i++)
        append_scalar(out, value->v.items->pdata[i]);
    g_string_append(out, "</VALUE.ARRAY>");
}

static const char *
property_element(CimType type, bool is_array)
{
    if (type == CIM_REFERENCE)
        return "PROPERTY.REFERENCE";
    return is_array ? "PROPERTY.ARRAY" : "PROPERTY";
}

static void
append_property(GString *out, const CimProperty *property, const CimValue *value)
{
    const char *element = property_element(value->type, value->is_array);

    g_string_append_printf(out, "<%s", element);
    append_attribute(out, "NAME", property->name);
    if (value->type == CIM_REFERENCE)
        append_attribute(out, "REFERENCECLASS", property->reference_class);
    else
        append_attribute(out, "TYPE", value->type == CIM_INSTANCE ? "string" : cim_type_name(value->type));
    if (value->is_null) {
        g_string_append(out, "/>");
        return;
    }
    g_string_append_c(out, '>');
    append_value(out, value);
    g_string_append_printf(out, "</%s>", element);
}

char *
cim_instance_to_xml(const CimInstance *self)
{
    const CimClass *cim_class = cim_instance_class(self);
    GString *out = g_string_new("<INSTANCE");

    append_attribute(out, "CLASSNAME", cim_class->name);
    g_string_append_c(out, '>');
    for (unsigned i = 0; i < cim_class->n_properties; i++) {
        const CimProperty *property = &cim_class->properties[i];
        append_property(out, property, cim_instance_get(self, property->name));
    }
    g_string_append(out, "</INSTANCE>");
    return g_string_free(out, FALSE);
}

/* ---- classes ---- */

/* One constant of a qualifier's text, as the generator writes it: "text", TRUE, FALSE or NULL; moves @at behind it. */
static char *
take_constant(const char **at)
{
    GString *out = g_string_new(NULL);
    const char *c = *at;

    if (*c != '"') {
        size_t length = strcspn(c, ",}");
        g_string_append_len(out, c, (gssize) length);
        *at = c + length;
        return g_string_free(g_string_ascii_down(out), FALSE);
    }
    for (c++; *c != '"'; c++) {
        if (*c == '\\')
            c++;
        g_string_append_c(out, *c);
    }
    *at = c + 1;
    return g_string_free(out, FALSE);
}

static void
append_constant(GString *out, const char **at)
{
    g_autofree char *text = take_constant(at);

    g_string_append(out, "<VALUE>");
    append_escaped(out, text);
    g_string_append(out, "</VALUE>");
}

static void
append_constants(GString *out, const char *at)
{
    g_string_append(out, "<VALUE.ARRAY>");
    for (at++; *at != '}'; at += strspn(at, ", "))
        append_constant(out, &at);
    g_string_append(out, "</VALUE.ARRAY>");
}

static void
append_qualifiers(GString *out, const CimQualifier *qualifiers, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const char *at = qualifiers[i].value;

        g_string_append(out, "<QUALIFIER");
        append_attribute(out, "NAME", qualifiers[i].name);
        append_attribute(out, "TYPE", cim_type_name(qualifiers[i].type));
        g_string_append_c(out, '>');
        if (qualifiers[i].is_array)
            append_constants(out, at);
        else
            append_constant(out, &at);
        g_string_append(out, "</QUALIFIER>");
    }
}

typedef struct {
    const CimClass *cim_class;
    bool qualifiers, class_origin;
} ClassXml;

static void
append_feature_attributes(GString *out, const ClassXml *how, const char *name, CimType type,
                          const char *reference_class, const CimClass *origin)
{
    append_attribute(out, "NAME", name);
    if (type == CIM_REFERENCE)
        append_attribute(out, "REFERENCECLASS", reference_class);
    else
        append_attribute(out, "TYPE", cim_type_name(type));
    if (origin == NULL)
        return;
    if (how->class_origin)
        append_attribute(out, "CLASSORIGIN", origin->name);
    if (origin != how->cim_class)
        append_attribute(out, "PROPAGATED", "true");
}

static void
append_class_property(GString *out, const ClassXml *how, const CimProperty *property, const char *element)
{
    g_string_append_printf(out, "<%s", element);
    append_feature_attributes(out, how, property->name, property->type, property->reference_class, property->origin);
    g_string_append_c(out, '>');
    if (how->qualifiers)
        append_qualifiers(out, property->qualifiers, property->n_qualifiers);
    g_string_append_printf(out, "</%s>", element);
}

static const char *
parameter_element(const CimProperty *parameter)
{
    bool is_array = (parameter->flags & CIM_ARRAY) != 0;

    if (parameter->type == CIM_REFERENCE)
        return is_array ? "PARAMETER.REFARRAY" : "PARAMETER.REFERENCE";
    return is_array ? "PARAMETER.ARRAY" : "PARAMETER";
}

static void
append_method(GString *out, const ClassXml *how, const CimMethod *method)
{
    g_string_append(out, "<METHOD");
    append_feature_attributes(out, how, method->name, method->return_type, NULL, method->origin);
    g_string_append_c(out, '>');
    if (how->qualifiers)
        append_qualifiers(out, method->qualifiers, method->n_qualifiers);
    for (unsigned i = 0; i < method->n_parameters; i++)
        append_class_property(out, how, &method->parameters[i], parameter_element(&method->parameters[i]));
    g_string_append(out, "</METHOD>");
}

static void
append_derivation(GString *out, const CimClass *superclass)
{
    g_autoptr(GString) names = g_string_new(NULL);

    if (superclass == NULL)
        return;
    append_attribute(out, "SUPERCLASS", superclass->name);
    for (const CimClass *above = superclass; above != NULL; above = above->superclass)
        g_string_append_printf(names, "%s%s", names->len == 0 ? "" : ",", above->name);
    append_attribute(out, "DERIVATION", names->str);
}

char *
cim_class_to_xml(const CimClass *self, bool inherited, bool qualifiers, bool class_origin)
{
    ClassXml how = { self, qualifiers, class_origin };
    GString *out = g_string_new("<CLASS");

    append_attribute(out, "NAME", self->name);
    append_derivation(out, self->superclass);
    g_string_append_c(out, '>');
    if (qualifiers)
        append_qualifiers(out, self->qualifiers, self->n_qualifiers);
    for (unsigned i = 0; i < self->n_properties; i++) {
        const CimProperty *property = &self->properties[i];
        if (inherited || property->origin == self)
            append_class_property(out, &how, property,
                                  property_element(property->type, (property->flags & CIM_ARRAY) != 0));
    }
    for (unsigned i = 0; i < self->n_methods; i++) {
        if (inherited || self->methods[i].origin == self)
            append_method(out, &how, &self->methods[i]);
    }
    g_string_append(out, "</CLASS>");
    return g_string_free(out, FALSE);
}
