#include "disk/qmp.h"

#include "disk/tool.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MESSAGE_MAX (1024 * 1024) /* bytes; answers to our commands are far shorter */

struct Qmp {
    int        fd;
    GString   *input;  /* received, not yet parsed */
    GPtrArray *events; /* JsonObject, that came while something else was waited for */
    int64_t    deadline;
};

static bool
fail(GError **error, const char *what)
{
    g_set_error(error, DISK_ERROR, DISK_ERROR_CONNECT, "QMP: %s.", what);
    return false;
}

static bool
wait_for(Qmp *self, short events, GError **error)
{
    for (;;) {
        int64_t left = self->deadline - g_get_monotonic_time();
        if (left <= 0)
            return fail(error, "no answer in time");
        struct pollfd item = { .fd = self->fd, .events = events };
        int n = poll(&item, 1, (int)(left / 1000 + 1));
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return fail(error, g_strerror(errno));
    }
}

static void
set_timeout(Qmp *self, unsigned timeout_sec)
{
    self->deadline = g_get_monotonic_time() + (int64_t)timeout_sec * G_USEC_PER_SEC;
}

/* One message; NULL with @error at the end of the connection. */
static JsonObject *
receive(Qmp *self, GError **error)
{
    char *line_end;
    while ((line_end = memchr(self->input->str, '\n', self->input->len)) == NULL) {
        char buffer[4096];
        if (!wait_for(self, POLLIN, error))
            return NULL;
        ssize_t n = recv(self->fd, buffer, sizeof buffer, 0);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0 || self->input->len > MESSAGE_MAX) {
            fail(error, n < 0 ? g_strerror(errno) : "the connection has ended");
            return NULL;
        }
        g_string_append_len(self->input, buffer, n);
    }
    size_t length = (size_t)(line_end - self->input->str);
    g_autoptr(JsonParser) parser = json_parser_new();
    bool parsed = json_parser_load_from_data(parser, self->input->str, (gssize)length, NULL);
    g_string_erase(self->input, 0, (gssize)length + 1);
    JsonNode *root = parsed ? json_parser_get_root(parser) : NULL;
    if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root)) {
        fail(error, "the answer is not JSON");
        return NULL;
    }
    return json_node_dup_object(root);
}

static bool
send_line(Qmp *self, const char *line, GError **error)
{
    size_t length = strlen(line);
    while (length > 0) {
        if (!wait_for(self, POLLOUT, error))
            return false;
        ssize_t n = send(self->fd, line, length, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return fail(error, g_strerror(errno));
        if (n > 0) {
            line += n;
            length -= (size_t)n;
        }
    }
    return true;
}

static const char *
error_text(JsonObject *answer)
{
    JsonNode *node = json_object_get_member(answer, "error");
    if (node == NULL || !JSON_NODE_HOLDS_OBJECT(node))
        return "no reason given";
    return json_object_get_string_member_with_default(json_node_get_object(node), "desc", "no reason given");
}

bool
qmp_command(Qmp *self, const char *command, JsonObject *arguments, GError **error)
{
    JsonObject *request = json_object_new();
    json_object_set_string_member(request, "execute", command);
    if (arguments != NULL)
        json_object_set_object_member(request, "arguments", arguments);
    g_autofree char *json = tool_json(request);
    g_autofree char *line = g_strconcat(json, "\n", NULL);
    set_timeout(self, QMP_TIMEOUT_SEC);
    if (!send_line(self, line, error))
        return false;
    for (;;) {
        g_autoptr(JsonObject) answer = receive(self, error);
        if (answer == NULL)
            return false;
        if (json_object_has_member(answer, "return"))
            return true;
        if (json_object_has_member(answer, "error")) {
            g_set_error(error, DISK_ERROR, DISK_ERROR_TOOL, "QEMU refused '%s': %s", command, error_text(answer));
            return false;
        }
        g_ptr_array_add(self->events, g_steal_pointer(&answer));
    }
}

static bool
is_event(JsonObject *message, const char *name, const char *id)
{
    JsonNode *data = json_object_get_member(message, "data");
    return g_strcmp0(json_object_get_string_member_with_default(message, "event", NULL), name) == 0 && data != NULL &&
           JSON_NODE_HOLDS_OBJECT(data) &&
           g_strcmp0(json_object_get_string_member_with_default(json_node_get_object(data), "id", NULL), id) == 0;
}

bool
qmp_wait_event(Qmp *self, const char *name, const char *id, GError **error)
{
    set_timeout(self, QMP_TIMEOUT_SEC);
    for (;;) {
        for (guint i = 0; i < self->events->len; i++) {
            if (is_event(g_ptr_array_index(self->events, i), name, id)) {
                g_ptr_array_remove_index(self->events, i);
                return true;
            }
        }
        JsonObject *message = receive(self, error);
        if (message == NULL)
            return false;
        g_ptr_array_add(self->events, message);
    }
}

pid_t
qmp_peer_pid(const Qmp *self)
{
    struct ucred peer = { 0 };
    socklen_t length = sizeof peer;
    return getsockopt(self->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 ? peer.pid : 0;
}

static bool
open_socket(Qmp *self, const char *socket_path, GError **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(socket_path) >= sizeof address.sun_path)
        return fail(error, "the path of the socket is too long");
    strcpy(address.sun_path, socket_path);
    self->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (self->fd < 0 || connect(self->fd, (struct sockaddr *)&address, sizeof address) < 0)
        return fail(error, g_strerror(errno));
    return true;
}

Qmp *
qmp_connect(const char *socket_path, unsigned timeout_sec, GError **error)
{
    g_autoptr(Qmp) self = g_new0(Qmp, 1);
    self->fd = -1;
    self->input = g_string_new(NULL);
    self->events = g_ptr_array_new_with_free_func((GDestroyNotify)json_object_unref);
    set_timeout(self, timeout_sec);
    if (!open_socket(self, socket_path, error))
        return NULL;
    g_autoptr(JsonObject) greeting = receive(self, error);
    if (greeting == NULL || !qmp_command(self, "qmp_capabilities", NULL, error))
        return NULL;
    return g_steal_pointer(&self);
}

void
qmp_free(Qmp *self)
{
    if (self == NULL)
        return;
    if (self->fd >= 0)
        close(self->fd);
    g_string_free(self->input, TRUE);
    g_ptr_array_unref(self->events);
    g_free(self);
}
