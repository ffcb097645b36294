#include "http/http-internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

typedef struct {
    char *name, *value;
} Field;

/* What a connection's thread may receive ahead of a handler: it decrypts while the handler works, and the two need not
 * change turns for each TLS record of 16 KiB. */
#define AHEAD_MAX (256u * 1024u)

/* Invariants
 *  (1) The connection's thread adds to `ahead` only; the handler's takes it whole and then reads it without the lock.
 *  (2) The connection's thread is outside of the callbacks only while the handler waits for more of the body, or is done,
 *      or more of the body is there to be received: a handler that answers is therefore always heard at once.
 *  (3) The request is freed only after the handler is done.
 */
struct HttpRequest {
    HttpServer            *server;
    HttpConnection        *connection;
    struct MHD_Connection *mhd; /* used by the connection's thread only */
    char      *method, *path, *remote;
    GArray    *headers, *query; /* Field; copies, since libmicrohttpd's lists grow while a body is read */
    bool       has_body, expects_continue;

    bool       answer_decided; /* the connection's thread has seen the handler's end; the rest of the body is waste */
    bool       answer_sent;    /* by ourselves, in the middle of a body */
    uint64_t   discarded;
    char     **names;
    char      *sha256;

    GByteArray *taken;   /* (nullable) of the handler's thread: what it reads from */
    size_t      taken_at;

    GMutex     lock; /* all below */
    GCond      changed;
    GByteArray *ahead;     /* (nullable) received, not taken yet; below AHEAD_MAX or a single piece */
    bool       wants_more; /* the handler waits for a piece */
    bool       wants_room; /* the connection's thread waits until `ahead` is taken */
    bool       body_end, handler_done, answered;
    char      *broken;     /* why nothing more of the body will come */
    unsigned   status;
    GArray    *answer_headers; /* Field */
    char      *content_type;
    GBytes    *answer;
};

static void
clear_field(void *item)
{
    Field *field = item;
    g_free(field->name);
    g_free(field->value);
}

static GArray *
new_fields(void)
{
    GArray *fields = g_array_new(FALSE, FALSE, sizeof(Field));
    g_array_set_clear_func(fields, clear_field);
    return fields;
}

static void
add_field(GArray *fields, const char *name, const char *value)
{
    Field field = { g_strdup(name), g_strdup(value != NULL ? value : "") };
    g_array_append_val(fields, field);
}

static enum MHD_Result
copy_field(void *opaque, enum MHD_ValueKind kind, const char *name, const char *value)
{
    add_field(opaque, name, value);
    return MHD_YES;
}

static const char *
find_field(const GArray *fields, const char *name, bool any_case)
{
    for (unsigned i = 0; i < fields->len; i++) {
        const Field *field = &g_array_index(fields, Field, i);
        if ((any_case ? g_ascii_strcasecmp(field->name, name) : strcmp(field->name, name)) == 0)
            return field->value;
    }
    return NULL;
}

static char *
remote_text(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info != NULL ? info->client_addr : NULL;
    char text[INET6_ADDRSTRLEN] = "";
    if (address != NULL && address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof text);
    else if (address != NULL && address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, sizeof text);
    else
        return g_strdup("local");
    return g_strdup(g_str_has_prefix(text, "::ffff:") && strchr(text, '.') != NULL ? text + 7 : text);
}

HttpRequest *
http_request_new(HttpServer *server, HttpConnection *connection, struct MHD_Connection *mhd, const char *method,
                 const char *path)
{
    HttpRequest *self = g_new0(HttpRequest, 1);
    self->server = server;
    self->connection = connection;
    self->mhd = mhd;
    self->method = g_strdup(method);
    self->path = g_strdup(path);
    self->remote = remote_text(mhd);
    self->headers = new_fields();
    self->query = new_fields();
    self->answer_headers = new_fields();
    MHD_get_connection_values(mhd, MHD_HEADER_KIND, copy_field, self->headers);
    MHD_get_connection_values(mhd, MHD_GET_ARGUMENT_KIND, copy_field, self->query);
    const char *length = find_field(self->headers, "Content-Length", true);
    const char *expect = find_field(self->headers, "Expect", true);
    self->has_body = find_field(self->headers, "Transfer-Encoding", true) != NULL ||
                     (length != NULL && strcmp(length, "0") != 0);
    self->expects_continue = self->has_body && expect != NULL && g_ascii_strcasecmp(expect, "100-continue") == 0;
    g_mutex_init(&self->lock);
    g_cond_init(&self->changed);
    return self;
}

/* The handler would wait for a body that this very thread has to receive. */
void
http_request_abandon(HttpRequest *self)
{
    self->handler_done = true;
    http_request_end(self);
}

void
http_request_end(HttpRequest *self)
{
    http_request_break(self, "the client closed the connection before the end of the body");
    g_mutex_lock(&self->lock);
    while (!self->handler_done)
        g_cond_wait(&self->changed, &self->lock);
    g_mutex_unlock(&self->lock);

    g_mutex_clear(&self->lock);
    g_cond_clear(&self->changed);
    g_free(self->method);
    g_free(self->path);
    g_free(self->remote);
    g_array_unref(self->headers);
    g_array_unref(self->query);
    g_array_unref(self->answer_headers);
    g_strfreev(self->names);
    g_free(self->sha256);
    g_clear_pointer(&self->taken, g_byte_array_unref);
    g_clear_pointer(&self->ahead, g_byte_array_unref);
    g_free(self->broken);
    g_free(self->content_type);
    g_clear_pointer(&self->answer, g_bytes_unref);
    g_free(self);
}

void
http_request_break(HttpRequest *self, const char *reason)
{
    g_mutex_lock(&self->lock);
    if (!self->body_end && self->broken == NULL)
        self->broken = g_strdup(reason);
    g_cond_broadcast(&self->changed);
    g_mutex_unlock(&self->lock);
}

/* ---- on the handler's thread ---- */

void
http_request_run_handler(HttpRequest *self)
{
    self->server->handler(self->server->opaque, self);
    if (!self->answered)
        http_request_answer_text(self, MHD_HTTP_INTERNAL_SERVER_ERROR, "The request was not answered.\n");
    g_mutex_lock(&self->lock);
    self->handler_done = true;
    g_cond_broadcast(&self->changed);
    g_mutex_unlock(&self->lock);
}

const char *
http_request_method(const HttpRequest *self)
{
    return self->method;
}

const char *
http_request_path(const HttpRequest *self)
{
    return self->path;
}

const char *
http_request_query(const HttpRequest *self, const char *name)
{
    return find_field(self->query, name, false);
}

const char *
http_request_header(const HttpRequest *self, const char *name)
{
    return find_field(self->headers, name, true);
}

const char *
http_request_remote(const HttpRequest *self)
{
    return self->remote;
}

bool
http_request_peer(const HttpRequest *self, uid_t *ret_uid, gid_t *ret_gid, pid_t *ret_pid)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (self->server->unix_path == NULL ||
        getsockopt(self->connection->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
        return false;
    *ret_uid = peer.uid;
    *ret_gid = peer.gid;
    *ret_pid = peer.pid;
    return true;
}

const char *const *
http_request_certificate_names(HttpRequest *self)
{
    if (self->names == NULL && self->connection->certificate_valid)
        self->names = http_tls_peer_names(self->connection->tls);
    return (const char *const *)self->names;
}

const char *
http_request_certificate_sha256(HttpRequest *self)
{
    if (self->sha256 == NULL && self->connection->certificate_valid)
        self->sha256 = http_tls_peer_sha256(self->connection->tls);
    return self->sha256;
}

void *
http_request_connection_data(HttpRequest *self)
{
    return self->connection->data;
}

void
http_request_set_connection_data(HttpRequest *self, void *data, GDestroyNotify destroy)
{
    HttpConnection *connection = self->connection;
    if (connection->data != NULL && connection->data != data && connection->destroy != NULL)
        connection->destroy(connection->data);
    connection->data = data;
    connection->destroy = destroy;
}

static bool
is_ahead(const HttpRequest *self)
{
    return self->ahead != NULL && self->ahead->len > 0;
}

/* Waits for the next bytes and exchanges the empty buffer for them. 0 at the end of the body, -1 when it is broken. */
static int
take_ahead(HttpRequest *self, GError **error)
{
    int result = 1;
    g_mutex_lock(&self->lock);
    while (!is_ahead(self) && !self->body_end && self->broken == NULL) {
        self->wants_more = true;
        g_cond_broadcast(&self->changed);
        g_cond_wait(&self->changed, &self->lock);
    }
    self->wants_more = false;
    if (self->broken != NULL) {
        g_set_error(error, HTTP_ERROR, HTTP_ERROR_BODY, "body of the request is incomplete: %s", self->broken);
        result = -1;
    } else if (!is_ahead(self)) {
        result = 0;
    } else {
        GByteArray *empty = self->taken;
        self->taken = self->ahead;
        self->taken_at = 0;
        self->ahead = empty;
        if (empty != NULL)
            g_byte_array_set_size(empty, 0);
        if (self->wants_room)
            g_cond_broadcast(&self->changed);
    }
    g_mutex_unlock(&self->lock);
    return result;
}

ssize_t
http_request_read(HttpRequest *self, void *buffer, size_t length, GError **error)
{
    if (!self->has_body || length == 0)
        return 0;
    if (self->taken == NULL || self->taken_at == self->taken->len) {
        int result = take_ahead(self, error);
        if (result <= 0)
            return result;
    }
    size_t part = MIN(length, self->taken->len - self->taken_at);
    memcpy(buffer, self->taken->data + self->taken_at, part);
    self->taken_at += part;
    return (ssize_t)part;
}

GBytes *
http_request_body(HttpRequest *self, size_t limit, GError **error)
{
    g_autoptr(GByteArray) body = g_byte_array_new();
    char buffer[16384];
    for (;;) {
        ssize_t got = http_request_read(self, buffer, sizeof buffer, error);
        if (got < 0)
            return NULL;
        if (got == 0)
            return g_byte_array_free_to_bytes(g_steal_pointer(&body));
        if ((size_t)got > limit - body->len) {
            g_set_error(error, HTTP_ERROR, HTTP_ERROR_BODY, "body of the request exceeds %zu bytes", limit);
            return NULL;
        }
        g_byte_array_append(body, (const uint8_t *)buffer, (unsigned)got);
    }
}

void
http_request_add_header(HttpRequest *self, const char *name, const char *value)
{
    g_return_if_fail(strpbrk(name, "\r\n:") == NULL && strpbrk(value, "\r\n") == NULL);
    if (value[0] != '\0') /* libmicrohttpd has no headers without a value */
        add_field(self->answer_headers, name, value);
}

void
http_request_answer(HttpRequest *self, unsigned status, const char *content_type, const void *body, size_t length)
{
    g_return_if_fail(!self->answered);
    self->status = status;
    self->content_type = g_strdup(content_type);
    self->answer = g_bytes_new(body, length);
    self->answered = true;
}

void
http_request_answer_text(HttpRequest *self, unsigned status, const char *text)
{
    http_request_answer(self, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* ---- on the connection's thread ---- */

static enum MHD_Result
queue_answer(HttpRequest *self)
{
    size_t length = 0;
    const void *body = g_bytes_get_data(self->answer, &length);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(length, (void *)body, MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return MHD_NO;
    bool good = self->content_type == NULL ||
                MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, self->content_type) == MHD_YES;
    for (unsigned i = 0; good && i < self->answer_headers->len; i++) {
        const Field *field = &g_array_index(self->answer_headers, Field, i);
        good = MHD_add_response_header(response, field->name, field->value) == MHD_YES;
    }
    enum MHD_Result result = good ? MHD_queue_response(self->mhd, self->status, response) : MHD_NO;
    MHD_destroy_response(response);
    return result;
}

static ssize_t
send_some(HttpConnection *connection, const char *data, size_t length)
{
    if (connection->tls == NULL)
        return send(connection->fd, data, length, MSG_NOSIGNAL);
    ssize_t sent = gnutls_record_send(connection->tls, data, length);
    if (sent < 0) {
        errno = sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED ? EAGAIN : EIO;
        return -1;
    }
    return sent;
}

static bool
send_all(HttpConnection *connection, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t sent = send_some(connection, data, length);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd wait = { .fd = connection->fd, .events = POLLOUT };
            if (poll(&wait, 1, (int)HTTP_LINGER_SEC * 1000) <= 0)
                return false;
        } else if (sent < 0 && errno != EINTR) {
            return false;
        } else if (sent > 0) {
            data += sent;
            length -= (size_t)sent;
        }
    }
    return true;
}

/* libmicrohttpd cannot answer in the middle of a body. Waiting for its end could take hours, closing without an answer would
 * hide the reason: so the answer is written here, and what still comes is thrown away for a while. */
static enum MHD_Result
answer_within_body(HttpRequest *self)
{
    g_autoptr(GString) text = g_string_new(NULL);
    size_t length = 0;
    const char *body = g_bytes_get_data(self->answer, &length);
    g_string_append_printf(text, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: %zu\r\n", self->status,
                           MHD_get_reason_phrase_for(self->status), length);
    if (self->content_type != NULL)
        g_string_append_printf(text, "Content-Type: %s\r\n", self->content_type);
    for (unsigned i = 0; i < self->answer_headers->len; i++) {
        const Field *field = &g_array_index(self->answer_headers, Field, i);
        g_string_append_printf(text, "%s: %s\r\n", field->name, field->value);
    }
    g_string_append(text, "\r\n");
    self->answer_sent = true;
    MHD_set_connection_option(self->mhd, MHD_CONNECTION_OPTION_TIMEOUT, HTTP_LINGER_SEC);
    return send_all(self->connection, text->str, text->len) && send_all(self->connection, body, length) ? MHD_YES : MHD_NO;
}

/* The time a handler takes must not count as idle time of the connection; going from 0 to a value starts it anew. */
static void
pause_timeout(HttpRequest *self)
{
    MHD_set_connection_option(self->mhd, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
}

static void
restart_timeout(HttpRequest *self)
{
    MHD_set_connection_option(self->mhd, MHD_CONNECTION_OPTION_TIMEOUT, self->server->idle_timeout_sec);
}

/* Returns: true when the handler wants more of the body, false when it is done. */
static bool
wait_for_handler(HttpRequest *self)
{
    pause_timeout(self);
    g_mutex_lock(&self->lock);
    while (!self->handler_done && !(self->wants_more && !is_ahead(self) && !self->body_end))
        g_cond_wait(&self->changed, &self->lock);
    bool done = self->answer_decided = self->handler_done;
    g_mutex_unlock(&self->lock);
    restart_timeout(self);
    return !done;
}

/* Is the rest of the body, as declared, short enough to be read for keeping the connection? */
static bool
rest_is_short(const HttpRequest *self)
{
    const char *length = find_field(self->headers, "Content-Length", true);
    uint64_t value = 0;
    return length != NULL && g_ascii_string_to_unsigned(length, 10, 0, HTTP_DISCARD_MAX, &value, NULL);
}

enum MHD_Result
http_request_on_head(HttpRequest *self)
{
    if (!self->has_body || wait_for_handler(self))
        return MHD_YES;
    if (rest_is_short(self))
        return MHD_YES;
    return self->expects_continue ? queue_answer(self) : answer_within_body(self);
}

/* Waits for room. Returns: true when the handler still works. */
static bool
add_ahead(HttpRequest *self, const char *data, size_t length)
{
    g_mutex_lock(&self->lock);
    while (is_ahead(self) && self->ahead->len + length > AHEAD_MAX && !self->handler_done) {
        self->wants_room = true;
        g_cond_wait(&self->changed, &self->lock);
    }
    self->wants_room = false;
    bool working = !self->handler_done;
    if (working) {
        if (self->ahead == NULL)
            self->ahead = g_byte_array_new();
        g_byte_array_append(self->ahead, (const uint8_t *)data, (unsigned)length);
        if (self->wants_more)
            g_cond_broadcast(&self->changed);
    }
    g_mutex_unlock(&self->lock);
    return working;
}

/* Has the client sent more already? Then receiving it does not keep the connection's thread from the handler. */
static bool
more_is_there(const HttpConnection *connection)
{
    if (connection->tls != NULL && gnutls_record_check_pending(connection->tls) > 0)
        return true;
    struct pollfd look = { .fd = connection->fd, .events = POLLIN };
    return poll(&look, 1, 0) > 0 && (look.revents & POLLIN) != 0;
}

enum MHD_Result
http_request_on_piece(HttpRequest *self, const char *data, size_t length)
{
    if (self->answer_decided) {
        self->discarded += length;
        return self->discarded <= HTTP_LINGER_BYTES ? MHD_YES : MHD_NO;
    }
    pause_timeout(self);
    bool working = add_ahead(self, data, length);
    restart_timeout(self);
    if (working && more_is_there(self->connection))
        return MHD_YES;
    if (wait_for_handler(self) || rest_is_short(self))
        return MHD_YES;
    return answer_within_body(self);
}

enum MHD_Result
http_request_on_body_end(HttpRequest *self)
{
    g_mutex_lock(&self->lock);
    self->body_end = true;
    g_cond_broadcast(&self->changed);
    g_mutex_unlock(&self->lock);
    wait_for_handler(self);
    return self->answer_sent ? MHD_NO : queue_answer(self);
}
