#include "wsman/request.h"

#include <string.h>

#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/xml-read.h"

typedef bool (*HeaderReader)(Request *self, xmlNode *node, GError **error);

static bool
read_text(char **field, xmlNode *node, GError **error)
{
    if (*field != NULL) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_HEADER_INVALID,
                    "Header '%s' is given twice.", (const char *)node->name);
        return false;
    }
    *field = xml_trimmed(node);
    return true;
}

static bool
read_action(Request *self, xmlNode *node, GError **error)
{
    return read_text(&self->action, node, error);
}

static bool
read_message_id(Request *self, xmlNode *node, GError **error)
{
    return read_text(&self->message_id, node, error);
}

static bool
read_resource_uri(Request *self, xmlNode *node, GError **error)
{
    return read_text(&self->resource_uri, node, error);
}

/* Answers go back on the connection they were asked on. */
static bool
read_reply_to(Request *self, xmlNode *node, GError **error)
{
    const xmlNode *address = xml_child(node, NS_ADDRESSING, "Address");
    g_autofree char *text = address != NULL ? xml_trimmed(address) : g_strdup("");

    if (g_str_equal(text, ADDRESS_ANONYMOUS))
        return true;
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_ADDRESSING_MODE,
                "Answers are sent to the anonymous address only, not to '%s'.",
                text);
    return false;
}

static bool
read_max_envelope(Request *self, xmlNode *node, GError **error)
{
    g_autofree char *text = xml_trimmed(node);
    guint64 number = 0;

    if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32, &number, NULL) || number < ENVELOPE_MINIMUM) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_ENVELOPE_TOO_SMALL,
                    "MaxEnvelopeSize '%s' is below the minimum of %d bytes.",
                    text, ENVELOPE_MINIMUM);
        return false;
    }
    self->max_envelope = MIN(number, ENVELOPE_LIMIT);
    return true;
}

static bool
read_timeout(Request *self, xmlNode *node, GError **error)
{
    g_autofree char *text = xml_trimmed(node);
    gint64 usec = request_parse_duration(text);

    if (usec >= 0)
        self->timeout_usec = usec;
    return true;
}

static bool
read_selectors(Request *self, xmlNode *node, GError **error)
{
    GPtrArray *selectors = selectors_parse(node, error);

    if (selectors == NULL)
        return false;
    g_ptr_array_unref(self->selectors);
    self->selectors = selectors;
    return true;
}

static void
option_free(void *data)
{
    RequestOption *self = data;

    g_free(self->name);
    g_free(self->value);
    g_free(self);
}

static const char *
option_local_name(const char *name)
{
    const char *colon = strrchr(name, ':');

    return colon != NULL ? colon + 1 : name;
}

/* Options that mean something to an operation, or that clients insist on although they ask for nothing we do. */
static const char *const known_options[] = {
    "IncludeInheritanceHierarchy", "IncludeInheritedElements", "IncludeQualifiers", "IncludeClassOrigin", "UsePreciseArrays",
    "includepropertymetadata", "ShowExtensions", "__MIInstanceModifiedPropertiesList", "__MI_CallbackRegistration",
    "__MI_OPERATIONOPTIONS_CHANNELVALUE", "__MI_OPERATIONOPTIONS_WRITEERRORMODE",
};

static bool
option_is_known(const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(known_options); i++) {
        if (g_ascii_strcasecmp(option_local_name(name), known_options[i]) == 0)
            return true;
    }
    return false;
}

static bool
read_options(Request *self, xmlNode *node, GError **error)
{
    for (xmlNode *child = xml_first_child(node); child != NULL; child = xml_next(child)) {
        g_autofree char *name = xml_attribute_of(child, "Name");
        RequestOption *option = NULL;

        if (!xml_is(child, NS_WSMAN, "Option") || name == NULL) {
            g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_SCHEMA_VALIDATION,
                        "The option set holds something that is not an Option with a Name.");
            return false;
        }
        if (xml_flag(child, "MustComply") && !option_is_known(name)) {
            g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_OPTIONS, "Option '%s' is not known here.", name);
            return false;
        }
        option = g_new0(RequestOption, 1);
        option->name = g_steal_pointer(&name);
        option->value = xml_trimmed(child);
        g_ptr_array_add(self->options, option);
    }
    return true;
}

static bool
read_count_wanted(Request *self, xmlNode *node, GError **error)
{
    self->count_wanted = true;
    return true;
}

static bool
read_fragment(Request *self, xmlNode *node, GError **error)
{
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_FRAGMENT,
                "Fragments of an instance cannot be read or written; leave out "
                "FragmentTransfer.");
    return false;
}

/* Every header that is understood; no reader: it asks for nothing. */
static const struct {
    const char  *ns, *name;
    HeaderReader read;
} headers[] = {
    { NS_ADDRESSING, "To", NULL },
    { NS_ADDRESSING, "From", NULL },
    { NS_ADDRESSING, "RelatesTo", NULL },
    { NS_ADDRESSING, "Action", read_action },
    { NS_ADDRESSING, "MessageID", read_message_id },
    { NS_ADDRESSING, "ReplyTo", read_reply_to },
    { NS_ADDRESSING, "FaultTo", read_reply_to },
    { NS_WSMAN, "ResourceURI", read_resource_uri },
    { NS_WSMAN, "SelectorSet", read_selectors },
    { NS_WSMAN, "OptionSet", read_options },
    { NS_WSMAN, "MaxEnvelopeSize", read_max_envelope },
    { NS_WSMAN, "OperationTimeout", read_timeout },
    { NS_WSMAN, "Locale", NULL },
    { NS_WSMAN, "RequestTotalItemsCountEstimate", read_count_wanted },
    { NS_WSMAN, "FragmentTransfer", read_fragment },
    { NS_MS_WSMAN, "DataLocale", NULL },
    { NS_MS_WSMAN, "SessionId", NULL },
    { NS_MS_WSMAN, "OperationID", NULL },
    { NS_MS_WSMAN, "SequenceId", NULL },
    { NS_MS_WSMAN, "ActivityId", NULL },
};

static bool
read_header(Request *self, xmlNode *node, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(headers); i++) {
        if (xml_is(node, headers[i].ns, headers[i].name))
            return headers[i].read == NULL || headers[i].read(self, node, error);
    }
    if (!xml_flag(node, "mustUnderstand"))
        return true;
    self->not_understood_name = g_strdup((const char *)node->name);
    self->not_understood_ns = g_strdup(node->ns != NULL ? (const char *)node->ns->href : "");
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_MUST_UNDERSTAND, "Header '%s' must be understood and is not.",
                self->not_understood_name);
    return false;
}

/* Reads every header even after an error, so that the fault relates to the message; the first error counts. */
static bool
read_headers(Request *self, const xmlNode *header, GError **error)
{
    g_autoptr(GError) first = NULL;

    for (xmlNode *node = xml_first_child(header); node != NULL; node = xml_next(node)) {
        g_autoptr(GError) reason = NULL;

        if (!read_header(self, node, &reason) && first == NULL)
            first = g_steal_pointer(&reason);
    }
    if (first == NULL)
        return true;
    g_propagate_error(error, g_steal_pointer(&first));
    return false;
}

static bool
require(const char *value, const char *name, GError **error)
{
    if (value != NULL && *value != '\0')
        return true;
    g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_HEADER_REQUIRED, "The message lacks header '%s'.", name);
    return false;
}

static bool
invalid_envelope(GError **error, const char *text)
{
    g_set_error_literal(error, WSMAN_ERROR, WSMAN_ERROR_SCHEMA_VALIDATION, text);
    return false;
}

/* Finds s:Header and s:Body; each at most once, the header first. */
static bool
split_envelope(const xmlNode *root, xmlNode **ret_header, xmlNode **ret_body, GError **error)
{
    if (!xml_is(root, NULL, "Envelope"))
        return invalid_envelope(error, "The message is not a SOAP envelope.");
    if (!xml_is(root, NS_SOAP, "Envelope")) {
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_VERSION, "The envelope is not of SOAP 1.2.");
        return false;
    }
    for (xmlNode *node = xml_first_child(root); node != NULL; node = xml_next(node)) {
        if (xml_is(node, NS_SOAP, "Header") && *ret_header == NULL && *ret_body == NULL)
            *ret_header = node;
        else if (xml_is(node, NS_SOAP, "Body") && *ret_body == NULL)
            *ret_body = node;
        else
            return invalid_envelope(error, "The envelope must hold one Header and one Body, in this order.");
    }
    if (*ret_body == NULL)
        return invalid_envelope(error, "The envelope has no Body.");
    return true;
}

static bool
read_envelope(Request *self, GError **error)
{
    xmlNode *header = NULL, *body = NULL;

    if (!split_envelope(xmlDocGetRootElement(self->doc), &header, &body, error))
        return false;
    self->body = xml_first_child(body);
    self->identify = xml_is(self->body, NS_IDENTITY, "Identify");
    if (!read_headers(self, header, error))
        return false;
    if (self->identify)
        return true;
    if (!require(self->action, "Action", error) || !require(self->message_id, "MessageID", error))
        return false;
    if (self->resource_uri == NULL)
        return true;
    self->resource = resource_parse(self->resource_uri, self->selectors, error);
    return self->resource != NULL;
}

bool
request_parse(const char *utf8, Request **ret, GError **error)
{
    Request *self = NULL;
    xmlDoc *doc = xml_parse(utf8, error);

    *ret = NULL;
    if (doc == NULL)
        return false;
    self = g_new0(Request, 1);
    self->doc = doc;
    self->selectors = selectors_parse(NULL, NULL);
    self->options = g_ptr_array_new_with_free_func(option_free);
    self->max_envelope = ENVELOPE_LIMIT;
    self->timeout_usec = TIMEOUT_DEFAULT_USEC;
    *ret = self;
    return read_envelope(self, error);
}

void
request_free(Request *self)
{
    if (self == NULL)
        return;
    xmlFreeDoc(self->doc);
    g_free(self->action);
    g_free(self->message_id);
    g_free(self->resource_uri);
    resource_free(self->resource);
    g_ptr_array_unref(self->selectors);
    g_ptr_array_unref(self->options);
    g_free(self->not_understood_name);
    g_free(self->not_understood_ns);
    g_free(self);
}

const char *
request_option(const Request *self, const char *name)
{
    for (guint i = 0; i < self->options->len; i++) {
        const RequestOption *option = g_ptr_array_index(self->options, i);

        if (g_ascii_strcasecmp(option_local_name(option->name), name) == 0)
            return option->value;
    }
    return NULL;
}

bool
request_option_true(const Request *self, const char *name, bool when_absent)
{
    const char *value = request_option(self, name);

    if (value == NULL)
        return when_absent;
    return g_ascii_strcasecmp(value, "true") == 0 || g_str_equal(value, "1");
}

/* Units of the date part and of the time part ("M" is a month before the T and a minute after it). */
static gint64
unit_seconds(char unit, bool in_time)
{
    switch (g_ascii_toupper(unit)) {
    case 'Y': return 365 * 86400;
    case 'M': return in_time ? 60 : 30 * 86400;
    case 'D': return 86400;
    case 'H': return 3600;
    case 'S': return 1;
    default: return 0;
    }
}

gint64
request_parse_duration(const char *text)
{
    const double limit_sec = 366.0 * 86400;
    double seconds = 0;
    bool in_time = false;
    const char *p = text;

    if (g_ascii_toupper(*p++) != 'P')
        return -1;
    while (*p != '\0') {
        char *end = NULL;
        double number = 0;

        if (g_ascii_toupper(*p) == 'T') {
            in_time = true;
            p++;
            continue;
        }
        if (!g_ascii_isdigit(*p))
            return -1;
        number = g_ascii_strtod(p, &end);
        if (unit_seconds(*end, in_time) == 0)
            return -1;
        seconds += number * (double)unit_seconds(*end, in_time);
        p = end + 1;
    }
    return (gint64)(MIN(seconds, limit_sec) * G_USEC_PER_SEC);
}
