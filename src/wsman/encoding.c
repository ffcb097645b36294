#include "wsman/encoding.h"

#include <string.h>

static const struct {
    Encoding    encoding;
    const char *charset;
    const char *iconv_name;
    const char *content_type;
} encodings[] = {
    { ENCODING_UTF8, "utf-8", NULL, "application/soap+xml;charset=UTF-8" },
    { ENCODING_UTF16, "utf-16", "UTF-16LE", "application/soap+xml;charset=UTF-16" },
    { ENCODING_UTF16LE, "utf-16le", "UTF-16LE", "application/soap+xml;charset=UTF-16LE" },
    { ENCODING_UTF16BE, "utf-16be", "UTF-16BE", "application/soap+xml;charset=UTF-16BE" },
};

static const char mark_utf8[] = { '\xef', '\xbb', '\xbf' };
static const char mark_le[] = { '\xff', '\xfe' };
static const char mark_be[] = { '\xfe', '\xff' };

bool
encoding_from_content_type(const char *content_type, Encoding *ret)
{
    g_autofree char *lower = g_ascii_strdown(content_type, -1);
    const char *parameter = strstr(lower, "charset");
    g_autofree char *charset = NULL;

    *ret = ENCODING_UTF8;
    if (parameter == NULL)
        return true;
    parameter += strlen("charset");
    parameter += strspn(parameter, " \t=\"'");
    charset = g_strndup(parameter, strcspn(parameter, " \t;\"'"));
    if (g_str_equal(charset, "utf8") || g_str_equal(charset, "us-ascii"))
        return true;
    for (guint i = 0; i < G_N_ELEMENTS(encodings); i++) {
        if (g_str_equal(charset, encodings[i].charset)) {
            *ret = encodings[i].encoding;
            return true;
        }
    }
    return false;
}

static bool
skip_mark(const char **data, gsize *length, const char *mark, gsize mark_length)
{
    if (*length < mark_length || memcmp(*data, mark, mark_length) != 0)
        return false;
    *data += mark_length;
    *length -= mark_length;
    return true;
}

char *
encoding_decode(GBytes *bytes, Encoding *encoding)
{
    gsize length = 0, written = 0;
    const char *data = g_bytes_get_data(bytes, &length);
    g_autofree char *text = NULL;

    if (data == NULL)
        data = "";
    if (skip_mark(&data, &length, mark_utf8, sizeof mark_utf8))
        *encoding = ENCODING_UTF8;
    else if (skip_mark(&data, &length, mark_le, sizeof mark_le))
        *encoding = *encoding == ENCODING_UTF16LE ? ENCODING_UTF16LE : ENCODING_UTF16;
    else if (skip_mark(&data, &length, mark_be, sizeof mark_be))
        *encoding = ENCODING_UTF16BE;

    if (*encoding == ENCODING_UTF8) {
        text = g_strndup(data, length);
        written = length;
    } else {
        text = g_convert(data, (gssize)length, "UTF-8", encodings[*encoding].iconv_name, NULL, &written, NULL);
    }
    if (text == NULL || !g_utf8_validate_len(text, written, NULL))
        return NULL;
    return g_steal_pointer(&text);
}

GBytes *
encoding_encode(Encoding self, const char *utf8)
{
    gsize written = 0;
    g_autofree char *converted = NULL;
    GByteArray *out = NULL;

    if (self == ENCODING_UTF8)
        return g_bytes_new(utf8, strlen(utf8));
    converted = g_convert(utf8, -1, encodings[self].iconv_name, "UTF-8", NULL, &written, NULL);
    g_assert(converted != NULL); /* every UTF-8 text has a UTF-16 form */
    out = g_byte_array_new();
    if (self == ENCODING_UTF16)
        g_byte_array_append(out, (const guint8 *)mark_le, sizeof mark_le);
    g_byte_array_append(out, (const guint8 *)converted, (guint)written);
    return g_byte_array_free_to_bytes(out);
}

const char *
encoding_content_type(Encoding self)
{
    return encodings[self].content_type;
}
