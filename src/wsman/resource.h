/* resource: what a ResourceURI and its selectors name, and endpoint references in both directions.
 *
 * Two families of URIs name the same classes; an answer uses the family of its request.
 */
#pragma once

#include <libxml/tree.h>

#include "cim/cim.h"
#include "wsman/xml-writer.h"

typedef enum {
    FAMILY_WMI,        /* .../wmi/root/virtualization/v2/CLASS */
    FAMILY_CIM_SCHEMA, /* .../cim-schema/2/CLASS with selector __cimnamespace */
} UriFamily;

typedef enum {
    RESOURCE_CLASS,
    RESOURCE_ALL_CLASSES, /* "*" */
    RESOURCE_CLASS_XML,   /* class schema as CIM-XML */
    RESOURCE_CLASS_XSD,   /* class schema as XSD */
} ResourceKind;

typedef struct {
    char    *name;
    char    *text;
    xmlNode *reference; /* holder of EPR children when the value is one; belongs to the document */
} Selector;

typedef struct {
    char           *uri; /* as received */
    ResourceKind    kind;
    UriFamily       family;
    char           *cim_namespace;
    char           *class_name; /* in the schema's own case when it is known; NULL where none is named */
    const CimClass *cim_class;  /* NULL when unknown */
} Resource;

/* Array of Selector. A name given twice: WSMAN_ERROR_SELECTORS_DUPLICATE. @selector_set NULL: an empty array. */
GPtrArray *selectors_parse(const xmlNode *selector_set, GError **error);
/* NULL without it; names compare without case */
const char *selectors_text(const GPtrArray *selectors, const char *name);

/* WSMAN_ERROR_RESOURCE_URI when the URI is of no known form; an unknown class is not an error here. */
Resource *resource_parse(const char *uri, const GPtrArray *selectors, GError **error);
void      resource_free(Resource *self);
/* The class, or WSMAN_ERROR_RESOURCE_URI */
const CimClass *resource_class(const Resource *self, GError **error);
/* Path with the selectors as keys: WSMAN_ERROR_SELECTORS_UNEXPECTED, _TYPE */
CimPath  *resource_path(const Resource *self, const GPtrArray *selectors, GError **error);

char *resource_uri_of(UriFamily family, const char *cim_namespace, const char *class_name);

/* @holder: the element with a:ReferenceParameters as a child */
CimPath *epr_parse(const xmlNode *holder, GError **error);
bool     epr_is(const xmlNode *holder);
/* Writes a:Address and a:ReferenceParameters. */
void     epr_write(XmlWriter *writer, const CimPath *path, UriFamily family);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Resource, resource_free)
