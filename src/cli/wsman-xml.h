/* wsman-xml: small helpers to walk and write the XML of WS-Management; namespaces are compared, prefixes never. */
#pragma once

#include <glib.h>
#include <libxml/tree.h>

#define NS_SOAP        "http://www.w3.org/2003/05/soap-envelope"
#define NS_ADDRESSING  "http://schemas.xmlsoap.org/ws/2004/08/addressing"
#define NS_ENUMERATION "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
#define NS_TRANSFER    "http://schemas.xmlsoap.org/ws/2004/09/transfer"
#define NS_WSMAN       "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
#define NS_IDENTITY    "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
#define NS_FAULT       "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
#define NS_XSI         "http://www.w3.org/2001/XMLSchema-instance"
#define NS_MESSAGE     "urn:virt-replica:wsman" /* our own header about return values */

#define WSMAN_ANONYMOUS NS_ADDRESSING "/role/anonymous"

/* All take NULL nodes and give NULL for them. */
xmlNode *xml_first_element(xmlNode *node);
xmlNode *xml_child(xmlNode *node, const char *ns, const char *name); /* first child element of that name */
char    *xml_text(xmlNode *node);                                    /* (transfer full): text of all below it */
char    *xml_attribute(xmlNode *node, const char *name);             /* (transfer full); of any namespace */

void     xml_append_escaped(GString *xml, const char *text);

/* Checks for well-formed XML without DTD, entities or network. NULL with @error (WSMAN_CLIENT_ERROR_PROTOCOL) when it is not. */
xmlDoc  *xml_parse(const void *data, size_t length, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)
