#include "wsman/auth-internal.h"

void
auth_user_clear(AuthUser *self)
{
    g_clear_pointer(&self->user, g_free);
    self->role = CIM_ROLE_NONE;
}

void
authenticator_free(Authenticator *self)
{
    if (self != NULL)
        self->ops->free(self);
}

AuthResult
authenticator_check(Authenticator *self, HttpRequest *request, AuthUser *ret)
{
    return self->ops->check(self, request, ret);
}

void
authenticator_challenge(const Authenticator *self, HttpRequest *request)
{
    if (self->ops->challenge != NULL)
        http_request_add_header(request, "WWW-Authenticate", self->ops->challenge);
}

const char *const *
authenticator_profiles(const Authenticator *self)
{
    return self->ops->profiles;
}
