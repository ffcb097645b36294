/* xml: small helpers over libxml2 for domain XML.
 *
 * Parsing touches neither the network nor files, and refuses any DOCTYPE, so there are no entities.
 * Stateless; safe from any thread.
 */
#pragma once

#include "virt/virt.h"

#include <libxml/tree.h>

#define XML_LENGTH_MAX (1024 * 1024) /* bytes; libvirt's largest real definitions are below 100 KiB */
#define XML_DEPTH_MAX  24            /* elements; libvirt's own nest less than half as deep */

/* Returns: (transfer full): the document, or NULL with VIRT_ERROR_UNSAFE_XML. */
xmlDoc *xml_parse(const char *text, GError **error);

/* First child element called @name; NULL for a NULL @parent too, so that look-ups can be nested. */
xmlNode *xml_child(const xmlNode *parent, const char *name);
/* Next sibling element called @name, or any element with NULL; for loops over children. */
xmlNode *xml_next(const xmlNode *node, const char *name);
xmlNode *xml_first(const xmlNode *parent); /* first child element */
bool     xml_is(const xmlNode *node, const char *name);

/* (transfer full) (nullable): an attribute; the text of an element, without white space around it. */
char *xml_attr(const xmlNode *node, const char *name);
char *xml_text(const xmlNode *node);
bool  xml_attr_is(const xmlNode *node, const char *name, const char *value);

/* Makes a child element; with @text (nullable) as its content. Attributes are "name", "value" pairs. */
xmlNode *xml_add(xmlNode *parent, const char *name, const char *text);
void     xml_set(xmlNode *node, const char *name, const char *value); /* a NULL value does nothing */

/* (transfer full): the text of a document. */
char *xml_print(xmlDoc *doc);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)
