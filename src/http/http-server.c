#include "http/http-internal.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEFAULT_CONNECTIONS = 512, DEFAULT_IDLE_SEC = 60, STOP_SEC = 5 };

G_DEFINE_QUARK(http-error-quark, http_error)

/* A NUL in a decoded path would end it early for us, so %00 stays as it is. */
static size_t
unescape(void *opaque, struct MHD_Connection *mhd, char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        int high = from[0] == '%' ? g_ascii_xdigit_value(from[1]) : -1;
        int low = high >= 0 ? g_ascii_xdigit_value(from[2]) : -1;
        if (low >= 0 && high * 16 + low != 0) {
            *to++ = (char)(high * 16 + low);
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

static void
on_connection(void *opaque, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
    HttpServer *self = opaque;
    HttpConnection *connection = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection = g_new0(HttpConnection, 1);
        connection->server = self;
        connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        connection->waiting_since = g_get_monotonic_time();
        if (self->tls)
            connection->tls = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
        if (self->ask_certificate)
            http_tls_prepare(connection);
        *context = connection;
        g_mutex_lock(&self->lock);
        g_hash_table_add(self->connections, connection);
        g_mutex_unlock(&self->lock);
        return;
    }
    g_mutex_lock(&self->lock);
    g_hash_table_remove(self->connections, connection);
    g_mutex_unlock(&self->lock);
    if (connection->data != NULL && connection->destroy != NULL)
        connection->destroy(connection->data);
    g_free(connection);
    *context = NULL;
}

static enum MHD_Result
refuse_early(struct MHD_Connection *mhd, unsigned status, const char *text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result = MHD_queue_response(mhd, status, response);
    MHD_destroy_response(response);
    return result;
}

/* Two lengths for one body, or a way of coding we do not know: the end of the request would be a matter of opinion. */
static bool
framing_is_clear(struct MHD_Connection *mhd)
{
    const char *coding = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    const char *length = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return coding == NULL || (length == NULL && g_ascii_strcasecmp(coding, "chunked") == 0);
}

static enum MHD_Result
begin_request(HttpServer *self, struct MHD_Connection *mhd, const char *url, const char *method, void **context)
{
    HttpConnection *connection = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    if (self->require_certificate && !connection->certificate_valid)
        return refuse_early(mhd, MHD_HTTP_FORBIDDEN, "A valid client certificate is required.\n");
    if (!framing_is_clear(mhd))
        return refuse_early(mhd, MHD_HTTP_BAD_REQUEST, "The length of the body is not clear.\n");

    HttpRequest *request = http_request_new(self, connection, mhd, method, url);
    g_mutex_lock(&self->lock);
    bool stopping = self->stopping;
    if (!stopping) {
        g_hash_table_add(self->requests, request);
        connection->waiting_since = 0;
    }
    g_mutex_unlock(&self->lock);
    g_autoptr(GError) error = NULL;
    if (stopping || !g_thread_pool_push(self->handlers, request, &error)) {
        g_mutex_lock(&self->lock);
        g_hash_table_remove(self->requests, request);
        g_cond_broadcast(&self->changed);
        g_mutex_unlock(&self->lock);
        http_request_abandon(request);
        return refuse_early(mhd, MHD_HTTP_SERVICE_UNAVAILABLE, "The server cannot take more requests now.\n");
    }
    *context = request;
    return http_request_on_head(request);
}

static enum MHD_Result
on_request(void *opaque, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
           const char *data, size_t *length, void **context)
{
    if (*context == NULL)
        return begin_request(opaque, mhd, url, method, context);
    if (*length == 0)
        return http_request_on_body_end(*context);
    enum MHD_Result result = http_request_on_piece(*context, data, *length);
    *length = 0;
    return result;
}

static void
on_request_end(void *opaque, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code)
{
    HttpServer *self = opaque;
    HttpRequest *request = *context;
    if (request == NULL)
        return;
    *context = NULL;
    HttpConnection *connection = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    http_request_break(request, code == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED
                                    ? "nothing came from the client within the idle timeout"
                                    : "the client closed the connection");
    g_mutex_lock(&self->lock);
    g_hash_table_remove(self->requests, request);
    connection->waiting_since = g_get_monotonic_time();
    g_mutex_unlock(&self->lock);
    http_request_end(request);
    g_mutex_lock(&self->lock);
    g_cond_broadcast(&self->changed);
    g_mutex_unlock(&self->lock);
}

static void
run_handler(void *data, void *opaque)
{
    http_request_run_handler(data);
}

/* libmicrohttpd's idle timeout starts again with each byte; a client that trickles bytes of a head, or of a handshake, would
 * hold its thread for ever. So the head must be complete within twice that time. */
static void *
reap_slow(void *opaque)
{
    HttpServer *self = opaque;
    int64_t allowed = (int64_t)self->idle_timeout_sec * 2 * G_USEC_PER_SEC;
    g_mutex_lock(&self->lock);
    while (!self->stopping) {
        int64_t now = g_get_monotonic_time();
        GHashTableIter iter;
        void *item;
        g_hash_table_iter_init(&iter, self->connections);
        while (g_hash_table_iter_next(&iter, &item, NULL)) {
            HttpConnection *connection = item;
            if (connection->waiting_since != 0 && now - connection->waiting_since > allowed)
                shutdown(connection->fd, SHUT_RDWR);
        }
        g_cond_wait_until(&self->changed, &self->lock, now + allowed / 4);
    }
    g_mutex_unlock(&self->lock);
    return NULL;
}

/* A peer that closes early must cost us an error code, not the process. */
static void
ignore_sigpipe(void)
{
    struct sigaction now;
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

static struct MHD_Daemon *
start_daemon(HttpServer *self, const HttpServerConfig *config, const HttpTlsFiles *files)
{
    struct MHD_OptionItem tls[] = {
        { MHD_OPTION_HTTPS_MEM_KEY, 0, files->key },
        { MHD_OPTION_HTTPS_MEM_CERT, 0, files->certificate },
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)http_tls_priorities(config->tls13_only) },
        { files->client_ca != NULL ? MHD_OPTION_HTTPS_MEM_TRUST : MHD_OPTION_END, 0, files->client_ca },
        { MHD_OPTION_END, 0, NULL },
    };
    struct MHD_OptionItem plain[] = { { MHD_OPTION_END, 0, NULL } };
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC |
                     (self->tls ? MHD_USE_TLS : 0);
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, self,
                            MHD_OPTION_LISTEN_SOCKET, self->listen_fd,
                            MHD_OPTION_NOTIFY_COMPLETED, on_request_end, self,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, self,
                            MHD_OPTION_UNESCAPE_CALLBACK, unescape, self,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_MEMORY,
                            MHD_OPTION_CONNECTION_TIMEOUT, self->idle_timeout_sec,
                            MHD_OPTION_CONNECTION_LIMIT,
                            config->max_connections != 0 ? config->max_connections : DEFAULT_CONNECTIONS,
                            MHD_OPTION_PER_IP_CONNECTION_LIMIT,
                            config->unix_path == NULL ? config->max_connections_per_ip : 0,
                            MHD_OPTION_ARRAY, self->tls ? tls : plain, MHD_OPTION_END);
}

static void
free_server(HttpServer *self)
{
    if (self->handlers != NULL)
        g_thread_pool_free(self->handlers, FALSE, TRUE);
    http_listen_close(self);
    g_hash_table_unref(self->connections);
    g_hash_table_unref(self->requests);
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->changed);
    g_free(self);
}

HttpServer *
http_server_start(const HttpServerConfig *config, HttpHandler handler, void *opaque, GError **error)
{
    HttpTlsFiles files = { NULL };
    if (config->certificate_file != NULL && !http_tls_load(config, &files, error))
        return NULL;
    if (config->certificate_file == NULL &&
        (config->client_ca_file != NULL || config->require_client_certificate || config->tls13_only)) {
        g_set_error(error, HTTP_ERROR, HTTP_ERROR_TLS, "client certificates need a certificate of the server's own");
        return NULL;
    }
    if (config->require_client_certificate && config->client_ca_file == NULL) {
        http_tls_files_clear(&files);
        g_set_error(error, HTTP_ERROR, HTTP_ERROR_TLS, "client certificates are required, but no CA file is configured");
        return NULL;
    }

    ignore_sigpipe();
    HttpServer *self = g_new0(HttpServer, 1);
    g_mutex_init(&self->lock);
    g_cond_init(&self->changed);
    self->connections = g_hash_table_new(NULL, NULL);
    self->requests = g_hash_table_new(NULL, NULL);
    self->listen_fd = self->unix_lock_fd = -1;
    self->handler = handler;
    self->opaque = opaque;
    self->idle_timeout_sec = config->idle_timeout_sec != 0 ? config->idle_timeout_sec : DEFAULT_IDLE_SEC;
    self->tls = config->certificate_file != NULL;
    self->ask_certificate = config->client_ca_file != NULL;
    self->require_certificate = config->require_client_certificate;

    if (http_listen(self, config, error)) {
        self->handlers = g_thread_pool_new(run_handler, self, -1, FALSE, NULL);
        self->daemon = start_daemon(self, config, &files);
        if (self->daemon == NULL)
            g_set_error(error, HTTP_ERROR, HTTP_ERROR_LISTEN, "the HTTP server did not start: out of memory or threads");
    }
    http_tls_files_clear(&files);
    if (self->daemon == NULL) {
        free_server(self);
        return NULL;
    }
    self->reaper = g_thread_new("http-reaper", reap_slow, self);
    return self;
}

/* Handlers run to their end, their answers get a short time to leave. */
static void
drain(HttpServer *self)
{
    g_mutex_lock(&self->lock);
    self->stopping = true;
    g_cond_broadcast(&self->changed);
    GHashTableIter iter;
    void *item;
    g_hash_table_iter_init(&iter, self->requests);
    while (g_hash_table_iter_next(&iter, &item, NULL))
        http_request_break(item, "the server is stopping");
    int64_t end = g_get_monotonic_time() + STOP_SEC * G_USEC_PER_SEC;
    while (g_hash_table_size(self->requests) > 0 && g_cond_wait_until(&self->changed, &self->lock, end))
        ;
    g_mutex_unlock(&self->lock);
}

void
http_server_stop(HttpServer *self)
{
    if (self == NULL)
        return;
    MHD_quiesce_daemon(self->daemon);
    drain(self);
    g_thread_join(self->reaper);
    MHD_stop_daemon(self->daemon);
    free_server(self);
}

uint16_t
http_server_port(const HttpServer *self)
{
    return self->port;
}
