#include "http/http-client.h"

#include <curl/curl.h>
#include <string.h>

enum {
    DEFAULT_CONNECT_SEC = 10,
    DEFAULT_STALL_SEC = 60,
    HURRIED_STALL_SEC = 3,
    CONTINUE_MSEC = 10000, /* how long a body waits for the peer's "100 Continue" */
    BUFFER_BYTES = 256 * 1024,
    ANSWER_MAX = 16 * 1024 * 1024,
};

struct HttpClient {
    CURLM *multi; /* keeps the connections */
    char  *unix_path, *base_url, *where;
    char  *ca_file, *certificate_file, *key_file, *user, *password;
    bool   use_proxy, busy;
    unsigned connect_timeout_sec, stall_timeout_sec;
    const gint *hurry;
};

/* One request on its way. The body of an upload is handed to curl from the caller's memory: no queue, so a slow peer
 * holds the caller back. */
struct HttpUpload {
    HttpClient *client;
    CURL       *easy;
    struct curl_slist *headers;
    char        curl_text[CURL_ERROR_SIZE];
    const char *piece;
    size_t      piece_left;
    bool        asked;  /* curl wants to send, and has nothing */
    bool        ended;  /* no more pieces */
    bool        done;
    CURLcode    result;
    GByteArray *answer;
    bool        answer_too_long;
    curl_off_t  moved;  /* bytes both ways */
    int64_t     moved_at;
};

static void
init_curl_once(void)
{
    static gsize done;
    if (g_once_init_enter(&done)) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        g_once_init_leave(&done, 1);
    }
}

static char *
base_url(const HttpClientConfig *config)
{
    const char *host = config->unix_path != NULL || config->host == NULL ? "localhost" : config->host;
    const char *form = strchr(host, ':') != NULL ? "%s://[%s]" : "%s://%s";
    g_autofree char *start = g_strdup_printf(form, config->tls ? "https" : "http", host);
    return config->port != 0 ? g_strdup_printf("%s:%u", start, config->port) : g_strdup(start);
}

HttpClient *
http_client_new(const HttpClientConfig *config, GError **error)
{
    init_curl_once();
    if (config->unix_path == NULL && (config->host == NULL || config->host[0] == '\0' ||
                                      strpbrk(config->host, "/@?#[]% \t\r\n") != NULL)) {
        g_set_error(error, HTTP_ERROR, HTTP_ERROR_CONNECT, "'%s' is no host name or address",
                    config->host != NULL ? config->host : "");
        return NULL;
    }
    HttpClient *self = g_new0(HttpClient, 1);
    self->multi = curl_multi_init();
    self->unix_path = g_strdup(config->unix_path);
    self->base_url = base_url(config);
    self->where = g_strdup(config->unix_path != NULL ? config->unix_path : self->base_url);
    self->ca_file = g_strdup(config->ca_file);
    self->certificate_file = g_strdup(config->certificate_file);
    self->key_file = g_strdup(config->key_file);
    self->user = g_strdup(config->user);
    self->password = g_strdup(config->password);
    self->use_proxy = config->use_proxy;
    self->connect_timeout_sec = config->connect_timeout_sec != 0 ? config->connect_timeout_sec : DEFAULT_CONNECT_SEC;
    self->stall_timeout_sec = config->stall_timeout_sec != 0 ? config->stall_timeout_sec : DEFAULT_STALL_SEC;
    self->hurry = config->hurry;
    return self;
}

void
http_client_free(HttpClient *self)
{
    if (self == NULL)
        return;
    g_assert(!self->busy);
    curl_multi_cleanup(self->multi);
    if (self->password != NULL)
        explicit_bzero(self->password, strlen(self->password));
    g_free(self->password);
    g_free(self->user);
    g_free(self->unix_path);
    g_free(self->base_url);
    g_free(self->where);
    g_free(self->ca_file);
    g_free(self->certificate_file);
    g_free(self->key_file);
    g_free(self);
}

/* ---- what curl calls ---- */

static size_t
on_answer(char *data, size_t size, size_t count, void *opaque)
{
    HttpUpload *self = opaque;
    size_t length = size * count;
    if (length > ANSWER_MAX - self->answer->len) {
        self->answer_too_long = true;
        return 0;
    }
    g_byte_array_append(self->answer, (const uint8_t *)data, (unsigned)length);
    return length;
}

static size_t
on_want_body(char *buffer, size_t size, size_t count, void *opaque)
{
    HttpUpload *self = opaque;
    size_t part = MIN(size * count, self->piece_left);
    if (part == 0 && !self->ended) {
        self->asked = true;
        return CURL_READFUNC_PAUSE;
    }
    if (part > 0)
        memcpy(buffer, self->piece, part);
    self->piece += part;
    self->piece_left -= part;
    return part;
}

static int
on_progress(void *opaque, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    HttpUpload *self = opaque;
    if (down + up != self->moved) {
        self->moved = down + up;
        self->moved_at = g_get_monotonic_time();
    }
    return 0;
}

/* ---- a transfer ---- */

static void
set_trust(HttpClient *client, CURL *easy)
{
    if (client->ca_file != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    if (client->certificate_file != NULL) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, client->certificate_file);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, client->key_file);
    }
}

static bool
has_header(const char *const *headers, const char *name)
{
    size_t length = strlen(name);
    for (; headers != NULL && *headers != NULL; headers++) {
        if (g_ascii_strncasecmp(*headers, name, length) == 0 && (*headers)[length] == ':')
            return true;
    }
    return false;
}

static void
set_headers(HttpUpload *self, const char *const *headers, bool has_body, bool streamed)
{
    self->headers = curl_slist_append(NULL, streamed ? "Expect: 100-continue" : "Expect:");
    if (streamed)
        self->headers = curl_slist_append(self->headers, "Transfer-Encoding: chunked");
    if (has_body && !has_header(headers, "Content-Type"))
        self->headers = curl_slist_append(self->headers, "Content-Type: application/octet-stream");
    for (; headers != NULL && *headers != NULL; headers++)
        self->headers = curl_slist_append(self->headers, *headers);
    curl_easy_setopt(self->easy, CURLOPT_HTTPHEADER, self->headers);
}

static HttpUpload *
transfer_new(HttpClient *client, const char *method, const char *path)
{
    g_assert(!client->busy);
    client->busy = true;
    HttpUpload *self = g_new0(HttpUpload, 1);
    self->client = client;
    self->answer = g_byte_array_new();
    self->moved_at = g_get_monotonic_time();
    CURL *easy = self->easy = curl_easy_init();
    g_autofree char *url = g_strconcat(client->base_url, path, NULL);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, self->curl_text);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)client->connect_timeout_sec);
    curl_easy_setopt(easy, CURLOPT_EXPECT_100_TIMEOUT_MS, (long)CONTINUE_MSEC);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, self);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, self);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, self);
    if (!client->use_proxy)
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (client->unix_path != NULL)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, client->unix_path);
    if (client->user != NULL) {
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(easy, CURLOPT_USERNAME, client->user);
        curl_easy_setopt(easy, CURLOPT_PASSWORD, client->password != NULL ? client->password : "");
    }
    set_trust(client, easy);
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    return self;
}

void
http_upload_free(HttpUpload *self)
{
    if (self == NULL)
        return;
    curl_multi_remove_handle(self->client->multi, self->easy);
    curl_easy_cleanup(self->easy);
    curl_slist_free_all(self->headers);
    g_byte_array_unref(self->answer);
    self->client->busy = false;
    g_free(self);
}

/* An alert is how the peer says that it does not take our certificate. */
static HttpError
error_code(const HttpUpload *self)
{
    switch (self->result) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CRL_BADFILE:
        return HTTP_ERROR_TRUST;
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
        return HTTP_ERROR_TLS;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        return strstr(self->curl_text, " alert ") != NULL ? HTTP_ERROR_TRUST : HTTP_ERROR_CONNECT;
    default:
        return HTTP_ERROR_CONNECT;
    }
}

static bool
set_failure(const HttpUpload *self, GError **error)
{
    if (self->answer_too_long) {
        g_set_error(error, HTTP_ERROR, HTTP_ERROR_BODY, "answer of '%s' exceeds %d bytes", self->client->where,
                    ANSWER_MAX);
        return false;
    }
    HttpError code = error_code(self);
    g_set_error(error, HTTP_ERROR, code, "%s '%s': %s%s",
                code == HTTP_ERROR_TRUST ? "no trust between us and" : "cannot reach", self->client->where,
                self->curl_text[0] != '\0' ? self->curl_text : curl_easy_strerror(self->result),
                code == HTTP_ERROR_TRUST ? "; check the CA files and certificates of both sides" : "");
    return false;
}

static void
collect_result(HttpUpload *self)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(self->client->multi, &left)) != NULL;) {
        if (message->msg == CURLMSG_DONE && message->easy_handle == self->easy) {
            self->done = true;
            self->result = message->data.result;
        }
    }
}

static unsigned
stall_allowed(const HttpClient *client)
{
    bool hurry = client->hurry != NULL && g_atomic_int_get(client->hurry) != 0;
    return hurry ? MIN(client->stall_timeout_sec, HURRIED_STALL_SEC) : client->stall_timeout_sec;
}

/* Runs until the transfer is done, or, with @until_asked, until curl wants more of the body. */
static bool
drive(HttpUpload *self, bool until_asked, GError **error)
{
    self->moved_at = g_get_monotonic_time();
    for (;;) {
        int running;
        curl_multi_perform(self->client->multi, &running);
        collect_result(self);
        if (self->done || (until_asked && self->asked && self->piece_left == 0))
            return true;
        unsigned allowed_sec = stall_allowed(self->client);
        int64_t left = self->moved_at + (int64_t)allowed_sec * G_USEC_PER_SEC - g_get_monotonic_time();
        if (left <= 0) {
            self->done = true;
            self->result = CURLE_OPERATION_TIMEDOUT;
            g_snprintf(self->curl_text, sizeof self->curl_text, "nothing moved for %u s", allowed_sec);
            return set_failure(self, error);
        }
        curl_multi_poll(self->client->multi, NULL, 0, (int)MIN(left / 1000 + 1, 1000), NULL);
    }
}

static bool
take_answer(HttpUpload *self, unsigned *ret_status, GBytes **ret_body, GError **error)
{
    if (self->result != CURLE_OK)
        return set_failure(self, error);
    long status = 0;
    curl_easy_getinfo(self->easy, CURLINFO_RESPONSE_CODE, &status);
    *ret_status = (unsigned)status;
    if (ret_body != NULL)
        *ret_body = g_bytes_new(self->answer->data, self->answer->len);
    return true;
}

bool
http_client_request(HttpClient *self, const char *method, const char *path, const char *const *headers,
                    const void *body, size_t length, unsigned *ret_status, GBytes **ret_body, GError **error)
{
    g_autoptr(HttpUpload) transfer = transfer_new(self, method, path);
    bool has_body = body != NULL || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0;
    if (has_body) {
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, body != NULL ? body : "");
    }
    set_headers(transfer, headers, has_body, false);
    curl_multi_add_handle(self->multi, transfer->easy);
    return drive(transfer, false, error) && take_answer(transfer, ret_status, ret_body, error);
}

HttpUpload *
http_client_upload(HttpClient *self, const char *method, const char *path, const char *const *headers, GError **error)
{
    g_autoptr(HttpUpload) upload = transfer_new(self, method, path);
    curl_easy_setopt(upload->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(upload->easy, CURLOPT_READFUNCTION, on_want_body);
    curl_easy_setopt(upload->easy, CURLOPT_READDATA, upload);
    set_headers(upload, headers, true, true);
    curl_multi_add_handle(self->multi, upload->easy);
    if (!drive(upload, true, error))
        return NULL;
    if (upload->done && upload->result != CURLE_OK) {
        set_failure(upload, error);
        return NULL;
    }
    return g_steal_pointer(&upload);
}

bool
http_upload_write(HttpUpload *self, const void *data, size_t length, GError **error)
{
    g_assert(!self->ended);
    if (length == 0)
        return true;
    if (!self->done) {
        self->piece = data;
        self->piece_left = length;
        self->asked = false;
        curl_easy_pause(self->easy, CURLPAUSE_CONT);
        bool good = drive(self, true, error);
        self->piece = NULL;
        self->piece_left = 0;
        if (!good)
            return false;
    }
    if (!self->done)
        return true;
    if (self->result != CURLE_OK)
        return set_failure(self, error);
    long status = 0;
    curl_easy_getinfo(self->easy, CURLINFO_RESPONSE_CODE, &status);
    g_set_error(error, HTTP_ERROR, HTTP_ERROR_STATUS, "'%s' answered with status %ld before the end of the body",
                self->client->where, status);
    return false;
}

bool
http_upload_finish(HttpUpload *self, unsigned *ret_status, GBytes **ret_body, GError **error)
{
    self->ended = true;
    if (!self->done) {
        curl_easy_pause(self->easy, CURLPAUSE_CONT);
        if (!drive(self, false, error))
            return false;
    }
    return take_answer(self, ret_status, ret_body, error);
}

uint64_t
http_upload_sent(const HttpUpload *self)
{
    curl_off_t sent = 0;
    curl_easy_getinfo(self->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    return (uint64_t)sent;
}
