/* dispatch: from the text of a request to the text of its answer, by one table of actions. */
#include <string.h>

#include "util/log.h"
#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/operation.h"
#include "wsman/unique.h"
#include "wsman/xml-read.h"

#define MESSAGE_ID_MAX 2048 /* it comes back in every answer */
#define HEADER_ROOM    1536 /* bytes of an answer around its body, beside action and message id */

typedef bool (*OperationRun)(Operation *self, GError **error);

/* What an action needs of its resource */
typedef enum { NEEDS_NOTHING, NEEDS_RESOURCE } Needs;

/* Everything but methods; (action, kind of resource) decides. */
static const struct {
    const char  *action;
    Needs        needs;
    bool         on_class_xml; /* on the URI of class schema instead of instances */
    bool         reads;        /* may be given up when its time is over */
    OperationRun run;          /* NULL: known and refused */
} actions[] = {
    { ACTION_GET, NEEDS_RESOURCE, false, true, operation_get },
    { ACTION_GET, NEEDS_RESOURCE, true, true, operation_get_class },
    { ACTION_PUT, NEEDS_RESOURCE, false, false, operation_put },
    { ACTION_CREATE, NEEDS_RESOURCE, false, false, NULL },
    { ACTION_DELETE, NEEDS_RESOURCE, false, false, NULL },
    { ACTION_ENUMERATE, NEEDS_RESOURCE, false, true, operation_enumerate },
    { ACTION_ENUMERATE, NEEDS_RESOURCE, true, true, operation_enumerate_classes },
    { ACTION_PULL, NEEDS_NOTHING, false, true, operation_pull },
    { ACTION_PULL, NEEDS_NOTHING, true, true, operation_pull },
    { ACTION_RELEASE, NEEDS_NOTHING, false, false, operation_release },
    { ACTION_RELEASE, NEEDS_NOTHING, true, false, operation_release },
    { ACTION_SUBSCRIBE, NEEDS_NOTHING, false, false, operation_subscribe },
};

ValueStyle
operation_style(const Operation *self)
{
    const Resource *resource = self->request->resource;

    return (ValueStyle){ .family = resource != NULL ? resource->family : FAMILY_WMI,
                         .precise_arrays = request_option_true(self->request, "UsePreciseArrays", false) };
}

void
operation_naming_error(const CimPath *path, GError *reason, GError **error)
{
    int code = -1;

    if (g_error_matches(reason, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER) ||
        (g_error_matches(reason, CIM_ERROR, CIM_ERROR_AMBIGUOUS) && path->names->len == 0))
        code = WSMAN_ERROR_SELECTORS_INSUFFICIENT;
    else if (g_error_matches(reason, CIM_ERROR, CIM_ERROR_NO_SUCH_PROPERTY))
        code = WSMAN_ERROR_SELECTORS_UNEXPECTED;
    if (code < 0) {
        g_propagate_error(error, reason);
        return;
    }
    g_set_error_literal(error, WSMAN_ERROR, code, reason->message);
    g_error_free(reason);
}

static bool
need_resource(const Request *request, GError **error)
{
    if (request->resource != NULL)
        return true;
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_RESOURCE_URI, "The message lacks header 'ResourceURI'.");
    return false;
}

static bool
not_supported(const Request *request, GError **error)
{
    if (request->resource->kind == RESOURCE_CLASS && resource_class(request->resource, error) == NULL)
        return false;
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_ACTION, "The action '%s' is not supported here.", request->action);
    return false;
}

static bool
run_invoke(Operation *self, GError **error)
{
    const Request *request = self->request;

    if (!need_resource(request, error))
        return false;
    if (request->resource->kind != RESOURCE_CLASS)
        return not_supported(request, error);
    return operation_invoke(self, error);
}

static bool
run_action(Operation *self, GError **error)
{
    const Request *request = self->request;
    ResourceKind kind = request->resource != NULL ? request->resource->kind : RESOURCE_CLASS;
    gint64 deadline = g_get_monotonic_time() + request->timeout_usec;

    if (kind == RESOURCE_CLASS_XSD) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_FORMAT, "Class definitions are given as CIM-XML only.");
        return false;
    }
    for (guint i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (!g_str_equal(request->action, actions[i].action) || actions[i].on_class_xml != (kind == RESOURCE_CLASS_XML))
            continue;
        if (actions[i].needs == NEEDS_RESOURCE && !need_resource(request, error))
            return false;
        if (actions[i].run == NULL)
            return not_supported(request, error);
        if (!actions[i].run(self, error))
            return false;
        if (!actions[i].reads || g_get_monotonic_time() <= deadline)
            return true;
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_TIMED_OUT,
                    "The operation did not end within its OperationTimeout.");
        return false;
    }
    return run_invoke(self, error);
}

static bool
run(Operation *self, GError **error)
{
    if (self->request->identify)
        return operation_identify(self, error);
    return run_action(self, error);
}

/* ---- answers ---- */

static void
declare_namespaces(XmlWriter *writer, const char *action)
{
    xml_attribute(writer, "xml:lang", "en-US");
    xml_attribute(writer, "xmlns:s", NS_SOAP);
    xml_attribute(writer, "xmlns:a", NS_ADDRESSING);
    if (action == NULL || g_str_has_prefix(action, NS_ENUMERATION))
        xml_attribute(writer, "xmlns:n", NS_ENUMERATION);
    if (action == NULL || g_str_has_prefix(action, NS_TRANSFER))
        xml_attribute(writer, "xmlns:x", NS_TRANSFER);
    if (action == NULL || g_str_has_prefix(action, NS_EVENTING))
        xml_attribute(writer, "xmlns:e", NS_EVENTING);
    xml_attribute(writer, "xmlns:w", NS_WSMAN);
}

static void
write_addressing(XmlWriter *writer, const char *action, const char *relates_to)
{
    g_autofree char *id = unique_uri(true);

    xml_element(writer, "a:Action", action);
    xml_element(writer, "a:MessageID", id);
    xml_element(writer, "a:To", ADDRESS_ANONYMOUS);
    if (relates_to != NULL)
        xml_element(writer, "a:RelatesTo", relates_to);
}

static void
write_answer_headers(XmlWriter *writer, const Operation *operation)
{
    const Request *request = operation->request;
    g_autofree char *action = g_strconcat(request->action, "Response", NULL);

    write_addressing(writer, action, request->message_id);
    if (request->count_wanted && operation->total >= 0) {
        g_autofree char *total = g_strdup_printf("%" G_GINT64_FORMAT, operation->total);

        xml_element(writer, "w:TotalItemsCountEstimate", total);
    }
    if (operation->message != NULL) {
        xml_open(writer, "v:Message");
        xml_attribute(writer, "xmlns:v", NS_MESSAGE);
        xml_text(writer, operation->message);
        xml_close(writer);
    }
}

static char *
answer_text(const Operation *operation, const char *body)
{
    g_autoptr(XmlWriter) writer = xml_writer_new();

    xml_open(writer, "s:Envelope");
    declare_namespaces(writer, operation->request->identify ? "" : operation->request->action);
    xml_open(writer, "s:Header");
    if (!operation->request->identify)
        write_answer_headers(writer, operation);
    xml_close(writer);
    xml_open(writer, "s:Body");
    if (*body != '\0')
        xml_raw(writer, body);
    xml_close(writer);
    xml_close(writer);
    return xml_writer_finish(writer);
}

static void
write_not_understood(XmlWriter *writer, const Request *request)
{
    g_autofree char *qname = g_strconcat("q:", request->not_understood_name, NULL);

    xml_open(writer, "s:NotUnderstood");
    if (*request->not_understood_ns != '\0')
        xml_attribute(writer, "xmlns:q", request->not_understood_ns);
    xml_attribute(writer, "qname", *request->not_understood_ns != '\0' ? qname : request->not_understood_name);
    xml_close(writer);
}

/* @request: (nullable) as far as it was understood */
static char *
fault_text(const WsmanServer *server, const Request *request, const GError *error)
{
    g_autoptr(XmlWriter) writer = xml_writer_new();

    xml_open(writer, "s:Envelope");
    declare_namespaces(writer, NULL);
    xml_open(writer, "s:Header");
    write_addressing(writer, fault_action(error), request != NULL ? request->message_id : NULL);
    if (request != NULL && request->not_understood_name != NULL)
        write_not_understood(writer, request);
    xml_close(writer);
    xml_open(writer, "s:Body");
    fault_write(writer, error, server->machine);
    xml_close(writer);
    xml_close(writer);
    return xml_writer_finish(writer);
}

static gsize
body_room(const Request *request, unsigned bytes_per_char)
{
    gsize around = HEADER_ROOM + (request->action != NULL ? strlen(request->action) : 0) +
                   (request->message_id != NULL ? strlen(request->message_id) : 0);
    gsize whole = request->max_envelope / bytes_per_char;

    return whole > around ? whole - around : 0;
}

static bool
check_room(const Operation *operation, const char *body, GError **error)
{
    if (strlen(body) <= operation->room)
        return true;
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_ANSWER_TOO_LARGE,
                "The answer is larger than the client's MaxEnvelopeSize.");
    return false;
}

static char *
carry_out(Operation *operation, GError **error)
{
    g_autofree char *body = NULL;

    if (!run(operation, error))
        return NULL;
    body = xml_writer_finish(operation->body);
    if (!check_room(operation, body, error))
        return NULL;
    return answer_text(operation, body);
}

static bool
check_message_id(Request *request, GError **error)
{
    if (request->message_id == NULL || strlen(request->message_id) <= MESSAGE_ID_MAX)
        return true;
    g_clear_pointer(&request->message_id, g_free);
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_HEADER_INVALID, "MessageID is longer than %d bytes.", MESSAGE_ID_MAX);
    return false;
}

static char *
run_request(WsmanServer *server, const CimCaller *caller, const char *const *profiles, const Request *request,
            unsigned bytes_per_char, GError **error)
{
    Operation operation = {
        .server = server,
        .caller = caller,
        .request = request,
        .profiles = profiles,
        .anonymous = caller == NULL,
        .room = body_room(request, bytes_per_char),
        .total = -1,
    };
    char *text = NULL;

    operation.body = xml_writer_new();
    text = carry_out(&operation, error);
    xml_writer_free(operation.body);
    g_free(operation.message);
    return text;
}

/* Both texts may hold what the client sent: no control characters of its choice reach the log. */
static void
log_fault(const CimCaller *caller, const Request *request, const GError *error)
{
    const char *action = request != NULL && request->action != NULL ? request->action : "no action";
    g_autofree char *line = g_strdup_printf("fault for %s, %.200s: %.400s", caller->user, action, error->message);

    for (char *p = line; *p != '\0'; p++)
        *p = g_ascii_iscntrl(*p) ? ' ' : *p;
    log_info("wsman", NULL, "%s", line);
}

char *
dispatch(WsmanServer *server, const CimCaller *caller, const char *const *profiles, const char *utf8,
         unsigned bytes_per_char, unsigned *ret_status)
{
    g_autoptr(Request) request = NULL;
    g_autoptr(GError) error = NULL;
    bool parsed = request_parse(utf8, &request, &error);
    char *text = NULL;

    if (request != NULL && !check_message_id(request, error == NULL ? &error : NULL))
        parsed = false;
    if (parsed)
        text = run_request(server, caller, profiles, request, bytes_per_char, &error);
    *ret_status = text != NULL ? 200 : 500;
    if (text == NULL) {
        log_fault(caller, request, error);
        text = fault_text(server, request, error);
    }
    return text;
}

char *
dispatch_anonymous(WsmanServer *server, const char *const *profiles, const char *utf8, unsigned *ret_status)
{
    g_autoptr(Request) request = NULL;

    if (!request_parse(utf8, &request, NULL) || !request->identify)
        return NULL;
    *ret_status = 200;
    return run_request(server, NULL, profiles, request, 1, NULL);
}

char *
dispatch_fault(WsmanServer *server, const GError *error)
{
    return fault_text(server, NULL, error);
}
