#include "util/reach.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GROUPS_MAX = 64, LEVELS_MAX = 64 }; /* a level's number is handed on as an exit status */

typedef struct {
    uid_t uid;
    gid_t gid, groups[GROUPS_MAX];
    int   n_groups;
} Identity;

static bool
look_up(const char *user, Identity *ret_identity, GError **error)
{
    char buffer[16384];
    struct passwd entry, *found = NULL;
    if (getpwnam_r(user, &entry, buffer, sizeof buffer, &found) != 0 || found == NULL) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "there is no user '%s'", user);
        return false;
    }
    ret_identity->uid = found->pw_uid;
    ret_identity->gid = found->pw_gid;
    ret_identity->n_groups = GROUPS_MAX;
    if (getgrouplist(user, found->pw_gid, ret_identity->groups, &ret_identity->n_groups) < 0)
        ret_identity->n_groups = GROUPS_MAX; /* more than that: those that fit */
    return true;
}

/* "/", "/a", "/a/b" of /a/b; NULL at the end. */
static char **
levels_of(const char *folder)
{
    g_autofree char *path = g_canonicalize_filename(folder, "/");
    g_autoptr(GPtrArray) levels = g_ptr_array_new();
    g_ptr_array_add(levels, g_strdup("/"));
    for (const char *end = path + 1; path[1] != '\0' && end != NULL && levels->len < LEVELS_MAX;) {
        end = strchr(end, '/');
        g_ptr_array_add(levels, end != NULL ? g_strndup(path, (gsize)(end - path)) : g_strdup(path));
        end = end != NULL ? end + 1 : NULL;
    }
    g_ptr_array_add(levels, NULL);
    return (char **)g_ptr_array_steal(levels, NULL);
}

/* In the child of a process that may have threads: system calls only, which also change nobody but this child.
 * Returns: 0, or the number, from 1 on, of the level that stands in the way, or 255 when it could not be found out. */
static int
first_obstacle(const Identity *identity, char *const *levels)
{
    if (syscall(SYS_setgroups, (size_t)identity->n_groups, identity->groups) != 0 ||
        syscall(SYS_setresgid, identity->gid, identity->gid, identity->gid) != 0 ||
        syscall(SYS_setresuid, identity->uid, identity->uid, identity->uid) != 0)
        return 255;
    for (int i = 0; levels[i] != NULL; i++) {
        if (access(levels[i], X_OK) != 0)
            return errno == EACCES ? i + 1 : 0;
    }
    return 0;
}

bool
reach_check(const char *user, const char *folder, GError **error)
{
    Identity identity;
    if (user == NULL || geteuid() != 0)
        return true;
    if (!look_up(user, &identity, error))
        return false;
    g_auto(GStrv) levels = levels_of(folder);
    pid_t child = fork();
    if (child == 0)
        _exit(first_obstacle(&identity, levels));
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (child < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == 255) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "it cannot be found out whether user '%s' may reach '%s'", user,
                    folder);
        return false;
    }
    if (WEXITSTATUS(status) == 0)
        return true;
    const char *obstacle = levels[WEXITSTATUS(status) - 1];
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_ACCES,
                "QEMU runs as user '%s', who may not pass through '%s' to reach '%s'; 'chmod o+x %s' or 'setfacl -m u:%s:x %s' "
                "allows it", user, obstacle, folder, obstacle, user, obstacle);
    return false;
}
