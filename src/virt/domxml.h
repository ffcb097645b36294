/* domxml: small helpers over libxml2 for domain XML.
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
xmlDoc *domxml_parse(const char *text, GError **error);

/* First child element called @name; NULL for a NULL @parent too, so that look-ups can be nested. */
xmlNode *domxml_child(const xmlNode *parent, const char *name);
/* Next sibling element called @name, or any element with NULL; for loops over children. */
xmlNode *domxml_next(const xmlNode *node, const char *name);
xmlNode *domxml_first(const xmlNode *parent); /* first child element */
bool     domxml_is(const xmlNode *node, const char *name);

/* (transfer full) (nullable): an attribute; the text of an element, without white space around it. */
char *domxml_attr(const xmlNode *node, const char *name);
char *domxml_text(const xmlNode *node);
bool  domxml_attr_is(const xmlNode *node, const char *name, const char *value);

/* Makes a child element; with @text (nullable) as its content. Attributes are "name", "value" pairs. */
xmlNode *domxml_add(xmlNode *parent, const char *name, const char *text);
void     domxml_set(xmlNode *node, const char *name, const char *value); /* a NULL value does nothing */

/* (transfer full): the text of a document. */
char *domxml_print(xmlDoc *doc);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)
