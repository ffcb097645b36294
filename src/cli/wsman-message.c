#include "cli/wsman-message.h"

#include "cli/wsman-client.h"
#include "cli/wsman-xml.h"

#include <string.h>

#define MAX_ENVELOPE_BYTES "512000" /* what WinRM allows by default */
#define OPERATION_TIMEOUT  "PT120S"
#define ITEMS_PER_MESSAGE  "100"    /* fits the envelope with classes of some 40 properties */

struct WsmanReply {
    xmlDoc  *doc;
    xmlNode *body; /* s:Body, part of doc */
};

/* ---- requests ---- */

static void
append_header(GString *xml, const char *element, const char *value)
{
    g_string_append_printf(xml, "<%s s:mustUnderstand=\"true\">", element);
    xml_append_escaped(xml, value);
    g_string_append_printf(xml, "</%s>", element);
}

char *
wsman_message_new(const char *action, const WsmanReference *target, const char *body)
{
    GString *xml = g_string_new(NULL);
    g_autofree char *id = g_uuid_string_random();
    g_autofree char *id_upper = g_ascii_strup(id, -1);

    g_string_append(xml, "<s:Envelope xmlns:s=\"" NS_SOAP "\" xmlns:a=\"" NS_ADDRESSING "\" xmlns:n=\"" NS_ENUMERATION
                         "\" xmlns:w=\"" NS_WSMAN "\" xmlns:xsi=\"" NS_XSI "\"><s:Header>");
    append_header(xml, "a:To", WSMAN_ANONYMOUS);
    append_header(xml, "w:ResourceURI", target->resource_uri);
    g_string_append(xml, "<a:ReplyTo><a:Address s:mustUnderstand=\"true\">" WSMAN_ANONYMOUS "</a:Address></a:ReplyTo>");
    append_header(xml, "a:Action", action);
    append_header(xml, "w:MaxEnvelopeSize", MAX_ENVELOPE_BYTES);
    g_string_append_printf(xml, "<a:MessageID>uuid:%s</a:MessageID>", id_upper);
    wsman_reference_write_selectors(target, xml);
    g_string_append(xml, "<w:OperationTimeout>" OPERATION_TIMEOUT "</w:OperationTimeout></s:Header><s:Body>");
    g_string_append(xml, body);
    g_string_append(xml, "</s:Body></s:Envelope>");
    return g_string_free(xml, FALSE);
}

char *
wsman_message_identify(void)
{
    return g_strdup("<s:Envelope xmlns:s=\"" NS_SOAP "\"><s:Header/><s:Body><id:Identify xmlns:id=\"" NS_IDENTITY
                    "\"/></s:Body></s:Envelope>");
}

char *
wsman_body_enumerate(const char *wql)
{
    GString *xml = g_string_new("<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>" ITEMS_PER_MESSAGE "</w:MaxElements>");

    if (wql != NULL) {
        g_string_append(xml, "<w:Filter Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">");
        xml_append_escaped(xml, wql);
        g_string_append(xml, "</w:Filter>");
    }
    g_string_append(xml, "</n:Enumerate>");
    return g_string_free(xml, FALSE);
}

char *
wsman_body_pull(const char *context)
{
    GString *xml = g_string_new("<n:Pull><n:EnumerationContext>");

    xml_append_escaped(xml, context);
    g_string_append(xml, "</n:EnumerationContext><n:MaxElements>" ITEMS_PER_MESSAGE "</n:MaxElements></n:Pull>");
    return g_string_free(xml, FALSE);
}

char *
wsman_body_invoke(const WsmanReference *target, const char *method, const WsmanArguments *arguments)
{
    GString *xml = g_string_new(NULL);

    g_string_append_printf(xml, "<p:%s_INPUT xmlns:p=\"", method);
    xml_append_escaped(xml, target->resource_uri);
    g_string_append(xml, "\">");
    wsman_arguments_write(arguments, xml);
    g_string_append_printf(xml, "</p:%s_INPUT>", method);
    return g_string_free(xml, FALSE);
}

/* ---- answers ---- */

void
wsman_reply_free(WsmanReply *self)
{
    if (self == NULL)
        return;
    xmlFreeDoc(self->doc);
    g_free(self);
}

static WsmanClientError
fault_code(const char *subcode)
{
    const char *colon = subcode != NULL ? strrchr(subcode, ':') : NULL;
    const char *local = colon != NULL ? colon + 1 : subcode;

    if (g_strcmp0(local, "AccessDenied") == 0)
        return WSMAN_CLIENT_ERROR_DENIED;
    if (g_strcmp0(local, "DestinationUnreachable") == 0)
        return WSMAN_CLIENT_ERROR_NOT_FOUND;
    return WSMAN_CLIENT_ERROR_FAULT;
}

static void
set_fault(GError **error, xmlNode *fault)
{
    xmlNode *subcode_node = xml_child(xml_child(fault, NS_SOAP, "Code"), NS_SOAP, "Subcode");
    g_autofree char *subcode = xml_text(xml_child(subcode_node, NS_SOAP, "Value"));
    g_autofree char *reason = xml_text(xml_child(xml_child(fault, NS_SOAP, "Reason"), NS_SOAP, "Text"));
    xmlNode *windows = xml_child(xml_child(fault, NS_SOAP, "Detail"), NS_FAULT, "WSManFault");
    g_autofree char *message = xml_text(xml_child(windows, NS_FAULT, "Message"));
    const char *text = message != NULL && *g_strstrip(message) != '\0' ? message : reason;

    g_set_error(error, WSMAN_CLIENT_ERROR, fault_code(subcode != NULL ? g_strstrip(subcode) : NULL), "%s",
                text != NULL ? text : "the service answered with a fault that has no text");
}

WsmanReply *
wsman_reply_parse(const void *data, size_t length, GError **error)
{
    g_autoptr(WsmanReply) self = g_new0(WsmanReply, 1);
    xmlNode *fault;

    self->doc = xml_parse(data, length, error);
    if (self->doc == NULL)
        return NULL;
    self->body = xml_child(xmlDocGetRootElement(self->doc), NS_SOAP, "Body");
    if (self->body == NULL) {
        g_set_error_literal(error, WSMAN_CLIENT_ERROR, WSMAN_CLIENT_ERROR_PROTOCOL, "The answer is XML, but no SOAP envelope");
        return NULL;
    }
    fault = xml_child(self->body, NS_SOAP, "Fault");
    if (fault != NULL) {
        set_fault(error, fault);
        return NULL;
    }
    return g_steal_pointer(&self);
}

WsmanInstance *
wsman_reply_instance(const WsmanReply *self, GError **error)
{
    xmlNode *node = xml_first_element(self->body);

    if (node == NULL) {
        g_set_error_literal(error, WSMAN_CLIENT_ERROR, WSMAN_CLIENT_ERROR_PROTOCOL, "The answer of the service has an empty body");
        return NULL;
    }
    return wsman_instance_from_node(node);
}

char *
wsman_reply_message(const WsmanReply *self)
{
    xmlNode *header = xml_child(xmlDocGetRootElement(self->doc), NS_SOAP, "Header");

    return xml_text(xml_child(header, NS_MESSAGE, "Message"));
}

bool
wsman_reply_items(const WsmanReply *self, GPtrArray *items, char **ret_context, GError **error)
{
    xmlNode *response = xml_child(self->body, NS_ENUMERATION, "EnumerateResponse");
    const char *ns = NS_WSMAN; /* of Items and EndOfSequence: an EnumerateResponse has them in the wsman namespace */
    g_autofree char *context = NULL;

    if (response == NULL) {
        response = xml_child(self->body, NS_ENUMERATION, "PullResponse");
        ns = NS_ENUMERATION;
    }
    if (response == NULL) {
        g_set_error_literal(error, WSMAN_CLIENT_ERROR, WSMAN_CLIENT_ERROR_PROTOCOL, "The answer is not one to an enumeration");
        return false;
    }
    for (xmlNode *item = xml_first_element(xml_child(response, ns, "Items")); item != NULL;
         item = xmlNextElementSibling(item))
        g_ptr_array_add(items, wsman_instance_from_node(item));
    context = xml_text(xml_child(response, NS_ENUMERATION, "EnumerationContext"));
    if (xml_child(response, ns, "EndOfSequence") != NULL || (context != NULL && *context == '\0'))
        g_clear_pointer(&context, g_free);
    *ret_context = g_steal_pointer(&context);
    return true;
}
