/* http-internal: what the files of the server share; nobody else includes it.
 *
 * Threads: libmicrohttpd runs one thread per connection and pushes body pieces into on_request(). The handler of a
 * request runs on a thread of the server's pool and pulls them with http_request_read(). A piece is not copied or
 * queued: the connection's thread waits until the handler has used it up and asks for more, so a slow handler leaves
 * the data in the kernel and the peer feels it.
 *
 * Locks, in the order they may be taken: HttpServer.lock, HttpRequest.lock.
 */
#pragma once

#include "http/http-server.h"

#include <gnutls/gnutls.h>
#include <microhttpd.h>

/* Request line and headers (Kerberos tokens are long), and what is read of a body at once. Per connection. */
#define HTTP_CONNECTION_MEMORY (128u * 1024u)
/* A body that the handler did not want is read and thrown away up to this size, to keep the connection. */
#define HTTP_DISCARD_MAX (1024u * 1024u)
/* After an answer in the middle of a body: how much and how long (seconds) we go on reading, so that the peer sees it. */
#define HTTP_LINGER_BYTES (64u * 1024u * 1024u)
#define HTTP_LINGER_SEC 5u

/* One TCP or unix connection, from accept to close. */
typedef struct {
    HttpServer      *server;
    int              fd;
    gnutls_session_t tls;               /* NULL: plain */
    bool             certificate_valid; /* the peer showed a certificate, and it passed */
    int64_t          waiting_since;     /* monotonic: waits for a request's head since; 0 while a request runs */
    void            *data;              /* of the handlers */
    GDestroyNotify   destroy;
} HttpConnection;

struct HttpServer {
    GMutex             lock; /* connections, requests, stopping */
    GCond              changed;
    GHashTable        *connections; /* HttpConnection, set */
    GHashTable        *requests;    /* HttpRequest, set: handler running or answer on its way */
    bool               stopping;

    HttpHandler        handler;
    void              *opaque;
    struct MHD_Daemon *daemon;
    GThreadPool       *handlers;
    GThread           *reaper;
    unsigned           idle_timeout_sec;
    bool               tls, ask_certificate, require_certificate;
    uint16_t           port;

    int                listen_fd;
    char              *unix_path;
    int                unix_lock_fd; /* held as long as the socket is ours */
    dev_t              unix_dev;
    ino_t              unix_ino;
};

/* http-listen.c: sockets. On success listen_fd, port and the unix members are set. */
bool http_listen(HttpServer *self, const HttpServerConfig *config, GError **error);
void http_listen_close(HttpServer *self);

/* http-tls.c: certificates. */
typedef struct {
    char *certificate, *key, *client_ca; /* PEM text; client_ca NULL without */
} HttpTlsFiles;
bool  http_tls_load(const HttpServerConfig *config, HttpTlsFiles *ret_files, GError **error);
void  http_tls_files_clear(HttpTlsFiles *files);
const char *http_tls_priorities(bool tls13_only);
/* Before the handshake: asks for the client's certificate and checks it within the handshake. */
void  http_tls_prepare(HttpConnection *connection);
char **http_tls_peer_names(gnutls_session_t session);  /* NULL when unreadable */
char *http_tls_peer_sha256(gnutls_session_t session);

/* http-request.c: the life of one request. */
HttpRequest    *http_request_new(HttpServer *server, HttpConnection *connection, struct MHD_Connection *mhd,
                                 const char *method, const char *path);
/* The peer is gone; waits for the handler, then frees. */
/* In the place of http_request_end() for one that no handler has got, or will. */
void            http_request_abandon(HttpRequest *self);
void            http_request_end(HttpRequest *self);
void            http_request_break(HttpRequest *self, const char *reason);
void            http_request_run_handler(HttpRequest *self);
enum MHD_Result http_request_on_head(HttpRequest *self);
enum MHD_Result http_request_on_piece(HttpRequest *self, const char *data, size_t length);
enum MHD_Result http_request_on_body_end(HttpRequest *self);
