/* http-client: requests to another host over HTTPS, or to a local unix socket.
 *
 * An HttpClient keeps its connections between requests and is used by one thread at a time. Proxies from the environment
 * are not used unless asked for.
 */
#pragma once

#include "http/http-server.h"

typedef struct {
    const char *unix_path;        /* (nullable) */
    const char *host;             /* name or address */
    uint16_t    port;
    bool        tls;
    const char *ca_file;          /* only these are trusted, never the system's; NULL: the system's */
    const char *certificate_file, *key_file; /* (nullable): our own */
    const char *user, *password;  /* (nullable): Basic */
    bool        use_proxy;
    unsigned    connect_timeout_sec; /* 0: 10 */
    unsigned    stall_timeout_sec;   /* 0: 60; gives up when nothing moves for that long */
    const gint *hurry; /* (nullable): while that is not 0 (atomic), it gives up after 3 s without movement */
} HttpClientConfig;

typedef struct HttpClient HttpClient;
HttpClient *http_client_new(const HttpClientConfig *config, GError **error);
void        http_client_free(HttpClient *self);

/**
 * http_client_request:
 * @headers: (nullable): "Name: value" lines, NULL at the end
 * @ret_status, @ret_body: answer; any status is a success here; body at most 16 MiB
 */
bool http_client_request(HttpClient *self, const char *method, const char *path, const char *const *headers,
                         const void *body, size_t length, unsigned *ret_status, GBytes **ret_body, GError **error);

/* A request whose body is written piece by piece (chunked). One at a time per client. */
typedef struct HttpUpload HttpUpload;
HttpUpload *http_client_upload(HttpClient *self, const char *method, const char *path, const char *const *headers,
                               GError **error);
bool        http_upload_write(HttpUpload *self, const void *data, size_t length, GError **error); /* blocks while the peer is slow */
/* Ends the body and waits for the answer. */
bool        http_upload_finish(HttpUpload *self, unsigned *ret_status, GBytes **ret_body, GError **error);
void        http_upload_free(HttpUpload *self); /* unfinished: the connection is dropped, the peer sees a broken body */
uint64_t    http_upload_sent(const HttpUpload *self); /* bytes on the wire for bodies, headers left out */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(HttpClient, http_client_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HttpUpload, http_upload_free)
