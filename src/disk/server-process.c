#include "disk/server-process.h"

#include "disk/qmp.h"
#include "disk/tool.h"
#include "util/subprocess.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING_TIMEOUT_SEC 2
#define QUIT_TIMEOUT_SEC     60 /* it writes back what is cached */
#define TERM_TIMEOUT_SEC     20
#define KILL_TIMEOUT_SEC     20

bool
server_files_init(ServerFiles *self, const char *run_folder, GError **error)
{
    struct sockaddr_un address;
    self->folder = tool_absolute_path(run_folder);
    self->nbd_socket = g_build_filename(self->folder, "nbd", NULL);
    self->qmp_socket = g_build_filename(self->folder, "qmp", NULL);
    self->pid_file = g_build_filename(self->folder, "pid", NULL);
    if (strlen(self->nbd_socket) < sizeof address.sun_path)
        return true;
    g_set_error(error, DISK_ERROR, DISK_ERROR_TOOL,
                "'%s' is too long for the path of a socket; choose a run folder with a shorter path.", self->nbd_socket);
    return false;
}

void
server_files_clear(ServerFiles *self)
{
    g_clear_pointer(&self->folder, g_free);
    g_clear_pointer(&self->nbd_socket, g_free);
    g_clear_pointer(&self->qmp_socket, g_free);
    g_clear_pointer(&self->pid_file, g_free);
}

static pid_t
pid_in_file(const ServerFiles *files)
{
    g_autofree char *text = NULL;
    return g_file_get_contents(files->pid_file, &text, NULL, NULL) ? (pid_t)g_ascii_strtoll(text, NULL, 10) : 0;
}

/* Who listens on the QMP socket: finds a server whose pid file is not there yet or any more. */
static pid_t
pid_at_socket(const ServerFiles *files)
{
    g_autoptr(Qmp) qmp = qmp_connect(files->qmp_socket, GREETING_TIMEOUT_SEC, NULL);
    return qmp != NULL ? qmp_peer_pid(qmp) : 0;
}

/* *@ret_pidfd is -1 when @pid is not, or no longer, a server of these files. */
static bool
open_process(const ServerFiles *files, pid_t pid, int *ret_pidfd, GError **error)
{
    *ret_pidfd = -1;
    int pidfd = pid > 1 ? pidfd_open(pid, 0) : -1;
    if (pid <= 1 || (pidfd < 0 && errno == ESRCH))
        return true;
    if (pidfd < 0) {
        g_set_error(error, DISK_ERROR, DISK_ERROR_TOOL, "Cannot look at process %d: %s.", (int)pid, g_strerror(errno));
        return false;
    }
    /* Alive after its command line was read: then that line was the one of the process behind the pidfd. */
    g_autofree char *marker = g_strconcat("--pidfile ", files->pid_file, NULL);
    if (subprocess_is_ours(pid, marker) && server_process_is_alive(pidfd))
        *ret_pidfd = pidfd;
    else
        close(pidfd);
    return true;
}

bool
server_process_find(const ServerFiles *files, int *ret_pidfd, GError **error)
{
    if (!open_process(files, pid_in_file(files), ret_pidfd, error))
        return false;
    return *ret_pidfd >= 0 || open_process(files, pid_at_socket(files), ret_pidfd, error);
}

/* True when it has ended. */
static bool
wait_end(int pidfd, unsigned timeout_sec)
{
    int64_t deadline = g_get_monotonic_time() + (int64_t)timeout_sec * G_USEC_PER_SEC;
    for (;;) {
        int64_t left = MAX(deadline - g_get_monotonic_time(), 0);
        struct pollfd item = { .fd = pidfd, .events = POLLIN };
        int n = poll(&item, 1, (int)((left + 999) / 1000));
        if (n > 0)
            return true;
        if (n == 0 && left == 0)
            return false;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

bool
server_process_is_alive(int pidfd)
{
    return !wait_end(pidfd, 0);
}

static bool
quit(const ServerFiles *files)
{
    g_autoptr(Qmp) qmp = qmp_connect(files->qmp_socket, GREETING_TIMEOUT_SEC, NULL);
    return qmp != NULL && qmp_command(qmp, "quit", NULL, NULL);
}

static void
remove_files(const ServerFiles *files)
{
    unlink(files->nbd_socket);
    unlink(files->qmp_socket);
    unlink(files->pid_file);
}

bool
server_process_end(const ServerFiles *files, int pidfd, GError **error)
{
    bool ended = !server_process_is_alive(pidfd) || (quit(files) && wait_end(pidfd, QUIT_TIMEOUT_SEC));
    if (!ended)
        ended = pidfd_send_signal(pidfd, SIGTERM, NULL, 0) < 0 || wait_end(pidfd, TERM_TIMEOUT_SEC);
    if (!ended)
        ended = pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 || wait_end(pidfd, KILL_TIMEOUT_SEC);
    if (ended && !server_process_is_alive(pidfd)) {
        remove_files(files);
        return true;
    }
    g_set_error(error, DISK_ERROR, DISK_ERROR_TOOL,
                "The qemu-storage-daemon of '%s' could not be ended; look for a disk that does not answer.",
                files->folder);
    return false;
}
