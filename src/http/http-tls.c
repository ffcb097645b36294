#include "http/http-internal.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

void
http_tls_files_clear(HttpTlsFiles *files)
{
    g_free(files->certificate);
    if (files->key != NULL)
        explicit_bzero(files->key, strlen(files->key));
    g_free(files->key);
    g_free(files->client_ca);
    *files = (HttpTlsFiles){ NULL };
}

const char *
http_tls_priorities(bool tls13_only)
{
    return tls13_only ? "NORMAL:-VERS-ALL:+VERS-TLS1.3" : "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
}

static bool
fail(GError **error, const char *what, const char *path, const char *why)
{
    g_set_error(error, HTTP_ERROR, HTTP_ERROR_TLS, "%s '%s' is not usable: %s", what, path, why);
    return false;
}

static bool
load_text(const char *what, const char *path, char **ret_text, GError **error)
{
    g_autoptr(GError) local = NULL;
    if (!g_file_get_contents(path, ret_text, NULL, &local))
        return fail(error, what, path, local->message);
    return true;
}

/* Tries the files the way the server will use them, so that a wrong one is named at start. */
static bool
check_pair(const HttpServerConfig *config, const HttpTlsFiles *files, GError **error)
{
    gnutls_certificate_credentials_t credentials;
    if (gnutls_certificate_allocate_credentials(&credentials) != GNUTLS_E_SUCCESS)
        return fail(error, "certificate", config->certificate_file, "out of memory");
    gnutls_datum_t certificate = { (unsigned char *)files->certificate, (unsigned)strlen(files->certificate) };
    gnutls_datum_t key = { (unsigned char *)files->key, (unsigned)strlen(files->key) };
    int code = gnutls_certificate_set_x509_key_mem(credentials, &certificate, &key, GNUTLS_X509_FMT_PEM);
    bool good = code >= 0;
    if (!good)
        fail(error, "certificate", config->certificate_file, gnutls_strerror(code));
    if (good && files->client_ca != NULL) {
        gnutls_datum_t ca = { (unsigned char *)files->client_ca, (unsigned)strlen(files->client_ca) };
        code = gnutls_certificate_set_x509_trust_mem(credentials, &ca, GNUTLS_X509_FMT_PEM);
        good = code > 0;
        if (!good)
            fail(error, "CA file", config->client_ca_file, code < 0 ? gnutls_strerror(code) : "it holds no certificate");
    }
    gnutls_certificate_free_credentials(credentials);
    return good;
}

bool
http_tls_load(const HttpServerConfig *config, HttpTlsFiles *ret_files, GError **error)
{
    HttpTlsFiles files = { NULL };
    if (config->key_file == NULL)
        return fail(error, "certificate", config->certificate_file, "no key file is configured for it");
    if (!load_text("certificate", config->certificate_file, &files.certificate, error) ||
        !load_text("key", config->key_file, &files.key, error) ||
        (config->client_ca_file != NULL && !load_text("CA file", config->client_ca_file, &files.client_ca, error)) ||
        !check_pair(config, &files, error)) {
        http_tls_files_clear(&files);
        return false;
    }
    *ret_files = files;
    return true;
}

/* The peer may have sent its first request already. Closing now would reset the connection and could take our alert
 * away from it; so read on until it hangs up, for a second at most. */
static void
refuse(HttpConnection *connection, gnutls_alert_description_t alert)
{
    gnutls_alert_send(connection->tls, GNUTLS_AL_FATAL, alert);
    shutdown(connection->fd, SHUT_WR);
    int64_t end = g_get_monotonic_time() + G_USEC_PER_SEC;
    char waste[4096];
    for (;;) {
        int64_t left = (end - g_get_monotonic_time()) / 1000;
        struct pollfd wait = { .fd = connection->fd, .events = POLLIN };
        if (left <= 0 || poll(&wait, 1, (int)left) <= 0)
            return;
        ssize_t got = recv(connection->fd, waste, sizeof waste, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
}

static int
verify_peer(gnutls_session_t session)
{
    HttpConnection *connection = gnutls_session_get_ptr(session);
    unsigned count = 0, status = 0;
    if (gnutls_certificate_get_peers(session, &count) == NULL || count == 0) {
        if (!connection->server->require_certificate)
            return 0;
        refuse(connection, GNUTLS_A_CERTIFICATE_REQUIRED);
        return GNUTLS_E_CERTIFICATE_REQUIRED;
    }

    gnutls_typed_vdata_st purpose = { GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT, 0 };
    if (gnutls_certificate_verify_peers(session, &purpose, 1, &status) != GNUTLS_E_SUCCESS || status != 0) {
        refuse(connection, status & GNUTLS_CERT_EXPIRED              ? GNUTLS_A_CERTIFICATE_EXPIRED
                           : status & GNUTLS_CERT_SIGNER_NOT_FOUND ? GNUTLS_A_UNKNOWN_CA
                                                                   : GNUTLS_A_BAD_CERTIFICATE);
        return GNUTLS_E_CERTIFICATE_ERROR;
    }
    connection->certificate_valid = true;
    return 0;
}

void
http_tls_prepare(HttpConnection *connection)
{
    gnutls_session_set_ptr(connection->tls, connection);
    gnutls_certificate_server_set_request(connection->tls, GNUTLS_CERT_REQUEST);
    gnutls_session_set_verify_function(connection->tls, verify_peer);
}

static gnutls_x509_crt_t
peer_certificate(gnutls_session_t session)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    gnutls_x509_crt_t certificate;
    if (chain == NULL || count == 0 || gnutls_x509_crt_init(&certificate) != GNUTLS_E_SUCCESS)
        return NULL;
    if (gnutls_x509_crt_import(certificate, &chain[0], GNUTLS_X509_FMT_DER) != GNUTLS_E_SUCCESS) {
        gnutls_x509_crt_deinit(certificate);
        return NULL;
    }
    return certificate;
}

/* A name with a NUL inside would compare equal to another one: left out. */
static void
add_name(GPtrArray *names, const char *name, size_t length)
{
    if (length > 0 && length <= 255 && memchr(name, '\0', length) == NULL && g_utf8_validate(name, (gssize)length, NULL))
        g_ptr_array_add(names, g_strndup(name, length));
}

char **
http_tls_peer_names(gnutls_session_t session)
{
    gnutls_x509_crt_t certificate = peer_certificate(session);
    if (certificate == NULL)
        return NULL;

    GPtrArray *names = g_ptr_array_new();
    bool has_dns_name = false;
    char name[1024];
    for (unsigned i = 0;; i++) {
        size_t length = sizeof name;
        int type = gnutls_x509_crt_get_subject_alt_name(certificate, i, name, &length, NULL);
        if (type == GNUTLS_E_SHORT_MEMORY_BUFFER)
            continue;
        if (type < 0)
            break;
        if (type != GNUTLS_SAN_DNSNAME)
            continue;
        has_dns_name = true;
        add_name(names, name, length);
    }
    size_t length = sizeof name;
    if (!has_dns_name &&
        gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &length) >= 0)
        add_name(names, name, length);
    gnutls_x509_crt_deinit(certificate);
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(names, FALSE);
}

char *
http_tls_peer_sha256(gnutls_session_t session)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    if (chain == NULL || count == 0)
        return NULL;
    return g_compute_checksum_for_data(G_CHECKSUM_SHA256, chain[0].data, chain[0].size);
}
