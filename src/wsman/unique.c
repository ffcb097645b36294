#include "wsman/unique.h"

#include <sys/random.h>

void
unique_bytes(void *buffer, gsize length)
{
    /* up to 256 bytes come whole and without interruption, once the kernel's pool is ready */
    ssize_t got = getrandom(buffer, length, 0);

    g_assert(got == (ssize_t)length);
}

char *
unique_uri(bool upper)
{
    guint8 b[16];
    GString *text = g_string_new("uuid:");

    unique_bytes(b, sizeof b);
    b[6] = (b[6] & 0x0f) | 0x40; /* version 4, variant 1 (RFC 4122) */
    b[8] = (b[8] & 0x3f) | 0x80;
    for (guint i = 0; i < sizeof b; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            g_string_append_c(text, '-');
        g_string_append_printf(text, upper ? "%02X" : "%02x", b[i]);
    }
    return g_string_free(text, FALSE);
}
