#include "link/link-wire.h"

#include <string.h>

/* A sender may be slow in reading its disks, or hold back for the sake of its guests. */
enum { DEFAULT_IDLE_SEC = 300 };

struct LinkServer {
    HttpServer   *http;
    LinkServerOps ops;
};

typedef struct {
    LinkServer  *server;
    HttpRequest *request;
    LinkPeer     peer;
    char        *vm_uuid; /* of the path; NULL for hello */
    char        *disk;    /* of the path of hashes and changes */
    bool         check_only; /* of the path of a reversal */
    bool         broken;  /* the log's stream broke: whatever the op made of it, the sender is to try again */
} Call;

/* Each takes the body and makes the JSON text of the answer, or false with @error. */
typedef bool (*CallRun)(Call *call, char **ret_json, GError **error);

static bool
run_hello(Call *call, char **ret_json, GError **error)
{
    g_autofree char *host = NULL;
    if (!call->server->ops.hello(call->server->ops.opaque, &call->peer, &host, error))
        return false;
    *ret_json = link_hello_to_json(host != NULL ? host : "");
    return true;
}

static bool
run_any_offer(Call *call, bool update, char **ret_json, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GBytes) body = http_request_body(call->request, LINK_OFFER_MAX, &cause);
    if (body == NULL) {
        g_set_error_literal(error, LINK_ERROR, LINK_ERROR_PROTOCOL, cause->message);
        return false;
    }
    LinkOffer offer = { NULL };
    LinkPosition position = { 0 };
    if (!link_offer_from_json(body, call->vm_uuid, &offer, error))
        return false;
    bool good = call->server->ops.offer(call->server->ops.opaque, &call->peer, &offer, update, &position, error);
    link_offer_clear(&offer);
    if (good)
        *ret_json = link_position_to_json(&position);
    return good;
}

static bool
run_offer(Call *call, char **ret_json, GError **error)
{
    return run_any_offer(call, false, ret_json, error);
}

static bool
run_update(Call *call, char **ret_json, GError **error)
{
    return run_any_offer(call, true, ret_json, error);
}

static bool
run_reversal(Call *call, char **ret_json, GError **error)
{
    LinkReversal reversal = { .check_only = call->check_only };
    const char *lineage = http_request_header(call->request, LINK_HEADER_FROM_LINEAGE);
    g_autoptr(GError) cause = NULL;
    g_autoptr(GBytes) body = http_request_body(call->request, LINK_OFFER_MAX, &cause);
    if (body == NULL || !link_uuid_valid(lineage) ||
        !link_number_parse(http_request_header(call->request, LINK_HEADER_FROM_POSITION), &reversal.from_position) ||
        !link_digest_parse(http_request_header(call->request, LINK_HEADER_FROM_DIGEST), reversal.from_digest)) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL, "VM '%s': the reversal is malformed: %s", call->vm_uuid,
                    cause != NULL ? cause->message : "lineage, position or digest");
        return false;
    }
    g_strlcpy(reversal.from_lineage, lineage, sizeof reversal.from_lineage);
    LinkPosition position = { 0 };
    if (!link_offer_from_json(body, call->vm_uuid, &reversal.offer, error))
        return false;
    bool good = call->server->ops.reverse(call->server->ops.opaque, &call->peer, &reversal, &position, error);
    link_offer_clear(&reversal.offer);
    if (good)
        *ret_json = link_position_to_json(&position);
    return good;
}

static bool
run_position(Call *call, char **ret_json, GError **error)
{
    LinkPosition position = { 0 };
    bool runs = g_strcmp0(http_request_query(call->request, "vm"), "runs") == 0;
    if (!call->server->ops.position(call->server->ops.opaque, &call->peer, call->vm_uuid, runs, &position, error))
        return false;
    *ret_json = link_position_to_json(&position);
    return true;
}

static bool
run_keep_role(Call *call, char **ret_json, GError **error)
{
    LinkPosition position = { 0 };
    if (!call->server->ops.keep_role(call->server->ops.opaque, &call->peer, call->vm_uuid, &position, error))
        return false;
    *ret_json = link_position_to_json(&position);
    return true;
}

static bool
run_remove(Call *call, char **ret_json, GError **error)
{
    if (!call->server->ops.remove(call->server->ops.opaque, &call->peer, call->vm_uuid, error))
        return false;
    *ret_json = g_strdup("{}");
    return true;
}

static ssize_t
read_log(void *opaque, void *buffer, size_t length, GError **error)
{
    Call *call = opaque;
    ssize_t got = http_request_read(call->request, buffer, length, error);
    call->broken = call->broken || got < 0;
    return got;
}

/* What is acknowledged must be what was sent, to its last byte. */
static bool
check_end(Call *call, GError **error)
{
    char byte;
    g_autoptr(GError) cause = NULL;
    ssize_t got = read_log(call, &byte, 1, &cause);
    if (got == 0)
        return true;
    g_set_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL, "VM '%s': the log does not end where it should: %s", call->vm_uuid,
                got < 0 ? cause->message : "more bytes follow");
    return false;
}

static bool
run_log(Call *call, char **ret_json, GError **error)
{
    uint64_t kind = 0, age = 0, offset = 0;
    const char *coding = http_request_header(call->request, "Transfer-Encoding");
    const char *lineage = http_request_header(call->request, LINK_HEADER_LINEAGE);
    const char *escaped = http_request_header(call->request, LINK_HEADER_TOKEN);
    const char *id = http_request_header(call->request, LINK_HEADER_ID);
    g_autofree char *token = escaped != NULL ? g_uri_unescape_string(escaped, NULL) : NULL;
    if (coding == NULL || !link_uuid_valid(lineage) ||
        !link_number_parse(http_request_header(call->request, LINK_HEADER_KIND), &kind) || kind < CHANGE_LOG_DELTA ||
        kind > CHANGE_LOG_RESYNC || !link_number_parse(http_request_header(call->request, LINK_HEADER_AGE), &age) ||
        !link_number_parse(http_request_header(call->request, LINK_HEADER_OFFSET), &offset) ||
        (escaped != NULL && (token == NULL || !link_token_valid(token))) || (id != NULL && !link_uuid_valid(id)) ||
        (offset > 0 && id == NULL)) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL, "VM '%s': the headers of the log are missing or malformed",
                    call->vm_uuid);
        return false;
    }
    ChangeLogSource source = { .read = read_log, .opaque = call };
    LinkStream stream = { .age_usec = (int64_t)age, .pass_token = token, .id = id, .resume_at = offset };
    LinkPosition position = { 0 };
    if (!call->server->ops.receive(call->server->ops.opaque, &call->peer, call->vm_uuid, source, &stream, &position,
                                   error) ||
        !check_end(call, error))
        return false;
    *ret_json = link_position_to_json(&position);
    return true;
}

typedef bool (*AskFunc)(void *opaque, const LinkPeer *peer, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length,
                        GByteArray *bytes, GError **error);

/* The answer is plain digits, which any JSON reader takes for no object: the client reads them as they are. */
static bool
answer_about(Call *call, AskFunc ask, uint64_t maximum, char **ret_json, GError **error)
{
    uint64_t offset, length;
    if (!link_number_parse(http_request_query(call->request, "offset"), &offset) ||
        !link_number_parse(http_request_query(call->request, "length"), &length) || length > maximum) {
        g_set_error_literal(error, LINK_ERROR, LINK_ERROR_PROTOCOL, "offset or length is missing or malformed");
        return false;
    }
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    if (!ask(call->server->ops.opaque, &call->peer, call->vm_uuid, call->disk, offset, length, bytes, error))
        return false;
    *ret_json = link_hashes_to_text(bytes);
    return true;
}

static bool
run_hashes(Call *call, char **ret_json, GError **error)
{
    return answer_about(call, call->server->ops.hashes, LINK_HASHED_MAX, ret_json, error);
}

static bool
run_changes(Call *call, char **ret_json, GError **error)
{
    return answer_about(call, call->server->ops.changes, LINK_CHANGES_MAX, ret_json, error);
}

typedef enum {
    RESOURCE_NONE, RESOURCE_HELLO, RESOURCE_RELATIONSHIP, RESOURCE_LOG, RESOURCE_HASHES, RESOURCE_CHANGES, RESOURCE_ROLE,
    RESOURCE_ROLE_KEPT,
} Resource;

static const struct {
    Resource    resource;
    const char *method;
    CallRun     run;
} routes[] = {
    { RESOURCE_HELLO, "GET", run_hello },
    { RESOURCE_RELATIONSHIP, "POST", run_offer },
    { RESOURCE_RELATIONSHIP, "PUT", run_update },
    { RESOURCE_RELATIONSHIP, "GET", run_position },
    { RESOURCE_RELATIONSHIP, "DELETE", run_remove },
    { RESOURCE_LOG, "POST", run_log },
    { RESOURCE_HASHES, "GET", run_hashes },
    { RESOURCE_CHANGES, "GET", run_changes },
    { RESOURCE_ROLE, "POST", run_reversal },
    { RESOURCE_ROLE_KEPT, "POST", run_keep_role },
};

/* Only the exact form of a path is one: nothing is normalized, so there is nothing to trick. */
static Resource
parse_path(Call *call, const char *path)
{
    if (!g_str_has_prefix(path, LINK_PATH))
        return RESOURCE_NONE;
    path += strlen(LINK_PATH);
    if (strcmp(path, "hello") == 0)
        return RESOURCE_HELLO;

    g_auto(GStrv) parts = g_strsplit(path, "/", 5);
    unsigned count = g_strv_length(parts);
    if ((count != 2 && count != 4) || strcmp(parts[0], "relationships") != 0 || !link_uuid_valid(parts[1]))
        return RESOURCE_NONE;
    call->vm_uuid = g_strdup(parts[1]);
    if (count == 2)
        return RESOURCE_RELATIONSHIP;
    uint64_t position;
    bool hashes = strcmp(parts[2], "hashes") == 0;
    if ((hashes || strcmp(parts[2], "changes") == 0) && link_disk_valid(parts[3])) {
        call->disk = g_strdup(parts[3]);
        return hashes ? RESOURCE_HASHES : RESOURCE_CHANGES;
    }
    call->check_only = strcmp(parts[3], "check") == 0;
    if (strcmp(parts[2], "role") == 0 && (call->check_only || strcmp(parts[3], "reverse") == 0))
        return RESOURCE_ROLE;
    if (strcmp(parts[2], "role") == 0)
        return strcmp(parts[3], "keep") == 0 ? RESOURCE_ROLE_KEPT : RESOURCE_NONE;
    return strcmp(parts[2], "logs") == 0 && link_number_parse(parts[3], &position) ? RESOURCE_LOG : RESOURCE_NONE;
}

static void
answer(HttpRequest *request, unsigned status, const char *json)
{
    http_request_answer(request, status, "application/json", json, strlen(json));
}

static void
refuse(HttpRequest *request, unsigned status, LinkError code, const char *text)
{
    g_autoptr(GError) error = g_error_new_literal(LINK_ERROR, (int)code, text);
    LinkError ignored;
    g_autofree char *json = link_error_to_json(error, &ignored);
    answer(request, status, json);
}

static void
answer_error(Call *call, const GError *error)
{
    LinkError code;
    g_autofree char *json = link_error_to_json(error, &code);
    if (call->broken)
        refuse(call->request, link_error_status(LINK_ERROR_UNREACHABLE), LINK_ERROR_UNREACHABLE,
               error != NULL ? error->message : "the stream broke");
    else
        answer(call->request, link_error_status(code), json);
}

static void
dispatch(Call *call)
{
    HttpRequest *request = call->request;
    const char *method = http_request_method(request);
    Resource resource = parse_path(call, http_request_path(request));
    if (resource == RESOURCE_NONE) {
        refuse(request, 404, LINK_ERROR_PROTOCOL, "no such path; is the other side of another version?");
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(routes); i++) {
        if (routes[i].resource != resource || strcmp(routes[i].method, method) != 0)
            continue;
        g_autoptr(GError) error = NULL;
        g_autofree char *json = NULL;
        if (routes[i].run(call, &json, &error))
            answer(request, 200, json);
        else
            answer_error(call, error);
        return;
    }
    refuse(request, 405, LINK_ERROR_PROTOCOL, "the path has no such method");
}

static void
handle(void *opaque, HttpRequest *request)
{
    const char *const *names = http_request_certificate_names(request);
    if (names == NULL || names[0] == NULL) {
        refuse(request, 403, LINK_ERROR_TRUST, "the certificate carries no name");
        return;
    }
    Call call = { .server = opaque, .request = request,
                  .peer = { .names = names, .address = http_request_remote(request) } };
    dispatch(&call);
    g_free(call.vm_uuid);
    g_free(call.disk);
}

LinkServer *
link_server_start(const HttpServerConfig *config, const LinkServerOps *ops, GError **error)
{
    if (config->unix_path != NULL || config->certificate_file == NULL || config->client_ca_file == NULL ||
        !config->require_client_certificate || !config->tls13_only) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_TRUST,
                    "a link is served with TLS 1.3 and certificates on both sides only; configure certificate, key and CA");
        return NULL;
    }
    HttpServerConfig own = *config;
    if (own.idle_timeout_sec == 0)
        own.idle_timeout_sec = DEFAULT_IDLE_SEC;
    LinkServer *self = g_new0(LinkServer, 1);
    self->ops = *ops;
    self->http = http_server_start(&own, handle, self, error);
    if (self->http == NULL)
        g_clear_pointer(&self, g_free);
    return self;
}

void
link_server_stop(LinkServer *self)
{
    if (self == NULL)
        return;
    http_server_stop(self->http);
    g_free(self);
}

uint16_t
link_server_port(const LinkServer *self)
{
    return http_server_port(self->http);
}
