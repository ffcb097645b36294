#include "replication/incoming.h"

#include "link/link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct Incoming {
    char           *path;

    /* the file and its stream */
    int             fd; /* -1: nothing is kept, no stream is open */
    ChangeLogSource stream;
    uint64_t        from_file; /* bytes of the file to be read before the stream */
    SpaceWatch     *watch;
    bool            broken;    /* the stream ended with an error of its own */
    char           *id;

    IncomingKept    kept;      /* empty while a stream is open */
    int64_t         kept_usec; /* monotonic; since when */
};

Incoming *
incoming_new(const char *path)
{
    Incoming *self = g_new0(Incoming, 1);
    self->path = g_strdup(path);
    self->fd = -1;
    return self;
}

static void
set_kept(Incoming *self, const char *id, uint64_t bytes, uint64_t records)
{
    self->kept = (IncomingKept){ .bytes = bytes, .records = records };
    g_strlcpy(self->kept.id, id, sizeof self->kept.id);
}

IncomingKept
incoming_kept(const Incoming *self)
{
    return self->kept;
}

static void
close_file(Incoming *self)
{
    if (self->fd >= 0)
        close(self->fd);
    self->fd = -1;
    g_clear_pointer(&self->id, g_free);
    set_kept(self, "", 0, 0);
}

void
incoming_drop(Incoming *self, int64_t usec)
{
    if (self->fd < 0 || (usec > 0 && g_get_monotonic_time() - self->kept_usec <= usec))
        return;
    close_file(self);
    unlink(self->path);
}

void
incoming_free(Incoming *self)
{
    if (self == NULL)
        return;
    incoming_drop(self, 0);
    g_free(self->path);
    g_free(self);
}

static bool
fail(const Incoming *self, const char *what, GError **error)
{
    g_set_error(error, LINK_ERROR, LINK_ERROR_FAILED, "cannot %s '%s': %s", what, self->path, g_strerror(errno));
    return false;
}

static void
open_stream(Incoming *self, ChangeLogSource stream, SpaceWatch *watch, uint64_t from_file)
{
    self->stream = stream;
    self->from_file = from_file;
    self->watch = watch;
    self->broken = false;
    set_kept(self, "", 0, 0);
}

bool
incoming_begin(Incoming *self, const char *id, ChangeLogSource log, SpaceWatch *watch, GError **error)
{
    incoming_drop(self, 0);
    self->fd = open(self->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (self->fd < 0)
        return fail(self, "create", error);
    self->id = g_strdup(id);
    open_stream(self, log, watch, 0);
    return true;
}

bool
incoming_resume(Incoming *self, const char *id, uint64_t offset, ChangeLogSource rest, SpaceWatch *watch,
                GError **error)
{
    if (self->fd < 0 || id == NULL || strcmp(id, self->kept.id) != 0 || offset == 0 || offset != self->kept.bytes) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_MISFIT,
                    "this does not go on where the broken log ends; ask for the position, or send a log from its start");
        return false;
    }
    if (lseek(self->fd, 0, SEEK_SET) < 0)
        return fail(self, "read", error);
    open_stream(self, rest, watch, offset);
    return true;
}

int
incoming_fd(const Incoming *self)
{
    return self->fd;
}

/* What was kept, up to its last byte; the file then stands where the stream goes on. */
static ssize_t
read_file(Incoming *self, void *buffer, size_t length, GError **error)
{
    ChangeLogSource file = change_log_source_fd(&self->fd);
    ssize_t n = file.read(file.opaque, buffer, MIN(length, self->from_file), error);
    if (n == 0) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_FAILED, "'%s' became shorter", self->path);
        return -1;
    }
    if (n > 0)
        self->from_file -= (uint64_t)n;
    return n;
}

static ssize_t
read_any(void *opaque, void *buffer, size_t length, GError **error)
{
    Incoming *self = opaque;
    if (self->from_file > 0 && length > 0)
        return read_file(self, buffer, length, error);
    ssize_t n = self->stream.read(self->stream.opaque, buffer, length, error);
    self->broken = self->broken || n < 0;
    if (n <= 0)
        return n;
    ChangeLogSink file = change_log_sink_fd(&self->fd);
    return space_watch_take(self->watch, (size_t)n, error) && file.write(file.opaque, buffer, (size_t)n, error) ? n : -1;
}

ChangeLogSource
incoming_source(Incoming *self)
{
    return (ChangeLogSource){ .read = read_any, .opaque = self };
}

void
incoming_end(Incoming *self, const ChangeLogReader *reader, bool good)
{
    uint64_t bytes = reader != NULL ? change_log_reader_good_bytes(reader) : 0;
    if (good) {
        close_file(self);
    } else if (!self->broken || self->id == NULL || bytes == 0 || ftruncate(self->fd, (off_t)bytes) < 0) {
        incoming_drop(self, 0);
    } else {
        self->kept_usec = g_get_monotonic_time();
        set_kept(self, self->id, bytes, change_log_reader_good_records(reader));
    }
}
