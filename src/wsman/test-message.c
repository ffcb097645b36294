/* What comes from the network as text: encodings, XML, envelopes. */
#include <string.h>

#include "wsman/encoding.h"
#include "wsman/fault.h"
#include "wsman/names.h"
#include "wsman/request.h"
#include "wsman/xml-read.h"

#define OPEN "<s:Envelope xmlns:s='" NS_SOAP "' xmlns:a='" NS_ADDRESSING "' xmlns:w='" NS_WSMAN "' xmlns:n='" NS_ENUMERATION "'>"
#define CLOSE "</s:Envelope>"
#define GOOD_URI "<w:ResourceURI>" URI_WMI DEFAULT_CIM_NAMESPACE "/Msvm_ComputerSystem</w:ResourceURI>"
#define GOOD_HEADERS "<a:Action> " ACTION_GET "\n</a:Action><a:MessageID>uuid:1</a:MessageID>" GOOD_URI
#define GOOD_BODY "<s:Body/>"
#define WITH(header) OPEN "<s:Header>" GOOD_HEADERS header "</s:Header>" GOOD_BODY CLOSE

static const struct {
    const char *name;
    const char *content_type;
    const char *bytes;
    gsize       length;
    const char *want;     /* NULL: refused */
    Encoding    encoding;
} encoding_cases[] = {
    { "utf-8", "application/soap+xml;charset=UTF-8", "a\xc3\xa4", 3, "a\xc3\xa4", ENCODING_UTF8 },
    { "no-charset", "application/soap+xml", "ab", 2, "ab", ENCODING_UTF8 },
    { "empty", "application/soap+xml", "", 0, "", ENCODING_UTF8 },
    { "empty-utf-16", "application/soap+xml;charset=utf-16", "", 0, "", ENCODING_UTF16 },
    { "utf-8-mark", "application/soap+xml", "\xef\xbb\xbf" "ab", 5, "ab", ENCODING_UTF8 },
    { "quoted", "application/soap+xml; charset=\"utf-16\"", "\xff\xfe" "a\0b\0", 6, "ab", ENCODING_UTF16 },
    { "utf-16-be-mark", "application/soap+xml;charset=utf-16", "\xfe\xff\0a", 4, "a", ENCODING_UTF16BE },
    { "utf-16le", "application/soap+xml;charset=UTF-16LE", "a\0", 2, "a", ENCODING_UTF16LE },
    { "mark-beats-header", "application/soap+xml;charset=utf-8", "\xff\xfe" "a\0", 4, "a", ENCODING_UTF16 },
    { "bad-utf-8", "application/soap+xml", "a\xff", 2, NULL, ENCODING_UTF8 },
    { "nul", "application/soap+xml", "a\0b", 3, NULL, ENCODING_UTF8 },
    { "half-a-unit", "application/soap+xml;charset=utf-16le", "a\0b", 3, NULL, ENCODING_UTF16LE },
    { "lone-surrogate", "application/soap+xml;charset=utf-16le", "\0\xd8", 2, NULL, ENCODING_UTF16LE },
};

static void
test_encoding(const void *data)
{
    guint i = GPOINTER_TO_UINT(data);
    Encoding encoding = ENCODING_UTF8;
    g_autoptr(GBytes) bytes = g_bytes_new(encoding_cases[i].bytes, encoding_cases[i].length);
    g_autofree char *text = NULL;

    g_assert_true(encoding_from_content_type(encoding_cases[i].content_type, &encoding));
    text = encoding_decode(bytes, &encoding);
    g_assert_cmpstr(text, ==, encoding_cases[i].want);
    g_assert_cmpint(encoding, ==, encoding_cases[i].encoding);
    if (text != NULL) {
        g_autoptr(GBytes) out = encoding_encode(encoding, text);
        g_autofree char *again = encoding_decode(out, &encoding);

        g_assert_cmpstr(again, ==, text);
    }
}

static void
test_unknown_charset(void)
{
    Encoding encoding = ENCODING_UTF8;

    g_assert_false(encoding_from_content_type("application/soap+xml;charset=iso-8859-1", &encoding));
}

static char *
nested(unsigned depth)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < depth; i++)
        g_string_append(text, "<a>");
    for (unsigned i = 0; i < depth; i++)
        g_string_append(text, "</a>");
    return g_string_free(text, FALSE);
}

static void
test_depth(void)
{
    g_autofree char *deep = nested(XML_MAX_DEPTH);
    g_autofree char *too_deep = nested(XML_MAX_DEPTH + 1);
    g_autoptr(GError) error = NULL;
    xmlDoc *doc = xml_parse(deep, &error);

    g_assert_no_error(error);
    xmlFreeDoc(doc);
    g_assert_null(xml_parse(too_deep, &error));
    g_assert_error(error, WSMAN_ERROR, WSMAN_ERROR_SCHEMA_VALIDATION);
}

static const char *const bad_xml[] = {
    "", "text", "<a>", "<a></b>", "<a/><b/>", "<a>&unknown;</a>", "<p:a/>", "<a x='1' x='2'/>", "<!DOCTYPE a><a/>",
    "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
    "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>", "<a>\x01</a>", "<a>&#0;</a>",
};

static void
test_bad_xml(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(bad_xml); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(xml_parse(bad_xml[i], &error));
        g_assert_error(error, WSMAN_ERROR, WSMAN_ERROR_SCHEMA_VALIDATION);
        g_test_message("%s: %s", bad_xml[i], error->message);
    }
}

static const struct {
    const char *name;
    const char *text;
    int         error; /* WsmanError, or -1 */
} envelope_cases[] = {
    { "plain", WITH(""), -1 },
    { "unknown-header", WITH("<x xmlns='urn:x'/>"), -1 },
    { "unknown-must-understand", WITH("<x xmlns='urn:x' s:mustUnderstand='true'/>"), WSMAN_ERROR_MUST_UNDERSTAND },
    { "unknown-must-understand-1", WITH("<x xmlns='urn:x' s:mustUnderstand='1'/>"), WSMAN_ERROR_MUST_UNDERSTAND },
    { "unknown-must-understand-no", WITH("<x xmlns='urn:x' s:mustUnderstand='0'/>"), -1 },
    { "empty-options", WITH("<w:OptionSet s:mustUnderstand='true'/>"), -1 },
    { "option-ignored", WITH("<w:OptionSet><w:Option Name='x:Y'>1</w:Option></w:OptionSet>"), -1 },
    { "option-must-comply", WITH("<w:OptionSet><w:Option Name='x:Y' MustComply='true'/></w:OptionSet>"), WSMAN_ERROR_OPTIONS },
    { "option-known-must-comply", WITH("<w:OptionSet><w:Option Name='wmi:IncludeQualifiers' MustComply='true'/></w:OptionSet>"), -1 },
    { "reply-to-anonymous", WITH("<a:ReplyTo><a:Address>" ADDRESS_ANONYMOUS "</a:Address></a:ReplyTo>"), -1 },
    { "reply-to-elsewhere", WITH("<a:ReplyTo><a:Address>http://other/</a:Address></a:ReplyTo>"), WSMAN_ERROR_ADDRESSING_MODE },
    { "small-envelope", WITH("<w:MaxEnvelopeSize>8191</w:MaxEnvelopeSize>"), WSMAN_ERROR_ENVELOPE_TOO_SMALL },
    { "smallest-envelope", WITH("<w:MaxEnvelopeSize>8192</w:MaxEnvelopeSize>"), -1 },
    { "two-selectors", WITH("<w:SelectorSet><w:Selector Name='A'>1</w:Selector><w:Selector Name='B'>1</w:Selector></w:SelectorSet>"), -1 },
    { "duplicate-selector", WITH("<w:SelectorSet><w:Selector Name='A'>1</w:Selector><w:Selector Name='a'>1</w:Selector></w:SelectorSet>"),
      WSMAN_ERROR_SELECTORS_DUPLICATE },
    { "no-selector-name", WITH("<w:SelectorSet><w:Selector>1</w:Selector></w:SelectorSet>"), WSMAN_ERROR_SCHEMA_VALIDATION },
    { "two-actions", WITH("<a:Action>x</a:Action>"), WSMAN_ERROR_HEADER_INVALID },
    { "fragment", WITH("<w:FragmentTransfer s:mustUnderstand='true'>Name</w:FragmentTransfer>"), WSMAN_ERROR_FRAGMENT },
    { "strange-timeout", WITH("<w:OperationTimeout>P60.000S</w:OperationTimeout>"), -1 },
    { "timeout-nonsense", WITH("<w:OperationTimeout>soon</w:OperationTimeout>"), -1 },
    { "no-header", OPEN GOOD_BODY CLOSE, WSMAN_ERROR_HEADER_REQUIRED },
    { "no-body", OPEN "<s:Header/>" CLOSE, WSMAN_ERROR_SCHEMA_VALIDATION },
    { "two-headers", OPEN "<s:Header>" GOOD_HEADERS "</s:Header><s:Header/>" GOOD_BODY CLOSE, WSMAN_ERROR_SCHEMA_VALIDATION },
    { "header-after-body", OPEN GOOD_BODY "<s:Header>" GOOD_HEADERS "</s:Header>" CLOSE, WSMAN_ERROR_SCHEMA_VALIDATION },
    { "no-action", OPEN "<s:Header><a:MessageID>uuid:1</a:MessageID>" GOOD_URI "</s:Header>" GOOD_BODY CLOSE,
      WSMAN_ERROR_HEADER_REQUIRED },
    { "no-message-id", OPEN "<s:Header><a:Action>x</a:Action>" GOOD_URI "</s:Header>" GOOD_BODY CLOSE, WSMAN_ERROR_HEADER_REQUIRED },
    { "no-resource", OPEN "<s:Header><a:Action>x</a:Action><a:MessageID>uuid:1</a:MessageID></s:Header>" GOOD_BODY CLOSE, -1 },
    { "foreign-resource", OPEN "<s:Header><a:Action>x</a:Action><a:MessageID>uuid:1</a:MessageID><w:ResourceURI>"
      "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/cmd</w:ResourceURI></s:Header>" GOOD_BODY CLOSE, WSMAN_ERROR_RESOURCE_URI },
    { "later-addressing", OPEN "<s:Header><Action xmlns='http://www.w3.org/2005/08/addressing'>x</Action></s:Header>" GOOD_BODY CLOSE,
      WSMAN_ERROR_HEADER_REQUIRED },
    { "soap-1.1", "<Envelope xmlns='http://schemas.xmlsoap.org/soap/envelope/'><Body/></Envelope>", WSMAN_ERROR_VERSION },
    { "no-envelope", "<a/>", WSMAN_ERROR_SCHEMA_VALIDATION },
    { "identify", OPEN "<s:Header/><s:Body><Identify xmlns='" NS_IDENTITY "'/></s:Body>" CLOSE, -1 },
};

static void
test_envelope(const void *data)
{
    guint i = GPOINTER_TO_UINT(data);
    g_autoptr(Request) request = NULL;
    g_autoptr(GError) error = NULL;
    bool good = request_parse(envelope_cases[i].text, &request, &error);

    g_assert_nonnull(request);
    if (envelope_cases[i].error < 0)
        g_assert_no_error(error);
    else
        g_assert_error(error, WSMAN_ERROR, envelope_cases[i].error);
    g_assert_cmpint(good, ==, envelope_cases[i].error < 0);
}

/* A fault must relate to the message even when an earlier header is the reason for it. */
static void
test_fault_relates(void)
{
    g_autoptr(Request) request = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_false(request_parse(OPEN "<s:Header><x xmlns='urn:x' s:mustUnderstand='true'/>" GOOD_HEADERS "</s:Header>" GOOD_BODY CLOSE,
                                 &request, &error));
    g_assert_cmpstr(request->message_id, ==, "uuid:1");
    g_assert_cmpstr(request->not_understood_name, ==, "x");
    g_assert_cmpstr(request->not_understood_ns, ==, "urn:x");
}

static void
test_request_fields(void)
{
    g_autoptr(Request) request = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_true(request_parse(WITH("<w:OperationTimeout>PT1M30S</w:OperationTimeout><w:MaxEnvelopeSize> 153600 </w:MaxEnvelopeSize>"
                                     "<w:RequestTotalItemsCountEstimate s:mustUnderstand='true'/>"
                                     "<w:OptionSet><w:Option Name='msftwinrm:UsePreciseArrays'>TRUE</w:Option></w:OptionSet>"),
                                &request, &error));
    g_assert_cmpstr(request->action, ==, ACTION_GET);
    g_assert_cmpint(request->timeout_usec, ==, 90 * G_USEC_PER_SEC);
    g_assert_cmpuint(request->max_envelope, ==, 153600);
    g_assert_true(request->count_wanted);
    g_assert_true(request_option_true(request, "UsePreciseArrays", false));
    g_assert_cmpint(request->resource->family, ==, FAMILY_WMI);
    g_assert_cmpstr(request->resource->class_name, ==, "Msvm_ComputerSystem");
}

static const struct {
    const char *text;
    gint64      usec;
} duration_cases[] = {
    { "PT60.000S", 60000000 }, { "PT60S", 60000000 }, { "PT1M30S", 90000000 }, { "PT60.0S", 60000000 }, { "P60.000S", 60000000 },
    { "P1DT1H", 90000000000 }, { "P1M", 2592000000000 }, { "PT0.000001S", 1 }, { "", -1 }, { "60", -1 }, { "PT-1S", -1 }, { "PT1", -1 },
    { "PT1e400S", G_GINT64_CONSTANT(366) * 86400 * G_USEC_PER_SEC },
};

static void
test_durations(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(duration_cases); i++)
        g_assert_cmpint(request_parse_duration(duration_cases[i].text), ==, duration_cases[i].usec);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    xml_read_init();
    for (guint i = 0; i < G_N_ELEMENTS(encoding_cases); i++) {
        g_autofree char *name = g_strconcat("/encoding/", encoding_cases[i].name, NULL);

        g_test_add_data_func(name, GUINT_TO_POINTER(i), test_encoding);
    }
    for (guint i = 0; i < G_N_ELEMENTS(envelope_cases); i++) {
        g_autofree char *name = g_strconcat("/envelope/", envelope_cases[i].name, NULL);

        g_test_add_data_func(name, GUINT_TO_POINTER(i), test_envelope);
    }
    g_test_add_func("/encoding/unknown-charset", test_unknown_charset);
    g_test_add_func("/xml/depth", test_depth);
    g_test_add_func("/xml/bad", test_bad_xml);
    g_test_add_func("/envelope/fault-relates-to-message", test_fault_relates);
    g_test_add_func("/envelope/fields", test_request_fields);
    g_test_add_func("/durations", test_durations);
    return g_test_run();
}
