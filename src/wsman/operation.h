/* operation: one request on its way to the broker, and the functions that carry it out.
 *
 * Each writes what stands inside s:Body of the answer, or fails with an error that fault.h maps.
 */
#pragma once

#include "wsman/enumeration.h"
#include "wsman/request.h"
#include "wsman/wsman.h"
#include "wsman/xml-writer.h"

struct WsmanServer {
    CimBroker        *broker;
    EnumerationTable *enumerations;
    char             *product_version;
    char             *machine;
};

typedef struct {
    WsmanServer     *server;
    const CimCaller *caller;
    const Request   *request;
    const char *const *profiles; /* security profiles of the listener, for Identify */
    bool             anonymous;
    gsize            room;    /* bytes that the content of s:Body may take */
    XmlWriter       *body;
    gint64           total;   /* items of an enumeration, for w:TotalItemsCountEstimate; -1: unknown */
    char            *message; /* (nullable) about a return code that is an error */
} Operation;

bool operation_identify(Operation *self, GError **error);
bool operation_get(Operation *self, GError **error);
bool operation_put(Operation *self, GError **error);
bool operation_get_class(Operation *self, GError **error);
bool operation_enumerate(Operation *self, GError **error);
bool operation_enumerate_classes(Operation *self, GError **error);
bool operation_pull(Operation *self, GError **error);
bool operation_release(Operation *self, GError **error);
bool operation_invoke(Operation *self, GError **error);
bool operation_subscribe(Operation *self, GError **error);

ValueStyle operation_style(const Operation *self);
/* What the broker says about finding the instance at @path, as an error about selectors where it is one. Takes @reason. */
void operation_naming_error(const CimPath *path, GError *reason, GError **error);

/* Answer to an Enumerate whose results are known: a context, or the first items of an optimized one. Takes @items. */
bool operation_start_enumeration(Operation *self, const xmlNode *enumerate, GPtrArray *items, bool is_xml, GError **error);

/**
 * filter_run:
 * @filter: w:Filter or n:Filter
 * @ret: array of CimInstance
 */
bool filter_run(Operation *self, const xmlNode *filter, GPtrArray **ret, GError **error);

/* ---- the way in and out ---- */

/* Carries out the envelope in @utf8 for @caller and gives the answer's text and HTTP status (200 or 500). */
char *dispatch(WsmanServer *server, const CimCaller *caller, const char *const *profiles, const char *utf8,
               unsigned bytes_per_char, unsigned *ret_status);
/* For a caller who did not say who they are: Identify only. NULL when the message is anything else. */
char *dispatch_anonymous(WsmanServer *server, const char *const *profiles, const char *utf8, unsigned *ret_status);
/* Answer for a message that could not even be decoded. */
char *dispatch_fault(WsmanServer *server, const GError *error);
