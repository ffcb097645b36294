#include "replication/replication-error.h"

G_DEFINE_QUARK(replication-error-quark, replication_error)

bool
replication_refuse(GError **error, ReplicationError code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, REPLICATION_ERROR, code, text);
    return false;
}
