#include <string.h>

#include "util/log.h"
#include "wsman/auth-internal.h"
#include "wsman/auth-password.h"
#include "wsman/unique.h"

/* A good hash costs tens of milliseconds and megabytes, and clients poll jobs ten times a second with the password in each
 * request. So what was proven is remembered for a while, by a keyed digest of the header; the passwords are not kept. */
#define REMEMBER_USEC (5 * 60 * G_USEC_PER_SEC)
#define REMEMBER_MAX  256
#define HASHES_AT_ONCE 2 /* bounds the memory and time that strangers can make us spend */

typedef struct {
    char   *user;
    CimRole role;
    guint   generation; /* of the password file */
    gint64  until_usec; /* monotonic */
} Proven;

typedef struct {
    Authenticator base;
    PasswordFile *file;
    gint64        failure_delay_usec;
    GMutex        lock;
    GCond         hash_done;
    unsigned      hashing;
    GHashTable   *proven; /* hex digest -> Proven */
    guint8        secret[32];
} BasicAuthenticator;

static void
proven_free(void *data)
{
    Proven *self = data;

    g_free(self->user);
    g_free(self);
}

static char *
digest_of(const BasicAuthenticator *self, const char *header)
{
    return g_compute_hmac_for_string(G_CHECKSUM_SHA256, self->secret, sizeof self->secret, header, -1);
}

static bool
recall(BasicAuthenticator *self, const char *digest, guint generation, AuthUser *ret)
{
    const Proven *proven = NULL;
    bool valid = false;

    g_mutex_lock(&self->lock);
    proven = g_hash_table_lookup(self->proven, digest);
    valid = proven != NULL && proven->generation == generation && proven->until_usec > g_get_monotonic_time();
    if (valid) {
        ret->user = g_strdup(proven->user);
        ret->role = proven->role;
    }
    g_mutex_unlock(&self->lock);
    return valid;
}

static void
remember(BasicAuthenticator *self, const char *digest, guint generation, const AuthUser *user)
{
    Proven *proven = g_new0(Proven, 1);

    proven->user = g_strdup(user->user);
    proven->role = user->role;
    proven->generation = generation;
    proven->until_usec = g_get_monotonic_time() + REMEMBER_USEC;
    g_mutex_lock(&self->lock);
    if (g_hash_table_size(self->proven) >= REMEMBER_MAX)
        g_hash_table_remove_all(self->proven);
    g_hash_table_replace(self->proven, g_strdup(digest), proven);
    g_mutex_unlock(&self->lock);
}

/* User and password of an Authorization value; NULL when it is not Basic. */
static char *
decode_basic(const char *header, char **ret_password)
{
    g_autofree guchar *decoded = NULL;
    char *text = NULL, *colon = NULL;
    gsize length = 0;

    if (g_ascii_strncasecmp(header, "Basic ", strlen("Basic ")) != 0)
        return NULL;
    decoded = g_base64_decode(header + strlen("Basic "), &length);
    text = g_strndup((const char *)decoded, length);
    explicit_bzero(decoded, length);
    colon = strchr(text, ':');
    if (colon == NULL || strlen(text) != length) {
        g_free(text);
        return NULL;
    }
    *colon = '\0';
    *ret_password = colon + 1;
    return text;
}

static CimRole
check_password(BasicAuthenticator *self, const char *user, const char *password)
{
    CimRole role = CIM_ROLE_NONE;

    g_mutex_lock(&self->lock);
    while (self->hashing >= HASHES_AT_ONCE)
        g_cond_wait(&self->hash_done, &self->lock);
    self->hashing++;
    g_mutex_unlock(&self->lock);
    role = password_file_check(self->file, user, password);
    g_mutex_lock(&self->lock);
    self->hashing--;
    g_cond_signal(&self->hash_done);
    g_mutex_unlock(&self->lock);
    return role;
}

static AuthResult
refuse(BasicAuthenticator *self, const HttpRequest *request)
{
    log_warning("wsman", NULL, "refused a user name and password from %s", http_request_remote(request));
    g_usleep((gulong)self->failure_delay_usec);
    return AUTH_REQUIRED;
}

static AuthResult
basic_check(Authenticator *base, HttpRequest *request, AuthUser *ret)
{
    BasicAuthenticator *self = (BasicAuthenticator *)base;
    const char *header = http_request_header(request, "Authorization");
    g_autofree char *digest = NULL;
    char *user = NULL, *password = NULL;
    guint generation = 0;

    if (header == NULL)
        return AUTH_REQUIRED;
    if (!password_file_refresh(self->file, &generation))
        return refuse(self, request);
    digest = digest_of(self, header);
    if (recall(self, digest, generation, ret))
        return AUTH_GRANTED;
    user = decode_basic(header, &password);
    if (user == NULL)
        return refuse(self, request);
    ret->role = check_password(self, user, password);
    explicit_bzero(password, strlen(password));
    ret->user = user;
    if (ret->role == CIM_ROLE_NONE) {
        auth_user_clear(ret);
        return refuse(self, request);
    }
    remember(self, digest, generation, ret);
    return AUTH_GRANTED;
}

static void
basic_free(Authenticator *base)
{
    BasicAuthenticator *self = (BasicAuthenticator *)base;

    password_file_free(self->file);
    g_hash_table_unref(self->proven);
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->hash_done);
    explicit_bzero(self->secret, sizeof self->secret);
    g_free(self);
}

static const char *const basic_profiles[] = { "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/basic", NULL };
static const AuthenticatorOps basic_ops = { basic_check, basic_free, "Basic realm=\"WSMAN\"", basic_profiles };

Authenticator *
authenticator_basic_new(const char *password_file, gint64 failure_delay_usec, GError **error)
{
    PasswordFile *file = password_file_open(password_file, error);
    BasicAuthenticator *self = NULL;

    if (file == NULL)
        return NULL;
    self = g_new0(BasicAuthenticator, 1);
    self->base.ops = &basic_ops;
    self->file = file;
    self->failure_delay_usec = failure_delay_usec != 0 ? failure_delay_usec : G_USEC_PER_SEC;
    self->proven = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, proven_free);
    g_mutex_init(&self->lock);
    g_cond_init(&self->hash_done);
    unique_bytes(self->secret, sizeof self->secret);
    return &self->base;
}
