#include "link/link-tail.h"
#include "link/link-wire.h"

#include <string.h>

/* The peer acknowledges a log only once it is durable, and holds it back when its backlog is full. */
enum { DEFAULT_STALL_SEC = 120 };

struct LinkClient {
    HttpClient *http;
};

struct LinkUpload {
    LinkClient   *client;
    HttpUpload   *http;    /* the stream that is open; NULL: it failed */
    GError       *failure; /* why; what all calls report until the log is resumed */
    LinkTail     *tail;    /* what was written last */
    uint64_t      sent_before; /* in earlier streams */
    char         *path, *id, *lineage, *pass_token;
    ChangeLogKind kind;
    int64_t       captured_usec; /* monotonic */
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

#define JSON_HEADER "Content-Type: application/json"

/* Returns: (transfer full): the answer of status 200, else NULL with @error */
static GBytes *
request_with(LinkClient *self, const char *method, const char *path, const char *const *headers, const char *body, GError **error)
{
    GError *cause = NULL;
    unsigned status = 0;
    g_autoptr(GBytes) answer = NULL;
    if (!http_client_request(self->http, method, path, headers, body,
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

static GBytes *
request(LinkClient *self, const char *method, const char *path, const char *body, GError **error)
{
    static const char *const json[] = { JSON_HEADER, NULL };
    return request_with(self, method, path, body != NULL ? json : NULL, body, error);
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
link_client_position(LinkClient *self, const char *vm_uuid, bool vm_runs, LinkPosition *ret_position, GError **error)
{
    g_autofree char *relationship = relationship_path(vm_uuid, error);
    g_autofree char *path = relationship != NULL ? g_strconcat(relationship, vm_runs ? "?vm=runs" : "", NULL) : NULL;
    g_autoptr(GBytes) answer = path != NULL ? request(self, "GET", path, NULL, error) : NULL;
    return answer != NULL && link_position_from_json(answer, ret_position, error);
}

bool
link_client_reverse(LinkClient *self, const LinkReversal *reversal, LinkPosition *ret_position, GError **error)
{
    if (!link_offer_check(&reversal->offer, error))
        return false;
    g_autofree char *relationship = relationship_path(reversal->offer.vm_uuid, error);
    if (relationship == NULL)
        return false;
    char digest[LINK_DIGEST_TEXT];
    link_digest_to_text(reversal->from_digest, digest);
    g_autofree char *path = g_strconcat(relationship, "/role/", reversal->check_only ? "check" : "reverse", NULL);
    g_autofree char *lineage = g_strconcat(LINK_HEADER_FROM_LINEAGE ": ", reversal->from_lineage, NULL);
    g_autofree char *position = g_strdup_printf(LINK_HEADER_FROM_POSITION ": %" G_GUINT64_FORMAT, reversal->from_position);
    g_autofree char *from = g_strconcat(LINK_HEADER_FROM_DIGEST ": ", digest, NULL);
    const char *const headers[] = { JSON_HEADER, lineage, position, from, NULL };
    g_autofree char *body = link_offer_to_json(&reversal->offer);
    g_autoptr(GBytes) answer = request_with(self, "POST", path, headers, body, error);
    return answer != NULL && link_position_from_json(answer, ret_position, error);
}

bool
link_client_keep_role(LinkClient *self, const char *vm_uuid, LinkPosition *ret_position, GError **error)
{
    g_autofree char *relationship = relationship_path(vm_uuid, error);
    if (relationship == NULL)
        return false;
    g_autofree char *path = g_strconcat(relationship, "/role/keep", NULL);
    g_autoptr(GBytes) answer = request(self, "POST", path, "{}", error);
    return answer != NULL && link_position_from_json(answer, ret_position, error);
}

/* Asks for digits about a part of a disk. */
static GBytes *
ask_about(LinkClient *self, const char *vm_uuid, const char *what, const char *disk, uint64_t offset, uint64_t length, GError **error)
{
    g_autofree char *relationship = relationship_path(vm_uuid, error);
    if (relationship == NULL)
        return NULL;
    g_autofree char *path = g_strdup_printf("%s/%s/%s?offset=%" G_GUINT64_FORMAT "&length=%" G_GUINT64_FORMAT, relationship, what, disk,
                                            offset, length);
    return request(self, "GET", path, NULL, error);
}

bool
link_client_changes(LinkClient *self, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length, GByteArray **ret_bits,
                    GError **error)
{
    g_autoptr(GBytes) answer = ask_about(self, vm_uuid, "changes", disk, offset, length, error);
    return answer != NULL && link_hashes_from_text(answer, link_changes_size(length), ret_bits, error);
}

bool
link_client_hashes(LinkClient *self, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length,
                   GByteArray **ret_hashes, GError **error)
{
    g_autoptr(GBytes) answer = ask_about(self, vm_uuid, "hashes", disk, offset, length, error);
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

/* All of a stream but what is new in each: age and offset. */
static bool
check_log(const char *vm_uuid, const ChangeLogHeader *header, const char *pass_token, GError **error)
{
    if (link_uuid_valid(header->lineage) && (pass_token == NULL || link_token_valid(pass_token)) &&
        header->position <= INT64_MAX)
        return true;
    g_set_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL,
                "VM '%s': the log's lineage, position or pass token cannot be sent", vm_uuid);
    return false;
}

static char **
log_headers(const LinkUpload *upload, uint64_t offset)
{
    int64_t age = MAX(g_get_monotonic_time() - upload->captured_usec, 0);
    GPtrArray *headers = g_ptr_array_new();
    g_ptr_array_add(headers, g_strdup_printf(LINK_HEADER_KIND ": %d", (int)upload->kind));
    g_ptr_array_add(headers, g_strdup_printf(LINK_HEADER_LINEAGE ": %s", upload->lineage));
    g_ptr_array_add(headers, g_strdup_printf(LINK_HEADER_AGE ": %" G_GINT64_FORMAT, age));
    g_ptr_array_add(headers, g_strdup_printf(LINK_HEADER_OFFSET ": %" G_GUINT64_FORMAT, offset));
    g_ptr_array_add(headers, g_strdup_printf(LINK_HEADER_ID ": %s", upload->id));
    if (upload->pass_token != NULL && upload->pass_token[0] != '\0') {
        g_autofree char *escaped = g_uri_escape_string(upload->pass_token, NULL, FALSE);
        g_ptr_array_add(headers, g_strdup_printf(LINK_HEADER_TOKEN ": %s", escaped));
    }
    g_ptr_array_add(headers, NULL);
    return (char **)g_ptr_array_free(headers, FALSE);
}

static bool
open_stream(LinkUpload *self, uint64_t offset, GError **error)
{
    g_auto(GStrv) headers = log_headers(self, offset);
    GError *cause = NULL;
    self->http = http_client_upload(self->client->http, "POST", self->path, (const char *const *)headers, &cause);
    return self->http != NULL || translate(cause, error);
}

LinkUpload *
link_client_send_log(LinkClient *self, const char *vm_uuid, const ChangeLogHeader *header,
                     int64_t captured_monotonic_usec, const char *pass_token, GError **error)
{
    g_autofree char *relationship = relationship_path(vm_uuid, error);
    if (relationship == NULL || !check_log(vm_uuid, header, pass_token, error))
        return NULL;
    g_autoptr(LinkUpload) upload = g_new0(LinkUpload, 1);
    upload->client = self;
    upload->path = g_strdup_printf("%s/logs/%" G_GUINT64_FORMAT, relationship, header->position);
    upload->id = g_uuid_string_random();
    upload->kind = header->kind;
    upload->lineage = g_strdup(header->lineage);
    upload->captured_usec = captured_monotonic_usec;
    upload->pass_token = g_strdup(pass_token);
    upload->tail = link_tail_new(LINK_RESEND_MAX);
    return open_stream(upload, 0, error) ? g_steal_pointer(&upload) : NULL;
}

static void
close_stream(LinkUpload *self)
{
    if (self->http != NULL)
        self->sent_before += http_upload_sent(self->http);
    g_clear_pointer(&self->http, http_upload_free);
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

/* A stream that failed is closed at once, so that the peer, too, knows that it is over. */
static bool
pass_failure(LinkUpload *self, GError **error)
{
    close_stream(self);
    g_propagate_error(error, g_error_copy(self->failure));
    return false;
}

static bool
stream_write(void *opaque, const void *data, size_t length, GError **error)
{
    LinkUpload *self = opaque;
    GError *cause = NULL;
    if (self->failure == NULL && !http_upload_write(self->http, data, length, &cause))
        take_reason(self, cause);
    return self->failure == NULL || pass_failure(self, error);
}

static bool
upload_write(void *opaque, const void *data, size_t length, GError **error)
{
    LinkUpload *self = opaque;
    if (self->failure != NULL)
        return pass_failure(self, error);
    link_tail_add(self->tail, data, length);
    return stream_write(self, data, length, error);
}

ChangeLogSink
link_upload_sink(LinkUpload *self)
{
    return (ChangeLogSink){ .write = upload_write, .opaque = self };
}

const char *
link_upload_id(const LinkUpload *self)
{
    return self->id;
}

bool
link_upload_resume(LinkUpload *self, uint64_t offset, GError **error)
{
    if (!link_tail_holds(self->tail, offset)) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_MISFIT,
                    "the log cannot go on at byte %" G_GUINT64_FORMAT ": what follows is not held any more", offset);
        return false;
    }
    g_return_val_if_fail(self->http == NULL, false);
    g_clear_error(&self->failure);
    if (!open_stream(self, offset, &self->failure))
        return pass_failure(self, error);
    ChangeLogSink sink = { stream_write, self };
    return link_tail_write(self->tail, offset, sink, error);
}

static bool
finish_stream(LinkUpload *self, LinkPosition *ret_position, GError **error)
{
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

bool
link_upload_finish(LinkUpload *self, LinkPosition *ret_position, GError **error)
{
    if (self->failure == NULL && finish_stream(self, ret_position, &self->failure))
        return true;
    return pass_failure(self, error);
}

void
link_upload_free(LinkUpload *self)
{
    if (self == NULL)
        return;
    http_upload_free(self->http);
    link_tail_free(self->tail);
    g_clear_error(&self->failure);
    g_free(self->path);
    g_free(self->id);
    g_free(self->lineage);
    g_free(self->pass_token);
    g_free(self);
}

uint64_t
link_upload_sent(const LinkUpload *self)
{
    return self->sent_before + (self->http != NULL ? http_upload_sent(self->http) : 0);
}
