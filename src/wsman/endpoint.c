/* endpoint: WS-Management on a listener: paths, methods, authentication, encodings. */
#include <string.h>
#include <unistd.h>

#include "util/log.h"
#include "wsman/encoding.h"
#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/operation.h"
#include "wsman/xml-read.h"

#define ANONYMOUS_PATH "/wsman-anon/identify"
#define ANONYMOUS_BODY_LIMIT 16384 /* an Identify is a few hundred bytes */
#define CONTEXT_IDLE_USEC (240 * G_USEC_PER_SEC) /* WinRM's EnumerationTimeoutms */
#define CONTEXTS_PER_USER 100
#define CONTEXTS_IN_ALL   1000 /* each holds its instances in memory */

struct WsmanEndpoint {
    WsmanServer   *server;
    Authenticator *authenticator;
};

static char *
host_name(void)
{
    char name[256] = "";

    if (gethostname(name, sizeof name - 1) < 0)
        return g_strdup("localhost");
    return g_strdup(name);
}

static EnumerationTable *
new_table(const WsmanConfig *config)
{
    return enumeration_table_new(config->context_idle_usec != 0 ? config->context_idle_usec : CONTEXT_IDLE_USEC,
                                 config->max_contexts_user != 0 ? config->max_contexts_user : CONTEXTS_PER_USER,
                                 config->max_contexts != 0 ? config->max_contexts : CONTEXTS_IN_ALL);
}

WsmanServer *
wsman_new(CimBroker *broker, const WsmanConfig *config)
{
    WsmanServer *self = g_new0(WsmanServer, 1);

    xml_read_init();
    self->broker = broker;
    self->product_version = g_strdup(config->product_version);
    self->machine = config->machine != NULL ? g_strdup(config->machine) : host_name();
    self->enumerations = new_table(config);
    return self;
}

void
wsman_free(WsmanServer *self)
{
    if (self == NULL)
        return;
    enumeration_table_free(self->enumerations);
    g_free(self->product_version);
    g_free(self->machine);
    g_free(self);
}

WsmanEndpoint *
wsman_endpoint_new(WsmanServer *server, Authenticator *authenticator)
{
    WsmanEndpoint *self = g_new0(WsmanEndpoint, 1);

    self->server = server;
    self->authenticator = authenticator;
    return self;
}

void
wsman_endpoint_free(WsmanEndpoint *self)
{
    if (self == NULL)
        return;
    authenticator_free(self->authenticator);
    g_free(self);
}

bool
wsman_endpoint_serves(const char *path)
{
    return g_str_equal(path, "/wsman") || g_str_equal(path, "/wsman/") || g_str_equal(path, ANONYMOUS_PATH);
}

static void
answer_soap(HttpRequest *http, unsigned status, Encoding encoding, const char *text)
{
    g_autoptr(GBytes) bytes = encoding_encode(encoding, text);
    gsize length = 0;
    const void *data = g_bytes_get_data(bytes, &length);

    http_request_answer(http, status, encoding_content_type(encoding), data, length);
}

static void
answer_fault(WsmanEndpoint *self, HttpRequest *http, WsmanError code, const char *message)
{
    g_autoptr(GError) error = g_error_new_literal(WSMAN_ERROR, (int)code, message);
    g_autofree char *text = dispatch_fault(self->server, error);

    answer_soap(http, 500, ENCODING_UTF8, text);
}

static bool
is_xml(const char *content_type)
{
    return g_ascii_strncasecmp(content_type, "application/soap+xml", strlen("application/soap+xml")) == 0 ||
           g_ascii_strncasecmp(content_type, "text/xml", strlen("text/xml")) == 0;
}

/* So that an answer can be given before a long body is sent. */
static bool
is_declared_too_long(const HttpRequest *http, gsize limit)
{
    const char *header = http_request_header(http, "Content-Length");
    guint64 length = 0;

    return header != NULL && !g_ascii_string_to_unsigned(header, 10, 0, limit, &length, NULL);
}

/* The body as UTF-8; NULL when an answer was given instead. */
static char *
read_message(WsmanEndpoint *self, HttpRequest *http, gsize limit, Encoding *ret_encoding)
{
    const char *content_type = http_request_header(http, "Content-Type");
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) body = NULL;
    char *text = NULL;

    *ret_encoding = ENCODING_UTF8;
    if (content_type == NULL || !is_xml(content_type)) {
        http_request_answer_text(http, 400, "Content-Type must be application/soap+xml.\n");
        return NULL;
    }
    if (!is_declared_too_long(http, limit))
        body = http_request_body(http, limit, &error);
    if (body == NULL) {
        http_request_answer_text(http, 413, "The body is too large or incomplete.\n");
        return NULL;
    }
    if (encoding_from_content_type(content_type, ret_encoding))
        text = encoding_decode(body, ret_encoding);
    if (text == NULL)
        answer_fault(self, http, WSMAN_ERROR_CHARACTER_SET,
                     "The message is not in UTF-8 or UTF-16 as its Content-Type says.");
    return text;
}

static bool
is_anonymous(const HttpRequest *http)
{
    const char *header = http_request_header(http, "WSMANIDENTIFY");

    return g_str_equal(http_request_path(http), ANONYMOUS_PATH) ||
           (header != NULL && g_ascii_strcasecmp(header, "unauthenticated") == 0);
}

static void
handle_anonymous(WsmanEndpoint *self, HttpRequest *http)
{
    Encoding encoding = ENCODING_UTF8;
    unsigned status = 0;
    g_autofree char *text = read_message(self, http, ANONYMOUS_BODY_LIMIT, &encoding);
    g_autofree char *answer = NULL;

    if (text == NULL)
        return;
    answer = dispatch_anonymous(self->server, authenticator_profiles(self->authenticator), text, &status);
    if (answer != NULL) {
        answer_soap(http, status, encoding, answer);
        return;
    }
    authenticator_challenge(self->authenticator, http);
    http_request_answer_text(http, 401, "Only Identify is answered without authentication.\n");
}

static void
handle_user(WsmanEndpoint *self, HttpRequest *http, const AuthUser *user)
{
    CimCaller caller = { user->user, user->role };
    Encoding encoding = ENCODING_UTF8;
    unsigned status = 0;
    g_autofree char *text = read_message(self, http, ENVELOPE_LIMIT, &encoding);
    g_autofree char *answer = NULL;

    if (text == NULL)
        return;
    answer = dispatch(self->server, &caller, authenticator_profiles(self->authenticator), text,
                      encoding == ENCODING_UTF8 ? 1 : 2, &status);
    answer_soap(http, status, encoding, answer);
}

void
wsman_endpoint_handle(void *endpoint, HttpRequest *http)
{
    WsmanEndpoint *self = endpoint;
    g_auto(AuthUser) user = { 0 };

    if (!wsman_endpoint_serves(http_request_path(http))) {
        http_request_answer_text(http, 404, "WS-Management is at /wsman.\n");
        return;
    }
    if (!g_str_equal(http_request_method(http), "POST")) {
        http_request_add_header(http, "Allow", "POST");
        http_request_answer_text(http, 405, "WS-Management takes POST only.\n");
        return;
    }
    if (is_anonymous(http)) {
        handle_anonymous(self, http);
        return;
    }
    switch (authenticator_check(self->authenticator, http, &user)) {
    case AUTH_GRANTED:
        handle_user(self, http, &user);
        break;
    case AUTH_REQUIRED:
        authenticator_challenge(self->authenticator, http);
        http_request_answer_text(http, 401, "User name and password are required.\n");
        break;
    case AUTH_FORBIDDEN:
        log_warning("wsman", NULL, "refused a caller from %s: not root, not the service's user, not in its group",
                    http_request_remote(http));
        http_request_answer_text(http, 403, "This user may not use the service.\n");
        break;
    }
}
