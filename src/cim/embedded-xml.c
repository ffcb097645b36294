/* CIM-XML and WS-CIM forms of an embedded instance.
 *
 *   CIM-XML   <INSTANCE CLASSNAME="C"><PROPERTY NAME="A" TYPE="t"><VALUE>v</VALUE></PROPERTY>
 *             <PROPERTY.ARRAY NAME="B" TYPE="t"><VALUE.ARRAY><VALUE>v</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>
 *             <PROPERTY.REFERENCE NAME="R"><VALUE.REFERENCE>...</VALUE.REFERENCE></PROPERTY.REFERENCE></INSTANCE>
 *             possibly inside CIM, DECLARATION, DECLGROUP, VALUE.OBJECT; QUALIFIER and CLASSPATH are passed over
 *   WS-CIM    <p:C xmlns:p="..."><p:A>v</p:A><p:B>v</p:B><p:B>v</p:B></p:C>
 *
 * A property without VALUE is null. TYPE is not looked at: the class says what a value is.
 */
#include "cim/embedded.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>

#define MAX_DEPTH 32

static bool
refuse(GError **error, const char *reason)
{
    g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER, "The embedded instance is no CIM-XML: %s", reason);
    return false;
}

/* ---- the document ---- */

static void
refuse_doctype(void *context, const xmlChar *name, const xmlChar *external_id, const xmlChar *system_id)
{
    xmlParserCtxt *parser = context;

    parser->_private = parser; /* read by parse_document() */
    xmlStopParser(parser);
}

static void
be_silent(void *context, const char *format, ...)
{
}

/* The text is UTF-8 by now, whatever its prolog says. */
static const char *
skip_prolog(const char *text)
{
    const char *end = strncmp(text, "<?xml", 5) == 0 ? strstr(text, "?>") : NULL;

    return end == NULL ? text : end + 2;
}

static void
refuse_malformed(const xmlError *why, GError **error)
{
    g_autofree char *reason = g_strchomp(g_strdup(why == NULL || why->message == NULL ? "malformed" : why->message));
    g_autofree char *where = g_strdup_printf("%s (line %d)", reason, why == NULL ? 0 : why->line);

    refuse(error, where);
}

static void
init_once(void)
{
    static size_t is_done;

    if (g_once_init_enter(&is_done)) {
        xmlInitParser(); /* not safe from several threads by itself */
        g_once_init_leave(&is_done, 1);
    }
}

static xmlDoc *
parse_document(const char *text, GError **error)
{
    xmlParserCtxt *parser;
    xmlDoc *document;
    bool has_doctype;

    init_once();
    parser = xmlNewParserCtxt();
    text = skip_prolog(text);
    while (g_ascii_isspace(*text))
        text++;
    parser->sax->internalSubset = refuse_doctype;
    parser->sax->warning = parser->sax->error = be_silent;
    document = xmlCtxtReadMemory(parser, text, (int) strlen(text), NULL, "UTF-8",
                                 XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA);
    has_doctype = parser->_private != NULL;
    if (document == NULL && !has_doctype)
        refuse_malformed(xmlCtxtGetLastError(parser), error);
    if (has_doctype)
        refuse(error, "a DOCTYPE is not accepted");
    if (has_doctype && document != NULL) {
        xmlFreeDoc(document);
        document = NULL;
    }
    xmlFreeParserCtxt(parser);
    return document;
}

static bool
is_element(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && strcmp((const char *) node->name, name) == 0;
}

static xmlNode *
first_element(const xmlNode *parent)
{
    xmlNode *node = parent->children;

    while (node != NULL && node->type != XML_ELEMENT_NODE)
        node = node->next;
    return node;
}

static xmlNode *
next_element(xmlNode *node)
{
    do
        node = node->next;
    while (node != NULL && node->type != XML_ELEMENT_NODE);
    return node;
}

static xmlNode *
child(const xmlNode *parent, const char *name)
{
    for (xmlNode *node = first_element(parent); node != NULL; node = next_element(node)) {
        if (is_element(node, name))
            return node;
    }
    return NULL;
}

/* Attributes of CIM-XML have no namespace. */
static char *
attribute(const xmlNode *node, const char *name)
{
    xmlChar *value = xmlGetNoNsProp(node, (const xmlChar *) name);
    char *copy = g_strdup((const char *) value);

    xmlFree(value);
    return copy;
}

static char *
content(const xmlNode *node)
{
    xmlChar *text = xmlNodeGetContent(node);
    char *copy = g_strdup((const char *) text);

    xmlFree(text);
    return copy;
}

static bool
is_too_deep(const xmlNode *node, int depth)
{
    if (depth > MAX_DEPTH)
        return true;
    for (const xmlNode *below = node->children; below != NULL; below = below->next) {
        if (below->type == XML_ELEMENT_NODE && is_too_deep(below, depth + 1))
            return true;
    }
    return false;
}

/* ---- CIM-XML ---- */

static char *path_text(xmlNode *reference, int depth);

static void
add_binding(CimPath *path, xmlNode *binding, int depth)
{
    g_autofree char *name = attribute(binding, "NAME");
    xmlNode *value = first_element(binding);
    g_autofree char *text = NULL;

    if (name == NULL || value == NULL)
        return;
    if (is_element(value, "VALUE.REFERENCE"))
        text = path_text(value, depth + 1);
    else
        text = content(value);
    if (text != NULL)
        cim_path_add(path, name, cim_value_new_string(text));
}

static xmlNode *
find_instance_name(xmlNode *node)
{
    for (; node != NULL; node = next_element(node)) {
        xmlNode *found;
        if (is_element(node, "INSTANCENAME"))
            return node;
        found = find_instance_name(first_element(node));
        if (found != NULL)
            return found;
    }
    return NULL;
}

/* Object path of a VALUE.REFERENCE: from the INSTANCENAME in it, or its text. */
static char *
path_text(xmlNode *reference, int depth)
{
    xmlNode *name = find_instance_name(first_element(reference));
    g_autofree char *class_name = NULL;
    CimPath *path;
    char *text;

    if (name == NULL)
        return content(reference);
    class_name = attribute(name, "CLASSNAME");
    if (class_name == NULL || depth > MAX_DEPTH)
        return NULL;
    path = cim_path_new(NULL, class_name);
    for (xmlNode *binding = first_element(name); binding != NULL; binding = next_element(binding)) {
        if (is_element(binding, "KEYBINDING"))
            add_binding(path, binding, depth);
    }
    text = cim_path_to_text(path, NULL);
    cim_path_free(path);
    return text;
}

static void
add_values(GPtrArray *texts, xmlNode *node)
{
    for (; node != NULL; node = next_element(node)) {
        if (is_element(node, "VALUE"))
            g_ptr_array_add(texts, content(node));
        else if (is_element(node, "VALUE.NULL"))
            g_ptr_array_add(texts, NULL);
        else if (is_element(node, "VALUE.REFERENCE"))
            g_ptr_array_add(texts, path_text(node, 0));
    }
}

/* The texts of a property element; NULL when it has no value. */
static GPtrArray *
property_texts(xmlNode *property, bool *ret_is_array)
{
    xmlNode *array = child(property, "VALUE.ARRAY");
    GPtrArray *texts;

    if (array == NULL)
        array = child(property, "VALUE.REFARRAY");
    *ret_is_array = array != NULL;
    texts = g_ptr_array_new_with_free_func(g_free);
    add_values(texts, first_element(array != NULL ? array : property));
    if (array == NULL && texts->len == 0)
        g_clear_pointer(&texts, g_ptr_array_unref);
    return texts;
}

static bool
read_property(CimInstance *instance, xmlNode *node, GError **error)
{
    g_autofree char *name = attribute(node, "NAME");
    g_autoptr(GPtrArray) texts = NULL;
    const CimProperty *property;
    bool is_array;

    if (name == NULL)
        return refuse(error, "a PROPERTY has no NAME");
    if (!embedded_property(instance, name, &property, error))
        return false;
    if (property == NULL)
        return true;
    texts = property_texts(node, &is_array);
    return embedded_set(instance, property, texts, is_array, error);
}

static bool
is_property(const xmlNode *node)
{
    return is_element(node, "PROPERTY") || is_element(node, "PROPERTY.ARRAY") || is_element(node, "PROPERTY.REFERENCE");
}

static bool
read_properties(CimInstance *instance, xmlNode *node, GError **error)
{
    for (; node != NULL; node = next_element(node)) {
        if (is_property(node) && !read_property(instance, node, error))
            return false;
    }
    return true;
}

static CimInstance *
read_cim_xml(xmlNode *node, const char *cim_namespace, GError **error)
{
    g_autofree char *class_name = attribute(node, "CLASSNAME");
    CimInstance *instance;

    if (class_name == NULL) {
        refuse(error, "INSTANCE has no CLASSNAME");
        return NULL;
    }
    instance = embedded_instance_new(cim_namespace, class_name, error);
    if (instance != NULL && !read_properties(instance, first_element(node), error))
        g_clear_pointer(&instance, cim_instance_free);
    return instance;
}

static xmlNode *
find_instance(xmlNode *node)
{
    for (; node != NULL; node = next_element(node)) {
        xmlNode *found = is_element(node, "INSTANCE") ? node : find_instance(first_element(node));
        if (found != NULL)
            return found;
    }
    return NULL;
}

/* ---- WS-CIM ---- */

static bool
is_nil(const xmlNode *node)
{
    for (const xmlAttr *at = node->properties; at != NULL; at = at->next) {
        if (strcmp((const char *) at->name, "nil") == 0 && at->children != NULL && at->children->content != NULL &&
            (strcmp((const char *) at->children->content, "true") == 0 ||
             strcmp((const char *) at->children->content, "1") == 0))
            return true;
    }
    return false;
}

/* Elements of one name together are one property: @texts has a list, or NULL, for each property of the class. */
static bool
collect_texts(const CimInstance *instance, xmlNode *node, GPtrArray **texts, GError **error)
{
    for (; node != NULL; node = next_element(node)) {
        const CimProperty *property;
        GPtrArray **list;

        if (!embedded_property(instance, (const char *) node->name, &property, error))
            return false;
        if (property == NULL)
            continue;
        list = &texts[property - cim_instance_class(instance)->properties];
        if (*list == NULL)
            *list = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(*list, is_nil(node) ? NULL : content(node));
    }
    return true;
}

static bool
set_collected(CimInstance *instance, GPtrArray **texts, GError **error)
{
    const CimClass *cim_class = cim_instance_class(instance);

    for (unsigned i = 0; i < cim_class->n_properties; i++) {
        bool is_null = texts[i] != NULL && texts[i]->len == 1 && texts[i]->pdata[0] == NULL;
        if (texts[i] != NULL &&
            !embedded_set(instance, &cim_class->properties[i], is_null ? NULL : texts[i], texts[i]->len > 1, error))
            return false;
    }
    return true;
}

static CimInstance *
read_ws_cim(xmlNode *root, const char *cim_namespace, GError **error)
{
    CimInstance *instance = embedded_instance_new(cim_namespace, (const char *) root->name, error);
    unsigned n = instance == NULL ? 0 : cim_instance_class(instance)->n_properties;
    g_autofree GPtrArray **texts = g_new0(GPtrArray *, n + 1);
    bool ok = instance != NULL && collect_texts(instance, first_element(root), texts, error) &&
              set_collected(instance, texts, error);

    for (unsigned i = 0; i < n; i++)
        g_clear_pointer(&texts[i], g_ptr_array_unref);
    if (!ok)
        g_clear_pointer(&instance, cim_instance_free);
    return instance;
}

/* ---- either ---- */

static bool
is_cim_xml(const xmlNode *root)
{
    static const char *const roots[] = { "INSTANCE", "CIM", "DECLARATION", "DECLGROUP", "VALUE.OBJECT",
                                         "VALUE.NAMEDINSTANCE", "VALUE.NAMEDOBJECT", "VALUE.OBJECTWITHPATH" };

    for (unsigned i = 0; i < G_N_ELEMENTS(roots); i++) {
        if (is_element(root, roots[i]))
            return true;
    }
    return false;
}

static CimInstance *
read_root(xmlNode *root, const char *cim_namespace, GError **error)
{
    xmlNode *node;

    if (is_too_deep(root, 0)) {
        refuse(error, "its elements are nested too deep");
        return NULL;
    }
    if (!is_cim_xml(root))
        return read_ws_cim(root, cim_namespace, error);
    node = find_instance(root);
    if (node == NULL) {
        refuse(error, "there is no INSTANCE in it");
        return NULL;
    }
    return read_cim_xml(node, cim_namespace, error);
}

CimInstance *
embedded_from_xml(const char *text, const char *cim_namespace, GError **error)
{
    xmlDoc *document = parse_document(text, error);
    CimInstance *instance;

    if (document == NULL)
        return NULL;
    instance = read_root(xmlDocGetRootElement(document), cim_namespace, error);
    xmlFreeDoc(document);
    return instance;
}
