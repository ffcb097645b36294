#include "util/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
fail(GError **error, const char *what, const char *path)
{
    int saved = errno;
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(saved), "cannot %s '%s': %s", what, path,
                g_strerror(saved));
    return false;
}

static bool
write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        data += n;
        length -= (size_t)n;
    }
    return true;
}

bool
durable_sync_folder(const char *folder, GError **error)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(error, "open folder", folder);
    if (fsync(fd) < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return fail(error, "sync folder", folder);
    }
    close(fd);
    return true;
}

static bool
sync_parent(const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    return durable_sync_folder(folder, error);
}

bool
durable_rename(const char *from, const char *to, GError **error)
{
    if (rename(from, to) < 0)
        return fail(error, "rename a file to", to);
    return sync_parent(to, error);
}

bool
durable_replace(const char *path, const void *data, size_t length, GError **error)
{
    g_autofree char *temporary = g_strconcat(path, ".tmp", NULL);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail(error, "create", temporary);
    if (!write_all(fd, data, length) || fsync(fd) < 0) {
        int saved = errno;
        close(fd);
        unlink(temporary);
        errno = saved;
        return fail(error, "write", temporary);
    }
    if (close(fd) < 0)
        return fail(error, "close", temporary);
    return durable_rename(temporary, path, error);
}

bool
durable_unlink(const char *path, GError **error)
{
    if (unlink(path) < 0) {
        if (errno == ENOENT)
            return true;
        return fail(error, "remove", path);
    }
    return sync_parent(path, error);
}

static bool
make_folders(const char *folder, mode_t mode, GError **error)
{
    if (mkdir(folder, 0700) == 0) {
        if (mode != 0700 && chmod(folder, mode) < 0) /* mkdir would leave out what the umask says */
            return fail(error, "make folder", folder);
        return sync_parent(folder, error);
    }
    if (errno == EEXIST) {
        if (g_file_test(folder, G_FILE_TEST_IS_DIR))
            return true;
        errno = ENOTDIR;
        return fail(error, "make folder", folder);
    }
    if (errno != ENOENT)
        return fail(error, "make folder", folder);
    g_autofree char *parent = g_path_get_dirname(folder);
    if (strcmp(parent, folder) == 0)
        return fail(error, "make folder", folder);
    return make_folders(parent, mode, error) && make_folders(folder, mode, error);
}

bool
durable_mkdir(const char *folder, GError **error)
{
    return make_folders(folder, 0700, error);
}

bool
durable_mkdir_passable(const char *folder, GError **error)
{
    return make_folders(folder, 0711, error);
}

static int
remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

bool
durable_remove_tree(const char *folder, GError **error)
{
    struct stat st;
    if (lstat(folder, &st) < 0) {
        if (errno == ENOENT)
            return true;
        return fail(error, "look at", folder);
    }
    if (nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0)
        return fail(error, "remove folder", folder);
    return sync_parent(folder, error);
}
