#include "cli/session.h"
#include "cli/wsman-message.h"
#include "cli/wsman-xml.h"

#include <string.h>

#define ENVELOPE_OPEN                                                                                                           \
    "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"" NS_SOAP "\" xmlns:a=\"" NS_ADDRESSING "\" xmlns:n=\"" NS_ENUMERATION         \
    "\" xmlns:w=\"" NS_WSMAN "\" xmlns:f=\"" NS_FAULT "\" xmlns:xsi=\"" NS_XSI "\"><s:Header/><s:Body>"
#define ENVELOPE_CLOSE "</s:Body></s:Envelope>"

static WsmanReply *
parse(const char *body, GError **error)
{
    g_autofree char *text = g_strconcat(ENVELOPE_OPEN, body, ENVELOPE_CLOSE, NULL);

    return wsman_reply_parse(text, strlen(text), error);
}

static void
test_instance(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(WsmanReply) reply = parse(
        "<p:Msvm_X xmlns:p=\"urn:x\" xmlns:cim=\"urn:cim\"><p:Number> 7 </p:Number><p:Flag>TRUE</p:Flag><p:None xsi:nil=\"true\"/>"
        "<p:Empty/><p:When><cim:Datetime>2026-05-01T10:20:30.500000+02:00</cim:Datetime></p:When>"
        "<p:List>a</p:List><p:List>b</p:List></p:Msvm_X>", &error);
    g_autoptr(WsmanInstance) instance = NULL;
    const GPtrArray *list;

    g_assert_no_error(error);
    instance = wsman_reply_instance(reply, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(wsman_instance_class(instance), ==, "Msvm_X");
    g_assert_cmpuint(wsman_instance_number(instance, "NUMBER", 0), ==, 7);
    g_assert_cmpuint(wsman_instance_number(instance, "Empty", 5), ==, 5);
    g_assert_true(wsman_instance_flag(instance, "Flag"));
    g_assert_null(wsman_instance_text(instance, "None"));
    g_assert_null(wsman_instance_text(instance, "Missing"));
    g_assert_cmpstr(wsman_instance_text(instance, "Empty"), ==, "");
    g_assert_cmpint(wsman_instance_time(instance, "When"), ==, G_GINT64_CONSTANT(1777623630500000));
    list = wsman_instance_values(instance, "List");
    g_assert_cmpuint(list->len, ==, 2);
    g_assert_cmpstr(list->pdata[1], ==, "b");
}

/* The job of a method's answer can be given back as it came. */
static void
test_reference(void)
{
    const char *const forms[] = {
        "<p:Job><a:Address>x</a:Address>%s</p:Job>",
        "<p:Job><a:EndpointReference><a:Address>x</a:Address>%s</a:EndpointReference></p:Job>",
    };
    const char *parameters = "<a:ReferenceParameters><w:ResourceURI>urn:job</w:ResourceURI><w:SelectorSet>"
                             "<w:Selector Name=\"InstanceID\">a&lt;b</w:Selector></w:SelectorSet></a:ReferenceParameters>";

    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        g_auto(GStrv) parts = g_strsplit(forms[i], "%s", 2);
        g_autofree char *job = g_strjoinv(parameters, parts);
        g_autofree char *body = g_strdup_printf("<p:M_OUTPUT xmlns:p=\"urn:x\">%s<p:ReturnValue>4096</p:ReturnValue></p:M_OUTPUT>",
                                                job);
        g_autoptr(WsmanReply) reply = parse(body, NULL);
        g_autoptr(WsmanInstance) output = wsman_reply_instance(reply, NULL);
        const WsmanReference *reference = wsman_instance_reference(output, "Job");
        g_autoptr(GString) written = g_string_new(NULL);

        g_assert_nonnull(reference);
        g_assert_cmpstr(reference->resource_uri, ==, "urn:job");
        g_assert_cmpstr(wsman_reference_selector(reference, "instanceid"), ==, "a<b");
        wsman_reference_write(reference, written);
        g_assert_nonnull(strstr(written->str, parameters));
    }
}

static void
test_items(void)
{
    static const struct {
        const char *body;
        unsigned    n_items;
        const char *context;
    } cases[] = {
        { "<n:EnumerateResponse><n:EnumerationContext>c1</n:EnumerationContext><w:Items><X/><X/></w:Items></n:EnumerateResponse>",
          2, "c1" },
        { "<n:EnumerateResponse><n:EnumerationContext/><w:Items><X/></w:Items><w:EndOfSequence/></n:EnumerateResponse>", 1, NULL },
        { "<n:EnumerateResponse><n:EnumerationContext>c2</n:EnumerationContext></n:EnumerateResponse>", 0, "c2" },
        { "<n:PullResponse><n:EnumerationContext>c3</n:EnumerationContext><n:Items><X/></n:Items></n:PullResponse>", 1, "c3" },
        { "<n:PullResponse><n:Items><X/></n:Items><n:EndOfSequence/></n:PullResponse>", 1, NULL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(WsmanReply) reply = parse(cases[i].body, &error);
        g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func((GDestroyNotify)wsman_instance_free);
        g_autofree char *context = NULL;

        g_assert_no_error(error);
        g_assert_true(wsman_reply_items(reply, items, &context, &error));
        g_assert_cmpuint(items->len, ==, cases[i].n_items);
        g_assert_cmpstr(context, ==, cases[i].context);
    }
}

static void
test_faults(void)
{
    static const struct {
        const char *subcode, *detail, *want_text;
        int         want_code;
    } cases[] = {
        { "w:AccessDenied", "", "reason", WSMAN_CLIENT_ERROR_DENIED },
        { "a:DestinationUnreachable", "<f:WSManFault><f:Message>it is not there</f:Message></f:WSManFault>", "it is not there",
          WSMAN_CLIENT_ERROR_NOT_FOUND },
        { " other:InternalError\n", "<f:WSManFault><f:Message> </f:Message></f:WSManFault>", "reason", WSMAN_CLIENT_ERROR_FAULT },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *body = g_strdup_printf(
            "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>%s</s:Value></s:Subcode></s:Code>"
            "<s:Reason><s:Text xml:lang=\"en-US\">reason</s:Text></s:Reason><s:Detail>%s</s:Detail></s:Fault>",
            cases[i].subcode, cases[i].detail);

        g_assert_null(parse(body, &error));
        g_assert_error(error, WSMAN_CLIENT_ERROR, cases[i].want_code);
        g_assert_cmpstr(error->message, ==, cases[i].want_text);
    }
}

static void
test_message(void)
{
    const char *text = "<s:Envelope xmlns:s=\"" NS_SOAP "\"><s:Header><v:Message xmlns:v=\"" NS_MESSAGE "\">start it first"
                       "</v:Message></s:Header><s:Body><X/></s:Body></s:Envelope>";
    g_autoptr(WsmanReply) reply = wsman_reply_parse(text, strlen(text), NULL);
    g_autoptr(WsmanReply) silent = parse("<X/>", NULL);
    g_autofree char *message = wsman_reply_message(reply), *none = wsman_reply_message(silent);

    g_assert_cmpstr(message, ==, "start it first");
    g_assert_null(none);
}

static void
test_nonsense(void)
{
    static const char *const texts[] = {
        "", "no XML", "<a/>", "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "<s:Envelope xmlns:s=\"" NS_SOAP "\"/>",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(wsman_reply_parse(texts[i], strlen(texts[i]), &error));
        g_assert_error(error, WSMAN_CLIENT_ERROR, WSMAN_CLIENT_ERROR_PROTOCOL);
    }
}

/* What is sent is XML again after parsing, with every special character where it was. */
static void
test_invoke(void)
{
    g_autoptr(WsmanReference) target = wsman_reference_new("Msvm_ReplicationService");
    g_autoptr(WsmanArguments) arguments = wsman_arguments_new();
    g_autoptr(WsmanEmbedded) embedded = wsman_embedded_new("Msvm_X");
    const char *const disks[] = { "vda", "v&b", NULL };
    g_autofree char *text = NULL, *body = NULL, *message = NULL, *back = NULL, *action = NULL;
    g_autoptr(xmlDoc) doc = NULL;
    xmlNode *envelope, *input, *header;

    wsman_embedded_set(embedded, "A", "string", "old");
    wsman_embedded_set(embedded, "a", "string", "<&\"'>");
    wsman_embedded_set(embedded, "Null", "uint16", NULL);
    wsman_embedded_set_array(embedded, "Disks", "string", disks);
    text = wsman_embedded_text(embedded);
    g_assert_cmpstr(text, ==, "<INSTANCE CLASSNAME=\"Msvm_X\"><PROPERTY NAME=\"a\" TYPE=\"string\"><VALUE>&lt;&amp;&quot;&apos;&gt;"
                              "</VALUE></PROPERTY><PROPERTY NAME=\"Null\" TYPE=\"uint16\"></PROPERTY><PROPERTY.ARRAY NAME=\"Disks\" "
                              "TYPE=\"string\"><VALUE.ARRAY><VALUE>vda</VALUE><VALUE>v&amp;b</VALUE></VALUE.ARRAY>"
                              "</PROPERTY.ARRAY></INSTANCE>");
    wsman_reference_add(target, "Name", "replicasvc");
    wsman_arguments_add_text(arguments, "Settings", text);
    wsman_arguments_add_reference(arguments, "Point", NULL);
    wsman_arguments_add_reference(arguments, "ComputerSystem", target);
    body = wsman_body_invoke(target, "Do", arguments);
    message = wsman_message_new("urn:Do", target, body);
    doc = xml_parse(message, strlen(message), NULL);
    g_assert_nonnull(doc);
    envelope = xmlDocGetRootElement(doc);
    header = xml_child(envelope, NS_SOAP, "Header");
    action = xml_text(xml_child(header, NS_ADDRESSING, "Action"));
    g_assert_cmpstr(action, ==, "urn:Do");
    g_assert_nonnull(xml_child(header, NS_WSMAN, "SelectorSet"));
    input = xml_child(xml_child(envelope, NS_SOAP, "Body"), WSMAN_NAMESPACE_URI "/Msvm_ReplicationService", "Do_INPUT");
    back = xml_text(xml_child(input, WSMAN_NAMESPACE_URI "/Msvm_ReplicationService", "Settings"));
    g_assert_cmpstr(back, ==, text);
}

static void
test_wql_quote(void)
{
    g_autofree char *quoted = session_wql_quote("a'b\\c\"d");

    g_assert_cmpstr(quoted, ==, "'a\\'b\\\\c\"d'");
}

static void
test_uri(void)
{
    static const struct {
        const char *uri;
        const char *unix_path, *host, *user;
        unsigned    port; /* 0: refused, unless a socket */
    } cases[] = {
        { "unix:///run/x.sock", "/run/x.sock", NULL, NULL, 0 },
        { "wsman+https://root@hostb.example:5987", NULL, "hostb.example", "root", 5987 },
        { "wsman+https://hostb", NULL, "hostb", NULL, 5986 },
        { "wsman+https://u@[::1]:1", NULL, "::1", "u", 1 },
        { "wsman+https://u:secret@hostb", NULL, NULL, NULL, 0 },
        { "wsman+http://hostb", NULL, NULL, NULL, 0 },
        { "wsman+https://hostb:99999", NULL, NULL, NULL, 0 },
        { "unix://relative", NULL, NULL, NULL, 0 },
        { "hostb", NULL, NULL, NULL, 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GPtrArray) strings = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) error = NULL;
        HttpClientConfig config = { 0 };
        bool want = cases[i].port > 0 || cases[i].unix_path != NULL;

        g_assert_true(session_parse_uri(cases[i].uri, &config, strings, &error) == want);
        g_assert_true((error == NULL) == want);
        if (!want)
            continue;
        g_assert_cmpstr(config.unix_path, ==, cases[i].unix_path);
        g_assert_cmpstr(config.host, ==, cases[i].host);
        g_assert_cmpstr(config.user, ==, cases[i].user);
        g_assert_cmpuint(config.port, ==, cases[i].port);
        g_assert_true(config.tls == (cases[i].host != NULL));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wsman-message/instance", test_instance);
    g_test_add_func("/wsman-message/reference-both-forms", test_reference);
    g_test_add_func("/wsman-message/items-and-end-of-sequence", test_items);
    g_test_add_func("/wsman-message/faults", test_faults);
    g_test_add_func("/wsman-message/reason-of-a-refusal", test_message);
    g_test_add_func("/wsman-message/nonsense-is-an-error", test_nonsense);
    g_test_add_func("/wsman-message/invoke", test_invoke);
    g_test_add_func("/session/wql-quote", test_wql_quote);
    g_test_add_func("/session/uri", test_uri);
    return g_test_run();
}
