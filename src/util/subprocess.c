#include "util/subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX (4 * 1024 * 1024) /* qemu-img map of a large disk is the longest output we read */

/* Takes what is there from @fd; returns false at its end. */
static bool
drain(int fd, GString *into)
{
    char buffer[4096];
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n == 0)
        return false;
    if (into->len < OUTPUT_MAX)
        g_string_append_len(into, buffer, n);
    return true;
}

static bool
collect(int out_fd, int err_fd, unsigned timeout_sec, GString *out, GString *err)
{
    int64_t deadline = g_get_monotonic_time() + (int64_t)timeout_sec * G_USEC_PER_SEC;
    struct pollfd fds[2] = { { .fd = out_fd, .events = POLLIN }, { .fd = err_fd, .events = POLLIN } };
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        int wait_ms = -1;
        if (timeout_sec > 0) {
            int64_t left = deadline - g_get_monotonic_time();
            if (left <= 0)
                return false;
            wait_ms = (int)MIN(left / 1000 + 1, G_MAXINT);
        }
        if (poll(fds, 2, wait_ms) < 0 && errno != EINTR)
            return true;
        if (fds[0].fd >= 0 && fds[0].revents != 0 && !drain(out_fd, out))
            fds[0].fd = -1;
        if (fds[1].fd >= 0 && fds[1].revents != 0 && !drain(err_fd, err))
            fds[1].fd = -1;
    }
    return true;
}

bool
subprocess_run(const char *const *argv, unsigned timeout_sec, char **ret_output, GError **error)
{
    GPid pid;
    int out_fd = -1, err_fd = -1;
    if (!g_spawn_async_with_pipes(NULL, (char **)argv, NULL,
                                  G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, NULL,
                                  &out_fd, &err_fd, error))
        return false;

    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GString) err = g_string_new(NULL);
    bool in_time = collect(out_fd, err_fd, timeout_sec, out, err);
    close(out_fd);
    close(err_fd);
    if (!in_time)
        kill(pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    g_spawn_close_pid(pid);

    if (!in_time) {
        g_set_error(error, G_SPAWN_ERROR, G_SPAWN_ERROR_FAILED, "%s gave no result in %u s and was ended", argv[0],
                    timeout_sec);
        return false;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        g_strstrip(err->str);
        g_set_error(error, G_SPAWN_ERROR, G_SPAWN_ERROR_FAILED, "%s failed: %s", argv[0],
                    err->str[0] != '\0' ? err->str : "it gave no reason");
        return false;
    }
    if (ret_output != NULL)
        *ret_output = g_strdup(out->str);
    return true;
}

bool
subprocess_is_ours(pid_t pid, const char *marker)
{
    if (pid <= 1)
        return false;
    g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)pid);
    g_autofree char *line = NULL;
    gsize length = 0;
    if (!g_file_get_contents(path, &line, &length, NULL) || length == 0)
        return false;
    for (gsize i = 0; i + 1 < length; i++) {
        if (line[i] == '\0')
            line[i] = ' ';
    }
    return strstr(line, marker) != NULL;
}
