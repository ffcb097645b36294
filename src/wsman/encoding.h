/* encoding: the character encodings of messages. Inside the program everything is UTF-8. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
    ENCODING_UTF8,
    ENCODING_UTF16,   /* little endian with a byte order mark */
    ENCODING_UTF16LE, /* no mark */
    ENCODING_UTF16BE,
} Encoding;

/* From a Content-Type value such as "application/soap+xml;charset=UTF-16"; without a charset UTF-8. False when it is none
 * of ours. */
bool encoding_from_content_type(const char *content_type, Encoding *ret);

/**
 * encoding_decode:
 * @encoding: as declared; a byte order mark in @bytes overrules it, and it is corrected then
 *
 * Returns: valid UTF-8 without a mark and without NUL characters, or NULL when the bytes are not what they should be
 */
char *encoding_decode(GBytes *bytes, Encoding *encoding);

GBytes     *encoding_encode(Encoding self, const char *utf8);
const char *encoding_content_type(Encoding self); /* of a SOAP answer */
