/* http-server: a listener for HTTP/1.1, on TCP with TLS or on a unix socket.
 *
 * Knows nothing of what is served. Each request runs on a thread of the server's own and may block. Bodies are
 * handed over as a stream, never whole unless asked for. Limits are enforced before a handler runs.
 * A slow handler holds its client back. A server ignores SIGPIPE in the whole process.
 * Beside a unix socket a file PATH.lock stays for good: who holds it locked may replace a socket that nobody serves.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum {
    HTTP_ERROR_LISTEN,  /* address in use, no permission: message says which and what to do */
    HTTP_ERROR_TLS,     /* certificate or key unusable */
    HTTP_ERROR_BODY,    /* the client went away, or its body exceeds the limit */
    HTTP_ERROR_CONNECT, /* peer not reachable: retry later */
    HTTP_ERROR_TRUST,   /* peer's certificate is not trusted or does not carry the host's name */
    HTTP_ERROR_STATUS,  /* peer answered with an error status */
} HttpError;
#define HTTP_ERROR (http_error_quark())
GQuark http_error_quark(void);

typedef struct {
    const char *unix_path;     /* unix socket, or NULL for TCP */
    unsigned    unix_mode;     /* permissions of the socket file, such as 0660 */
    gid_t       unix_group;    /* its group; (gid_t)-1 leaves it */
    const char *address;       /* "127.0.0.1", "::", ...; TCP only */
    uint16_t    port;          /* 0 takes a free one; TCP only */
    const char *certificate_file, *key_file; /* PEM; NULL: plain HTTP */
    const char *client_ca_file; /* (nullable): ask for a client certificate; checked against these CAs only */
    bool        require_client_certificate; /* end the handshake without one; an invalid one always ends it */
    bool        tls13_only;
    unsigned    max_connections;         /* 0: 512 */
    unsigned    max_connections_per_ip;  /* 0: no bound */
    unsigned    idle_timeout_sec;        /* 0: 60 */
} HttpServerConfig;

typedef struct HttpRequest HttpRequest; /* valid during the handler only */
typedef void (*HttpHandler)(void *opaque, HttpRequest *request);

typedef struct HttpServer HttpServer;
HttpServer *http_server_start(const HttpServerConfig *config, HttpHandler handler, void *opaque, GError **error);
/* Waits for running handlers; one that reads a body gets HTTP_ERROR_BODY. Answers get a few seconds to leave. */
void        http_server_stop(HttpServer *self);
uint16_t    http_server_port(const HttpServer *self);

const char *http_request_method(const HttpRequest *self);
const char *http_request_path(const HttpRequest *self); /* decoded, without query */
const char *http_request_query(const HttpRequest *self, const char *name);
const char *http_request_header(const HttpRequest *self, const char *name);
const char *http_request_remote(const HttpRequest *self); /* address text, or "local" */
/* Peer credentials of a unix socket; false on TCP. */
bool        http_request_peer(const HttpRequest *self, uid_t *ret_uid, gid_t *ret_gid, pid_t *ret_pid);
/* Names in the verified client certificate: DNS names of subjectAltName, else the CN. NULL without one; owned by the request. */
const char *const *http_request_certificate_names(HttpRequest *self);
const char *http_request_certificate_sha256(HttpRequest *self); /* hex, lower case; NULL without one */
/* Storage that lives as long as the TCP connection: authentication state. */
void       *http_request_connection_data(HttpRequest *self);
void        http_request_set_connection_data(HttpRequest *self, void *data, GDestroyNotify destroy);

/* Next piece of the body: >0 bytes, 0 at the end, -1 with @error. Blocks. */
ssize_t     http_request_read(HttpRequest *self, void *buffer, size_t length, GError **error);
/* The whole body, at most @limit bytes (longer: HTTP_ERROR_BODY). */
GBytes     *http_request_body(HttpRequest *self, size_t limit, GError **error);

/* One answer per request; the header calls come before it. What was not read of the body is discarded up to 1 MiB of declared
 * length, so that the connection stays; else the answer goes out at once, and the connection is closed. */
void        http_request_add_header(HttpRequest *self, const char *name, const char *value);
void        http_request_answer(HttpRequest *self, unsigned status, const char *content_type, const void *body, size_t length);
void        http_request_answer_text(HttpRequest *self, unsigned status, const char *text); /* text/plain */
