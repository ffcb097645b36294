#include "cim/cim.h"

#include <string.h>

#define NAMESPACE "root/virtualization/v2"

static const struct { CimType type; const char *text, *want; } scalar_cases[] = {
    { CIM_BOOLEAN, "TRUE", "TRUE" }, { CIM_BOOLEAN, " false\n", "FALSE" }, { CIM_BOOLEAN, "1", "TRUE" },
    { CIM_BOOLEAN, "yes", NULL }, { CIM_UINT8, "255", "255" }, { CIM_UINT8, "256", NULL }, { CIM_UINT8, "-1", NULL },
    { CIM_SINT8, "-128", "-128" }, { CIM_SINT8, "-129", NULL }, { CIM_SINT8, "128", NULL }, { CIM_UINT16, "\t80 ", "80" },
    { CIM_UINT16, "0x1F", "31" }, { CIM_UINT16, "0x", NULL }, { CIM_UINT16, "-0x-5", NULL }, { CIM_UINT16, "65536", NULL }, { CIM_UINT16, "", NULL },
    { CIM_UINT16, "12a", NULL }, { CIM_UINT64, "18446744073709551615", "18446744073709551615" },
    { CIM_UINT64, "18446744073709551616", NULL }, { CIM_SINT64, "-9223372036854775808", "-9223372036854775808" },
    { CIM_SINT64, "-9223372036854775809", NULL }, { CIM_REAL64, "2.5", "2.5" }, { CIM_REAL64, "x", NULL },
    { CIM_REAL64, "inf", NULL }, { CIM_STRING, " a\"b ", " a\"b " }, { CIM_DATETIME, "never", NULL },
};

static void
test_scalars(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(scalar_cases); i++) {
        g_autoptr(GError) error = NULL;
        CimValue *value = cim_value_from_text(scalar_cases[i].type, scalar_cases[i].text, &error);
        g_autofree char *text = value == NULL ? NULL : cim_value_to_text(value);

        g_assert_cmpstr(text, ==, scalar_cases[i].want);
        if (value == NULL)
            g_assert_error(error, CIM_ERROR, CIM_ERROR_TYPE_MISMATCH);
        cim_value_free(value);
    }
}

static const struct { const char *text, *dmtf, *iso; } datetime_cases[] = {
    { "20240501102030.123456+120", "20240501102030.123456+120", "2024-05-01T10:20:30.123456+02:00" },
    { "2024-05-01T10:20:30Z", "20240501102030.000000+000", "2024-05-01T10:20:30Z" },
    { "2024-05-01T10:20:30", "20240501102030.000000+000", "2024-05-01T10:20:30Z" },
    { "2024-05-01T10:20:30.5-01:30", "20240501102030.500000-090", "2024-05-01T10:20:30.500000-01:30" },
    { " 2024-05-01 ", "20240501000000.000000+000", "2024-05-01T00:00:00Z" },
    { "00000000000140.000000:000", "00000000000140.000000:000", "P0DT0H1M40S" },
    { "P0DT0H1M40S", "00000000000140.000000:000", "P0DT0H1M40S" },
    { "PT90M0.25S", "00000000013000.250000:000", "P0DT1H30M0.250000S" },
    { "P0Y2D", "00000002000000.000000:000", "P2DT0H0M0S" },
    { "P1Y", NULL, NULL }, { "P", NULL, NULL }, { "PT", NULL, NULL }, { "PT99999999999999999999S", NULL, NULL },
    { "P99999999DT99999999999999S", NULL, NULL }, { "P99999999DP99999999DP99999999D", NULL, NULL },
    { "P99999999D99999999D99999999D", NULL, NULL }, { "2024-02-30", NULL, NULL }, { "20241301102030.123456+120", NULL, NULL },
    { "20240501102030.123456", NULL, NULL }, { "2024-05-01T25:00:00Z", NULL, NULL }, { "", NULL, NULL },
    { "2024-05-01T10:20:30+0", NULL, NULL },
};

static void
test_datetimes(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(datetime_cases); i++) {
        g_autofree char *dmtf = cim_datetime_from_any(datetime_cases[i].text, NULL);
        bool is_interval = false;
        g_autofree char *iso = dmtf == NULL ? NULL : cim_datetime_to_iso(dmtf, &is_interval);

        g_assert_cmpstr(dmtf, ==, datetime_cases[i].dmtf);
        g_assert_cmpstr(iso, ==, datetime_cases[i].iso);
        if (iso != NULL)
            g_assert_true(is_interval == (iso[0] == 'P'));
    }
}

static void
test_datetime_usec(void)
{
    CimValue *point = cim_value_new_datetime(INT64_C(1714558830) * G_USEC_PER_SEC + 7);
    CimValue *never = cim_value_new_datetime(0);
    CimValue *interval = cim_value_new_interval(INT64_C(90061) * G_USEC_PER_SEC);

    g_assert_cmpstr(point->v.string, ==, "20240501102030.000007+000");
    g_assert_cmpint(cim_datetime_to_usec(point->v.string), ==, INT64_C(1714558830) * G_USEC_PER_SEC + 7);
    g_assert_cmpint(cim_datetime_to_usec("20240501122030.000007+120"), ==, INT64_C(1714558830) * G_USEC_PER_SEC + 7);
    g_assert_true(never->is_null);
    g_assert_cmpstr(interval->v.string, ==, "00000001010101.000000:000");
    g_assert_cmpint(cim_datetime_to_usec(interval->v.string), ==, INT64_C(90061) * G_USEC_PER_SEC);
    cim_value_free(point);
    cim_value_free(never);
    cim_value_free(interval);
}

static const struct { const char *text, *want; } path_cases[] = {
    { "\\\\HOST\\root\\virtualization\\v2:Msvm_ComputerSystem.Name=\"x\",CreationClassName=\"Msvm_ComputerSystem\"",
      "root\\virtualization\\v2:Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"x\"" },
    { "//host/root/virtualization/v2:Msvm_ComputerSystem.Name='a\"b'",
      "root\\virtualization\\v2:Msvm_ComputerSystem.Name=\"a\\\"b\"" },
    { "Msvm_ConcreteJob.InstanceID = \"C:\\\\x\\\"y\"", "root\\virtualization\\v2:Msvm_ConcreteJob.InstanceID=\"C:\\\\x\\\"y\"" },
    { "Msvm_ConcreteJob=\"1\"", "root\\virtualization\\v2:Msvm_ConcreteJob.InstanceID=\"1\"" },
    { "Msvm_ReplicationService=@", "root\\virtualization\\v2:Msvm_ReplicationService" },
    { "Msvm_ReplicationService", "root\\virtualization\\v2:Msvm_ReplicationService" },
    { "Other.A=1,B=-2,C=true", "root\\virtualization\\v2:Other.A=1,B=-2,C=TRUE" },
    { "root/cimv2:Other.A=1", "root\\cimv2:Other.A=1" },
    { "Msvm_SettingsDefineState.ManagedElement=\"Msvm_ComputerSystem.Name=\\\"v\\\"\",SettingData=\"Msvm_VirtualSystemSettingData=\\\"s\\\"\"",
      "root\\virtualization\\v2:Msvm_SettingsDefineState."
      "ManagedElement=\"root\\\\virtualization\\\\v2:Msvm_ComputerSystem.Name=\\\"v\\\"\","
      "SettingData=\"root\\\\virtualization\\\\v2:Msvm_VirtualSystemSettingData.InstanceID=\\\"s\\\"\"" },
    { "Msvm_ConcreteJob.InstanceID=\"x", NULL }, { "Msvm_ConcreteJob.InstanceID=x", NULL }, { "", NULL }, { ".A=1", NULL },
    { "Msvm_ConcreteJob.", NULL }, { "Msvm_ConcreteJob.A", NULL }, { "Msvm_ConcreteJob.A=1,", NULL }, { "C.A=1,a=2", NULL },
    { "Msvm_ComputerSystem=\"x\"", NULL }, { "Msvm_ConcreteJob.InstanceID=\"x\" y", NULL }, { "{GUID}", NULL },
    { "\\\\HOST", NULL },
};

static void
test_paths(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(path_cases); i++) {
        g_autoptr(GError) error = NULL;
        CimPath *path = cim_path_from_text(path_cases[i].text, NAMESPACE, &error), *again;
        g_autofree char *text = path == NULL ? NULL : cim_path_to_text(path, NULL);

        g_assert_cmpstr(text, ==, path_cases[i].want);
        if (path == NULL) {
            g_assert_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER);
            continue;
        }
        again = cim_path_from_text(text, NULL, &error);
        g_assert_no_error(error);
        cim_path_free(again);
        cim_path_free(path);
    }
}

static void
test_path_equality(void)
{
    CimValue *a = cim_value_from_text(CIM_REFERENCE, "\\\\H\\root\\virtualization\\v2:Msvm_ComputerSystem.Name=\"ab\",CreationClassName=\"C\"", NULL);
    CimValue *b = cim_value_from_text(CIM_REFERENCE, "MSVM_computersystem.creationclassname=\"c\",name=\"AB\"", NULL);
    CimValue *c = cim_value_from_text(CIM_REFERENCE, "Msvm_ComputerSystem.Name=\"ab\"", NULL);
    CimValue *copy = cim_value_copy(a);
    g_autofree char *text = cim_path_to_text(a->v.path, "H");

    g_assert_true(cim_value_equal(a, b));
    g_assert_true(cim_value_equal(a, copy));
    g_assert_false(cim_value_equal(a, c));
    g_assert_cmpstr(text, ==, "\\\\H\\root\\virtualization\\v2:Msvm_ComputerSystem.CreationClassName=\"C\",Name=\"ab\"");
    cim_value_free(a);
    cim_value_free(b);
    cim_value_free(c);
    cim_value_free(copy);
}

/* Every row of the generated tables keeps what cim.h says of it. */
static void
test_class_tables(void)
{
    const CimClass *const *classes = cim_classes("ROOT\\Virtualization\\V2");
    unsigned n = 0;

    g_assert_nonnull(classes);
    g_assert_null(cim_classes("root/nowhere"));
    for (; *classes != NULL; classes++, n++) {
        g_autofree char *lower = g_ascii_strdown((*classes)->name, -1);
        const CimClass *found = cim_class_find("root/virtualization/v2", lower);

        g_assert_true(found == *classes);
        for (unsigned i = 0; i < found->n_properties; i++) {
            const CimProperty *property = &found->properties[i];
            g_assert_true(cim_class_property(found, property->name) == property);
            g_assert_true(cim_class_is_a(found, property->origin));
            if (property->type == CIM_REFERENCE)
                g_assert_nonnull(cim_class_find(NAMESPACE, property->reference_class));
        }
        /* These are only ever texts inside of something else. */
        bool embedded = strcmp(found->name, "Msvm_Error") == 0 || strcmp(found->name, "Msvm_ReplicationStatistics") == 0;
        if ((found->flags & (CIM_ABSTRACT | CIM_ASSOCIATION)) == 0 && !embedded) {
            CimInstance *instance = cim_instance_new(found);
            CimPath *path = cim_instance_path(instance);
            g_assert_cmpuint(path->names->len, >, 0);
            cim_path_free(path);
            cim_instance_free(instance);
        }
    }
    g_assert_cmpuint(n, >, 40);
}

static void
test_failover_signature(void)
{
    const CimClass *service = cim_class_find(NAMESPACE, "Msvm_ReplicationService");
    const CimMethod *method = cim_class_method(service, "initiatefailover");

    g_assert_cmpstr(service->superclass->name, ==, "CIM_Service");
    g_assert_cmpuint(service->n_methods, ==, 29);
    g_assert_cmpstr(service->methods[0].name, ==, "CreateReplicationRelationship");
    g_assert_cmpuint(method->n_parameters, ==, 3);
    g_assert_cmpstr(method->parameters[0].reference_class, ==, "CIM_ComputerSystem");
    g_assert_cmpstr(method->parameters[1].name, ==, "SnapshotSettingData");
    g_assert_cmpuint(method->parameters[1].flags, ==, CIM_IN);
    g_assert_cmpuint(method->parameters[2].flags, ==, CIM_OUT);
    g_assert_cmpint(method->return_type, ==, CIM_UINT32);
}

static void
test_class_xml(void)
{
    const CimClass *service = cim_class_find(NAMESPACE, "Msvm_ReplicationService");
    g_autofree char *all = cim_class_to_xml(service, true, true, true);
    g_autofree char *own = cim_class_to_xml(service, false, false, false);

    g_assert_true(g_str_has_prefix(all, "<CLASS NAME=\"Msvm_ReplicationService\" SUPERCLASS=\"CIM_Service\" DERIVATION=\"CIM_Service,"));
    g_assert_nonnull(strstr(all, "<PROPERTY NAME=\"Name\" TYPE=\"string\" CLASSORIGIN=\"CIM_Service\" PROPAGATED=\"true\">"));
    g_assert_nonnull(strstr(all, "<QUALIFIER NAME=\"Key\" TYPE=\"boolean\"><VALUE>true</VALUE></QUALIFIER>"));
    g_assert_nonnull(strstr(all, "<QUALIFIER NAME=\"ValueMap\" TYPE=\"string\"><VALUE.ARRAY><VALUE>0</VALUE><VALUE>4096</VALUE>"));
    g_assert_nonnull(strstr(own, "<METHOD NAME=\"RevertFailover\" TYPE=\"uint32\">"
                                 "<PARAMETER.REFERENCE NAME=\"ComputerSystem\" REFERENCECLASS=\"CIM_ComputerSystem\"></PARAMETER.REFERENCE>"));
    g_assert_null(strstr(own, "QUALIFIER"));
    g_assert_null(strstr(own, "PROPERTY"));
    g_assert_null(strstr(own, "StartService"));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/value/scalar-texts", test_scalars);
    g_test_add_func("/value/datetime-texts", test_datetimes);
    g_test_add_func("/value/datetime-usec", test_datetime_usec);
    g_test_add_func("/path/texts", test_paths);
    g_test_add_func("/path/equality", test_path_equality);
    g_test_add_func("/class/tables", test_class_tables);
    g_test_add_func("/class/failover-signature", test_failover_signature);
    g_test_add_func("/class/xml", test_class_xml);
    return g_test_run();
}
