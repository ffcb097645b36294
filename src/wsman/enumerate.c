/* enumerate: Enumerate, Pull and Release. */
#include <string.h>

#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/operation.h"
#include "wsman/xml-read.h"

#define BATCH_MAX   32000 /* items in one answer, as in WinRM */
#define WRAPPING    512   /* bytes around the items: response element, context, EndOfSequence */

/* Clients that name no number read only the first item of an answer. */
static guint
read_max_elements(const xmlNode *parent, const char *ns)
{
    const xmlNode *node = xml_child(parent, ns, "MaxElements");
    g_autofree char *text = node != NULL ? xml_trimmed(node) : g_strdup("1");
    guint64 number = 1;

    if (!g_ascii_string_to_unsigned(text, 10, 1, G_MAXUINT64, &number, NULL))
        number = 1;
    return (guint)MIN(number, BATCH_MAX);
}

static bool
read_mode(const xmlNode *enumerate, EnumerationMode *ret, GError **error)
{
    const xmlNode *node = xml_child(enumerate, NS_WSMAN, "EnumerationMode");
    g_autofree char *text = node != NULL ? xml_trimmed(node) : g_strdup("");

    if (g_str_equal(text, "EnumerateEPR"))
        *ret = ENUMERATE_EPRS;
    else if (g_str_equal(text, "EnumerateObjectAndEPR"))
        *ret = ENUMERATE_OBJECTS_AND_EPRS;
    else if (*text == '\0' || g_str_equal(text, "EnumerateObject"))
        *ret = ENUMERATE_OBJECTS;
    else
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_UNSUPPORTED, "Enumeration mode '%s' is not known here.", text);
    return *error == NULL;
}

static void
write_reference(XmlWriter *writer, const CimInstance *instance, const ValueStyle *style)
{
    CimPath *path = cim_instance_path(instance);

    xml_open(writer, "a:EndpointReference");
    epr_write(writer, path, style->family);
    xml_close(writer);
    cim_path_free(path);
}

static char *
item_text(const Enumeration *enumeration, guint index)
{
    g_autoptr(XmlWriter) writer = NULL;
    const CimInstance *instance = g_ptr_array_index(enumeration->items, index);

    if (enumeration->is_xml)
        return g_strdup(g_ptr_array_index(enumeration->items, index));
    writer = xml_writer_new();
    if (enumeration->mode == ENUMERATE_OBJECTS_AND_EPRS)
        xml_open(writer, "w:Item");
    if (enumeration->mode != ENUMERATE_EPRS)
        instance_write(writer, instance, &enumeration->style);
    if (enumeration->mode != ENUMERATE_OBJECTS)
        write_reference(writer, instance, &enumeration->style);
    if (enumeration->mode == ENUMERATE_OBJECTS_AND_EPRS)
        xml_close(writer);
    return xml_writer_finish(writer);
}

/* Next items, as many as are wanted and fit; at least one, or an error. */
static char *
next_batch(Enumeration *enumeration, guint max_elements, gsize room, GError **error)
{
    g_autoptr(GString) batch = g_string_new(NULL);
    guint first = enumeration->next;

    while (enumeration->next < enumeration->items->len && enumeration->next - first < max_elements) {
        g_autofree char *item = item_text(enumeration, enumeration->next);

        if (batch->len + strlen(item) > room)
            break;
        g_string_append(batch, item);
        enumeration->next++;
    }
    if (enumeration->next == first && first < enumeration->items->len) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_ANSWER_TOO_LARGE,
                    "An item is larger than the answer may be; send a larger "
                    "MaxEnvelopeSize.");
        return NULL;
    }
    return g_string_free(g_steal_pointer(&batch), FALSE);
}

static bool
is_at_end(const Enumeration *enumeration)
{
    return enumeration->next >= enumeration->items->len;
}

static gsize
items_room(const Operation *self)
{
    return self->room > WRAPPING ? self->room - WRAPPING : 0;
}

static void
write_items(XmlWriter *writer, const char *prefix, const char *batch, bool at_end)
{
    g_autofree char *items = g_strconcat(prefix, ":Items", NULL);
    g_autofree char *end = g_strconcat(prefix, ":EndOfSequence", NULL);

    xml_open(writer, items);
    if (*batch != '\0')
        xml_raw(writer, batch);
    xml_close(writer);
    if (at_end)
        xml_element(writer, end, NULL);
}

/* The batch must be made before @enumeration goes into the table, where other threads may take it. */
static bool
answer_enumerate(Operation *self, Enumeration *enumeration, bool optimized, guint max_elements, GError **error)
{
    g_autofree char *batch = NULL;
    g_autofree char *id = g_strdup(enumeration->id);
    bool at_end = false;

    if (optimized) {
        batch = next_batch(enumeration, max_elements, items_room(self), error);
        at_end = batch != NULL && is_at_end(enumeration);
    }
    if ((optimized && batch == NULL) ||
        (!at_end && !enumeration_table_add(self->server->enumerations, enumeration, error))) {
        enumeration_free(enumeration);
        return false;
    }
    if (at_end)
        enumeration_free(enumeration);
    xml_open(self->body, "n:EnumerateResponse");
    xml_element(self->body, "n:EnumerationContext", at_end ? NULL : id);
    if (optimized)
        write_items(self->body, "w", batch, at_end);
    xml_close(self->body);
    return true;
}

bool
operation_start_enumeration(Operation *self, const xmlNode *enumerate, GPtrArray *items, bool is_xml, GError **error)
{
    bool optimized = xml_child(enumerate, NS_WSMAN, "OptimizeEnumeration") != NULL;
    EnumerationMode mode = ENUMERATE_OBJECTS;
    Enumeration *enumeration = NULL;

    if (!read_mode(enumerate, &mode, error)) {
        g_ptr_array_unref(items);
        return false;
    }
    self->total = items->len;
    enumeration = enumeration_new(self->caller->user, items, is_xml, mode, operation_style(self));
    return answer_enumerate(self, enumeration, optimized, read_max_elements(enumerate, NS_WSMAN), error);
}

static bool
no_selectors(const Request *request, GError **error)
{
    for (guint i = 0; i < request->selectors->len; i++) {
        const Selector *selector = g_ptr_array_index(request->selectors, i);

        if (g_ascii_strcasecmp(selector->name, "__cimnamespace") != 0) {
            g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_SELECTORS_UNEXPECTED,
                        "Enumerate takes no selector '%s'; use a filter.",
                        selector->name);
            return false;
        }
    }
    return true;
}

/* Every instance of the class; with PolymorphismMode None those of subclasses are left out. */
static bool
run_plain(Operation *self, const xmlNode *enumerate, GPtrArray **ret, GError **error)
{
    const xmlNode *node = xml_child(enumerate, NS_CIM_BINDING, "PolymorphismMode");
    g_autofree char *polymorphism = node != NULL ? xml_trimmed(node) : g_strdup("");
    const CimClass *cim_class = resource_class(self->request->resource, error);

    if (cim_class == NULL)
        return false;
    return cim_broker_enumerate(self->server->broker, self->caller, cim_class->cim_namespace, cim_class->name,
                                g_str_equal(polymorphism, "None"), ret, error);
}

bool
operation_enumerate(Operation *self, GError **error)
{
    const xmlNode *enumerate = self->request->body;
    const xmlNode *filter = xml_child(enumerate, NS_WSMAN, "Filter");
    GPtrArray *items = NULL;

    if (!xml_is(enumerate, NS_ENUMERATION, "Enumerate")) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_SCHEMA_VALIDATION,
                    "The body of an Enumerate must hold an Enumerate element.");
        return false;
    }
    if (xml_child(enumerate, NS_ENUMERATION, "EndTo") != NULL) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_ADDRESSING_MODE,
                    "Nobody is told when an enumeration ends; leave out EndTo.");
        return false;
    }
    if (!no_selectors(self->request, error))
        return false;
    if (filter == NULL)
        filter = xml_child(enumerate, NS_ENUMERATION, "Filter");
    if (filter != NULL ? !filter_run(self, filter, &items, error) : !run_plain(self, enumerate, &items, error))
        return false;
    return operation_start_enumeration(self, enumerate, items, false, error);
}

/* The context named in the body, taken out of the table. The URI of the request does not matter. */
static Enumeration *
take_context(Operation *self, GError **error)
{
    const xmlNode *node = xml_child(self->request->body, NS_ENUMERATION, "EnumerationContext");
    g_autofree char *id = NULL;

    if (node == NULL) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_ENUMERATION_CONTEXT, "The body names no enumeration context.");
        return NULL;
    }
    id = xml_trimmed(node);
    return enumeration_table_take(self->server->enumerations, id, self->caller->user, error);
}

static gsize
pull_room(const Operation *self)
{
    const xmlNode *node = xml_child(self->request->body, NS_ENUMERATION, "MaxCharacters");
    g_autofree char *text = node != NULL ? xml_trimmed(node) : NULL;
    guint64 limit = G_MAXSIZE;

    if (text != NULL && !g_ascii_string_to_unsigned(text, 10, 1, G_MAXUINT64, &limit, NULL))
        limit = G_MAXSIZE;
    return MIN(items_room(self), limit);
}

bool
operation_pull(Operation *self, GError **error)
{
    Enumeration *enumeration = take_context(self, error);
    g_autofree char *batch = NULL;
    bool at_end = false;

    if (enumeration == NULL)
        return false;
    self->total = enumeration->items->len;
    batch = next_batch(enumeration, read_max_elements(self->request->body, NS_ENUMERATION), pull_room(self), error);
    if (batch == NULL) {
        enumeration_table_put_back(self->server->enumerations, enumeration);
        return false;
    }
    at_end = is_at_end(enumeration);
    xml_open(self->body, "n:PullResponse");
    if (!at_end)
        xml_element(self->body, "n:EnumerationContext", enumeration->id);
    write_items(self->body, "n", batch, at_end);
    xml_close(self->body);
    if (at_end)
        enumeration_free(enumeration);
    else
        enumeration_table_put_back(self->server->enumerations, enumeration);
    return true;
}

/* A context that is not there is as good as released. */
bool
operation_release(Operation *self, GError **error)
{
    enumeration_free(take_context(self, NULL));
    return true;
}

bool
operation_subscribe(Operation *self, GError **error)
{
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_DELIVERY_MODE,
                "Events are not delivered here; read the instances again instead.");
    return false;
}
