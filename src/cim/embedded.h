/* embedded: the texts in which clients send an instance inside a string parameter.
 *
 * Every text is hostile until read: size and depth are limited, a DOCTYPE is refused, nothing is fetched.
 * Errors: CIM_ERROR_INVALID_PARAMETER (not well formed), CIM_ERROR_INVALID_CLASS, CIM_ERROR_NO_SUCH_PROPERTY,
 * CIM_ERROR_TYPE_MISMATCH (a value that its property cannot take).
 */
#pragma once

#include "cim/cim.h"

#define EMBEDDED_MAX_BYTES (1024 * 1024) /* twice the envelope that WinRM accepts by default */

CimInstance *embedded_from_xml(const char *text, const char *cim_namespace, GError **error);
CimInstance *embedded_from_mof(const char *text, const char *cim_namespace, GError **error);
bool         embedded_is_mof(const char *text); /* starts with "instance of" or a comment */

/* ---- for the readers ---- */

/* New instance of a class named in a text. */
CimInstance *embedded_instance_new(const char *cim_namespace, const char *class_name, GError **error);
/* Ignores system properties ("__PATH"): @ret NULL and true. */
bool embedded_property(const CimInstance *instance, const char *name, const CimProperty **ret, GError **error);
/* @texts: of char*, a NULL among them is a null item; NULL: the value is null. A single text for an array is its one item. */
bool embedded_set(CimInstance *instance, const CimProperty *property, const GPtrArray *texts, bool is_array,
                  GError **error);
