/* Messages damaged in random ways: each gets an answer that is well-formed XML, and nothing breaks. The seed is printed; give it
 * to --seed to run the same again. */
#include <string.h>

#include "cim/test-service.h"
#include "util/log.h"
#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/operation.h"
#include "wsman/xml-read.h"

#define ROUNDS 4000

#define WMI URI_WMI DEFAULT_CIM_NAMESPACE "/"
#define MESSAGE(action, uri, headers, body) \
    "<s:Envelope xmlns:s='" NS_SOAP "' xmlns:a='" NS_ADDRESSING "' xmlns:w='" NS_WSMAN "' xmlns:n='" NS_ENUMERATION "' " \
    "xmlns:b='" NS_CIM_BINDING "' xmlns:xsi='" NS_XSI "'><s:Header><a:To>x</a:To><a:Action s:mustUnderstand='true'>" action \
    "</a:Action><a:MessageID>uuid:1</a:MessageID><w:ResourceURI>" uri "</w:ResourceURI><w:MaxEnvelopeSize>153600" \
    "</w:MaxEnvelopeSize><w:OperationTimeout>PT60S</w:OperationTimeout>" headers "</s:Header><s:Body>" body "</s:Body></s:Envelope>"
#define KEY "<w:SelectorSet><w:Selector Name='Name'>" TEST_PRIMARY "</w:Selector></w:SelectorSet>"
#define REFERENCE "<a:Address>x</a:Address><a:ReferenceParameters><w:ResourceURI>" WMI "Msvm_ComputerSystem</w:ResourceURI>" KEY \
    "</a:ReferenceParameters>"

static const char *const messages[] = {
    MESSAGE(ACTION_GET, WMI "Msvm_ComputerSystem", KEY, ""),
    MESSAGE(ACTION_GET, URI_CLASS_XML "*", "<w:SelectorSet><w:Selector Name='ClassName'>CIM_Job</w:Selector></w:SelectorSet>", ""),
    MESSAGE(ACTION_ENUMERATE, WMI "Msvm_ComputerSystem", "<w:OptionSet><w:Option Name='msftwinrm:UsePreciseArrays'>true</w:Option>"
            "</w:OptionSet>", "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>3</w:MaxElements><w:EnumerationMode>"
            "EnumerateObjectAndEPR</w:EnumerationMode></n:Enumerate>"),
    MESSAGE(ACTION_ENUMERATE, WMI "*", "", "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>30</w:MaxElements><w:Filter Dialect='"
            DIALECT_WQL "'>SELECT * FROM Msvm_ComputerSystem WHERE ElementName = 'web' AND EnabledState &lt; 3</w:Filter></n:Enumerate>"),
    MESSAGE(ACTION_ENUMERATE, URI_ALL_CLASSES, "", "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>30</w:MaxElements><w:Filter Dialect='"
            DIALECT_ASSOCIATION "'><b:AssociatedInstances><b:Object>" REFERENCE "</b:Object><b:ResultClassName>"
            "Msvm_ReplicationSettingData</b:ResultClassName></b:AssociatedInstances></w:Filter></n:Enumerate>"),
    MESSAGE(ACTION_ENUMERATE, WMI "Msvm_ComputerSystem", "", "<n:Enumerate><w:Filter Dialect='" DIALECT_SELECTOR "'>" KEY
            "</w:Filter></n:Enumerate>"),
    MESSAGE(WMI "Msvm_ReplicationService/InitiateFailover", WMI "Msvm_ReplicationService", "", "<p:InitiateFailover_INPUT xmlns:p='"
            WMI "Msvm_ReplicationService'><p:ComputerSystem>" REFERENCE "</p:ComputerSystem><p:SnapshotSettingData xsi:nil='true'/>"
            "</p:InitiateFailover_INPUT>"),
    MESSAGE(WMI "Msvm_ReplicationService/AddAuthorizationEntry", WMI "Msvm_ReplicationService", "", "<p:AddAuthorizationEntry_INPUT "
            "xmlns:p='" WMI "Msvm_ReplicationService'><p:AuthorizationEntry><![CDATA[<INSTANCE CLASSNAME=\"Msvm_ReplicationAuthorization"
            "SettingData\"><PROPERTY NAME=\"TrustGroup\" TYPE=\"string\"><VALUE>x</VALUE></PROPERTY></INSTANCE>]]></p:AuthorizationEntry>"
            "</p:AddAuthorizationEntry_INPUT>"),
    MESSAGE(ACTION_PUT, WMI "Msvm_ComputerSystem", KEY, "<p:Msvm_ComputerSystem xmlns:p='" WMI "Msvm_ComputerSystem'><p:ElementName>x"
            "</p:ElementName><p:InstallDate>2024-05-01T10:20:30Z</p:InstallDate></p:Msvm_ComputerSystem>"),
};

static void
change_bytes(GString *text)
{
    static const char palette[] = "<>&'\"/=:\\ aA0;]*{}%\n\x7f";

    for (int n = g_test_rand_int_range(1, 4); n > 0 && text->len > 0; n--)
        text->str[g_test_rand_int_range(0, (int)text->len)] = palette[g_test_rand_int_range(0, sizeof palette - 1)];
}

static void
cut_out(GString *text)
{
    int from = g_test_rand_int_range(0, (int)text->len);

    g_string_erase(text, from, g_test_rand_int_range(0, MIN(60, (int)text->len - from) + 1));
}

/* A whole tag is copied elsewhere, so that the result is often still well-formed. */
static void
copy_element(GString *text)
{
    const char *start = strchr(text->str + g_test_rand_int_range(0, (int)text->len), '<');
    const char *end = start != NULL ? strchr(start, '>') : NULL;
    g_autofree char *piece = NULL;

    if (end == NULL)
        return;
    piece = g_strndup(start, (gsize)(end - start) + 1);
    g_string_insert(text, start - text->str, piece);
}

static void
swap_word(GString *text)
{
    static const char *const words[][2] = {
        { "Msvm_ComputerSystem", "Msvm_SettingsDefineState" }, { "Msvm_ComputerSystem", "CIM_ManagedElement" }, { "Name", "ElementName" },
        { "w:", "a:" }, { "true", "" }, { "30", "-1" }, { "153600", "8192" }, { "60", "0.000001" }, { TEST_PRIMARY, TEST_REPLICA },
        { "string", "datetime" }, { "ComputerSystem", "Job" }, { "transfer", "eventing" }, { "2024", "9999" }, { "AND", "OR NOT" },
    };
    int i = g_test_rand_int_range(0, G_N_ELEMENTS(words));

    g_string_replace(text, words[i][0], words[i][1], g_test_rand_bit() ? 1 : 0);
}

static void (*const changes[])(GString *) = { change_bytes, cut_out, copy_element, swap_word };

static void
test_mutations(void)
{
    ReplicationService *service = test_service_new();
    CimBroker *broker = cim_broker_new(service);
    g_autoptr(WsmanServer) wsman = wsman_new(broker, &(WsmanConfig){ .product_version = "1", .max_contexts = 10 });
    const char *const no_profiles[] = { NULL };
    CimCaller caller = { "fuzz", CIM_ROLE_ADMINISTRATOR };
    unsigned good = 0;

    for (int i = 0; i < ROUNDS; i++) {
        g_autoptr(GString) text = g_string_new(messages[g_test_rand_int_range(0, G_N_ELEMENTS(messages))]);
        g_autoptr(GError) error = NULL;
        g_autofree char *answer = NULL;
        unsigned status = 0;
        xmlDoc *doc = NULL;

        for (int n = g_test_rand_int_range(0, 3); n > 0 && text->len > 0; n--)
            changes[g_test_rand_int_range(0, G_N_ELEMENTS(changes))](text);
        answer = dispatch(wsman, &caller, no_profiles, text->str, 1, &status);
        doc = xml_parse(answer, &error);
        if (doc == NULL)
            g_test_message("%s\n%s", text->str, answer);
        g_assert_no_error(error);
        g_assert_true(status == 200 || status == 500);
        good += status == 200 ? 1 : 0;
        xmlFreeDoc(doc);
    }
    g_test_message("%u of %d messages were carried out", good, ROUNDS);
    g_assert_cmpuint(good, >, ROUNDS / 10);
    g_clear_pointer(&wsman, wsman_free);
    cim_broker_free(broker);
    test_service_free(service);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    g_test_add_func("/dispatch/damaged-messages", test_mutations);
    return g_test_run();
}
