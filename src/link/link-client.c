#include "link/link-wire.h"

#include <string.h>

/* The peer acknowledges a log only once it is durable, and holds it back when its backlog is full. */
enum { DEFAULT_STALL_SEC = 120 };

struct LinkClient {
    HttpClient *http;
};

struct LinkUpload {
    HttpUpload *http;
    GError     *failure; /* of a write; what finish reports */
};

/* Takes @cause. */
static bool
translate(GError *cause, GError **error)
{
    LinkError code = cause->code == HTTP_ERROR_TRUST || cause->code == HTTP_ERROR_TLS ? LINK_ERROR_TRUST
                     : cause->code == HTTP_ERROR_BODY                                ? LINK_ERROR_PROTOCOL
                                                                                     : LINK_ERROR_UNREACHABLE;
    g_set_error_literal(error, LINK_ERROR, code, cause->message);
    g_error_free(cause);
    return false;
}

LinkClient *
link_client_new(const HttpClientConfig *config, GError **error)
{
    if (!config->tls || config->unix_path != NULL || config->ca_file == NULL || config->certificate_file == NULL ||
        config->key_file == NULL) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_TRUST,
                    "a link needs TLS with a CA file, a certificate and its key; configure them");
        return NULL;
    }
    HttpClientConfig own = *config;
    if (own.stall_timeout_sec == 0)
        own.stall_timeout_sec = DEFAULT_STALL_SEC;
    GError *cause = NULL;
    HttpClient *http = http_client_new(&own, &cause);
    if (http == NULL) {
        translate(cause, error);
        return NULL;
    }
    LinkClient *self = g_new0(LinkClient, 1);
    self->http = http;
    return self;
}

void
link_client_free(LinkClient *self)
{
    if (self == NULL)
        return;
    http_client_free(self->http);
    g_free(self);
}

/* Returns: (transfer full): the answer of status 200, else NULL with @error */
static GBytes *
request(LinkClient *self, const char *method, const char *path, const char *body, GError **error)
{
    static const char *const json[] = { "Content-Type: application/json", NULL };
    GError *cause = NULL;
    unsigned status = 0;
    g_autoptr(GBytes) answer = NULL;
    if (!http_client_request(self->http, method, path, body != NULL ? json : NULL, body,
                             body != NULL ? strlen(body) : 0, &status, &answer, &cause)) {
        translate(cause, error);
        return NULL;
    }
    if (status != 200) {
        link_error_from_answer(status, answer, error);
        return NULL;
    }
    return g_steal_pointer(&answer);
}

/* Returns: (transfer full): the path of a relationship, NULL with @error when @vm_uuid is none */
static char *
relationship_path(const char *vm_uuid, GError **error)
{
    if (link_uuid_valid(vm_uuid))
        return g_strconcat(LINK_PATH "relationships/", vm_uuid, NULL);
    g_set_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL, "'%s' is no UUID in lower case", vm_uuid);
    return NULL;
}

bool
link_client_hello(LinkClient *self, char **ret_host, GError **error)
{
    g_autoptr(GBytes) answer = request(self, "GET", LINK_PATH "hello", NULL, error);
    g_autofree char *host = NULL;
    if (answer == NULL || !link_hello_from_json(answer, &host, error))
        return false;
    if (ret_host != NULL)
        *ret_host = g_steal_pointer(&host);
    return true;
}

static bool
send_offer(LinkClient *self, const char *method, const LinkOffer *offer, LinkPosition *ret_position, GError **error)
{
    if (!link_offer_check(offer, error))
        return false;
    g_autofree char *path = relationship_path(offer->vm_uuid, error);
    g_autofree char *body = link_offer_to_json(offer);
    g_autoptr(GBytes) answer = request(self, method, path, body, error);
    return answer != NULL && link_position_from_json(answer, ret_position, error);
}

bool
link_client_offer(LinkClient *self, const LinkOffer *offer, LinkPosition *ret_position, GError **error)
{
    return send_offer(self, "POST", offer, ret_position, error);
}

bool
link_client_update(LinkClient *self, const LinkOffer *offer, LinkPosition *ret_position, GError **error)
{
    return send_offer(self, "PUT", offer, ret_position, error);
}

bool
link_client_position(LinkClient *self, const char *vm_uuid, LinkPosition *ret_position, GError **error)
{
    g_autofree char *path = relationship_path(vm_uuid, error);
    g_autoptr(GBytes) answer = path != NULL ? request(self, "GET", path, NULL, error) : NULL;
    return answer != NULL && link_position_from_json(answer, ret_position, error);
}

bool
link_client_hashes(LinkClient *self, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length,
                   GByteArray **ret_hashes, GError **error)
{
    g_autofree char *relationship = relationship_path(vm_uuid, error);
    if (relationship == NULL)
        return false;
    g_autofree char *path = g_strdup_printf("%s/hashes/%s?offset=%" G_GUINT64_FORMAT "&length=%" G_GUINT64_FORMAT,
                                            relationship, disk, offset, length);
    g_autoptr(GBytes) answer = request(self, "GET", path, NULL, error);
    return answer != NULL && link_hashes_from_text(answer, link_hashes_size(length), ret_hashes, error);
}

bool
link_client_remove(LinkClient *self, const char *vm_uuid, GError **error)
{
    g_autofree char *path = relationship_path(vm_uuid, error);
    g_autoptr(GBytes) answer = path != NULL ? request(self, "DELETE", path, NULL, error) : NULL;
    return answer != NULL;
}

/* ---- logs ---- */

static char **
log_headers(const ChangeLogHeader *header, int64_t captured_monotonic_usec, const char *pass_token, uint64_t resume_at)
{
    int64_t age = MAX(g_get_monotonic_time() - captured_monotonic_usec, 0);
    GPtrArray *headers = g_ptr_array_new();
    g_ptr_array_add(headers, g_strdup_printf(LINK_HEADER_KIND ": %d", (int)header->kind));
    g_ptr_array_add(headers, g_strdup_printf(LINK_HEADER_LINEAGE ": %s", header->lineage));
    g_ptr_array_add(headers, g_strdup_printf(LINK_HEADER_AGE ": %" G_GINT64_FORMAT, age));
    g_ptr_array_add(headers, g_strdup_printf(LINK_HEADER_OFFSET ": %" G_GUINT64_FORMAT, resume_at));
    if (pass_token != NULL && pass_token[0] != '\0') {
        g_autofree char *escaped = g_uri_escape_string(pass_token, NULL, FALSE);
        g_ptr_array_add(headers, g_strdup_printf(LINK_HEADER_TOKEN ": %s", escaped));
    }
    g_ptr_array_add(headers, NULL);
    return (char **)g_ptr_array_free(headers, FALSE);
}

LinkUpload *
link_client_send_log(LinkClient *self, const char *vm_uuid, const ChangeLogHeader *header,
                     int64_t captured_monotonic_usec, const char *pass_token, uint64_t resume_at, GError **error)
{
    g_autofree char *relationship = relationship_path(vm_uuid, error);
    if (relationship == NULL)
        return NULL;
    if (!link_uuid_valid(header->lineage) || (pass_token != NULL && !link_token_valid(pass_token)) ||
        header->position > INT64_MAX || resume_at > INT64_MAX) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL, "VM '%s': the log's lineage, position or pass token cannot be sent",
                    vm_uuid);
        return NULL;
    }
    g_autofree char *path = g_strdup_printf("%s/logs/%" G_GUINT64_FORMAT, relationship, header->position);
    g_auto(GStrv) headers = log_headers(header, captured_monotonic_usec, pass_token, resume_at);
    GError *cause = NULL;
    HttpUpload *http = http_client_upload(self->http, "POST", path, (const char *const *)headers, &cause);
    if (http == NULL) {
        translate(cause, error);
        return NULL;
    }
    LinkUpload *upload = g_new0(LinkUpload, 1);
    upload->http = http;
    return upload;
}

/* The peer answered before the log was whole: its answer is the reason. */
static void
take_reason(LinkUpload *self, GError *cause)
{
    unsigned status = 0;
    g_autoptr(GBytes) answer = NULL;
    if (cause->code != HTTP_ERROR_STATUS || !http_upload_finish(self->http, &status, &answer, NULL))
        translate(cause, &self->failure);
    else {
        g_error_free(cause);
        link_error_from_answer(status, answer, &self->failure);
    }
}

static bool
upload_write(void *opaque, const void *data, size_t length, GError **error)
{
    LinkUpload *self = opaque;
    GError *cause = NULL;
    if (self->failure == NULL && !http_upload_write(self->http, data, length, &cause))
        take_reason(self, cause);
    if (self->failure == NULL)
        return true;
    g_propagate_error(error, g_error_copy(self->failure));
    return false;
}

ChangeLogSink
link_upload_sink(LinkUpload *self)
{
    return (ChangeLogSink){ .write = upload_write, .opaque = self };
}

bool
link_upload_finish(LinkUpload *self, LinkPosition *ret_position, GError **error)
{
    if (self->failure != NULL) {
        g_propagate_error(error, g_error_copy(self->failure));
        return false;
    }
    GError *cause = NULL;
    unsigned status = 0;
    g_autoptr(GBytes) answer = NULL;
    if (!http_upload_finish(self->http, &status, &answer, &cause))
        return translate(cause, error);
    if (status != 200) {
        link_error_from_answer(status, answer, error);
        return false;
    }
    return link_position_from_json(answer, ret_position, error);
}

void
link_upload_free(LinkUpload *self)
{
    if (self == NULL)
        return;
    http_upload_free(self->http);
    g_clear_error(&self->failure);
    g_free(self);
}

uint64_t
link_upload_sent(const LinkUpload *self)
{
    return http_upload_sent(self->http);
}
