/* fault: every SOAP fault that this service gives, as one table.
 *
 * Operations fail with a GError: WSMAN_ERROR with a code from here, or an error of a layer below (CIM_ERROR), which the
 * table in fault.c maps. Anything else becomes an internal error.
 */
#pragma once

#include <glib.h>

#include "wsman/xml-writer.h"

typedef enum {
    WSMAN_ERROR_VERSION,                /* another SOAP than 1.2 */
    WSMAN_ERROR_MUST_UNDERSTAND,
    WSMAN_ERROR_HEADER_REQUIRED,
    WSMAN_ERROR_HEADER_INVALID,
    WSMAN_ERROR_RESOURCE_URI,           /* unknown class or namespace, instance not found */
    WSMAN_ERROR_ACTION,
    WSMAN_ERROR_ADDRESSING_MODE,        /* an answer to another address than the sender's */
    WSMAN_ERROR_SCHEMA_VALIDATION,      /* XML or body not as it should be */
    WSMAN_ERROR_SELECTORS_UNEXPECTED,
    WSMAN_ERROR_SELECTORS_INSUFFICIENT,
    WSMAN_ERROR_SELECTORS_AMBIGUOUS,
    WSMAN_ERROR_SELECTORS_DUPLICATE,
    WSMAN_ERROR_SELECTORS_TYPE,
    WSMAN_ERROR_PARAMETER_NAME,
    WSMAN_ERROR_PARAMETER_VALUE,
    WSMAN_ERROR_PARAMETER_TYPE,
    WSMAN_ERROR_OPTIONS,
    WSMAN_ERROR_ACCESS_DENIED,
    WSMAN_ERROR_FILTER,
    WSMAN_ERROR_FILTER_DIALECT,
    WSMAN_ERROR_ENUMERATION_CONTEXT,
    WSMAN_ERROR_DELIVERY_MODE,
    WSMAN_ERROR_TIMED_OUT,
    WSMAN_ERROR_ENVELOPE_TOO_SMALL,     /* MaxEnvelopeSize below the minimum */
    WSMAN_ERROR_ANSWER_TOO_LARGE,       /* for the client's MaxEnvelopeSize */
    WSMAN_ERROR_CHARACTER_SET,
    WSMAN_ERROR_FRAGMENT,
    WSMAN_ERROR_FORMAT,                 /* XSD form of a class */
    WSMAN_ERROR_UNSUPPORTED,
    WSMAN_ERROR_QUOTA,
    WSMAN_ERROR_ALREADY_EXISTS,
    WSMAN_ERROR_INTERNAL,
} WsmanError;
#define WSMAN_ERROR (wsman_error_quark())
GQuark wsman_error_quark(void);

/* The a:Action of the fault for @error. */
const char *fault_action(const GError *error);
/* Writes the s:Fault element; prefixes s, a, w, n, e are declared outside. @machine: this host's name. */
void fault_write(XmlWriter *writer, const GError *error, const char *machine);
