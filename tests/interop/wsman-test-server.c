/* A WS-Management service on three listeners, for tests of the protocol: the real server, broker and class tables over a
 * replication service in memory.
 *
 *     wsman-test-server FOLDER [CERTIFICATE KEY]
 *
 * Makes a password file and a socket in FOLDER. Prints one line for each listener ("http PORT", "https PORT", "unix PATH") and
 * "ready", and runs until its standard input ends. Users: admin/secret, operator/secret, reader/secret, other/secret.
 */
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cim/test-service.h"
#include "util/log.h"
#include "wsman/wsman.h"

#define SHORT_DELAY_USEC 1000

static const char *const users[] = { "admin:administrator", "operator:operator", "reader:reader", "other:administrator" };

static void
must(bool good, const GError *error)
{
    if (!good)
        g_error("%s", error != NULL ? error->message : "failed");
}

static char *
write_password_file(const char *folder)
{
    g_autoptr(GString) text = g_string_new(NULL);
    char *path = g_build_filename(folder, "passwd", NULL);
    g_autofree char *hash = auth_hash_password("secret", NULL);

    for (guint i = 0; i < G_N_ELEMENTS(users); i++)
        g_string_append_printf(text, "%s:%s\n", users[i], hash);
    must(g_file_set_contents_full(path, text->str, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL), NULL);
    return path;
}

static WsmanEndpoint *
basic_endpoint(WsmanServer *wsman, const char *passwords)
{
    g_autoptr(GError) error = NULL;
    Authenticator *authenticator = authenticator_basic_new(passwords, SHORT_DELAY_USEC, &error);

    must(authenticator != NULL, error);
    return wsman_endpoint_new(wsman, authenticator);
}

static HttpServer *
start(const HttpServerConfig *config, WsmanEndpoint *endpoint)
{
    g_autoptr(GError) error = NULL;
    HttpServer *server = http_server_start(config, wsman_endpoint_handle, endpoint, &error);

    must(server != NULL, error);
    return server;
}

static void
wait_for_end_of_input(void)
{
    char buffer[64];

    while (read(STDIN_FILENO, buffer, sizeof buffer) > 0)
        ;
}

int
main(int argc, char **argv)
{
    g_autofree char *passwords = write_password_file(argv[1]);
    g_autofree char *socket_path = g_build_filename(argv[1], "socket", NULL);
    ReplicationService *service = test_service_new();
    CimBroker *broker = cim_broker_new(service);
    g_autoptr(WsmanServer) wsman = wsman_new(broker, &(WsmanConfig){ .product_version = "1.2.3" });
    g_autoptr(WsmanEndpoint) basic = basic_endpoint(wsman, passwords);
    g_autoptr(WsmanEndpoint) local = wsman_endpoint_new(wsman, authenticator_local_new(NULL));
    HttpServerConfig http = { .address = "127.0.0.1" };
    HttpServerConfig https = { .address = "127.0.0.1" };
    HttpServerConfig unix_socket = { .unix_path = socket_path, .unix_mode = 0600, .unix_group = (gid_t)-1 };
    HttpServer *servers[3] = { start(&http, basic), start(&unix_socket, local), NULL };

    log_set_level(LOG_LEVEL_ERROR);
    printf("http %u\nunix %s\n", http_server_port(servers[0]), socket_path);
    if (argc > 3) {
        https.certificate_file = argv[2];
        https.key_file = argv[3];
        servers[2] = start(&https, basic);
        printf("https %u\n", http_server_port(servers[2]));
    }
    printf("ready\n");
    fflush(stdout);
    wait_for_end_of_input();
    for (guint i = 0; i < G_N_ELEMENTS(servers); i++) {
        if (servers[i] != NULL)
            http_server_stop(servers[i]);
    }
    g_clear_pointer(&basic, wsman_endpoint_free);
    g_clear_pointer(&local, wsman_endpoint_free);
    g_clear_pointer(&wsman, wsman_free);
    cim_broker_free(broker);
    test_service_free(service);
    return 0;
}
