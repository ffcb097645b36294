#include "cim/cim.h"

#include <string.h>

#define NAMESPACE "root/virtualization/v2"
#define SETTINGS(body) "<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">" body "</INSTANCE>"

/* Each reads as RecoveryHistory 24, CompressionEnabled true, CertificateThumbPrint null, IncludedDisks { "a", "b" }. */
static const struct { const char *name, *text; } same_forms[] = {
    { "cim-dtd",
      SETTINGS("<PROPERTY NAME=\"RecoveryHistory\" TYPE=\"uint16\"><VALUE>24</VALUE></PROPERTY>"
               "<PROPERTY NAME=\"CompressionEnabled\" TYPE=\"boolean\"><VALUE>TRUE</VALUE></PROPERTY>"
               "<PROPERTY NAME=\"CertificateThumbPrint\" TYPE=\"string\"/>"
               "<PROPERTY.ARRAY NAME=\"IncludedDisks\" TYPE=\"string\"><VALUE.ARRAY><VALUE>a</VALUE><VALUE>b</VALUE></VALUE.ARRAY>"
               "</PROPERTY.ARRAY>") },
    { "wmi-dtd-with-prolog-and-declaration",
      "\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-16\"?>\r\n<CIM CIMVERSION=\"2.0\" DTDVERSION=\"2.0\"><DECLARATION><DECLGROUP.WITHPATH>"
      "<VALUE.OBJECTWITHPATH><INSTANCEPATH/>"
      "<INSTANCE CLASSNAME=\"msvm_replicationsettingdata\"><QUALIFIER NAME=\"dynamic\" TYPE=\"boolean\"><VALUE>TRUE</VALUE></QUALIFIER>"
      "<PROPERTY NAME=\"__PATH\" CLASSORIGIN=\"___SYSTEM\" TYPE=\"string\"><VALUE>p</VALUE></PROPERTY>"
      "<PROPERTY.ARRAY NAME=\"__DERIVATION\" TYPE=\"string\"><VALUE.ARRAY><VALUE>C</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"
      "<PROPERTY NAME=\"RECOVERYHISTORY\" CLASSORIGIN=\"Msvm_ReplicationSettingData\" TYPE=\"uint16\" MODIFIED=\"TRUE\">"
      "<QUALIFIER NAME=\"CIMTYPE\" TYPE=\"string\"><VALUE>uint16</VALUE></QUALIFIER><VALUE>\n 24 </VALUE></PROPERTY>"
      "<PROPERTY NAME=\"CompressionEnabled\" TYPE=\"string\"><VALUE>true</VALUE></PROPERTY>"
      "<PROPERTY.ARRAY NAME=\"IncludedDisks\" TYPE=\"string\"><VALUE.ARRAY><VALUE><![CDATA[a]]></VALUE><VALUE>b</VALUE></VALUE.ARRAY>"
      "</PROPERTY.ARRAY></INSTANCE></VALUE.OBJECTWITHPATH></DECLGROUP.WITHPATH></DECLARATION></CIM>" },
    { "ws-cim",
      "<p:Msvm_ReplicationSettingData xmlns:p=\"http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/Msvm_ReplicationSettingData\""
      " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><p:recoveryHistory>24</p:recoveryHistory>"
      "<p:CompressionEnabled>true</p:CompressionEnabled><p:CertificateThumbPrint xsi:nil=\"true\"/>"
      "<p:IncludedDisks>a</p:IncludedDisks><p:IncludedDisks>b</p:IncludedDisks></p:Msvm_ReplicationSettingData>" },
    { "mof",
      "// made by a script\ninstance of Msvm_ReplicationSettingData as $s\n{\n  RecoveryHistory = 24; /* hourly */\n"
      "  [key] compressionenabled = True;\n  CertificateThumbPrint = NULL;\n  IncludedDisks = { \"a\", \"\" \"b\" };\n};\n" },
    { "mof-numbers-as-strings",
      "instance of Msvm_ReplicationSettingData { RecoveryHistory = \"24\"; CompressionEnabled = \"TRUE\"; IncludedDisks = {'a',\"\\x62\"}; }" },
};

static void
check_same(const CimInstance *instance)
{
    const CimValue *disks = cim_instance_get(instance, "IncludedDisks");

    g_assert_cmpuint(cim_instance_get(instance, "RecoveryHistory")->v.uint, ==, 24);
    g_assert_true(cim_instance_get(instance, "CompressionEnabled")->v.boolean);
    g_assert_true(cim_instance_get(instance, "CertificateThumbPrint")->is_null);
    g_assert_true(cim_instance_get(instance, "ReplicationInterval")->is_null);
    g_assert_cmpuint(disks->v.items->len, ==, 2);
    g_assert_cmpstr(((CimValue *) disks->v.items->pdata[0])->v.string, ==, "a");
    g_assert_cmpstr(((CimValue *) disks->v.items->pdata[1])->v.string, ==, "b");
}

static void
test_same_form(const void *text)
{
    g_autoptr(GError) error = NULL;
    CimInstance *instance = cim_instance_from_text(text, NAMESPACE, &error), *again;
    g_autofree char *xml = NULL;

    g_assert_no_error(error);
    check_same(instance);
    g_assert_false(cim_instance_is_set(instance, "ReplicationInterval"));
    xml = cim_instance_to_xml(instance);
    again = cim_instance_from_text(xml, NAMESPACE, &error);
    g_assert_no_error(error);
    check_same(again);
    cim_instance_free(again);
    cim_instance_free(instance);
}

static const struct { const char *text; CimError code; } refused[] = {
    { "", CIM_ERROR_INVALID_PARAMETER }, { "Msvm_X", CIM_ERROR_INVALID_PARAMETER }, { "<INSTANCE", CIM_ERROR_INVALID_PARAMETER },
    { "<INSTANCE/>", CIM_ERROR_INVALID_PARAMETER }, { "<CIM><DECLARATION/></CIM>", CIM_ERROR_INVALID_PARAMETER },
    { "<INSTANCE CLASSNAME=\"No_Such\"/>", CIM_ERROR_INVALID_CLASS }, { "<No_Such/>", CIM_ERROR_INVALID_CLASS },
    { "instance of No_Such {};", CIM_ERROR_INVALID_CLASS }, { "instance of", CIM_ERROR_INVALID_CLASS },
    { SETTINGS("<PROPERTY TYPE=\"string\"/>"), CIM_ERROR_INVALID_PARAMETER },
    { SETTINGS("<PROPERTY NAME=\"RecoveryHistroy\"><VALUE>1</VALUE></PROPERTY>"), CIM_ERROR_NO_SUCH_PROPERTY },
    { SETTINGS("<PROPERTY NAME=\"RecoveryHistory\"><VALUE>many</VALUE></PROPERTY>"), CIM_ERROR_TYPE_MISMATCH },
    { SETTINGS("<PROPERTY NAME=\"RecoveryHistory\"><VALUE>70000</VALUE></PROPERTY>"), CIM_ERROR_TYPE_MISMATCH },
    { SETTINGS("<PROPERTY.ARRAY NAME=\"RecoveryHistory\"><VALUE.ARRAY><VALUE>1</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"), CIM_ERROR_TYPE_MISMATCH },
    { "<!DOCTYPE a [<!ENTITY x \"y\">]><INSTANCE CLASSNAME=\"Msvm_Error\"/>", CIM_ERROR_INVALID_PARAMETER },
    { "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><INSTANCE CLASSNAME=\"Msvm_Error\"/>", CIM_ERROR_INVALID_PARAMETER },
    { SETTINGS("<PROPERTY NAME=\"Caption\"><VALUE>&x;</VALUE></PROPERTY>"), CIM_ERROR_INVALID_PARAMETER },
    { "instance of Msvm_Error { Message = \"a; };", CIM_ERROR_INVALID_PARAMETER },
    { "instance of Msvm_Error { Message \"a\"; };", CIM_ERROR_INVALID_PARAMETER },
    { "instance of Msvm_Error { Message = {\"a\"}; };", CIM_ERROR_TYPE_MISMATCH },
    { "instance of Msvm_Error { Message = ; };", CIM_ERROR_INVALID_PARAMETER },
    { "instance of Msvm_Error { Message = \"a\"; } x", CIM_ERROR_INVALID_PARAMETER },
    { "instance of Msvm_Error { ErrorType = x; };", CIM_ERROR_TYPE_MISMATCH },
    { "instance of Msvm_Error { [a", CIM_ERROR_INVALID_PARAMETER }, { "/* only", CIM_ERROR_INVALID_PARAMETER },
};

static void
test_refused(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(cim_instance_from_text(refused[i].text, NAMESPACE, &error));
        g_assert_error(error, CIM_ERROR, (int) refused[i].code);
    }
}

static void
test_too_deep(void)
{
    GString *text = g_string_new("<INSTANCE CLASSNAME=\"Msvm_Error\">");
    g_autoptr(GError) error = NULL;

    for (unsigned i = 0; i < 100; i++)
        g_string_append(text, "<a>");
    for (unsigned i = 0; i < 100; i++)
        g_string_append(text, "</a>");
    g_string_append(text, "</INSTANCE>");
    g_assert_null(cim_instance_from_text(text->str, NAMESPACE, &error));
    g_assert_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER);
    g_string_free(text, TRUE);
}

static void
test_too_long(void)
{
    g_autofree char *text = g_strnfill(2 * 1024 * 1024, ' ');
    g_autoptr(GError) error = NULL;

    text[0] = '<';
    g_assert_null(cim_instance_from_text(text, NAMESPACE, &error));
    g_assert_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER);
}

static void
test_references(void)
{
    static const char text[] =
        "<INSTANCE CLASSNAME=\"Msvm_HostedService\"><PROPERTY.REFERENCE NAME=\"Antecedent\"><VALUE.REFERENCE><INSTANCEPATH>"
        "<NAMESPACEPATH/><INSTANCENAME CLASSNAME=\"Msvm_ComputerSystem\"><KEYBINDING NAME=\"Name\"><KEYVALUE VALUETYPE=\"string\">h"
        "</KEYVALUE></KEYBINDING></INSTANCENAME></INSTANCEPATH></VALUE.REFERENCE></PROPERTY.REFERENCE>"
        "<PROPERTY.REFERENCE NAME=\"Dependent\"><VALUE.REFERENCE>Msvm_ReplicationService.Name=\"replicasvc\"</VALUE.REFERENCE>"
        "</PROPERTY.REFERENCE></INSTANCE>";
    g_autoptr(GError) error = NULL;
    CimInstance *instance = cim_instance_from_text(text, NAMESPACE, &error), *again;
    g_autofree char *xml = NULL;

    g_assert_no_error(error);
    g_assert_cmpstr(cim_path_key(cim_instance_get(instance, "Antecedent")->v.path, "Name")->v.string, ==, "h");
    g_assert_cmpstr(cim_instance_get(instance, "Dependent")->v.path->class_name, ==, "Msvm_ReplicationService");
    xml = cim_instance_to_xml(instance);
    again = cim_instance_from_text(xml, NAMESPACE, &error);
    g_assert_no_error(error);
    g_assert_true(cim_value_equal(cim_instance_get(instance, "Antecedent"), cim_instance_get(again, "Antecedent")));
    cim_instance_free(again);
    cim_instance_free(instance);
}

/* Clients read attribute 0 of PROPERTY. */
static void
test_name_comes_first(void)
{
    CimInstance *instance = cim_instance_new(cim_class_find(NAMESPACE, "Msvm_Error"));
    g_autofree char *xml = NULL;

    cim_instance_set(instance, "Message", cim_value_new_string("a < b & \"c\"\001"));
    xml = cim_instance_to_xml(instance);
    g_assert_true(g_str_has_prefix(xml, "<INSTANCE CLASSNAME=\"Msvm_Error\">"));
    g_assert_nonnull(strstr(xml, "<PROPERTY NAME=\"Message\" TYPE=\"string\"><VALUE>a &lt; b &amp; &quot;c&quot;</VALUE></PROPERTY>"));
    g_assert_nonnull(strstr(xml, "<PROPERTY NAME=\"ErrorType\" TYPE=\"uint16\"/>"));
    cim_instance_free(instance);
}

/* Whatever is done to a text, reading it gives an instance or an error. */
static void
test_mutations(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(7);

    for (unsigned round = 0; round < 4000; round++) {
        const char *seed = same_forms[round % G_N_ELEMENTS(same_forms)].text;
        size_t length = strlen(seed);
        g_autofree char *text = g_strdup(seed);
        g_autoptr(GError) error = NULL;
        CimInstance *instance;

        for (unsigned i = 0; i <= round % 5; i++) {
            size_t at = (size_t) g_rand_int_range(random, 0, (gint32) length);
            if (round % 7 == 0)
                text[at] = '\0';
            else
                text[at] = "<>/\"'={};,[]\\A0 &!-"[g_rand_int_range(random, 0, 19)];
        }
        instance = cim_instance_from_text(text, NAMESPACE, &error);
        g_assert_true((instance == NULL) == (error != NULL));
        cim_instance_free(instance);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(same_forms); i++) {
        g_autofree char *path = g_strconcat("/embedded/form/", same_forms[i].name, NULL);
        g_test_add_data_func(path, same_forms[i].text, test_same_form);
    }
    g_test_add_func("/embedded/refused", test_refused);
    g_test_add_func("/embedded/too-deep", test_too_deep);
    g_test_add_func("/embedded/too-long", test_too_long);
    g_test_add_func("/embedded/references", test_references);
    g_test_add_func("/embedded/name-comes-first", test_name_comes_first);
    g_test_add_func("/embedded/mutations", test_mutations);
    return g_test_run();
}
