/* Files and memory as source and sink of a change log. */
#include "changelog/changelog.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static ssize_t
fd_read(void *opaque, void *buffer, size_t length, GError **error)
{
    const int *fd = opaque;
    ssize_t n;
    do
        n = read(*fd, buffer, length);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "The change log cannot be read: %s.",
                    g_strerror(errno));
    return n;
}

static bool
fd_write(void *opaque, const void *data, size_t length, GError **error)
{
    const int *fd = opaque;
    const uint8_t *at = data;
    while (length > 0) {
        ssize_t n = write(*fd, at, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_IO, "The change log cannot be written: %s.",
                        g_strerror(errno));
            return false;
        }
        at += n;
        length -= (size_t)n;
    }
    return true;
}

static bool
bytes_write(void *opaque, const void *data, size_t length, GError **error)
{
    GByteArray *bytes = opaque;
    if (length > G_MAXUINT - bytes->len) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT, "The change log is too long to be kept in memory.");
        return false;
    }
    g_byte_array_append(bytes, data, (guint)length);
    return true;
}

static ssize_t
memory_read(void *opaque, void *buffer, size_t length, GError **error)
{
    ChangeLogMemory *memory = opaque;
    size_t n = MIN(length, memory->length - memory->offset);
    if (n > 0)
        memcpy(buffer, memory->data + memory->offset, n);
    memory->offset += n;
    return (ssize_t)n;
}

ChangeLogSource
change_log_source_fd(const int *fd)
{
    return (ChangeLogSource){ .read = fd_read, .opaque = (void *)fd };
}

ChangeLogSink
change_log_sink_fd(const int *fd)
{
    return (ChangeLogSink){ .write = fd_write, .opaque = (void *)fd };
}

ChangeLogSink
change_log_sink_bytes(GByteArray *bytes)
{
    return (ChangeLogSink){ .write = bytes_write, .opaque = bytes };
}

ChangeLogSource
change_log_source_memory(ChangeLogMemory *memory)
{
    return (ChangeLogSource){ .read = memory_read, .opaque = memory };
}
