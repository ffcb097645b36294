/* The certificates that this host shows to its peers. */
#include "replication/service-private.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

static bool
fail(int code, const char *path, GError **error)
{
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_FAILED, "'%s' is no PEM file with certificates: %s; name another one in "
                "virt-replicad.conf", path, gnutls_strerror(code));
    return false;
}

static bool
encode(gnutls_x509_crt_t certificate, const char *path, GPtrArray *texts, GError **error)
{
    gnutls_datum_t der;
    int code = gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_DER, &der);
    if (code < 0)
        return fail(code, path, error);
    g_ptr_array_add(texts, g_base64_encode(der.data, der.size));
    gnutls_free(der.data);
    return true;
}

/* The first of the file is the host's own; those behind it lead to its authority. */
static bool
encode_first(const char *pem, size_t length, const char *path, GPtrArray *texts, GError **error)
{
    gnutls_datum_t data = { (unsigned char *)pem, (unsigned)length };
    gnutls_x509_crt_t *list = NULL;
    unsigned n = 0;
    int code = gnutls_x509_crt_list_import2(&list, &n, &data, GNUTLS_X509_FMT_PEM, 0);
    if (code < 0)
        return fail(code, path, error);
    bool good = n == 0 || encode(list[0], path, texts, error);
    for (unsigned i = 0; i < n; i++)
        gnutls_x509_crt_deinit(list[i]);
    gnutls_free(list);
    return good;
}

GPtrArray *
replication_service_certificates(ReplicationService *self, GError **error)
{
    const char *path = self->context.certificate_file;
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *pem = NULL;
    gsize length;
    g_autoptr(GError) cause = NULL;
    if (path == NULL)
        return g_steal_pointer(&texts);
    if (!g_file_get_contents(path, &pem, &length, &cause))
        return replication_refuse(error, REPLICATION_ERROR_FAILED, "cannot read the host's certificate: %s", cause->message), NULL;
    return encode_first(pem, length, path, texts, error) ? g_steal_pointer(&texts) : NULL;
}
