/* The server as seen through a bare socket: framing, keep-alive, back-pressure, limits, unix sockets. */
#include "http/http-server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct {
    GMutex lock;
    GCond  changed;
    bool   read_allowed;
    uint64_t read_bytes;
    char  *read_error;
    int    destroyed;
} State;

static State state;

static void
signal_state(void)
{
    g_cond_broadcast(&state.changed);
    g_mutex_unlock(&state.lock);
}

static void
count_destroyed(void *data)
{
    g_mutex_lock(&state.lock);
    state.destroyed++;
    g_free(data);
    signal_state();
}

static void
handle_count(HttpRequest *request)
{
    int *count = http_request_connection_data(request);
    if (count == NULL) {
        count = g_new0(int, 1);
        http_request_set_connection_data(request, count, count_destroyed);
    }
    g_autofree char *text = g_strdup_printf("request %d", ++*count);
    http_request_answer_text(request, 200, text);
}

static void
handle_slow_reader(HttpRequest *request)
{
    g_mutex_lock(&state.lock);
    while (!state.read_allowed)
        g_cond_wait(&state.changed, &state.lock);
    g_mutex_unlock(&state.lock);
    char buffer[65536];
    uint64_t total = 0;
    g_autoptr(GError) error = NULL;
    ssize_t got;
    while ((got = http_request_read(request, buffer, sizeof buffer, &error)) > 0)
        total += (uint64_t)got;
    g_mutex_lock(&state.lock);
    state.read_bytes = total;
    g_free(state.read_error);
    state.read_error = error != NULL ? g_strdup(error->message) : g_strdup("none");
    signal_state();
    http_request_answer_text(request, got == 0 ? 200 : 400, "read");
}

static void
handle_echo(HttpRequest *request)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) body = http_request_body(request, 1000, &error);
    if (body == NULL) {
        http_request_answer_text(request, 413, error->message);
        return;
    }
    http_request_add_header(request, "X-Query", http_request_query(request, "q") != NULL ? http_request_query(request, "q") : "");
    http_request_add_header(request, "X-Header", http_request_header(request, "x-tEST") != NULL ? "seen" : "missing");
    http_request_answer(request, 200, "application/octet-stream", g_bytes_get_data(body, NULL), g_bytes_get_size(body));
}

static void
handle(void *opaque, HttpRequest *request)
{
    const char *path = http_request_path(request);
    if (strcmp(path, "/count") == 0) {
        handle_count(request);
    } else if (strcmp(path, "/slow") == 0) {
        handle_slow_reader(request);
    } else if (strcmp(path, "/echo") == 0) {
        handle_echo(request);
    } else if (strcmp(path, "/refuse") == 0) {
        http_request_answer_text(request, 409, "not now");
    } else if (strcmp(path, "/peer") == 0) {
        uid_t uid = 0;
        gid_t gid = 0;
        pid_t pid = 0;
        bool known = http_request_peer(request, &uid, &gid, &pid);
        g_autofree char *text = g_strdup_printf("%d %d %d %d %s", known, (int)uid, (int)gid, (int)pid,
                                                http_request_remote(request));
        http_request_answer_text(request, 200, text);
    } else if (strcmp(path, "/silent") != 0) {
        http_request_answer_text(request, 404, path);
    }
}

static HttpServer *
start(unsigned idle_sec)
{
    HttpServerConfig config = { .address = "127.0.0.1", .idle_timeout_sec = idle_sec };
    g_autoptr(GError) error = NULL;
    HttpServer *server = http_server_start(&config, handle, NULL, &error);
    g_assert_no_error(error);
    state.read_allowed = false;
    state.read_bytes = 0;
    g_clear_pointer(&state.read_error, g_free);
    return server;
}

static int
connect_tcp(HttpServer *server)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(http_server_port(server)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    return fd;
}

static void
send_text(int fd, const char *text)
{
    g_assert_cmpint(send(fd, text, strlen(text), MSG_NOSIGNAL), ==, (ssize_t)strlen(text));
}

/* One answer with its Content-Length; NULL when the connection ends first. */
static char *
receive_answer(int fd)
{
    g_autoptr(GString) text = g_string_new(NULL);
    size_t whole = 0;
    while (whole == 0 || text->len < whole) {
        char byte;
        if (recv(fd, &byte, 1, 0) != 1)
            return NULL;
        g_string_append_c(text, byte);
        if (whole == 0 && g_str_has_suffix(text->str, "\r\n\r\n")) {
            if (g_str_has_prefix(text->str, "HTTP/1.1 100"))
                return g_string_free(g_steal_pointer(&text), FALSE);
            const char *length = strcasestr(text->str, "\r\nContent-Length: ");
            g_assert_nonnull(length);
            whole = text->len + (size_t)g_ascii_strtoull(length + 18, NULL, 10);
        }
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void
expect(int fd, const char *start_text, const char *end_text)
{
    g_autofree char *answer = receive_answer(fd);
    g_assert_nonnull(answer);
    if (!g_str_has_prefix(answer, start_text) || !g_str_has_suffix(answer, end_text))
        g_error("unexpected answer: %s", answer);
}

static void
expect_closed(int fd)
{
    char byte;
    g_assert_cmpint(recv(fd, &byte, 1, 0), <=, 0);
}

static void
test_connection_data(void)
{
    state.destroyed = 0;
    HttpServer *server = start(0);
    int fd = connect_tcp(server), other = connect_tcp(server);
    send_text(fd, "GET /count HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(fd, "HTTP/1.1 200", "request 1");
    send_text(fd, "POST /count HTTP/1.1\r\nHost: x\r\nContent-Length:5\r\n\r\nhello");
    expect(fd, "HTTP/1.1 200", "request 2");
    send_text(other, "GET /count HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(other, "HTTP/1.1 200", "request 1");
    /* A body that nobody read must not cost the connection: authentication is bound to it. */
    send_text(fd, "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    expect(fd, "HTTP/1.1 409", "not now");
    send_text(fd, "GET /count HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(fd, "HTTP/1.1 200", "request 3");
    close(fd);
    close(other);
    http_server_stop(server);
    g_assert_cmpint(state.destroyed, ==, 2);
}

static void
test_bodies(void)
{
    HttpServer *server = start(0);
    int fd = connect_tcp(server);
    send_text(fd, "POST /echo?q=a%20b HTTP/1.1\r\nHost: x\r\nX-Test: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n");
    g_autofree char *answer = receive_answer(fd);
    g_assert_nonnull(strstr(answer, "X-Query: a b\r\n"));
    g_assert_nonnull(strstr(answer, "X-Header: seen\r\n"));
    g_assert_null(strcasestr(answer, "chunked"));
    g_assert_true(g_str_has_suffix(answer, "\r\n\r\nabcdefgh"));
    send_text(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    expect(fd, "HTTP/1.1 100", "\r\n\r\n");
    send_text(fd, "ok");
    expect(fd, "HTTP/1.1 200", "\r\n\r\nok");
    send_text(fd, "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n");
    expect(fd, "HTTP/1.1 409", "not now");
    close(fd);

    fd = connect_tcp(server);
    g_autofree char *body = g_strnfill(1001, 'x');
    send_text(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
    send_text(fd, body);
    expect(fd, "HTTP/1.1 413", "exceeds 1000 bytes");
    send_text(fd, "GET /a%2fb%00c HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(fd, "HTTP/1.1 404", "\r\n\r\n/a/b%00c");
    send_text(fd, "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(fd, "HTTP/1.1 500", "\n");
    close(fd);
    http_server_stop(server);
}

static void
test_framing(void)
{
    HttpServer *server = start(0);
    int fd = connect_tcp(server);
    send_text(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    expect(fd, "HTTP/1.1 400", "not clear.\n");
    close(fd);

    /* More head than the connection's memory holds. */
    fd = connect_tcp(server);
    g_autofree char *padding = g_strnfill(200 * 1024, 'x');
    send_text(fd, "GET /count HTTP/1.1\r\nHost: x\r\nX-Padding: ");
    ssize_t ignored = send(fd, padding, strlen(padding), MSG_NOSIGNAL);
    (void)ignored;
    char text[16] = "";
    ssize_t got = recv(fd, text, sizeof text - 1, 0);
    g_assert_true(got <= 0 || g_str_has_prefix(text, "HTTP/1.1 431") || g_str_has_prefix(text, "HTTP/1.1 413"));
    close(fd);
    http_server_stop(server);
}

static void
test_early_answer(void)
{
    HttpServer *server = start(0);
    int fd = connect_tcp(server);
    /* The answer comes although the body has not ended and nothing more is sent. */
    send_text(fd, "POST /refuse HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    expect(fd, "HTTP/1.1 409", "not now");
    send_text(fd, "0\r\n\r\n");
    expect_closed(fd);
    close(fd);
    http_server_stop(server);
}

static void
wait_read_error(void)
{
    g_mutex_lock(&state.lock);
    while (state.read_error == NULL)
        g_cond_wait(&state.changed, &state.lock);
    g_mutex_unlock(&state.lock);
}

static void
allow_reading(void)
{
    g_mutex_lock(&state.lock);
    state.read_allowed = true;
    signal_state();
}

static void
test_back_pressure(void)
{
    HttpServer *server = start(0);
    int fd = connect_tcp(server);
    const size_t total = 64 << 20;
    g_autofree char *head =
        g_strdup_printf("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", total);
    send_text(fd, head);
    g_autofree char *piece = g_malloc0(65536);
    size_t sent = 0;
    /* Until the kernel takes nothing for a while: the handler does not read, so neither does the server. */
    struct pollfd wait = { .fd = fd, .events = POLLOUT };
    while (sent < total && poll(&wait, 1, 300) == 1) {
        ssize_t got = send(fd, piece, MIN(65536, total - sent), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (got > 0)
            sent += (size_t)got;
    }
    g_assert_cmpuint(sent, <, total / 2);
    allow_reading();
    while (sent < total) {
        ssize_t got = send(fd, piece, MIN(65536, total - sent), MSG_NOSIGNAL);
        g_assert_cmpint(got, >, 0);
        sent += (size_t)got;
    }
    expect(fd, "HTTP/1.1 200", "read");
    g_assert_cmpuint(state.read_bytes, ==, total);
    close(fd);
    http_server_stop(server);
}

static void
test_broken_body(void)
{
    HttpServer *server = start(0);
    allow_reading();
    int fd = connect_tcp(server);
    send_text(fd, "POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    close(fd);
    wait_read_error();
    g_assert_nonnull(strstr(state.read_error, "the client closed the connection"));
    http_server_stop(server);

    server = start(0);
    allow_reading();
    fd = connect_tcp(server);
    send_text(fd, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    shutdown(fd, SHUT_WR);
    wait_read_error();
    g_assert_cmpstr(state.read_error, !=, "none");
    close(fd);
    http_server_stop(server);

    /* Damaged chunk framing is no end either. */
    server = start(0);
    allow_reading();
    fd = connect_tcp(server);
    send_text(fd, "POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzzz\r\n");
    wait_read_error();
    g_assert_cmpstr(state.read_error, !=, "none");
    close(fd);
    http_server_stop(server);
}

static void
test_idle(void)
{
    HttpServer *server = start(1);
    allow_reading();
    int idle = connect_tcp(server), stalled = connect_tcp(server), trickle = connect_tcp(server);
    send_text(stalled, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    expect_closed(idle);
    wait_read_error();
    g_assert_nonnull(strstr(state.read_error, "idle timeout"));

    /* A byte now and then keeps libmicrohttpd's timer away, but not ours. */
    struct pollfd wait = { .fd = trickle, .events = POLLIN };
    int rounds = 0;
    send_text(trickle, "GET /count HTTP/1.1\r\n");
    while (poll(&wait, 1, 200) == 0 && rounds++ < 100) {
        ssize_t ignored = send(trickle, "X", 1, MSG_NOSIGNAL);
        (void)ignored;
    }
    g_assert_cmpint(rounds, <, 100);
    close(idle);
    close(stalled);
    close(trickle);
    http_server_stop(server);
}

static void
test_stop(void)
{
    HttpServer *server = start(0);
    allow_reading();
    int fd = connect_tcp(server);
    send_text(fd, "POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    expect(fd, "HTTP/1.1 100", "\r\n\r\n"); /* now the handler waits for the body */
    http_server_stop(server);
    g_assert_nonnull(strstr(state.read_error, "the server is stopping"));
    close(fd);
}

static void *
stop_server(void *server)
{
    http_server_stop(server);
    return NULL;
}

/* While another handler keeps the stop waiting, connections that are open still bring requests. */
static void
test_requests_during_a_stop(void)
{
    HttpServer *server = start(0);
    int slow = connect_tcp(server), fd = connect_tcp(server);
    send_text(slow, "POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    send_text(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    expect(fd, "HTTP/1.1 200", "x");
    GThread *stopping = g_thread_new("stop", stop_server, server);
    bool refused = false;
    while (!refused) {
        send_text(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
        g_autofree char *answer = receive_answer(fd);
        /* Closed without an answer: the stop was through before this was read. */
        refused = answer == NULL || g_str_has_prefix(answer, "HTTP/1.1 503");
        /* 413: its body was broken off by the stop */
        if (!refused && !g_str_has_prefix(answer, "HTTP/1.1 200") && !g_str_has_prefix(answer, "HTTP/1.1 413"))
            g_error("unexpected answer: %s", answer);
    }
    allow_reading();
    g_thread_join(stopping);
    close(fd);
    close(slow);
}

static int
connect_unix(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    return fd;
}

static void
test_unix(void)
{
    g_autofree char *folder = g_dir_make_tmp("http-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "s", NULL);
    g_autofree char *lock = g_build_filename(folder, "s.lock", NULL);
    HttpServerConfig config = { .unix_path = path, .unix_mode = 0640, .unix_group = getgid() };
    g_autoptr(GError) error = NULL;

    /* A socket file that nobody serves any more is replaced. */
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(stale, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(listen(stale, 1), ==, 0);

    /* ... but not while it is served, by us or by a stranger. */
    g_assert_null(http_server_start(&config, handle, NULL, &error));
    g_assert_error(error, HTTP_ERROR, HTTP_ERROR_LISTEN);
    g_clear_error(&error);
    close(stale);
    HttpServer *server = http_server_start(&config, handle, NULL, &error);
    g_assert_no_error(error);
    g_assert_null(http_server_start(&config, handle, NULL, &error));
    g_assert_error(error, HTTP_ERROR, HTTP_ERROR_LISTEN);
    g_clear_error(&error);

    GStatBuf info;
    g_assert_cmpint(g_stat(path, &info), ==, 0);
    g_assert_cmpuint(info.st_mode & 07777, ==, 0640);
    int fd = connect_unix(path);
    send_text(fd, "GET /peer HTTP/1.1\r\nHost: x\r\n\r\n");
    g_autofree char *want = g_strdup_printf("1 %d %d %d local", (int)getuid(), (int)getgid(), (int)getpid());
    expect(fd, "HTTP/1.1 200", want);
    close(fd);
    http_server_stop(server);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));

    g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
    g_assert_null(http_server_start(&config, handle, NULL, &error));
    g_assert_error(error, HTTP_ERROR, HTTP_ERROR_LISTEN);
    g_assert_true(g_file_test(path, G_FILE_TEST_IS_REGULAR));
    g_remove(path);
    g_remove(lock);
    g_rmdir(folder);
}

static void
test_listen_errors(void)
{
    HttpServer *server = start(0);
    HttpServerConfig taken = { .address = "127.0.0.1", .port = http_server_port(server) };
    g_autoptr(GError) error = NULL;
    g_assert_null(http_server_start(&taken, handle, NULL, &error));
    g_assert_error(error, HTTP_ERROR, HTTP_ERROR_LISTEN);
    g_assert_nonnull(strstr(error->message, "another program"));
    g_clear_error(&error);
    http_server_stop(server);

    HttpServerConfig named = { .address = "no.such.host" };
    g_assert_null(http_server_start(&named, handle, NULL, &error));
    g_assert_error(error, HTTP_ERROR, HTTP_ERROR_LISTEN);
    g_clear_error(&error);
    HttpServerConfig no_file = { .address = "127.0.0.1", .certificate_file = "/nonexistent", .key_file = "/nonexistent" };
    g_assert_null(http_server_start(&no_file, handle, NULL, &error));
    g_assert_error(error, HTTP_ERROR, HTTP_ERROR_TLS);
}

static void
test_connection_limit(void)
{
    HttpServerConfig config = { .address = "127.0.0.1", .max_connections = 2 };
    g_autoptr(GError) error = NULL;
    HttpServer *server = http_server_start(&config, handle, NULL, &error);
    g_assert_no_error(error);
    int fds[3];
    for (int i = 0; i < 2; i++) {
        fds[i] = connect_tcp(server);
        send_text(fds[i], "GET /count HTTP/1.1\r\nHost: x\r\n\r\n");
        expect(fds[i], "HTTP/1.1 200", "request 1");
    }
    /* The server stops accepting at the limit: the third waits in the kernel until one of the others goes. */
    fds[2] = connect_tcp(server);
    send_text(fds[2], "GET /count HTTP/1.1\r\nHost: x\r\n\r\n");
    struct pollfd wait = { .fd = fds[2], .events = POLLIN };
    if (poll(&wait, 1, 100) == 1)
        expect_closed(fds[2]);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    http_server_stop(server);
}

static void
test_dual_stack(void)
{
    HttpServerConfig config = { .address = "::" };
    g_autoptr(GError) error = NULL;
    HttpServer *server = http_server_start(&config, handle, NULL, &error);
    if (server == NULL) {
        g_test_skip("no IPv6 here");
        return;
    }
    int fd = connect_tcp(server);
    send_text(fd, "GET /peer HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(fd, "HTTP/1.1 200", "0 0 0 0 127.0.0.1");
    close(fd);
    http_server_stop(server);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/http-server/connection-data-lives-with-the-connection", test_connection_data);
    g_test_add_func("/http-server/bodies", test_bodies);
    g_test_add_func("/http-server/unclear-framing-and-long-heads-are-refused", test_framing);
    g_test_add_func("/http-server/answer-before-the-end-of-the-body", test_early_answer);
    g_test_add_func("/http-server/slow-handler-holds-the-client-back", test_back_pressure);
    g_test_add_func("/http-server/broken-body-is-never-a-clean-end", test_broken_body);
    g_test_add_func("/http-server/idle-and-trickling-clients-are-dropped", test_idle);
    g_test_add_func("/http-server/stop-ends-a-handler-that-reads", test_stop);
    g_test_add_func("/http-server/requests-during-a-stop", test_requests_during_a_stop);
    g_test_add_func("/http-server/unix-socket", test_unix);
    g_test_add_func("/http-server/listen-errors", test_listen_errors);
    g_test_add_func("/http-server/connection-limit", test_connection_limit);
    g_test_add_func("/http-server/ipv4-on-a-dual-stack-listener", test_dual_stack);
    return g_test_run();
}
