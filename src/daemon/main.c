/* virt-replicad: one per host, primary and replica at once. */
#include "config.h"

#include "cim/cim.h"
#include "daemon/configuration.h"
#include "daemon/ports.h"
#include "failover/failover.h"
#include "http/http-server.h"
#include "replication/service-setup.h"
#include "util/durable.h"
#include "util/log.h"
#include "wsman/wsman.h"

#include <errno.h>
#include <grp.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fcntl.h>
#include <glib-unix.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

enum { EXIT_USAGE = 2 };

typedef struct {
    Config             *config;
    Ports              *ports;
    ReplicationService *service;
    CimBroker          *broker;
    WsmanServer        *wsman;
    WsmanEndpoint      *local, *remote;
    HttpServer         *local_listener, *remote_listener;
    int                 lock_fd;
} Daemon;

static void
port_changed(void *opaque, unsigned port)
{
    ports_set(opaque, "replication", port);
}

static ServiceConfig
service_config(const Config *config, Ports *ports)
{
    return (ServiceConfig){
        .host_name = config->host_name,
        .libvirt_uri = config->uri,
        .state_folder = config->state,
        .run_folder = config->run,
        .scratch_folder = config->scratch,
        .scratch_max_bytes = config->scratch_max_bytes,
        .storage_reserve_bytes = config->storage_reserve_bytes,
        .test_backlog_bytes = config->test_backlog_bytes,
        .qemu_user = config->qemu_user,
        .serial_log_folder = config->serial_log_folder,
        .listen_address = config->replication_address,
        .listen_port = config->replication_port,
        .ca_file = config->ca,
        .certificate_file = config->certificate,
        .key_file = config->key,
        .fence_command = config->fence_command,
        .fence_waived = config->fence_waived,
        .network_map = config->network_map,
        .stale_action = config->stale_action,
        .autostart_wait_sec = config->autostart_wait_sec,
        .workers = config->workers,
        .port_changed = ports != NULL ? port_changed : NULL,
        .opaque = ports,
    };
}

/* One process per state folder: two daemons would tear each other's files, a release would end the jobs of a daemon.
 * Returns: the open lock, to be closed by the caller, or -1. */
static int
lock_state(const Config *config, GError **error)
{
    if (!durable_mkdir_passable(config->state, error) || !durable_mkdir_passable(config->run, error))
        return -1;
    g_autofree char *path = g_build_filename(config->state, "lock", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    int saved = errno;
    if (fd >= 0 && saved == EWOULDBLOCK)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "another virt-replicad works in '%s' (lock '%s'); stop it first",
                    config->state, path);
    else
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "lock '%s' cannot be taken: %s", path, g_strerror(saved));
    if (fd >= 0)
        close(fd);
    return -1;
}

static gid_t
group_id(const char *name)
{
    const struct group *group = getgrnam(name);
    return group != NULL ? group->gr_gid : (gid_t)-1;
}

static bool
listen_locally(Daemon *self, GError **error)
{
    gid_t gid = group_id(self->config->api_group);
    bool usable = gid != (gid_t)-1 && (geteuid() == 0 || gid == getegid());
    HttpServerConfig listener = {
        .unix_path = self->config->api_socket,
        .unix_mode = usable ? 0660 : 0600,
        .unix_group = usable ? gid : (gid_t)-1,
    };
    self->local = wsman_endpoint_new(self->wsman, authenticator_local_new(self->config->api_group));
    self->local_listener = http_server_start(&listener, wsman_endpoint_handle, self->local, error);
    return self->local_listener != NULL;
}

static bool
listen_remotely(Daemon *self, GError **error)
{
    if (!self->config->api_https)
        return true;
    Authenticator *authenticator = authenticator_basic_new(self->config->password_file, 0, error);
    if (authenticator == NULL)
        return false;
    HttpServerConfig listener = {
        .address = self->config->api_address,
        .port = (uint16_t)self->config->api_https_port,
        .certificate_file = self->config->api_certificate,
        .key_file = self->config->api_key,
        .unix_group = (gid_t)-1,
    };
    self->remote = wsman_endpoint_new(self->wsman, authenticator);
    self->remote_listener = http_server_start(&listener, wsman_endpoint_handle, self->remote, error);
    if (self->remote_listener == NULL)
        return false;
    ports_set(self->ports, "api", http_server_port(self->remote_listener));
    return true;
}

static bool
daemon_start(Daemon *self, GError **error)
{
    self->lock_fd = lock_state(self->config, error);
    if (self->lock_fd < 0)
        return false;
    self->ports = ports_new(self->config->run);
    ServiceConfig config = service_config(self->config, self->ports);
    replication_service_set_resume(failover_resume);
    replication_service_set_guest(failover_look_after_guest);
    self->service = replication_service_start(&config, error);
    if (self->service == NULL)
        return false;
    self->broker = cim_broker_new(self->service);
    self->wsman = wsman_new(self->broker, &(WsmanConfig){ .product_version = VERSION, .machine = self->config->host_name });
    return listen_locally(self, error) && listen_remotely(self, error);
}

static void
daemon_stop(Daemon *self)
{
    if (self->local_listener != NULL)
        http_server_stop(self->local_listener);
    if (self->remote_listener != NULL)
        http_server_stop(self->remote_listener);
    if (self->local != NULL)
        wsman_endpoint_free(self->local);
    if (self->remote != NULL)
        wsman_endpoint_free(self->remote);
    if (self->wsman != NULL)
        wsman_free(self->wsman);
    if (self->broker != NULL)
        cim_broker_free(self->broker);
    replication_service_stop(self->service);
    ports_free(self->ports);
    if (self->lock_fd >= 0)
        close(self->lock_fd);
}

/* Tells a service manager that waits for it, as sd_notify(3) does: one datagram, from the main process itself, so that it is never
 * mistaken for somebody else's. */
static void
notify_manager(const char *state)
{
    const char *path = g_getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (path == NULL || strchr("/@", path[0]) == NULL || strlen(path) >= sizeof address.sun_path)
        return;
    strcpy(address.sun_path, path);
    if (path[0] == '@') /* a name of Linux that is no file */
        address.sun_path[0] = '\0';
    socklen_t length = (socklen_t)(G_STRUCT_OFFSET(struct sockaddr_un, sun_path) + strlen(path));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, length) < 0)
        log_warning("daemon", NULL, "the service manager cannot be told '%s': %s", state, g_strerror(errno));
    if (fd >= 0)
        close(fd);
}

static gboolean
on_end_signal(gpointer loop)
{
    notify_manager("STOPPING=1");
    log_notice("daemon", NULL, "stopping");
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

static int
run_daemon(Config *config)
{
    g_autoptr(GError) error = NULL;
    Daemon daemon = { .config = config, .lock_fd = -1 };
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_unix_signal_add(SIGTERM, on_end_signal, loop);
    g_unix_signal_add(SIGINT, on_end_signal, loop);
    bool started = daemon_start(&daemon, &error);
    if (started) {
        notify_manager("READY=1");
        log_notice("daemon", NULL, "virt-replicad " VERSION " ready");
        g_main_loop_run(loop);
    } else {
        log_error("daemon", NULL, "%s", error->message);
    }
    daemon_stop(&daemon);
    return started ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
run_release(const Config *config)
{
    g_autoptr(GError) error = NULL;
    ServiceConfig setup = service_config(config, NULL);
    int lock_fd = lock_state(config, &error);
    bool released = lock_fd >= 0 && replication_service_release(&setup, &error);
    if (!released)
        log_error("release", NULL, "%s", error->message);
    if (lock_fd >= 0)
        close(lock_fd);
    return released ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Buffers of disk data come and go by the thousand: they stay with the process, up to a bound for each of malloc's arenas,
 * instead of being given back to the kernel and faulted in again. */
static void
keep_buffers(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 4 * 1024 * 1024);
    mallopt(M_TRIM_THRESHOLD, 16 * 1024 * 1024);
#endif
}

int
main(int argc, char **argv)
{
    g_autofree char *path = NULL;
    gboolean check = FALSE, release = FALSE, version = FALSE;
    const GOptionEntry options[] = {
        { "config", 'c', 0, G_OPTION_ARG_FILENAME, &path, "configuration file", "FILE" },
        { "check", 0, 0, G_OPTION_ARG_NONE, &check, "check the configuration and end", NULL },
        { "release", 0, 0, G_OPTION_ARG_NONE, &release, "end backup jobs left in guests by a dead virt-replicad, and end",
          NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &version, "print the version and end", NULL },
        { NULL },
    };
    keep_buffers();
    setlocale(LC_ALL, "");
    signal(SIGPIPE, SIG_IGN);
    umask(0077);
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- replicate virtual machines to another host");
    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1) {
        fprintf(stderr, "virt-replicad: %s; see --help\n", error != NULL ? error->message : "it takes no arguments");
        return EXIT_USAGE;
    }
    if (version) {
        puts("virt-replicad " VERSION);
        return EXIT_SUCCESS;
    }
    g_autoptr(Config) config = config_load(path != NULL ? path : SYSCONFDIR "/virt-replica/virt-replicad.conf", &error);
    if (config == NULL || (!release && !config_check(config, &error))) {
        fprintf(stderr, "virt-replicad: %s\n", error->message);
        return EXIT_USAGE;
    }
    log_set_level(config->log_level);
    if (check && !config_check_places(config, &error)) {
        fprintf(stderr, "virt-replicad: %s\n", error->message);
        return EXIT_USAGE;
    }
    if (check) {
        puts("configuration is good");
        return EXIT_SUCCESS;
    }
    return release ? run_release(config) : run_daemon(config);
}
