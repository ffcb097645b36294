#include "wsman/xml-read.h"

#include <libxml/SAX2.h>
#include <libxml/parser.h>
#include <string.h>

#include "wsman/fault.h"

/* What stopped the parser; kept in xmlParserCtxt._private. */
typedef struct {
    const char *refused;
} ParseState;

static void
refuse(xmlParserCtxt *context, const char *why)
{
    ParseState *state = context->_private;

    if (state->refused == NULL)
        state->refused = why;
    xmlStopParser(context);
}

static void
on_doctype(void *opaque, const xmlChar *name, const xmlChar *external_id, const xmlChar *system_id)
{
    refuse(opaque, "A document type declaration is not accepted.");
}

static void
on_element(void *opaque, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int n_namespaces,
           const xmlChar **namespaces, int n_attributes, int n_defaulted, const xmlChar **attributes)
{
    xmlParserCtxt *context = opaque;

    if (context->nodeNr >= XML_MAX_DEPTH)
        refuse(context, "The XML is nested too deeply.");
    else
        xmlSAX2StartElementNs(opaque, name, prefix, uri, n_namespaces, namespaces, n_attributes, n_defaulted, attributes);
}

void
xml_read_init(void)
{
    xmlInitParser();
}

xmlDoc *
xml_parse(const char *utf8, GError **error)
{
    const int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA | XML_PARSE_IGNORE_ENC;
    ParseState state = { 0 };
    xmlParserCtxt *context = xmlNewParserCtxt();
    xmlDoc *doc = NULL;
    bool good = false;

    context->_private = &state;
    context->sax->internalSubset = on_doctype;
    context->sax->startElementNs = on_element;
    doc = xmlCtxtReadMemory(context, utf8, (int)strlen(utf8), NULL, "UTF-8", options);
    good = doc != NULL && state.refused == NULL && context->wellFormed && context->nsWellFormed;
    if (!good) {
        const xmlError *last = xmlCtxtGetLastError(context);
        const char *reason = last != NULL && last->message != NULL ? last->message : "It is not well-formed.";
        g_autofree char *text = g_strchomp(g_strdup(reason));

        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_SCHEMA_VALIDATION, "The message cannot be read as XML. %s",
                    state.refused != NULL ? state.refused : text);
        if (doc != NULL)
            xmlFreeDoc(doc);
        doc = NULL;
    }
    xmlFreeParserCtxt(context);
    return doc;
}

static xmlNode *
skip_to_element(xmlNode *node)
{
    while (node != NULL && node->type != XML_ELEMENT_NODE)
        node = node->next;
    return node;
}

xmlNode *
xml_first_child(const xmlNode *parent)
{
    return parent != NULL ? skip_to_element(parent->children) : NULL;
}

xmlNode *
xml_next(const xmlNode *node)
{
    return skip_to_element(node->next);
}

bool
xml_is(const xmlNode *node, const char *ns, const char *name)
{
    if (node == NULL || !xmlStrEqual(node->name, BAD_CAST name))
        return false;
    return ns == NULL || (node->ns != NULL && xmlStrEqual(node->ns->href, BAD_CAST ns));
}

xmlNode *
xml_child(const xmlNode *parent, const char *ns, const char *name)
{
    xmlNode *node = xml_first_child(parent);

    while (node != NULL && !xml_is(node, ns, name))
        node = xml_next(node);
    return node;
}

char *
xml_content(const xmlNode *node)
{
    xmlChar *content = xmlNodeGetContent(node);
    char *copy = g_strdup(content != NULL ? (const char *)content : "");

    xmlFree(content);
    return copy;
}

char *
xml_trimmed(const xmlNode *node)
{
    return g_strstrip(xml_content(node));
}

char *
xml_attribute_of(const xmlNode *node, const char *name)
{
    for (const xmlAttr *attribute = node->properties; attribute != NULL; attribute = attribute->next) {
        if (xmlStrEqual(attribute->name, BAD_CAST name))
            return xml_content((const xmlNode *)attribute);
    }
    return NULL;
}

bool
xml_flag(const xmlNode *node, const char *name)
{
    g_autofree char *text = xml_attribute_of(node, name);

    if (text == NULL)
        return false;
    g_strstrip(text);
    return g_ascii_strcasecmp(text, "true") == 0 || g_str_equal(text, "1");
}

bool
xml_is_nil(const xmlNode *node)
{
    return xml_flag(node, "nil");
}

char *
xml_serialize(const xmlNode *node, const char *rename, const char *rename_ns)
{
    xmlDoc *doc = xmlNewDoc(BAD_CAST "1.0");
    xmlNode *copy = xmlDocCopyNode((xmlNode *)node, doc, 1);
    xmlBuffer *buffer = xmlBufferCreate();
    char *text = NULL;

    xmlDocSetRootElement(doc, copy);
    if (rename != NULL) {
        xmlNodeSetName(copy, BAD_CAST rename);
        xmlSetNs(copy, xmlNewNs(copy, BAD_CAST rename_ns, BAD_CAST "renamed"));
    }
    xmlNodeDump(buffer, doc, copy, 0, 0);
    text = g_strdup((const char *)xmlBufferContent(buffer));
    xmlBufferFree(buffer);
    xmlFreeDoc(doc);
    return text;
}
