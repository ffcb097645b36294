#include "cim/wql.h"

#include <string.h>

#define NAMESPACE "root/virtualization/v2"
#define VM "Msvm_ComputerSystem"

/* The instance that conditions are tried on. */
static CimInstance *
make_vm(void)
{
    CimInstance *vm = cim_instance_new(cim_class_find(NAMESPACE, VM));

    cim_instance_set(vm, "CreationClassName", cim_value_new_string(VM));
    cim_instance_set(vm, "Name", cim_value_new_string("9A0B-\\x"));
    cim_instance_set(vm, "ElementName", cim_value_new_string("It's \"big\" 100%"));
    cim_instance_set(vm, "EnabledState", cim_value_new_uint(CIM_UINT16, 2));
    cim_instance_set(vm, "OnTimeInMilliseconds", cim_value_new_uint(CIM_UINT64, UINT64_MAX));
    cim_instance_set(vm, "InstallDate", cim_value_from_text(CIM_DATETIME, "2024-05-01T10:20:30Z", NULL));
    return vm;
}

static const struct { const char *where; bool want; } conditions[] = {
    { "Name = '9a0b-\\\\x'", true }, { "Name = \"9A0B-\\x\"", true }, { "name='other'", false },
    { "ElementName = 'It''s \"BIG\" 100%'", true }, { "ElementName = \"It's \"\"big\"\" 100%\"", true },
    { "ElementName = 'It\\'s \\\"big\\\" 100%'", true }, { "'9A0B-\\x' = Name", true },
    { "EnabledState = 2", true }, { "EnabledState = '2'", true }, { "EnabledState<>3", true }, { "EnabledState != 2", false },
    { "EnabledState < 3 AND EnabledState > 1", true }, { "EnabledState <= 2 and EnabledState >= 2", true },
    { "EnabledState = -1", false }, { "EnabledState > -1", true }, { "EnabledState = 70000", false }, { "EnabledState < 2.5", true },
    { "OnTimeInMilliseconds = 18446744073709551615", true }, { "OnTimeInMilliseconds > 9223372036854775807", true },
    { "Name LIKE '9a%'", true }, { "Name LIKE '9A0B-\\\\x'", true }, { "Name LIKE '%b-_x'", true }, { "Name LIKE '%c%'", false },
    { "Name LIKE '[0-9][a-c]0%'", true }, { "Name LIKE '[^9]%'", false }, { "Name NOT LIKE '9%'", false },
    { "ElementName LIKE '%100[%]'", true }, { "ElementName LIKE 'it%big%'", true }, { "Name LIKE '%'", true }, { "Name LIKE ''", false },
    { "ReplicationState IS NULL", true }, { "ReplicationState IS NOT NULL", false }, { "EnabledState IS NOT NULL", true },
    { "ReplicationState = NULL", true }, { "EnabledState <> NULL", true },
    { "ReplicationState = 3", false }, { "ReplicationState <> 3", false }, { "NOT ReplicationState = 3", false },
    { "ReplicationState = 3 OR EnabledState = 2", true }, { "NOT (ReplicationState = 3 AND EnabledState = 3)", true },
    { "EnabledState = 3 OR EnabledState = 2 AND Name = 'x'", false }, { "(EnabledState = 3 OR EnabledState = 2) AND NOT Name = 'x'", true },
    { "__CLASS = 'msvm_computersystem'", true }, { "__CLASS = 'CIM_ComputerSystem'", false }, { "__this ISA 'CIM_System'", true },
    { "__THIS ISA \"Msvm_ConcreteJob\"", false }, { "Name != __SERVER", true }, { "__SERVER = 'HOST'", true },
    { "InstallDate = '20240501122030.000000+120'", true }, { "InstallDate < '2024-05-02'", true }, { "InstallDate > '2024-05-02'", false },
    { "__SUPERCLASS = 'CIM_ComputerSystem'", true },
};

static void
test_conditions(void)
{
    CimInstance *vm = make_vm();

    for (unsigned i = 0; i < G_N_ELEMENTS(conditions); i++) {
        g_autofree char *text = g_strdup_printf("select Name, __PATH from msvm_computersystem where %s  ", conditions[i].where);
        g_autoptr(GError) error = NULL;
        g_autoptr(WqlQuery) query = wql_parse(text, NAMESPACE, &error);

        g_assert_no_error(error);
        if (wql_matches(query, vm, "host") != conditions[i].want)
            g_error("%s: should be %s", conditions[i].where, conditions[i].want ? "true" : "false");
    }
    cim_instance_free(vm);
}

static const struct { const char *text; int position; } wrong[] = {
    { "", 1 }, { "DELETE FROM x", 1 }, { "SELECT", 7 }, { "SELECT FROM Msvm_ComputerSystem", 13 },
    { "SELECT * Msvm_ComputerSystem", 10 }, { "SELECT Nme FROM Msvm_ComputerSystem", 8 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE", 40 }, { "SELECT * FROM Msvm_ComputerSystem WHERE Name", 45 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE Name = ", 48 }, { "SELECT * FROM Msvm_ComputerSystem WHERE Nme = 'x'", 41 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE Name = 'x", 48 }, { "SELECT * FROM Msvm_ComputerSystem WHERE EnabledState = 'on'", 56 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE (Name = 'x'", 52 }, { "SELECT * FROM Msvm_ComputerSystem WHERE Name = 'x')", 51 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE Name = 'x' 'y'", 52 }, { "SELECT * FROM Msvm_ComputerSystem WHERE Name # 'x'", 46 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE OperationalStatus = 2", 41 }, { "SELECT * FROM Msvm_ComputerSystem WHERE Name LIKE 3", 51 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE Name IS 3", 49 }, { "SELECT * FROM Msvm_ComputerSystem WHERE __THIS ISA 'No'", 52 },
    { "SELECT * FROM Msvm_ComputerSystem WHERE InstallDate > 'soon'", 55 }, { "SELECT * FROM Msvm_ComputerSystem WHERE EnabledState = 1.2.3", 56 },
    { "ASSOCIATORS {x}", 13 }, { "ASSOCIATORS OF {Msvm_ComputerSystem", 36 }, { "ASSOCIATORS OF {Msvm_ComputerSystem.Name=}", 17 },
    { "ASSOCIATORS OF {Msvm_ComputerSystem} WHERE", 43 }, { "ASSOCIATORS OF {Msvm_ComputerSystem} WHERE ClassDefsOnly", 44 },
    { "REFERENCES OF {Msvm_ComputerSystem} WHERE AssocClass = x", 43 }, { "ASSOCIATORS OF {C} WHERE Role = a Role = b", 35 },
};

static void
test_wrong(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *position = g_strdup_printf(" at position %d", wrong[i].position);

        g_assert_null(wql_parse(wrong[i].text, NAMESPACE, &error));
        g_assert_error(error, CIM_ERROR, CIM_ERROR_INVALID_QUERY);
        if (!g_str_has_suffix(error->message, position))
            g_error("'%s': %s, not%s", wrong[i].text, error->message, position);
    }
}

static void
test_unknown_class(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(wql_parse("SELECT * FROM Win32_OperatingSystem", NAMESPACE, &error));
    g_assert_error(error, CIM_ERROR, CIM_ERROR_INVALID_CLASS);
}

static void
test_deep_nesting(void)
{
    GString *text = g_string_new("SELECT * FROM Msvm_ComputerSystem WHERE ");
    g_autoptr(GError) error = NULL;

    for (unsigned i = 0; i < 20000; i++)
        g_string_append(text, "NOT ");
    g_string_truncate(text, 60000);
    g_assert_null(wql_parse(text->str, NAMESPACE, &error));
    g_assert_error(error, CIM_ERROR, CIM_ERROR_INVALID_QUERY);
    g_string_free(text, TRUE);
}

static void
test_associators(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(WqlQuery) query = wql_parse("associators of {\\\\H\\root\\virtualization\\v2:Msvm_ComputerSystem.CreationClassName=\"a}b\",Name='x'} "
                                          "where ResultClass = Msvm_ReplicationSettingData AssocClass=Msvm_ElementSettingData KeysOnly "
                                          "Role = ManagedElement ResultRole = SettingData", NAMESPACE, &error);

    g_assert_no_error(error);
    g_assert_cmpint(query->kind, ==, WQL_ASSOCIATORS);
    g_assert_cmpstr(cim_path_key(query->object, "creationclassname")->v.string, ==, "a}b");
    g_assert_cmpstr(query->result_class, ==, "Msvm_ReplicationSettingData");
    g_assert_cmpstr(query->assoc_class, ==, "Msvm_ElementSettingData");
    g_assert_cmpstr(query->role, ==, "ManagedElement");
    g_assert_cmpstr(query->result_role, ==, "SettingData");
}

static void
test_pinned(void)
{
    g_autoptr(WqlQuery) query = wql_parse("SELECT * FROM Msvm_ComputerSystem WHERE EnabledState = 2 AND name = 'x'", NAMESPACE, NULL);
    g_autoptr(WqlQuery) either = wql_parse("SELECT * FROM Msvm_ComputerSystem WHERE EnabledState = 2 OR Name = 'x'", NAMESPACE, NULL);

    g_assert_cmpstr(wql_pinned_text(query, "Name"), ==, "x");
    g_assert_null(wql_pinned_text(query, "ElementName"));
    g_assert_null(wql_pinned_text(either, "Name"));
}

static void
test_mutations(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(11);
    CimInstance *vm = make_vm();

    for (unsigned round = 0; round < 6000; round++) {
        g_autofree char *text = round % 3 == 0
            ? g_strdup("ASSOCIATORS OF {Msvm_ComputerSystem.Name=\"x\"} WHERE Role = Antecedent ResultClass = CIM_Service")
            : g_strdup_printf("SELECT * FROM Msvm_ComputerSystem WHERE %s AND (%s)", conditions[round % G_N_ELEMENTS(conditions)].where,
                              conditions[round * 7 % G_N_ELEMENTS(conditions)].where);
        size_t length = strlen(text);
        g_autoptr(GError) error = NULL;
        g_autoptr(WqlQuery) query = NULL;

        for (unsigned i = 0; i <= round % 4; i++)
            text[g_rand_int_range(random, 0, (gint32) length)] = "<>=!'\"\\%_[]()-{}*,0aN \t"[g_rand_int_range(random, 0, 23)];
        query = wql_parse(text, NAMESPACE, &error);
        g_assert_true((query == NULL) == (error != NULL));
        if (query != NULL && query->kind == WQL_SELECT)
            wql_matches(query, vm, "host");
    }
    cim_instance_free(vm);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wql/conditions", test_conditions);
    g_test_add_func("/wql/wrong-with-position", test_wrong);
    g_test_add_func("/wql/unknown-class", test_unknown_class);
    g_test_add_func("/wql/deep-nesting", test_deep_nesting);
    g_test_add_func("/wql/associators", test_associators);
    g_test_add_func("/wql/pinned-keys", test_pinned);
    g_test_add_func("/wql/mutations", test_mutations);
    return g_test_run();
}
