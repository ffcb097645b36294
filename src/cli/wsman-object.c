#include "cli/wsman-object.h"

#include "cli/wsman-xml.h"

#include <stdio.h>
#include <string.h>

/* ---- references ---- */

WsmanReference *
wsman_reference_new(const char *class_name)
{
    WsmanReference *self = g_new0(WsmanReference, 1);

    self->resource_uri = g_strconcat(WSMAN_NAMESPACE_URI, "/", class_name, NULL);
    self->names = g_ptr_array_new_with_free_func(g_free);
    self->values = g_ptr_array_new_with_free_func(g_free);
    return self;
}

void
wsman_reference_add(WsmanReference *self, const char *name, const char *value)
{
    g_ptr_array_add(self->names, g_strdup(name));
    g_ptr_array_add(self->values, g_strdup(value));
}

const char *
wsman_reference_selector(const WsmanReference *self, const char *name)
{
    for (guint i = 0; i < self->names->len; i++) {
        if (g_ascii_strcasecmp(self->names->pdata[i], name) == 0)
            return self->values->pdata[i];
    }
    return NULL;
}

static WsmanReference *
reference_copy(const WsmanReference *self)
{
    WsmanReference *copy = wsman_reference_new("");

    g_free(copy->resource_uri);
    copy->resource_uri = g_strdup(self->resource_uri);
    for (guint i = 0; i < self->names->len; i++)
        wsman_reference_add(copy, self->names->pdata[i], self->values->pdata[i]);
    return copy;
}

void
wsman_reference_free(WsmanReference *self)
{
    if (self == NULL)
        return;
    g_free(self->resource_uri);
    g_ptr_array_unref(self->names);
    g_ptr_array_unref(self->values);
    g_free(self);
}

void
wsman_reference_write_selectors(const WsmanReference *self, GString *xml)
{
    if (self->names->len == 0)
        return;
    g_string_append(xml, "<w:SelectorSet>");
    for (guint i = 0; i < self->names->len; i++) {
        g_string_append(xml, "<w:Selector Name=\"");
        xml_append_escaped(xml, self->names->pdata[i]);
        g_string_append(xml, "\">");
        xml_append_escaped(xml, self->values->pdata[i]);
        g_string_append(xml, "</w:Selector>");
    }
    g_string_append(xml, "</w:SelectorSet>");
}

void
wsman_reference_write(const WsmanReference *self, GString *xml)
{
    g_string_append(xml, "<a:Address>" WSMAN_ANONYMOUS "</a:Address><a:ReferenceParameters><w:ResourceURI>");
    xml_append_escaped(xml, self->resource_uri);
    g_string_append(xml, "</w:ResourceURI>");
    wsman_reference_write_selectors(self, xml);
    g_string_append(xml, "</a:ReferenceParameters>");
}

/* @node holds a:ReferenceParameters, directly or inside a:EndpointReference. */
static WsmanReference *
reference_from_node(xmlNode *node)
{
    xmlNode *wrapper = xml_child(node, NS_ADDRESSING, "EndpointReference");
    xmlNode *parameters = xml_child(wrapper != NULL ? wrapper : node, NS_ADDRESSING, "ReferenceParameters");
    g_autofree char *uri = xml_text(xml_child(parameters, NS_WSMAN, "ResourceURI"));
    xmlNode *set = xml_child(parameters, NS_WSMAN, "SelectorSet");
    WsmanReference *self;

    if (uri == NULL)
        return NULL;
    self = wsman_reference_new("");
    g_free(self->resource_uri);
    self->resource_uri = g_steal_pointer(&uri);
    for (xmlNode *child = xml_first_element(set); child != NULL; child = xmlNextElementSibling(child)) {
        g_autofree char *name = xml_attribute(child, "Name");
        g_autofree char *value = xml_text(child);

        if (name != NULL)
            wsman_reference_add(self, name, value);
    }
    return self;
}

/* ---- instances ---- */

typedef struct {
    char           *name;
    GPtrArray      *values;    /* char*, owned; empty when null */
    WsmanReference *reference; /* (nullable) */
} Property;

struct WsmanInstance {
    char      *class_name;
    GPtrArray *properties; /* of Property */
};

static void
property_free(void *data)
{
    Property *self = data;

    g_free(self->name);
    g_ptr_array_unref(self->values);
    wsman_reference_free(self->reference);
    g_free(self);
}

static Property *
instance_find(const WsmanInstance *self, const char *name)
{
    for (guint i = 0; i < self->properties->len; i++) {
        Property *property = self->properties->pdata[i];

        if (g_ascii_strcasecmp(property->name, name) == 0)
            return property;
    }
    return NULL;
}

static bool
is_null(xmlNode *node)
{
    g_autofree char *nil = xml_attribute(node, "nil");

    return nil != NULL && (g_str_equal(nil, "true") || g_str_equal(nil, "1"));
}

static bool
is_datetime(xmlNode *node)
{
    static const char *const names[] = { "Datetime", "Interval", "Date", "Time", "CIM_DateTime" };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_str_equal((const char *)node->name, names[i]))
            return true;
    }
    return false;
}

/* One element: a scalar, one item of an array, a datetime or a reference. */
static void
property_add_value(Property *self, xmlNode *node)
{
    xmlNode *child = xml_first_element(node);

    if (is_null(node))
        return;
    if (child == NULL)
        g_ptr_array_add(self->values, xml_text(node));
    else if (is_datetime(child))
        g_ptr_array_add(self->values, xml_text(child));
    else if (self->reference == NULL)
        self->reference = reference_from_node(node);
}

WsmanInstance *
wsman_instance_from_node(xmlNode *node)
{
    WsmanInstance *self = g_new0(WsmanInstance, 1);

    self->class_name = g_strdup((const char *)node->name);
    self->properties = g_ptr_array_new_with_free_func(property_free);
    for (xmlNode *child = xml_first_element(node); child != NULL; child = xmlNextElementSibling(child)) {
        Property *property = instance_find(self, (const char *)child->name);

        if (property == NULL) {
            property = g_new0(Property, 1);
            property->name = g_strdup((const char *)child->name);
            property->values = g_ptr_array_new_with_free_func(g_free);
            g_ptr_array_add(self->properties, property);
        }
        property_add_value(property, child);
    }
    return self;
}

static void
add_embedded_property(WsmanInstance *self, xmlNode *node)
{
    g_autofree char *name = xml_attribute(node, "NAME");
    xmlNode *value = xml_first_element(node);
    Property *property;

    if (name == NULL || !g_str_equal((const char *)node->name, "PROPERTY"))
        return;
    property = g_new0(Property, 1);
    property->name = g_steal_pointer(&name);
    property->values = g_ptr_array_new_with_free_func(g_free);
    if (value != NULL)
        g_ptr_array_add(property->values, xml_text(value));
    g_ptr_array_add(self->properties, property);
}

WsmanInstance *
wsman_instance_from_embedded(const char *text, GError **error)
{
    g_autoptr(xmlDoc) document = xml_parse(text, strlen(text), error);
    xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;
    WsmanInstance *self;

    if (root == NULL)
        return NULL;
    self = g_new0(WsmanInstance, 1);
    self->class_name = xml_attribute(root, "CLASSNAME");
    self->properties = g_ptr_array_new_with_free_func(property_free);
    for (xmlNode *child = xml_first_element(root); child != NULL; child = xmlNextElementSibling(child))
        add_embedded_property(self, child);
    return self;
}

void
wsman_instance_free(WsmanInstance *self)
{
    if (self == NULL)
        return;
    g_free(self->class_name);
    g_ptr_array_unref(self->properties);
    g_free(self);
}

const char *
wsman_instance_class(const WsmanInstance *self)
{
    return self->class_name;
}

const GPtrArray *
wsman_instance_values(const WsmanInstance *self, const char *name)
{
    Property *property = instance_find(self, name);

    return property != NULL && property->values->len > 0 ? property->values : NULL;
}

const char *
wsman_instance_text(const WsmanInstance *self, const char *name)
{
    const GPtrArray *values = wsman_instance_values(self, name);

    return values != NULL ? values->pdata[0] : NULL;
}

uint64_t
wsman_instance_number(const WsmanInstance *self, const char *name, uint64_t missing)
{
    const char *text = wsman_instance_text(self, name);
    g_autofree char *trimmed = g_strstrip(g_strdup(text != NULL ? text : ""));
    guint64 number;

    return g_ascii_string_to_unsigned(trimmed, 10, 0, G_MAXUINT64, &number, NULL) ? number : missing;
}

bool
wsman_instance_flag(const WsmanInstance *self, const char *name)
{
    const char *text = wsman_instance_text(self, name);

    return text != NULL && (g_ascii_strcasecmp(text, "true") == 0 || g_str_equal(text, "1"));
}

/* 20260501102030.000000+060, the offset in minutes: CIM's own form; NULL for anything else. */
static GDateTime *
cim_time(const char *text)
{
    int year, month, day, hour, minute, offset;
    double seconds;
    g_autoptr(GDateTime) local = NULL;
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();

    if (strlen(text) != 25 || text[14] != '.' ||
        sscanf(text, "%4d%2d%2d%2d%2d%9lf%4d", &year, &month, &day, &hour, &minute, &seconds, &offset) != 7)
        return NULL;
    local = g_date_time_new(utc, year, month, day, hour, minute, seconds);
    return local != NULL ? g_date_time_add_minutes(local, -offset) : NULL;
}

int64_t
wsman_instance_time(const WsmanInstance *self, const char *name)
{
    const char *text = wsman_instance_text(self, name);
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) time = text != NULL ? cim_time(text) : NULL;

    if (time == NULL && text != NULL)
        time = g_date_time_new_from_iso8601(text, utc);
    if (time == NULL)
        return 0;
    return g_date_time_to_unix(time) * G_USEC_PER_SEC + g_date_time_get_microsecond(time);
}

const WsmanReference *
wsman_instance_reference(const WsmanInstance *self, const char *name)
{
    Property *property = instance_find(self, name);

    return property != NULL ? property->reference : NULL;
}

/* ---- arguments ---- */

typedef struct {
    char           *name;
    char           *text;      /* (nullable) */
    WsmanReference *reference; /* (nullable); neither: null */
} Argument;

struct WsmanArguments {
    GPtrArray *arguments; /* of Argument */
};

static void
argument_free(void *data)
{
    Argument *self = data;

    g_free(self->name);
    g_free(self->text);
    wsman_reference_free(self->reference);
    g_free(self);
}

WsmanArguments *
wsman_arguments_new(void)
{
    WsmanArguments *self = g_new0(WsmanArguments, 1);

    self->arguments = g_ptr_array_new_with_free_func(argument_free);
    return self;
}

void
wsman_arguments_free(WsmanArguments *self)
{
    if (self == NULL)
        return;
    g_ptr_array_unref(self->arguments);
    g_free(self);
}

static Argument *
arguments_add(WsmanArguments *self, const char *name)
{
    Argument *argument = g_new0(Argument, 1);

    argument->name = g_strdup(name);
    g_ptr_array_add(self->arguments, argument);
    return argument;
}

void
wsman_arguments_add_text(WsmanArguments *self, const char *name, const char *text)
{
    arguments_add(self, name)->text = g_strdup(text);
}

void
wsman_arguments_add_reference(WsmanArguments *self, const char *name, const WsmanReference *reference)
{
    arguments_add(self, name)->reference = reference != NULL ? reference_copy(reference) : NULL;
}

void
wsman_arguments_write(const WsmanArguments *self, GString *xml)
{
    for (guint i = 0; i < self->arguments->len; i++) {
        const Argument *argument = self->arguments->pdata[i];

        if (argument->text == NULL && argument->reference == NULL) {
            g_string_append_printf(xml, "<p:%s xsi:nil=\"true\"/>", argument->name);
            continue;
        }
        g_string_append_printf(xml, "<p:%s>", argument->name);
        if (argument->reference != NULL)
            wsman_reference_write(argument->reference, xml);
        else
            xml_append_escaped(xml, argument->text);
        g_string_append_printf(xml, "</p:%s>", argument->name);
    }
}

/* ---- embedded instances ---- */

typedef struct {
    char *name;
    char *xml; /* the whole PROPERTY or PROPERTY.ARRAY element */
} EmbeddedProperty;

struct WsmanEmbedded {
    char      *class_name;
    GPtrArray *properties; /* of EmbeddedProperty */
};

static void
embedded_property_free(void *data)
{
    EmbeddedProperty *self = data;

    g_free(self->name);
    g_free(self->xml);
    g_free(self);
}

WsmanEmbedded *
wsman_embedded_new(const char *class_name)
{
    WsmanEmbedded *self = g_new0(WsmanEmbedded, 1);

    self->class_name = g_strdup(class_name);
    self->properties = g_ptr_array_new_with_free_func(embedded_property_free);
    return self;
}

void
wsman_embedded_free(WsmanEmbedded *self)
{
    if (self == NULL)
        return;
    g_free(self->class_name);
    g_ptr_array_unref(self->properties);
    g_free(self);
}

static void
embedded_put(WsmanEmbedded *self, const char *name, GString *xml)
{
    EmbeddedProperty *property = NULL;

    for (guint i = 0; i < self->properties->len && property == NULL; i++) {
        EmbeddedProperty *candidate = self->properties->pdata[i];

        if (g_ascii_strcasecmp(candidate->name, name) == 0)
            property = candidate;
    }
    if (property == NULL) {
        property = g_new0(EmbeddedProperty, 1);
        property->name = g_strdup(name);
        g_ptr_array_add(self->properties, property);
    }
    g_free(property->xml);
    property->xml = g_string_free(xml, FALSE);
}

void
wsman_embedded_set(WsmanEmbedded *self, const char *name, const char *type, const char *value)
{
    GString *xml = g_string_new(NULL);

    g_string_append_printf(xml, "<PROPERTY NAME=\"%s\" TYPE=\"%s\">", name, type);
    if (value != NULL) {
        g_string_append(xml, "<VALUE>");
        xml_append_escaped(xml, value);
        g_string_append(xml, "</VALUE>");
    }
    g_string_append(xml, "</PROPERTY>");
    embedded_put(self, name, xml);
}

void
wsman_embedded_set_array(WsmanEmbedded *self, const char *name, const char *type, const char *const *values)
{
    GString *xml = g_string_new(NULL);

    g_string_append_printf(xml, "<PROPERTY.ARRAY NAME=\"%s\" TYPE=\"%s\">", name, type);
    if (values != NULL) {
        g_string_append(xml, "<VALUE.ARRAY>");
        for (size_t i = 0; values[i] != NULL; i++) {
            g_string_append(xml, "<VALUE>");
            xml_append_escaped(xml, values[i]);
            g_string_append(xml, "</VALUE>");
        }
        g_string_append(xml, "</VALUE.ARRAY>");
    }
    g_string_append(xml, "</PROPERTY.ARRAY>");
    embedded_put(self, name, xml);
}

char *
wsman_embedded_text(const WsmanEmbedded *self)
{
    GString *xml = g_string_new(NULL);

    g_string_append_printf(xml, "<INSTANCE CLASSNAME=\"%s\">", self->class_name);
    for (guint i = 0; i < self->properties->len; i++)
        g_string_append(xml, ((const EmbeddedProperty *)self->properties->pdata[i])->xml);
    g_string_append(xml, "</INSTANCE>");
    return g_string_free(xml, FALSE);
}
