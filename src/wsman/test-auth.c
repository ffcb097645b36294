/* Callers over real listeners: peer credentials of a unix socket, and user and password. */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "http/http-client.h"
#include "wsman/auth-password.h"
#include "wsman/auth.h"

#define NOBODY 65534
#define SHORT_DELAY_USEC 1000

static char *
make_folder(void)
{
    g_autoptr(GError) error = NULL;
    char *folder = g_dir_make_tmp("vr-auth-XXXXXX", &error);

    g_assert_no_error(error);
    g_assert_cmpint(g_chmod(folder, 0755), ==, 0);
    return folder;
}

static void
remove_folder(char *folder)
{
    static const char *const names[] = { "passwd", "socket", "socket.lock" };

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(folder, names[i], NULL);
        g_unlink(path);
    }
    g_assert_cmpint(g_rmdir(folder), ==, 0);
    g_free(folder);
}

/* Replaces the file as an editor does, by a rename. */
static char *
write_passwords(const char *folder, const char *text, unsigned mode)
{
    char *path = g_build_filename(folder, "passwd", NULL);
    g_autofree char *next = g_strconcat(path, ".new", NULL);

    g_assert_true(g_file_set_contents(next, text, -1, NULL));
    g_assert_cmpint(g_chmod(next, (int)mode), ==, 0);
    g_assert_cmpint(g_rename(next, path), ==, 0);
    return path;
}

static char *
line_for(const char *user, const char *role, const char *password)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *hash = auth_hash_password(password, &error);

    g_assert_no_error(error);
    return g_strdup_printf("%s:%s:%s\n", user, role, hash);
}

/* ---- a server that says who it thinks the caller is ---- */

static void
handle(void *authenticator, HttpRequest *request)
{
    g_auto(AuthUser) user = { 0 };
    g_autofree char *text = NULL;

    switch (authenticator_check(authenticator, request, &user)) {
    case AUTH_GRANTED:
        text = g_strdup_printf("%s %d", user.user, (int)user.role);
        http_request_answer_text(request, 200, text);
        break;
    case AUTH_REQUIRED:
        authenticator_challenge(authenticator, request);
        http_request_answer_text(request, 401, "");
        break;
    case AUTH_FORBIDDEN:
        http_request_answer_text(request, 403, "");
        break;
    }
}

static HttpServer *
start_tcp(Authenticator *authenticator)
{
    HttpServerConfig config = { .address = "127.0.0.1" };
    g_autoptr(GError) error = NULL;
    HttpServer *server = http_server_start(&config, handle, authenticator, &error);

    g_assert_no_error(error);
    return server;
}

/* "STATUS BODY" */
static char *
ask(HttpServer *server, const char *user, const char *password)
{
    HttpClientConfig config = { .host = "127.0.0.1", .port = http_server_port(server), .user = user, .password = password };
    g_autoptr(GError) error = NULL;
    g_autoptr(HttpClient) client = http_client_new(&config, &error);
    g_autoptr(GBytes) body = NULL;
    unsigned status = 0;
    gsize length = 0;
    const char *data = NULL;

    g_assert_no_error(error);
    http_client_request(client, "POST", "/", NULL, "x", 1, &status, &body, &error);
    g_assert_no_error(error);
    data = g_bytes_get_data(body, &length);
    return g_strdup_printf("%u %.*s", status, (int)length, data != NULL ? data : "");
}

static void
assert_ask(HttpServer *server, const char *user, const char *password, const char *want)
{
    g_autofree char *answer = ask(server, user, password);

    g_assert_cmpstr(answer, ==, want);
}

static void
test_basic(void)
{
    char *folder = make_folder();
    g_autofree char *admin = line_for("admin", "administrator", "secret");
    g_autofree char *reader = line_for("reader", "reader", "s:ä");
    g_autofree char *operator = line_for("operator", "operator", "");
    g_autofree char *text = g_strconcat("# users\n\n", admin, reader, operator, NULL);
    g_autofree char *path = write_passwords(folder, text, 0600);
    g_autoptr(GError) error = NULL;
    g_autoptr(Authenticator) authenticator = authenticator_basic_new(path, SHORT_DELAY_USEC, &error);
    HttpServer *server = NULL;

    g_assert_no_error(error);
    server = start_tcp(authenticator);
    assert_ask(server, "admin", "secret", "200 admin 3");
    assert_ask(server, "admin", "secret", "200 admin 3");
    assert_ask(server, "reader", "s:ä", "200 reader 1");
    assert_ask(server, "operator", "", "200 operator 2");
    assert_ask(server, "admin", "Secret", "401 ");
    assert_ask(server, "admin", "", "401 ");
    assert_ask(server, "nobody", "secret", "401 ");
    assert_ask(server, NULL, NULL, "401 ");
    http_server_stop(server);
    remove_folder(folder);
}

static void
test_changed_file(void)
{
    char *folder = make_folder();
    g_autofree char *first = line_for("admin", "administrator", "one");
    g_autofree char *second = line_for("admin", "reader", "two");
    g_autofree char *path = write_passwords(folder, first, 0600);
    g_autoptr(Authenticator) authenticator = authenticator_basic_new(path, SHORT_DELAY_USEC, NULL);
    HttpServer *server = start_tcp(authenticator);

    assert_ask(server, "admin", "one", "200 admin 3");
    g_free(write_passwords(folder, second, 0640));
    assert_ask(server, "admin", "one", "401 ");
    assert_ask(server, "admin", "two", "200 admin 1");
    g_free(write_passwords(folder, second, 0644)); /* open to others: nobody gets in */
    assert_ask(server, "admin", "two", "401 ");
    g_free(write_passwords(folder, "nonsense", 0600));
    assert_ask(server, "admin", "two", "401 ");
    g_assert_cmpint(g_unlink(path), ==, 0);
    assert_ask(server, "admin", "two", "401 ");
    g_free(write_passwords(folder, second, 0600));
    assert_ask(server, "admin", "two", "200 admin 1");
    http_server_stop(server);
    remove_folder(folder);
}

static const struct {
    const char *text;
    unsigned    mode;
    const char *reason;
} bad_files[] = {
    { "", 0644, "open to others" },
    { "", 0660, "open to others" },
    { "a:administrator:$1$abc$def\n", 0600, "line 1" },
    { "a:administrator:plain\n", 0600, "line 1" },
    { "# x\na:root:$y$j9T$x$y\n", 0600, "line 2" },
    { "a\n", 0600, "line 1" },
    { ":reader:$y$j9T$x$y\n", 0600, "line 1" },
    { "a:reader:$y$j9T$x$y\na:administrator:$y$j9T$x$y\n", 0600, "line 2" },
};

static void
test_bad_files(void)
{
    char *folder = make_folder();

    for (guint i = 0; i < G_N_ELEMENTS(bad_files); i++) {
        g_autofree char *path = write_passwords(folder, bad_files[i].text, bad_files[i].mode);
        g_autoptr(GError) error = NULL;

        g_assert_null(authenticator_basic_new(path, 0, &error));
        g_assert_nonnull(error);
        g_assert_nonnull(strstr(error->message, bad_files[i].reason));
    }
    g_assert_null(authenticator_basic_new("/nonexistent", 0, NULL));
    remove_folder(folder);
}

static gint64
cpu_time(const PasswordFile *file, const char *user)
{
    struct timespec before, after;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    g_assert_cmpint(password_file_check((PasswordFile *)file, user, "wrong"), ==, CIM_ROLE_NONE);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    return (after.tv_sec - before.tv_sec) * G_GINT64_CONSTANT(1000000000) + after.tv_nsec - before.tv_nsec;
}

/* In processor time of this thread, so that other load does not matter. */
static void
test_unknown_user_costs_the_same(void)
{
    char *folder = make_folder();
    g_autofree char *text = line_for("admin", "administrator", "secret");
    g_autofree char *path = write_passwords(folder, text, 0600);
    PasswordFile *file = password_file_open(path, NULL);
    gint64 known = G_MAXINT64, unknown = G_MAXINT64;

    for (int i = 0; i < 3; i++) {
        known = MIN(known, cpu_time(file, "admin"));
        unknown = MIN(unknown, cpu_time(file, "stranger"));
    }
    g_assert_cmpint(unknown, >, known / 2);
    g_assert_cmpint(unknown, <, known * 2);
    password_file_free(file);
    remove_folder(folder);
}

/* ---- unix socket ---- */

static int
raw_request(const char *path)
{
    static const char text[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char answer[64] = "";
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    memcpy(address.sun_path, path, strlen(path) + 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || write(fd, text, sizeof text - 1) < 0 ||
        read(fd, answer, sizeof answer - 1) < 12)
        return 0;
    close(fd);
    return atoi(answer + strlen("HTTP/1.1 "));
}

/* HTTP status for a caller with these ids, asked by a child that has them. */
static int
status_as(const char *path, uid_t uid, gid_t gid)
{
    pid_t child = fork();
    int result = 0;

    if (child == 0) {
        if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
            _exit(99);
        result = raw_request(path);
        _exit(result / 100 * 10 + result % 10);
    }
    g_assert_cmpint(waitpid(child, &result, 0), ==, child);
    return WEXITSTATUS(result); /* 200 -> 20, 403 -> 43 */
}

static HttpServer *
start_unix(const char *folder, Authenticator *authenticator, char **ret_path)
{
    g_autoptr(GError) error = NULL;
    HttpServerConfig config = { .unix_mode = 0666, .unix_group = (gid_t)-1 };
    HttpServer *server = NULL;

    *ret_path = g_build_filename(folder, "socket", NULL);
    config.unix_path = *ret_path;
    server = http_server_start(&config, handle, authenticator, &error);
    g_assert_no_error(error);
    return server;
}

static void
test_local_own_user(void)
{
    char *folder = make_folder();
    g_autoptr(Authenticator) authenticator = authenticator_local_new(NULL);
    g_autofree char *path = NULL;
    HttpServer *server = start_unix(folder, authenticator, &path);

    g_assert_cmpint(raw_request(path), ==, 200);
    http_server_stop(server);
    remove_folder(folder);
}

static void
test_local_others(void)
{
    char *folder = make_folder();
    g_autoptr(Authenticator) alone = authenticator_local_new("no-such-group-here");
    g_autoptr(Authenticator) grouped = authenticator_local_new("nogroup");
    g_autofree char *path = NULL;
    HttpServer *server = NULL;

    if (geteuid() != 0) {
        g_test_skip("needs root to be somebody else");
        remove_folder(folder);
        return;
    }
    server = start_unix(folder, alone, &path);
    g_assert_cmpint(status_as(path, NOBODY, NOBODY), ==, 43);
    http_server_stop(server);
    g_clear_pointer(&path, g_free);
    server = start_unix(folder, grouped, &path);
    g_assert_cmpint(status_as(path, NOBODY, NOBODY), ==, 20);
    g_assert_cmpint(status_as(path, 54321, 54321), ==, 43); /* in no database */
    http_server_stop(server);
    remove_folder(folder);
}

/* A TCP caller has no credentials to show to a socket's authenticator. */
static void
test_local_over_tcp(void)
{
    g_autoptr(Authenticator) authenticator = authenticator_local_new(NULL);
    HttpServer *server = start_tcp(authenticator);

    assert_ask(server, NULL, NULL, "403 ");
    http_server_stop(server);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/basic/users-and-roles", test_basic);
    g_test_add_func("/basic/file-changes", test_changed_file);
    g_test_add_func("/basic/unusable-files", test_bad_files);
    g_test_add_func("/basic/unknown-user-costs-the-same", test_unknown_user_costs_the_same);
    g_test_add_func("/local/own-user", test_local_own_user);
    g_test_add_func("/local/others-and-group", test_local_others);
    g_test_add_func("/local/not-over-tcp", test_local_over_tcp);
    return g_test_run();
}
