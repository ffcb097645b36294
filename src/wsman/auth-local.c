#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "wsman/auth-internal.h"

typedef struct {
    Authenticator base;
    char         *group;
} LocalAuthenticator;

#define NAME_BUFFER 16384

static char *
user_name(uid_t uid, gid_t *ret_gid)
{
    g_autofree char *buffer = g_malloc(NAME_BUFFER);
    struct passwd entry, *found = NULL;

    if (getpwuid_r(uid, &entry, buffer, NAME_BUFFER, &found) != 0 || found == NULL)
        return NULL;
    *ret_gid = found->pw_gid;
    return g_strdup(found->pw_name);
}

static bool
group_id(const char *name, gid_t *ret)
{
    g_autofree char *buffer = g_malloc(NAME_BUFFER);
    struct group entry, *found = NULL;

    if (getgrnam_r(name, &entry, buffer, NAME_BUFFER, &found) != 0 || found == NULL)
        return false;
    *ret = found->gr_gid;
    return true;
}

/* By the user database, since the credentials of a socket carry the primary group only. */
static bool
is_member(const char *user, gid_t primary, gid_t wanted)
{
    int count = 64;
    g_autofree gid_t *groups = g_new(gid_t, count);

    if (getgrouplist(user, primary, groups, &count) < 0) {
        groups = g_renew(gid_t, groups, count);
        if (getgrouplist(user, primary, groups, &count) < 0)
            return false;
    }
    for (int i = 0; i < count; i++) {
        if (groups[i] == wanted)
            return true;
    }
    return false;
}

static AuthResult
local_check(Authenticator *base, HttpRequest *request, AuthUser *ret)
{
    LocalAuthenticator *self = (LocalAuthenticator *)base;
    uid_t uid = (uid_t)-1;
    gid_t gid = (gid_t)-1, primary = (gid_t)-1, wanted = (gid_t)-1;
    pid_t pid = 0;
    g_autofree char *name = NULL;
    bool allowed = false;

    if (!http_request_peer(request, &uid, &gid, &pid))
        return AUTH_FORBIDDEN;
    name = user_name(uid, &primary);
    allowed = uid == 0 || uid == geteuid();
    if (!allowed && self->group != NULL && group_id(self->group, &wanted))
        allowed = gid == wanted || (name != NULL && is_member(name, primary, wanted));
    if (!allowed)
        return AUTH_FORBIDDEN;
    ret->user = name != NULL ? g_steal_pointer(&name) : g_strdup_printf("uid:%u", (unsigned)uid);
    ret->role = CIM_ROLE_ADMINISTRATOR;
    return AUTH_GRANTED;
}

static void
local_free(Authenticator *base)
{
    LocalAuthenticator *self = (LocalAuthenticator *)base;

    g_free(self->group);
    g_free(self);
}

static const char *const local_profiles[] = { NULL };
static const AuthenticatorOps local_ops = { local_check, local_free, NULL, local_profiles };

Authenticator *
authenticator_local_new(const char *group)
{
    LocalAuthenticator *self = g_new0(LocalAuthenticator, 1);

    self->base.ops = &local_ops;
    self->group = g_strdup(group);
    return &self->base;
}
