/* Client and server against each other: who trusts whom, and long bodies over TLS. */
#include "http/http-client.h"

#include <glib/gstdio.h>
#include <gnutls/gnutls.h>
#include <arpa/inet.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char *folder; /* good/: our CA with a.example, old (expired), far (no localhost); other/: a CA that nobody trusts */

static struct {
    GMutex   lock;
    GCond    changed;
    uint64_t read_bytes;
    char    *read_error; /* "" after a clean end */
} seen;

static char *
file(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

static void
handle(void *opaque, HttpRequest *request)
{
    if (g_str_equal(http_request_path(request), "/names")) {
        const char *const *names = http_request_certificate_names(request);
        const char *digest = http_request_certificate_sha256(request);
        g_autofree char *all = names != NULL ? g_strjoinv(",", (char **)names) : g_strdup("none");
        g_autofree char *text = g_strdup_printf("%s %zu", all, digest != NULL ? strlen(digest) : 0);
        http_request_answer_text(request, 200, text);
        return;
    }
    if (g_str_equal(http_request_path(request), "/refuse")) {
        char byte;
        if (g_str_equal(http_request_method(request), "PUT"))
            http_request_read(request, &byte, 1, NULL);
        http_request_answer_text(request, 409, "not now");
        return;
    }
    g_autofree char *buffer = g_malloc(65536);
    g_autoptr(GError) error = NULL;
    uint64_t total = 0;
    ssize_t got;
    while ((got = http_request_read(request, buffer, 65536, &error)) > 0)
        total += (uint64_t)got;
    g_mutex_lock(&seen.lock);
    seen.read_bytes = total;
    g_free(seen.read_error);
    seen.read_error = g_strdup(error != NULL ? error->message : "");
    g_cond_broadcast(&seen.changed);
    g_mutex_unlock(&seen.lock);
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, total);
    http_request_answer_text(request, got == 0 ? 200 : 400, text);
}

static HttpServer *
start(const char *certificate, bool ask, bool require, bool tls13_only)
{
    g_autofree char *pem = g_strdup_printf("%s/%s.pem", folder, certificate);
    g_autofree char *key = g_strdup_printf("%s/%s-key.pem", folder, certificate);
    g_autofree char *ca = file("good/ca.pem");
    HttpServerConfig config = { .address = "127.0.0.1", .certificate_file = pem, .key_file = key,
                                .client_ca_file = ask ? ca : NULL, .require_client_certificate = require,
                                .tls13_only = tls13_only, .idle_timeout_sec = 20 };
    g_autoptr(GError) error = NULL;
    HttpServer *server = http_server_start(&config, handle, NULL, &error);
    g_assert_no_error(error);
    g_clear_pointer(&seen.read_error, g_free);
    return server;
}

static HttpClient *
client_new(uint16_t port, const char *ca_name, const char *certificate)
{
    g_autofree char *ca = file(ca_name);
    g_autofree char *pem = g_strdup_printf("%s/%s.pem", folder, certificate);
    g_autofree char *key = g_strdup_printf("%s/%s-key.pem", folder, certificate);
    HttpClientConfig config = { .host = "127.0.0.1", .port = port, .tls = true, .ca_file = ca,
                                .certificate_file = certificate != NULL ? pem : NULL,
                                .key_file = certificate != NULL ? key : NULL,
                                .connect_timeout_sec = 10, .stall_timeout_sec = 10 };
    g_autoptr(GError) error = NULL;
    HttpClient *client = http_client_new(&config, &error);
    g_assert_no_error(error);
    return client;
}

/* Returns: the answer's text, or NULL with @ret_code. */
static char *
try_names(uint16_t port, const char *ca_name, const char *certificate, int *ret_code)
{
    g_autoptr(HttpClient) client = client_new(port, ca_name, certificate);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) body = NULL;
    unsigned status = 0;
    if (!http_client_request(client, "GET", "/names", NULL, NULL, 0, &status, &body, &error)) {
        g_test_message("refused: %s", error->message);
        g_assert_true(error->domain == HTTP_ERROR);
        *ret_code = error->code;
        return NULL;
    }
    g_assert_cmpuint(status, ==, 200);
    return g_strndup(g_bytes_get_data(body, NULL), g_bytes_get_size(body));
}

static void
test_trust(void)
{
    static const struct {
        const char *server, *client_ca, *client;
        bool require, tls13_only;
        const char *want; /* NULL: HTTP_ERROR_TRUST */
    } cases[] = {
        { "good/a.example", "good/ca.pem", "good/b.example", true, true, "b.example,localhost 64" },
        { "good/a.example", "good/ca.pem", "good/b.example", true, false, "b.example,localhost 64" },
        { "good/a.example", "good/ca.pem", NULL, true, true, NULL },
        { "good/a.example", "good/ca.pem", NULL, true, false, NULL },
        { "good/a.example", "good/ca.pem", NULL, false, true, "none 0" },
        { "good/a.example", "good/ca.pem", "other/a.example", true, true, NULL },
        { "good/a.example", "good/ca.pem", "other/a.example", false, true, NULL },
        { "good/a.example", "good/ca.pem", "good/old", true, true, NULL },
        { "other/a.example", "good/ca.pem", "good/b.example", true, true, NULL },
        { "good/old", "good/ca.pem", "good/b.example", true, true, NULL },
        { "good/far", "good/ca.pem", "good/b.example", true, true, NULL },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("case %zu", i);
        HttpServer *server = start(cases[i].server, true, cases[i].require, cases[i].tls13_only);
        int code = -1;
        g_autofree char *text = try_names(http_server_port(server), cases[i].client_ca, cases[i].client, &code);
        g_assert_cmpstr(text, ==, cases[i].want);
        if (cases[i].want == NULL)
            g_assert_cmpint(code, ==, HTTP_ERROR_TRUST);
        http_server_stop(server);
    }
}

static int
handshake(uint16_t port, const char *priorities)
{
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    gnutls_certificate_allocate_credentials(&credentials);
    gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
    g_assert_cmpint(gnutls_priority_set_direct(session, priorities, NULL), ==, 0);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_transport_set_int(session, fd);
    int code = gnutls_handshake(session);
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(credentials);
    close(fd);
    return code;
}

static void
test_tls_version(void)
{
    HttpServer *server = start("good/a.example", true, true, true);
    g_assert_cmpint(handshake(http_server_port(server), "NORMAL:-VERS-ALL:+VERS-TLS1.2"), <, 0);
    g_assert_cmpint(handshake(http_server_port(server), "NORMAL:-VERS-ALL:+VERS-TLS1.3"), ==, 0);
    http_server_stop(server);
    server = start("good/a.example", false, false, false);
    g_assert_cmpint(handshake(http_server_port(server), "NORMAL:-VERS-ALL:+VERS-TLS1.2"), ==, 0);
    g_assert_cmpint(handshake(http_server_port(server), "NORMAL:-VERS-ALL:+VERS-TLS1.1"), <, 0);
    http_server_stop(server);
}

static void
test_wrong_kind_of_port(void)
{
    HttpServer *server = start("good/a.example", true, true, true);
    HttpClientConfig plain = { .host = "127.0.0.1", .port = http_server_port(server) };
    g_autoptr(GError) error = NULL;
    g_autoptr(HttpClient) client = http_client_new(&plain, &error);
    unsigned status;
    g_assert_false(http_client_request(client, "GET", "/names", NULL, NULL, 0, &status, NULL, &error));
    g_assert_error(error, HTTP_ERROR, HTTP_ERROR_CONNECT);
    g_clear_error(&error);
    http_server_stop(server);

    /* Nobody there */
    g_assert_false(http_client_request(client, "GET", "/names", NULL, NULL, 0, &status, NULL, &error));
    g_assert_error(error, HTTP_ERROR, HTTP_ERROR_CONNECT);
    g_clear_error(&error);

    HttpServerConfig config = { .address = "127.0.0.1" };
    server = http_server_start(&config, handle, NULL, &error);
    g_assert_no_error(error);
    int code = -1;
    g_assert_null(try_names(http_server_port(server), "good/ca.pem", NULL, &code));
    g_assert_cmpint(code, ==, HTTP_ERROR_CONNECT);
    http_server_stop(server);
}

static long
resident_kb(void)
{
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents("/proc/self/status", &text, NULL, NULL));
    const char *line = strstr(text, "\nVmHWM:");
    return line != NULL ? strtol(line + 7, NULL, 10) : 0;
}

static void
test_long_body(void)
{
    HttpServer *server = start("good/a.example", true, true, true);
    g_autoptr(HttpClient) client = client_new(http_server_port(server), "good/ca.pem", "good/b.example");
    g_autoptr(GError) error = NULL;
    long before = resident_kb();
    g_autofree char *piece = g_malloc0(1 << 20);
    for (int round = 0; round < 2; round++) { /* the second one on the same connection */
        g_autoptr(HttpUpload) upload = http_client_upload(client, "POST", "/sink", NULL, &error);
        g_assert_no_error(error);
        for (int i = 0; i < 100; i++) {
            http_upload_write(upload, piece, 1 << 20, &error);
            g_assert_no_error(error);
        }
        unsigned status = 0;
        g_autoptr(GBytes) body = NULL;
        http_upload_finish(upload, &status, &body, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(status, ==, 200);
        g_assert_cmpuint(seen.read_bytes, ==, 100u << 20);
        g_assert_cmpuint(http_upload_sent(upload), >=, 100u << 20);
        g_assert_cmpuint(http_upload_sent(upload), <, 101u << 20);
    }
#ifndef __SANITIZE_ADDRESS__ /* which keeps freed memory for a while */
    g_assert_cmpint(resident_kb() - before, <, 40 * 1024);
#else
    (void)before;
#endif
    http_server_stop(server);
}

static void
wait_read(void)
{
    g_mutex_lock(&seen.lock);
    while (seen.read_error == NULL)
        g_cond_wait(&seen.changed, &seen.lock);
    g_mutex_unlock(&seen.lock);
}

static void
test_dropped_upload(void)
{
    HttpServer *server = start("good/a.example", true, true, true);
    g_autoptr(HttpClient) client = client_new(http_server_port(server), "good/ca.pem", "good/b.example");
    g_autoptr(GError) error = NULL;
    HttpUpload *upload = http_client_upload(client, "POST", "/sink", NULL, &error);
    g_assert_no_error(error);
    http_upload_write(upload, "abc", 3, &error);
    g_assert_no_error(error);
    http_upload_free(upload);
    wait_read();
    g_assert_cmpstr(seen.read_error, !=, "");

    /* The client is good for another request. */
    unsigned status = 0;
    http_client_request(client, "GET", "/names", NULL, NULL, 0, &status, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(status, ==, 200);
    http_server_stop(server);
}

/* In a child: uploads without an end, until it is killed. */
static void
upload_forever(uint16_t port)
{
    HttpClient *client = client_new(port, "good/ca.pem", "good/b.example");
    HttpUpload *upload = http_client_upload(client, "POST", "/sink", NULL, NULL);
    static char piece[65536];
    for (unsigned i = 0; upload != NULL && http_upload_write(upload, piece, sizeof piece, NULL); i++) {
        if (i == 20)
            raise(SIGKILL);
    }
    _exit(1);
}

static void
test_killed_client(void)
{
    if (g_test_subprocess()) {
        g_autofree char *text = NULL;
        g_autofree char *path = file("good/port");
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        upload_forever((uint16_t)g_ascii_strtoull(text, NULL, 10));
        return;
    }
    HttpServer *server = start("good/a.example", true, true, true);
    g_autofree char *port = g_strdup_printf("%u", http_server_port(server));
    g_autofree char *path = file("good/port");
    g_assert_true(g_file_set_contents(path, port, -1, NULL));
    g_test_trap_subprocess(NULL, 0, 0);
    g_assert_false(g_test_trap_has_passed());
    wait_read();
    g_assert_cmpstr(seen.read_error, !=, "");
    g_assert_cmpuint(seen.read_bytes, >, 0);
    http_server_stop(server);
}

static void
test_early_answer(void)
{
    HttpServer *server = start("good/a.example", true, true, true);
    /* POST is answered before any of the body is read, PUT in the middle of it. */
    static const char *const methods[] = { "POST", "PUT" };
    for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
        g_autoptr(HttpClient) client = client_new(http_server_port(server), "good/ca.pem", "good/b.example");
        g_autoptr(GError) error = NULL;
        g_autoptr(HttpUpload) upload = http_client_upload(client, methods[i], "/refuse", NULL, &error);
        g_assert_no_error(error);
        g_autofree char *piece = g_malloc0(1 << 20);
        int written = 0;
        while (written < 1000 && http_upload_write(upload, piece, 1 << 20, &error))
            written++;
        g_assert_cmpint(written, <, 1000);
        g_assert_error(error, HTTP_ERROR, HTTP_ERROR_STATUS);
        g_clear_error(&error);
        unsigned status = 0;
        g_autoptr(GBytes) body = NULL;
        http_upload_finish(upload, &status, &body, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(status, ==, 409);
        g_assert_cmpmem(g_bytes_get_data(body, NULL), g_bytes_get_size(body), "not now", 7);
    }
    http_server_stop(server);
}

static void
stop_soon(void *server)
{
    http_server_stop(server);
}

static void
test_server_goes_away(void)
{
    HttpServer *server = start("good/a.example", true, true, true);
    g_autoptr(HttpClient) client = client_new(http_server_port(server), "good/ca.pem", "good/b.example");
    g_autoptr(GError) error = NULL;
    g_autoptr(HttpUpload) upload = http_client_upload(client, "POST", "/sink", NULL, &error);
    g_assert_no_error(error);
    g_autofree char *piece = g_malloc0(1 << 20);
    http_upload_write(upload, piece, 1 << 20, &error);
    g_assert_no_error(error);
    GThread *stopper = g_thread_new("stop", (GThreadFunc)(void (*)(void))stop_soon, server);
    while (http_upload_write(upload, piece, 1 << 20, &error))
        ;
    g_assert_nonnull(error);
    g_clear_pointer(&upload, http_upload_free);
    g_thread_join(stopper);
    g_assert_nonnull(strstr(seen.read_error, "the server is stopping"));
}

/* A server that takes the connection and the request, and never answers. */
static void
test_stalled_server(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, length), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    getsockname(fd, (struct sockaddr *)&address, &length);
    HttpClientConfig config = { .host = "127.0.0.1", .port = ntohs(address.sin_port), .stall_timeout_sec = 1 };
    g_autoptr(GError) error = NULL;
    g_autoptr(HttpClient) client = http_client_new(&config, &error);
    unsigned status;
    g_assert_false(http_client_request(client, "GET", "/", NULL, NULL, 0, &status, NULL, &error));
    g_assert_error(error, HTTP_ERROR, HTTP_ERROR_CONNECT);
    g_assert_nonnull(strstr(error->message, "nothing moved for 1 s"));
    close(fd);
}

static bool
make(const char *sub_folder, const char *arguments)
{
    g_autofree char *path = file(sub_folder);
    g_autofree char *command = g_strdup_printf("'%s' '%s' %s", g_getenv("MAKE_CERTIFICATES"), path, arguments);
    int status = -1;
    return g_spawn_command_line_sync(command, NULL, NULL, &status, NULL) && status == 0;
}

static void
remove_folder(void)
{
    static const char *const subs[] = { "good", "other" };
    for (size_t i = 0; i < G_N_ELEMENTS(subs); i++) {
        g_autofree char *path = file(subs[i]);
        GDir *dir = g_dir_open(path, 0, NULL);
        for (const char *name; dir != NULL && (name = g_dir_read_name(dir)) != NULL;) {
            g_autofree char *entry = g_build_filename(path, name, NULL);
            g_remove(entry);
        }
        g_dir_close(dir);
        g_rmdir(path);
    }
    g_rmdir(folder);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/http-tls/trust", test_trust);
    g_test_add_func("/http-tls/old-versions-are-refused", test_tls_version);
    g_test_add_func("/http-tls/wrong-kind-of-port", test_wrong_kind_of_port);
    g_test_add_func("/http-tls/long-bodies-in-bounded-memory", test_long_body);
    g_test_add_func("/http-tls/dropped-upload-is-a-broken-body", test_dropped_upload);
    g_test_add_func("/http-tls/killed-client-is-a-broken-body", test_killed_client);
    g_test_add_func("/http-tls/early-answer-ends-the-upload", test_early_answer);
    g_test_add_func("/http-tls/server-goes-away", test_server_goes_away);
    g_test_add_func("/http-tls/stalled-server", test_stalled_server);
    if (g_test_subprocess()) {
        folder = g_strdup(g_getenv("TEST_FOLDER"));
        return g_test_run();
    }
    folder = g_dir_make_tmp("http-tls-XXXXXX", NULL);
    if (!make("good", "a.example b.example --expired old --only far") || !make("other", "a.example")) {
        g_print("1..0 # SKIP certtool (gnutls-bin) is missing\n");
        return 0;
    }
    g_setenv("TEST_FOLDER", folder, TRUE);
    int result = g_test_run();
    remove_folder();
    g_free(folder);
    g_free(seen.read_error);
    return result;
}
