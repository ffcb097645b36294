#include "disk/connection.h"

#include <errno.h>
#include <poll.h>

#define CONNECT_TIMEOUT_SEC 30 /* a local server that is busy for longer is as good as gone */

static int
on_completion(void *user_data, int *error)
{
    ConnectionRequest *request = user_data;
    request->error = *error;
    request->done = true;
    return 1; /* libnbd forgets the command */
}

nbd_completion_callback
connection_completion(ConnectionRequest *request)
{
    request->done = false;
    request->error = 0;
    return (nbd_completion_callback){ .callback = on_completion, .user_data = request };
}

bool
connection_fail(struct nbd_handle *nbd, DiskError code, GError **error)
{
    const char *text = nbd_get_error();
    g_set_error(error, DISK_ERROR, code, "The NBD server's connection failed: %s.",
                text != NULL ? text : "no reason given");
    return false;
}

bool
connection_fail_request(int server_errno, const char *verb, uint64_t offset, GError **error)
{
    g_set_error(error, DISK_ERROR, DISK_ERROR_IO, "The disk could not %s at offset %" G_GUINT64_FORMAT ": %s.", verb,
                offset, g_strerror(server_errno));
    return false;
}

static int
on_chunk(void *user_data, const void *chunk, size_t length, uint64_t offset, unsigned status, int *error)
{
    return 0; /* libnbd has put it in its place; an error comes with the completion too */
}

bool
connection_begin_read(struct nbd_handle *nbd, void *buffer, size_t length, uint64_t offset, ConnectionRequest *request,
                      GError **error)
{
    /* In one piece: QEMU 7.2 answers an error of a fragmented read by ending the connection. */
    uint32_t flags = nbd_can_df(nbd) == 1 ? LIBNBD_CMD_FLAG_DF : 0;
    nbd_chunk_callback chunk = { .callback = on_chunk };
    if (nbd_aio_pread_structured(nbd, buffer, length, offset, chunk, connection_completion(request), flags) < 0)
        return connection_fail(nbd, DISK_ERROR_IO, error);
    return true;
}

bool
connection_step(struct nbd_handle *nbd, GError **error)
{
    if (nbd_aio_is_dead(nbd) == 1 || nbd_aio_is_closed(nbd) == 1) {
        g_set_error(error, DISK_ERROR, DISK_ERROR_IO, "The NBD server has closed the connection.");
        return false;
    }
    int fd = nbd_aio_get_fd(nbd);
    if (fd < 0)
        return connection_fail(nbd, DISK_ERROR_IO, error);
    unsigned direction = nbd_aio_get_direction(nbd);
    struct pollfd item = { .fd = fd };
    if (direction & LIBNBD_AIO_DIRECTION_READ)
        item.events |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        item.events |= POLLOUT;
    int n = poll(&item, 1, CONNECTION_STEP_MS);
    if (n < 0 && errno != EINTR) {
        g_set_error(error, DISK_ERROR, DISK_ERROR_IO, "Waiting for the NBD server failed: %s.", g_strerror(errno));
        return false;
    }
    if (n <= 0)
        return true;
    int result = 0;
    if ((direction & LIBNBD_AIO_DIRECTION_READ) && (item.revents & (POLLIN | POLLHUP | POLLERR)))
        result = nbd_aio_notify_read(nbd);
    else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) && (item.revents & (POLLOUT | POLLHUP | POLLERR)))
        result = nbd_aio_notify_write(nbd);
    if (result < 0)
        return connection_fail(nbd, DISK_ERROR_IO, error);
    return true;
}

bool
connection_finish(struct nbd_handle *nbd, ConnectionRequest *request, const char *verb, uint64_t offset,
                  GError **error)
{
    while (!request->done) {
        if (!connection_step(nbd, error))
            return false;
    }
    if (request->error != 0)
        return connection_fail_request(request->error, verb, offset, error);
    return true;
}

/* Goes on until the handle has left the states in which it is connecting. */
static bool
wait_while_connecting(struct nbd_handle *nbd, int64_t deadline, GError **error)
{
    while (nbd_aio_is_connecting(nbd) == 1) {
        if (g_get_monotonic_time() > deadline) {
            g_set_error(error, DISK_ERROR, DISK_ERROR_CONNECT, "The NBD server did not answer within %d s.",
                        CONNECT_TIMEOUT_SEC);
            return false;
        }
        g_autoptr(GError) local = NULL;
        if (!connection_step(nbd, &local)) {
            g_set_error(error, DISK_ERROR, DISK_ERROR_CONNECT, "%s", local->message);
            return false;
        }
    }
    return true;
}

static bool
configure(struct nbd_handle *nbd, const char *export_name, const char *const *contexts)
{
    for (unsigned i = 0; contexts[i] != NULL; i++) {
        if (nbd_add_meta_context(nbd, contexts[i]) < 0)
            return false;
    }
    /* No buffer is looked at before its request's outcome, so clearing it first would be wasted. */
    return nbd_set_opt_mode(nbd, true) == 0 && nbd_set_export_name(nbd, export_name) == 0 &&
           nbd_set_pread_initialize(nbd, false) == 0;
}

static bool
open_export(struct nbd_handle *nbd, const char *export_name, int64_t deadline, ConnectionRequest *go, GError **error)
{
    if (nbd_aio_opt_go(nbd, connection_completion(go)) < 0)
        return connection_fail(nbd, DISK_ERROR_CONNECT, error);
    if (!wait_while_connecting(nbd, deadline, error))
        return false;
    if (nbd_aio_is_ready(nbd) == 1)
        return true;
    bool missing = go->done && go->error == ENOENT;
    g_set_error(error, DISK_ERROR, missing ? DISK_ERROR_MISSING : DISK_ERROR_CONNECT,
                "The NBD server does not give export '%s': %s.", export_name,
                go->done && go->error != 0 ? g_strerror(go->error) : "the connection ended");
    return false;
}

struct nbd_handle *
connection_open(const char *socket_path, const char *export_name, const char *const *contexts, GError **error)
{
    ConnectionRequest go; /* lives until the handle is closed or ready */
    struct nbd_handle *nbd = nbd_create();
    int64_t deadline = g_get_monotonic_time() + (int64_t)CONNECT_TIMEOUT_SEC * G_USEC_PER_SEC;
    bool ok = nbd != NULL;
    if (!ok || !configure(nbd, export_name, contexts) || nbd_aio_connect_unix(nbd, socket_path) < 0)
        ok = connection_fail(nbd, DISK_ERROR_CONNECT, error);
    ok = ok && wait_while_connecting(nbd, deadline, error);
    if (ok && nbd_aio_is_negotiating(nbd) != 1)
        ok = connection_fail(nbd, DISK_ERROR_CONNECT, error);
    ok = ok && open_export(nbd, export_name, deadline, &go, error);
    if (!ok) {
        nbd_close(nbd);
        return NULL;
    }
    return nbd;
}
