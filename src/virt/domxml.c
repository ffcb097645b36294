#include "virt/domxml.h"

#include <libxml/parser.h>
#include <string.h>

static bool
is_shallow(const xmlNode *node, int levels)
{
    if (levels == 0)
        return false;
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type == XML_ELEMENT_NODE && !is_shallow(child, levels - 1))
            return false;
    }
    return true;
}

xmlDoc *
domxml_parse(const char *text, GError **error)
{
    size_t length = strlen(text);
    if (length > XML_LENGTH_MAX) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSAFE_XML, "the domain XML has %zu bytes, more than the %d allowed",
                    length, XML_LENGTH_MAX);
        return NULL;
    }
    /* Looked for before parsing: the parser would already read entity declarations. In UTF-8, which is enforced
     * below, the word cannot be written any other way. */
    if (strstr(text, "<!DOCTYPE") != NULL || !g_utf8_validate(text, (gssize)length, NULL)) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSAFE_XML,
                    "the domain XML has a DOCTYPE or is not UTF-8; neither comes from libvirt");
        return NULL;
    }
    xmlDoc *doc = xmlReadMemory(text, (int)length, "domain.xml", "UTF-8",
                                XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOBLANKS);
    xmlNode *root = doc != NULL ? xmlDocGetRootElement(doc) : NULL;
    if (root == NULL || doc->intSubset != NULL || !is_shallow(root, XML_DEPTH_MAX)) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSAFE_XML,
                    "the domain XML is not well formed or nests deeper than %d elements", XML_DEPTH_MAX);
        xmlFreeDoc(doc);
        return NULL;
    }
    return doc;
}

bool
domxml_is(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && node->ns == NULL && strcmp((const char *)node->name, name) == 0;
}

static xmlNode *
seek(xmlNode *node, const char *name)
{
    while (node != NULL && (node->type != XML_ELEMENT_NODE || (name != NULL && !domxml_is(node, name))))
        node = node->next;
    return node;
}

xmlNode *
domxml_child(const xmlNode *parent, const char *name)
{
    return parent != NULL ? seek(parent->children, name) : NULL;
}

xmlNode *
domxml_first(const xmlNode *parent)
{
    return domxml_child(parent, NULL);
}

xmlNode *
domxml_next(const xmlNode *node, const char *name)
{
    return seek(node->next, name);
}

/* libxml2's allocator need not be GLib's. */
static char *
take(xmlChar *text)
{
    char *copy = g_strdup((const char *)text);
    xmlFree(text);
    return copy;
}

char *
domxml_attr(const xmlNode *node, const char *name)
{
    return node != NULL ? take(xmlGetNoNsProp(node, (const xmlChar *)name)) : NULL;
}

char *
domxml_text(const xmlNode *node)
{
    char *text = node != NULL ? take(xmlNodeGetContent(node)) : NULL;
    return text != NULL ? g_strstrip(text) : NULL;
}

bool
domxml_attr_is(const xmlNode *node, const char *name, const char *value)
{
    g_autofree char *have = domxml_attr(node, name);
    return g_strcmp0(have, value) == 0;
}

xmlNode *
domxml_add(xmlNode *parent, const char *name, const char *text)
{
    return xmlNewTextChild(parent, NULL, (const xmlChar *)name, (const xmlChar *)text);
}

void
domxml_set(xmlNode *node, const char *name, const char *value)
{
    if (value != NULL)
        xmlNewProp(node, (const xmlChar *)name, (const xmlChar *)value);
}

char *
domxml_print(xmlDoc *doc)
{
    xmlChar *text = NULL;
    int length = 0;
    xmlDocDumpFormatMemory(doc, &text, &length, 1);
    return take(text);
}
