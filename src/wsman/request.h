/* request: a SOAP envelope as a typed struct. Knows the headers of WS-Management, not what operations do. */
#pragma once

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>

#include "wsman/resource.h"

#define ENVELOPE_LIMIT     512000 /* bytes served and accepted; what WinRM calls MaxEnvelopeSizekb 500 */
#define ENVELOPE_MINIMUM   8192   /* a client must be able to read at least this much */
#define TIMEOUT_DEFAULT_USEC (60 * G_USEC_PER_SEC)

typedef struct {
    char *name, *value;
} RequestOption;

typedef struct {
    xmlDoc    *doc;
    xmlNode   *body;         /* first element of s:Body; NULL when it is empty */
    bool       identify;     /* the body is id:Identify; no header is needed */
    char      *action, *message_id;
    char      *resource_uri;
    Resource  *resource;     /* NULL without w:ResourceURI */
    GPtrArray *selectors;    /* of Selector */
    GPtrArray *options;      /* of RequestOption */
    gsize      max_envelope; /* bytes, for the answer */
    gint64     timeout_usec;
    bool       count_wanted; /* w:RequestTotalItemsCountEstimate */
    char      *not_understood_name, *not_understood_ns; /* the header that gave WSMAN_ERROR_MUST_UNDERSTAND */
} Request;

/**
 * request_parse:
 * @ret: set also when the result is false, as far as the envelope was understood, so that a fault can relate to it
 */
bool request_parse(const char *utf8, Request **ret, GError **error);
void request_free(Request *self);

/* NULL when the option is not there; the prefix of a name ("wmi:X") is not compared */
const char *request_option(const Request *self, const char *name);
bool        request_option_true(const Request *self, const char *name, bool when_absent);

/* Microseconds of an xs:duration, read with patience ("P60.000S"); -1 when it is none */
gint64 request_parse_duration(const char *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Request, request_free)
