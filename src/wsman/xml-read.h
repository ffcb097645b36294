/* xml-read: parsing XML from the network, and walking the tree. The only place that calls libxml2's parser.
 *
 * Refused: DOCTYPE (and with it every entity but the five of XML), nesting beyond XML_MAX_DEPTH, prefixes that are not
 * declared. Nothing is ever loaded from elsewhere. Names are compared by namespace and local name, never by prefix.
 */
#pragma once

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>

#define XML_MAX_DEPTH 64

/* Call once before threads use the parser. */
void xml_read_init(void);

/* Returns: (transfer full): free with xmlFreeDoc; NULL with WSMAN_ERROR_SCHEMA_VALIDATION */
xmlDoc *xml_parse(const char *utf8, GError **error);

/* Elements only; NULL at the end. A NULL parent has no children. */
xmlNode *xml_first_child(const xmlNode *parent);
xmlNode *xml_next(const xmlNode *node);
/* First child with the namespace (NULL: any) and name */
xmlNode *xml_child(const xmlNode *parent, const char *ns, const char *name);
bool     xml_is(const xmlNode *node, const char *ns, const char *name);

char *xml_content(const xmlNode *node); /* all text inside, as it is */
char *xml_trimmed(const xmlNode *node); /* without white space around */
char *xml_attribute_of(const xmlNode *node, const char *name); /* by local name, in any namespace; NULL without one */
bool  xml_flag(const xmlNode *node, const char *name); /* attribute is "true" or "1" */
bool  xml_is_nil(const xmlNode *node);

/* Text of the element with every namespace it needs declared; @rename (nullable): another local name for it */
char *xml_serialize(const xmlNode *node, const char *rename, const char *rename_ns);
