/* auth-internal: what the kinds of authenticators share. */
#pragma once

#include "wsman/auth.h"

typedef struct {
    AuthResult (*check)(Authenticator *self, HttpRequest *request, AuthUser *ret);
    void (*free)(Authenticator *self);
    const char        *challenge; /* WWW-Authenticate value; NULL: none */
    const char *const *profiles;
} AuthenticatorOps;

struct Authenticator { /* first member of each kind's struct */
    const AuthenticatorOps *ops;
};
