#include "cli/wsman-xml.h"

#include "cli/wsman-client.h"

#include <libxml/parser.h>
#include <limits.h>
#include <string.h>

xmlNode *
xml_first_element(xmlNode *node)
{
    return node != NULL ? xmlFirstElementChild(node) : NULL;
}

xmlNode *
xml_child(xmlNode *node, const char *ns, const char *name)
{
    for (xmlNode *child = xml_first_element(node); child != NULL; child = xmlNextElementSibling(child)) {
        if (g_str_equal((const char *)child->name, name) && child->ns != NULL && child->ns->href != NULL
            && g_str_equal((const char *)child->ns->href, ns))
            return child;
    }
    return NULL;
}

char *
xml_text(xmlNode *node)
{
    xmlChar *content = node != NULL ? xmlNodeGetContent(node) : NULL;
    char *text = g_strdup((const char *)content);

    xmlFree(content);
    return text;
}

char *
xml_attribute(xmlNode *node, const char *name)
{
    for (xmlAttr *attribute = node->properties; attribute != NULL; attribute = attribute->next) {
        if (g_str_equal((const char *)attribute->name, name))
            return xml_text((xmlNode *)attribute);
    }
    return NULL;
}

void
xml_append_escaped(GString *xml, const char *text)
{
    g_autofree char *escaped = g_markup_escape_text(text, -1);

    g_string_append(xml, escaped);
}

xmlDoc *
xml_parse(const void *data, size_t length, GError **error)
{
    g_autoptr(xmlDoc) doc = NULL;

    if (length <= INT_MAX)
        doc = xmlReadMemory(data, (int)length, NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (doc == NULL || doc->intSubset != NULL || xmlDocGetRootElement(doc) == NULL) {
        g_set_error_literal(error, WSMAN_CLIENT_ERROR, WSMAN_CLIENT_ERROR_PROTOCOL,
                            "The answer is not the XML of WS-Management; is that address really virt-replicad's?");
        return NULL;
    }
    return g_steal_pointer(&doc);
}
