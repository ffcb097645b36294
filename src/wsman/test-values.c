/* CIM values, instances and endpoint references as XML, there and back. */
#include <string.h>

#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/values.h"
#include "wsman/xml-read.h"

#define VM_URI URI_WMI DEFAULT_CIM_NAMESPACE "/Msvm_ComputerSystem"
#define VM_SCHEMA_URI URI_CIM_SCHEMA "Msvm_ComputerSystem"
#define DECLARE " xmlns:a='" NS_ADDRESSING "' xmlns:w='" NS_WSMAN "' xmlns:xsi='" NS_XSI "' xmlns:cim='" NS_CIM_COMMON "'"
#define EPR_OF(uri, extra) "<a:Address>x</a:Address><a:ReferenceParameters><w:ResourceURI> " uri "\n</w:ResourceURI><w:SelectorSet>" extra \
    "<w:Selector Name='name'>G1</w:Selector><w:Selector Name='CreationClassName'>Msvm_ComputerSystem</w:Selector></w:SelectorSet>" \
    "</a:ReferenceParameters>"
#define VM_PATH "root\\virtualization\\v2:Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"G1\""

static const CimProperty string_type = { .name = "P", .type = CIM_STRING };
static const CimProperty embedded_type = { .name = "P", .type = CIM_STRING, .reference_class = "Msvm_ReplicationSettingData" };
static const CimProperty uint16_type = { .name = "P", .type = CIM_UINT16 };
static const CimProperty boolean_type = { .name = "P", .type = CIM_BOOLEAN };
static const CimProperty datetime_type = { .name = "P", .type = CIM_DATETIME };
static const CimProperty bytes_type = { .name = "P", .type = CIM_UINT8, .flags = CIM_ARRAY };
static const CimProperty strings_type = { .name = "P", .type = CIM_STRING, .flags = CIM_ARRAY };
static const CimProperty vm_type = { .name = "P", .type = CIM_REFERENCE, .reference_class = "CIM_ComputerSystem" };

/* "a|b" for arrays, "NULL" for null */
static char *
text_of(const CimValue *value)
{
    g_autoptr(GString) text = g_string_new(NULL);

    if (value->is_null)
        return g_strdup("NULL");
    if (!value->is_array)
        return value->type == CIM_STRING ? g_strdup(value->v.string) : cim_value_to_text(value);
    for (guint i = 0; i < value->v.items->len; i++) {
        g_autofree char *item = text_of(g_ptr_array_index(value->v.items, i));

        g_string_append_printf(text, "%s%s", i > 0 ? "|" : "", item);
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static const struct {
    const char        *name;
    const CimProperty *declared;
    const char        *xml; /* elements P */
    const char        *want; /* NULL: refused */
} read_cases[] = {
    { "string", &string_type, "<P> a&lt;b </P>", " a<b " },
    { "string-empty", &string_type, "<P/>", "" },
    { "string-nil", &string_type, "<P xsi:nil='true'/>", "NULL" },
    { "string-absent", &string_type, "", "NULL" },
    { "string-with-elements", &string_type, "<P><a/></P>", NULL },
    { "string-twice", &string_type, "<P>a</P><P>b</P>", NULL },
    { "cdata", &string_type, "<P><![CDATA[<b>&amp;</b>]]></P>", "<b>&amp;</b>" },
    { "number", &uint16_type, "<P xsi:type='cim:cimUnsignedShort'> 80\n</P>", "80" },
    { "number-bad", &uint16_type, "<P>eighty</P>", NULL },
    { "number-too-large", &uint16_type, "<P>65536</P>", NULL },
    { "boolean-windows", &boolean_type, "<P>TRUE</P>", "TRUE" },
    { "boolean-number", &boolean_type, "<P>0</P>", "FALSE" },
    { "datetime-iso", &datetime_type, "<P>2024-05-01T10:20:30.123456+02:00</P>", "20240501102030.123456+120" },
    { "datetime-child", &datetime_type, "<P><cim:Datetime>2024-05-01T10:20:30Z</cim:Datetime></P>", "20240501102030.000000+000" },
    { "datetime-mi", &datetime_type, "<P><CIM_DateTime>20240501102030.123456+120</CIM_DateTime></P>", "20240501102030.123456+120" },
    { "interval", &datetime_type, "<P><cim:Interval>P0DT0H1M40S</cim:Interval></P>", "00000000000140.000000:000" },
    { "datetime-empty", &datetime_type, "<P/>", "NULL" },
    { "datetime-bad", &datetime_type, "<P>yesterday</P>", NULL },
    { "array", &strings_type, "<P>a</P><P/><P xsi:nil='true'/>", "a||NULL" },
    { "array-nil", &strings_type, "<P xsi:nil='true'/>", "NULL" },
    { "bytes", &bytes_type, "<P>0</P><P>255</P>", "0|255" },
    { "bytes-base64", &bytes_type, "<P xsi:type='cim:cimBase64Binary'>AP8=</P>", "0|255" },
    { "epr-children", &vm_type, "<P>" EPR_OF(VM_URI, "") "</P>", VM_PATH },
    { "epr-cim-schema", &vm_type, "<P>" EPR_OF(VM_SCHEMA_URI, "<w:Selector Name='__cimnamespace'>root\\virtualization\\v2</w:Selector>")
      "</P>", VM_PATH },
    { "epr-wrapped", &vm_type, "<P><a:EndpointReference>" EPR_OF(VM_URI, "") "</a:EndpointReference></P>", VM_PATH },
    { "epr-embedded", &vm_type, "<P xmlns:p1='" VM_URI "' xmlns:xsi='http://www.w3.org/2001/XMLSchema' xsi:type='p1:Msvm_ComputerSystem_Type'>"
      "<p1:CreationClassName>Msvm_ComputerSystem</p1:CreationClassName><p1:Name>G1</p1:Name></P>", VM_PATH },
    { "epr-embedded-untyped", &vm_type, "<P xmlns:p1='" VM_SCHEMA_URI "'>"
      "<p1:CreationClassName>Msvm_ComputerSystem</p1:CreationClassName><p1:Name>G1</p1:Name></P>", VM_PATH },
    { "epr-element", &vm_type, "<P><Msvm_ComputerSystem xmlns='" VM_URI "'>"
      "<CreationClassName>Msvm_ComputerSystem</CreationClassName><Name>G1</Name></Msvm_ComputerSystem></P>", VM_PATH },
    { "epr-path", &vm_type, "<P>\\\\HOST\\root\\virtualization\\v2:Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"G1\""
      "</P>", VM_PATH },
    { "epr-empty", &vm_type, "<P/>", "NULL" },
    { "epr-nil", &vm_type, "<P xsi:nil='1'/>", "NULL" },
    { "epr-unknown-key", &vm_type, "<P>" EPR_OF(VM_URI, "<w:Selector Name='Nonsense'>1</w:Selector>") "</P>", NULL },
    { "epr-no-class", &vm_type, "<P>" EPR_OF("http://example.org/x", "") "</P>", NULL },
    { "epr-unknown-class", &vm_type, "<P>nonsense</P>", NULL },
    { "epr-strange-elements", &vm_type, "<P><x/></P>", NULL },
};

static void
test_read(const void *data)
{
    guint i = GPOINTER_TO_UINT(data);
    g_autofree char *xml = g_strconcat("<root" DECLARE ">", read_cases[i].xml, "</root>", NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    xmlDoc *doc = xml_parse(xml, &error);
    g_autoptr(GHashTable) groups = NULL;
    CimValue *value = NULL;

    g_assert_no_error(error);
    groups = values_group(xmlDocGetRootElement(doc));
    value = value_read(read_cases[i].declared, g_hash_table_lookup(groups, "p"), DEFAULT_CIM_NAMESPACE, &error);
    if (value != NULL)
        text = text_of(value);
    else
        g_assert_true(error->domain == WSMAN_ERROR);
    g_assert_cmpstr(text, ==, read_cases[i].want);
    cim_value_free(value);
    xmlFreeDoc(doc);
}

/* Each form of an embedded instance becomes a text that the model reads. */
static const char *const embedded_forms[] = {
    "<P>&lt;INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">&lt;PROPERTY NAME=\"RecoveryHistory\" TYPE=\"uint16\">&lt;VALUE>24&lt;/VALUE>"
    "&lt;/PROPERTY>&lt;/INSTANCE></P>",
    "<P><![CDATA[<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\"><PROPERTY NAME=\"RecoveryHistory\" TYPE=\"uint16\"><VALUE>24</VALUE>"
    "</PROPERTY></INSTANCE>]]></P>",
    "<P><INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\"><PROPERTY NAME=\"RecoveryHistory\" TYPE=\"uint16\"><VALUE>24</VALUE></PROPERTY>"
    "</INSTANCE></P>",
    "<P><q:Msvm_ReplicationSettingData xmlns:q='" URI_WMI DEFAULT_CIM_NAMESPACE "/Msvm_ReplicationSettingData'>"
    "<q:RecoveryHistory>24</q:RecoveryHistory></q:Msvm_ReplicationSettingData></P>",
    "<P xmlns:q='" URI_CIM_SCHEMA "Msvm_ReplicationSettingData' xsi:type='q:Msvm_ReplicationSettingData_Type'>"
    "<q:RecoveryHistory>24</q:RecoveryHistory></P>",
    "<P>&lt;q:Msvm_ReplicationSettingData xmlns:q=\"" URI_CIM_SCHEMA "Msvm_ReplicationSettingData\">&lt;q:RecoveryHistory>24"
    "&lt;/q:RecoveryHistory>&lt;/q:Msvm_ReplicationSettingData></P>",
    "<P>instance of Msvm_ReplicationSettingData { RecoveryHistory = 24; };</P>",
};

static void
test_embedded(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(embedded_forms); i++) {
        g_autofree char *xml = g_strconcat("<root" DECLARE ">", embedded_forms[i], "</root>", NULL);
        g_autoptr(GError) error = NULL;
        xmlDoc *doc = xml_parse(xml, &error);
        g_autoptr(GHashTable) groups = values_group(xmlDocGetRootElement(doc));
        CimValue *value = value_read(&embedded_type, g_hash_table_lookup(groups, "p"), DEFAULT_CIM_NAMESPACE, &error);
        CimInstance *instance = NULL;

        g_assert_no_error(error);
        instance = cim_instance_from_text(value->v.string, DEFAULT_CIM_NAMESPACE, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(cim_instance_class(instance)->name, ==, "Msvm_ReplicationSettingData");
        g_assert_cmpuint(cim_instance_get(instance, "RecoveryHistory")->v.uint, ==, 24);
        cim_instance_free(instance);
        cim_value_free(value);
        xmlFreeDoc(doc);
    }
}

static CimInstance *
vm_instance(void)
{
    CimInstance *instance = cim_instance_new(cim_class_find(DEFAULT_CIM_NAMESPACE, "Msvm_ComputerSystem"));

    cim_instance_set(instance, "CreationClassName", cim_value_new_string("Msvm_ComputerSystem"));
    cim_instance_set(instance, "Name", cim_value_new_string("G1"));
    cim_instance_set(instance, "ElementName", cim_value_new_string("a <b>\x01"));
    cim_instance_set(instance, "InstallDate", cim_value_new_datetime(1714551630123456));
    return instance;
}

static xmlDoc *
written(const CimInstance *instance, UriFamily family)
{
    g_autoptr(XmlWriter) writer = xml_writer_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    ValueStyle style = { family, true };
    xmlDoc *doc = NULL;

    xml_open(writer, "root");
    xml_attribute(writer, "xmlns:a", NS_ADDRESSING);
    xml_attribute(writer, "xmlns:w", NS_WSMAN);
    instance_write(writer, instance, &style);
    xml_close(writer);
    text = xml_writer_finish(writer);
    doc = xml_parse(text, &error);
    g_assert_no_error(error);
    return doc;
}

static void
assert_child(const xmlNode *parent, const char *ns, const char *name, const char *want)
{
    const xmlNode *node = xml_child(parent, ns, name);
    g_autofree char *text = NULL;

    g_assert_nonnull(node);
    text = xml_content(node);
    g_assert_cmpstr(text, ==, want);
}

static void
test_write_instance(void)
{
    CimInstance *instance = vm_instance();
    const CimClass *cim_class = cim_instance_class(instance);
    xmlDoc *doc = written(instance, FAMILY_WMI);
    const xmlNode *root = xml_first_child(xmlDocGetRootElement(doc));
    unsigned count = 0;

    g_assert_true(xml_is(root, VM_URI, "Msvm_ComputerSystem"));
    g_assert_cmpstr((const char *)root->ns->prefix, ==, "p");
    assert_child(root, VM_URI, "Name", "G1");
    assert_child(root, VM_URI, "ElementName", "a <b>\xef\xbf\xbd");
    assert_child(xml_child(root, VM_URI, "InstallDate"), NS_CIM_COMMON, "Datetime", "2024-05-01T08:20:30.123456Z");
    g_assert_true(xml_is_nil(xml_child(root, VM_URI, "Description")));
    for (const xmlNode *node = xml_first_child(root); node != NULL; node = xml_next(node), count++)
        g_assert_cmpstr((const char *)node->name, ==, cim_class->properties[count].name);
    g_assert_cmpuint(count, ==, cim_class->n_properties);
    xmlFreeDoc(doc);
    cim_instance_free(instance);
}

static void
test_write_typed(void)
{
    CimInstance *instance = vm_instance();
    xmlDoc *doc = written(instance, FAMILY_CIM_SCHEMA);
    const xmlNode *root = xml_first_child(xmlDocGetRootElement(doc));
    g_autofree char *type = xml_attribute_of(xml_child(root, VM_SCHEMA_URI, "Name"), "type");

    g_autofree char *type_of_date = xml_attribute_of(xml_child(root, VM_SCHEMA_URI, "InstallDate"), "type");

    g_assert_cmpstr(type, ==, "cim:cimString");
    g_assert_null(type_of_date);
    xmlFreeDoc(doc);
    cim_instance_free(instance);
}

static void
test_write_reference(void)
{
    CimInstance *instance = vm_instance();
    CimPath *path = cim_instance_path(instance);

    for (UriFamily family = FAMILY_WMI; family <= FAMILY_CIM_SCHEMA; family++) {
        CimValue *value = cim_value_new_reference(cim_path_copy(path));
        g_autoptr(XmlWriter) writer = xml_writer_new();
        ValueStyle style = { family, false };
        g_autoptr(GError) error = NULL;
        g_autofree char *xml = NULL, *text = NULL;
        CimValue *again = NULL;
        const xmlNode *node = NULL;
        xmlDoc *doc = NULL;
        g_autoptr(GHashTable) groups = NULL;

        xml_open(writer, "root");
        xml_attribute(writer, "xmlns:a", NS_ADDRESSING);
        xml_attribute(writer, "xmlns:w", NS_WSMAN);
        xml_attribute(writer, "xmlns:xsi", NS_XSI);
        xml_attribute(writer, "xmlns:cim", NS_CIM_COMMON);
        value_write(writer, "P", value, &style);
        xml_close(writer);
        xml = xml_writer_finish(writer);
        doc = xml_parse(xml, &error);
        g_assert_no_error(error);
        node = xml_first_child(xmlDocGetRootElement(doc));
        g_assert_true(epr_is(node));
        /* keys are last, and only this family names the namespace by selector */
        g_assert_true(g_str_has_suffix(xml, ">G1</w:Selector></w:SelectorSet></a:ReferenceParameters></P></root>"));
        g_assert_cmpint(strstr(xml, "__cimnamespace") != NULL, ==, family == FAMILY_CIM_SCHEMA);
        groups = values_group(xmlDocGetRootElement(doc));
        again = value_read(&vm_type, g_hash_table_lookup(groups, "p"), DEFAULT_CIM_NAMESPACE, &error);
        g_assert_no_error(error);
        text = text_of(again);
        g_assert_cmpstr(text, ==, VM_PATH);
        cim_value_free(again);
        cim_value_free(value);
        xmlFreeDoc(doc);
    }
    cim_path_free(path);
    cim_instance_free(instance);
}

static const struct {
    const char  *uri, *selector; /* __cimnamespace */
    ResourceKind kind;
    const char  *cim_namespace, *class_name;
    bool         known;
} uri_cases[] = {
    { VM_URI, NULL, RESOURCE_CLASS, "root/virtualization/v2", "Msvm_ComputerSystem", true },
    { URI_WMI "ROOT/Virtualization/V2/msvm_computersystem", NULL, RESOURCE_CLASS, "root/virtualization/v2", "Msvm_ComputerSystem", true },
    { URI_WMI "root/virtualization/v2/*", NULL, RESOURCE_ALL_CLASSES, "root/virtualization/v2", "*", false },
    { URI_WMI "root/virtualization/v2/*", "root/other", RESOURCE_ALL_CLASSES, "root/virtualization/v2", "*", false },
    { URI_WMI "root/cimv2/Nonsense", NULL, RESOURCE_CLASS, "root/cimv2", "Nonsense", false },
    { VM_SCHEMA_URI, "root/virtualization/v2", RESOURCE_CLASS, "root/virtualization/v2", "Msvm_ComputerSystem", true },
    { VM_SCHEMA_URI, "root\\virtualization\\v2", RESOURCE_CLASS, "root/virtualization/v2", "Msvm_ComputerSystem", true },
    { VM_SCHEMA_URI, NULL, RESOURCE_CLASS, "root/virtualization/v2", "Msvm_ComputerSystem", true },
    { URI_ALL_CLASSES, "root/virtualization/v2", RESOURCE_ALL_CLASSES, "root/virtualization/v2", "*", false },
    { URI_CIM_SCHEMA "*", "root/virtualization/v2", RESOURCE_ALL_CLASSES, "root/virtualization/v2", "*", false },
    { URI_CLASS_XML "*", "root/virtualization/v2", RESOURCE_CLASS_XML, "root/virtualization/v2", NULL, false },
    { URI_CLASS_XSD "*", "root/virtualization/v2", RESOURCE_CLASS_XSD, "root/virtualization/v2", NULL, false },
};

static void
test_uris(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(uri_cases); i++) {
        g_autofree char *xml = uri_cases[i].selector == NULL ? g_strdup("<w:SelectorSet xmlns:w='" NS_WSMAN "'/>")
            : g_strdup_printf("<w:SelectorSet xmlns:w='" NS_WSMAN "'><w:Selector Name='__cimNamespace'>%s</w:Selector></w:SelectorSet>",
                              uri_cases[i].selector);
        g_autoptr(GError) error = NULL;
        xmlDoc *doc = xml_parse(xml, &error);
        g_autoptr(GPtrArray) selectors = selectors_parse(xmlDocGetRootElement(doc), &error);
        g_autoptr(Resource) resource = resource_parse(uri_cases[i].uri, selectors, &error);

        g_assert_no_error(error);
        g_assert_cmpint(resource->kind, ==, uri_cases[i].kind);
        g_assert_cmpstr(resource->cim_namespace, ==, uri_cases[i].cim_namespace);
        g_assert_cmpstr(resource->class_name, ==, uri_cases[i].class_name);
        g_assert_cmpint(resource->cim_class != NULL, ==, uri_cases[i].known);
        xmlFreeDoc(doc);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    xml_read_init();
    for (guint i = 0; i < G_N_ELEMENTS(read_cases); i++) {
        g_autofree char *name = g_strconcat("/read/", read_cases[i].name, NULL);

        g_test_add_data_func(name, GUINT_TO_POINTER(i), test_read);
    }
    g_test_add_func("/read/embedded-instances", test_embedded);
    g_test_add_func("/write/instance", test_write_instance);
    g_test_add_func("/write/types-in-cim-schema-family", test_write_typed);
    g_test_add_func("/write/reference-and-back", test_write_reference);
    g_test_add_func("/uris", test_uris);
    return g_test_run();
}
