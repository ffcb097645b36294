/* values: CIM values and instances as WS-CIM XML, in both directions.
 *
 * Written the way WinRM does; read in every form that known clients send. xsi:type is a hint, never resolved.
 */
#pragma once

#include <libxml/tree.h>

#include "cim/cim.h"
#include "wsman/resource.h"
#include "wsman/xml-writer.h"

typedef struct {
    UriFamily family;
    bool      precise_arrays; /* mark a null array with IsNullArray (option UsePreciseArrays) */
} ValueStyle;

/* Writes one element named @element, or one for each item of an array (none when it is empty). */
void value_write(XmlWriter *writer, const char *element, const CimValue *value, const ValueStyle *style);

/* <p:CLASS> with every property; declares p, xsi and cim itself, while s, a and w must be declared outside. */
void instance_write(XmlWriter *writer, const CimInstance *instance, const ValueStyle *style);

/* Children by lower-case local name: table of GPtrArray of xmlNode* in document order. */
GHashTable *values_group(const xmlNode *parent);

/**
 * value_read:
 * @declared: the property or parameter
 * @nodes: (nullable) its elements; NULL gives a null value
 * @cim_namespace: for references and embedded instances that name none
 *
 * Returns: the value, or NULL with WSMAN_ERROR_PARAMETER_TYPE or WSMAN_ERROR_PARAMETER_VALUE
 */
CimValue *value_read(const CimProperty *declared, const GPtrArray *nodes, const char *cim_namespace, GError **error);
