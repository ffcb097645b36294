/* wsman-object: what travels in WS-Management messages, as a client sees it: references, instances, arguments.
 *
 * Values stay text: a client of somebody else's schema shows them and passes them on. Names compare without case, as in CIM.
 * Plain data, one thread at a time.
 */
#pragma once

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

#define WSMAN_NAMESPACE_URI "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2"

/* ---- references (WS-Addressing endpoint references) ---- */
typedef struct {
    char      *resource_uri;
    GPtrArray *names, *values; /* selectors: char*, owned; same length */
} WsmanReference;

WsmanReference *wsman_reference_new(const char *class_name); /* no selectors yet */
void            wsman_reference_add(WsmanReference *self, const char *name, const char *value);
const char     *wsman_reference_selector(const WsmanReference *self, const char *name); /* NULL when it has none */
void            wsman_reference_free(WsmanReference *self);
/* Appends a:Address and a:ReferenceParameters: the children of a property that is a reference. */
void            wsman_reference_write(const WsmanReference *self, GString *xml);
/* Appends w:SelectorSet; nothing when there are no selectors. */
void            wsman_reference_write_selectors(const WsmanReference *self, GString *xml);

/* ---- instances, and the out parameters of a method ---- */
typedef struct WsmanInstance WsmanInstance;

WsmanInstance *wsman_instance_from_node(xmlNode *node); /* never NULL; what is not understood is left out */
/* From the CIM-XML text that an out parameter holds; WSMAN_CLIENT_ERROR_PROTOCOL when it is none. Arrays and references are left out. */
WsmanInstance *wsman_instance_from_embedded(const char *text, GError **error);
void           wsman_instance_free(WsmanInstance *self);
const char    *wsman_instance_class(const WsmanInstance *self);
/* The first value; NULL when the property is null or missing. Datetimes are ISO 8601 text, or of CIM in an embedded instance. */
const char    *wsman_instance_text(const WsmanInstance *self, const char *name);
uint64_t       wsman_instance_number(const WsmanInstance *self, const char *name, uint64_t missing);
bool           wsman_instance_flag(const WsmanInstance *self, const char *name); /* null is false */
int64_t        wsman_instance_time(const WsmanInstance *self, const char *name); /* microseconds since 1970, UTC; 0: null */
/* All values of an array, of char*; NULL when null or missing. */
const GPtrArray *wsman_instance_values(const WsmanInstance *self, const char *name);
const WsmanReference *wsman_instance_reference(const WsmanInstance *self, const char *name); /* NULL when null */

/* ---- arguments of a method ---- */
typedef struct WsmanArguments WsmanArguments;

WsmanArguments *wsman_arguments_new(void);
void            wsman_arguments_free(WsmanArguments *self);
void            wsman_arguments_add_text(WsmanArguments *self, const char *name, const char *text); /* NULL: null */
void            wsman_arguments_add_reference(WsmanArguments *self, const char *name, const WsmanReference *reference); /* NULL: null */
/* Appends the parameters as elements with prefix p. */
void            wsman_arguments_write(const WsmanArguments *self, GString *xml);

/* ---- an instance inside a string argument: CIM-XML text ---- */
typedef struct WsmanEmbedded WsmanEmbedded;

WsmanEmbedded *wsman_embedded_new(const char *class_name);
void           wsman_embedded_free(WsmanEmbedded *self);
/* @type: CIM type as in MOF ("uint16"); @value NULL: null. A property that was added before is replaced. */
void           wsman_embedded_set(WsmanEmbedded *self, const char *name, const char *type, const char *value);
void           wsman_embedded_set_array(WsmanEmbedded *self, const char *name, const char *type, const char *const *values);
char          *wsman_embedded_text(const WsmanEmbedded *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(WsmanReference, wsman_reference_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(WsmanInstance, wsman_instance_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(WsmanArguments, wsman_arguments_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(WsmanEmbedded, wsman_embedded_free)
