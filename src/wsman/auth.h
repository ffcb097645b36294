/* auth: who sends a request, and what they may do.
 *
 * One Authenticator per listener: peer credentials on a unix socket, or user and password on a TLS listener. Safe from any
 * thread. It never logs a password or an Authorization header.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "cim/cim.h"
#include "http/http-server.h"

typedef enum {
    AUTH_GRANTED,
    AUTH_REQUIRED,  /* 401: no proof, or a wrong one */
    AUTH_FORBIDDEN, /* 403: known and not allowed, no use in trying again */
} AuthResult;

typedef struct {
    char   *user;
    CimRole role;
} AuthUser;
void auth_user_clear(AuthUser *self);

typedef struct Authenticator Authenticator;

/* For a unix socket: root, this process's own user and members of @group (nullable) are administrators. The group is
 * looked up for each request, so it may come later. */
Authenticator *authenticator_local_new(const char *group);

/**
 * authenticator_basic_new:
 * @password_file: lines "user:role:hash", role one of administrator, operator, reader; "#" starts a comment. The hash is
 *   one of crypt(5): yescrypt ($y$), gost-yescrypt ($gy$), bcrypt ($2b$) or sha512crypt ($6$), as `mkpasswd -m yescrypt`
 *   prints it. The file must not be readable by others nor writable by group or others, and is read again when it changes.
 *   A file that became unusable refuses everybody until it is repaired, with a warning in the log.
 * @failure_delay_usec: how long a refused request waits for its answer; 0: one second
 *
 * HTTP Basic, to be used with TLS only. Returns: NULL with G_FILE_ERROR and a message that says which line is wrong
 */
Authenticator *authenticator_basic_new(const char *password_file, gint64 failure_delay_usec, GError **error);

void authenticator_free(Authenticator *self);

/* May block (hashing, delay after a failure). @ret is set on AUTH_GRANTED; clear it with auth_user_clear. */
AuthResult authenticator_check(Authenticator *self, HttpRequest *request, AuthUser *ret);
/* Adds the WWW-Authenticate headers for a 401. */
void authenticator_challenge(const Authenticator *self, HttpRequest *request);
/* Security profile URIs for Identify, NULL at the end. */
const char *const *authenticator_profiles(const Authenticator *self);

/* A yescrypt hash with a fresh salt for the password file; NULL with G_FILE_ERROR when the system cannot make one. */
char *auth_hash_password(const char *password, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Authenticator, authenticator_free)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AuthUser, auth_user_clear)
