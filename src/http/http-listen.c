#include "http/http-internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 128 };

static bool
fail(GError **error, int code, const char *what, const char *where)
{
    const char *hint = "";
    if (code == EADDRINUSE)
        hint = "; another program serves there, stop it or configure another address";
    else if (code == EACCES || code == EPERM)
        hint = "; run as a user who may, or configure another address";
    else if (code == EADDRNOTAVAIL)
        hint = "; this host has no such address, configure one it has";
    g_set_error(error, HTTP_ERROR, HTTP_ERROR_LISTEN, "cannot %s '%s': %s%s", what, where, g_strerror(code), hint);
    return false;
}

static uint16_t
bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static bool
listen_tcp(HttpServer *self, const HttpServerConfig *config, GError **error)
{
    const char *name = config->address != NULL ? config->address : "::";
    g_autofree char *service = g_strdup_printf("%u", config->port);
    g_autofree char *where = g_strdup_printf(strchr(name, ':') ? "[%s]:%s" : "%s:%s", name, service);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    int code = getaddrinfo(name, service, &hints, &found);
    if (code != 0) {
        g_set_error(error, HTTP_ERROR, HTTP_ERROR_LISTEN, "cannot listen on '%s': %s; give a numeric address", where,
                    gai_strerror(code));
        return false;
    }

    int on = 1, off = 0;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
    if (good && found->ai_family == AF_INET6)
        good = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0;
    good = good && bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0;
    code = errno;
    freeaddrinfo(found);
    if (!good) {
        if (fd >= 0)
            close(fd);
        return fail(error, code, "listen on", where);
    }
    self->listen_fd = fd;
    self->port = bound_port(fd);
    return true;
}

static bool
fill_address(struct sockaddr_un *address, const char *path, GError **error)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address->sun_path) {
        g_set_error(error, HTTP_ERROR, HTTP_ERROR_LISTEN, "socket path '%s' is too long: %zu bytes are possible", path,
                    sizeof address->sun_path - 1 - strlen(".new"));
        return false;
    }
    memcpy(address->sun_path, path, strlen(path) + 1);
    return true;
}

/* May @path be replaced? Only when it is absent, or a socket that nobody serves. */
static bool
check_stale(const char *path, GError **error)
{
    struct stat info;
    if (lstat(path, &info) != 0)
        return errno == ENOENT || fail(error, errno, "look at", path);
    if (!S_ISSOCK(info.st_mode))
        return fail(error, EEXIST, "replace by a socket", path);

    struct sockaddr_un address;
    if (!fill_address(&address, path, error))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(error, errno, "probe", path);
    int code = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    close(fd);
    if (code == ECONNREFUSED || code == ENOENT)
        return true;
    return fail(error, code == 0 || code == EAGAIN ? EADDRINUSE : code, "listen on", path);
}

/* Two daemons that start at once must not both find a stale socket and remove each other's. */
static bool
take_lock(HttpServer *self, const char *path, GError **error)
{
    g_autofree char *lock_path = g_strconcat(path, ".lock", NULL);
    self->unix_lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (self->unix_lock_fd < 0)
        return fail(error, errno, "make", lock_path);
    if (flock(self->unix_lock_fd, LOCK_EX | LOCK_NB) != 0)
        return fail(error, errno == EWOULDBLOCK ? EADDRINUSE : errno, "listen on", path);
    return true;
}

/* Made under another name and renamed, so that nobody connects before owner and mode are right. */
static bool
listen_unix(HttpServer *self, const HttpServerConfig *config, GError **error)
{
    const char *path = config->unix_path;
    g_autofree char *fresh = g_strconcat(path, ".new", NULL);
    struct sockaddr_un address;
    struct stat info;
    if (!fill_address(&address, fresh, error) || !take_lock(self, path, error) || !check_stale(path, error))
        return false;

    if (unlink(fresh) != 0 && errno != ENOENT)
        return fail(error, errno, "replace", fresh);
    self->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (self->listen_fd < 0 || bind(self->listen_fd, (struct sockaddr *)&address, sizeof address) != 0)
        return fail(error, errno, "listen on", path);
    if ((config->unix_group != (gid_t)-1 && chown(fresh, (uid_t)-1, config->unix_group) != 0) ||
        chmod(fresh, config->unix_mode) != 0 || listen(self->listen_fd, BACKLOG) != 0 || lstat(fresh, &info) != 0 ||
        rename(fresh, path) != 0) {
        int code = errno;
        unlink(fresh);
        return fail(error, code, "set up socket", path);
    }
    self->unix_path = g_strdup(path);
    self->unix_dev = info.st_dev;
    self->unix_ino = info.st_ino;
    return true;
}

bool
http_listen(HttpServer *self, const HttpServerConfig *config, GError **error)
{
    return config->unix_path != NULL ? listen_unix(self, config, error) : listen_tcp(self, config, error);
}

void
http_listen_close(HttpServer *self)
{
    struct stat info;
    if (self->unix_path != NULL && lstat(self->unix_path, &info) == 0 && info.st_dev == self->unix_dev &&
        info.st_ino == self->unix_ino)
        unlink(self->unix_path);
    if (self->listen_fd >= 0)
        close(self->listen_fd);
    if (self->unix_lock_fd >= 0)
        close(self->unix_lock_fd);
    g_free(self->unix_path);
}
