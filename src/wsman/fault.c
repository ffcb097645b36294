#include "wsman/fault.h"

#include <stdbool.h>

#include "cim/cim.h"
#include "wsman/names.h"

G_DEFINE_QUARK(wsman-error-quark, wsman_error)

/* What follows w:FaultDetail: a WSManFault, or the MSFT_WmiError that errors of providers get. */
typedef enum { BLOCK_WSMAN_FAULT, BLOCK_WMI_ERROR } DetailBlock;

typedef struct {
    const char *code;          /* s:Code/s:Value */
    const char *subcode;       /* NULL: none */
    const char *action;
    const char *detail;        /* last part of w:FaultDetail; NULL: none */
    guint32     windows_code;  /* WSManFault/@Code */
    DetailBlock block;
} FaultRow;

#define ADDRESSING FAULT_ACTION_ADDRESSING
#define ENUMERATION FAULT_ACTION_ENUMERATION
#define EVENTING FAULT_ACTION_EVENTING
#define WSMAN FAULT_ACTION_WSMAN

static const FaultRow rows[] = {
    [WSMAN_ERROR_VERSION] = { "s:VersionMismatch", NULL, ADDRESSING, NULL, 2150858817 },
    [WSMAN_ERROR_MUST_UNDERSTAND] = { "s:MustUnderstand", NULL, ADDRESSING, NULL, 2150858764 },
    [WSMAN_ERROR_HEADER_REQUIRED] =
        { "s:Sender", "a:MessageInformationHeaderRequired", ADDRESSING, NULL, 2150858767 },
    [WSMAN_ERROR_HEADER_INVALID] = { "s:Sender", "a:InvalidMessageInformationHeader", ADDRESSING, NULL, 2150858766 },
    [WSMAN_ERROR_RESOURCE_URI] =
        { "s:Sender", "a:DestinationUnreachable", ADDRESSING, "InvalidResourceURI", 2150858752 },
    [WSMAN_ERROR_ACTION] = { "s:Sender", "a:ActionNotSupported", ADDRESSING, "ActionMismatch", 2150858753 },
    [WSMAN_ERROR_ADDRESSING_MODE] = { "s:Sender", "w:UnsupportedFeature", WSMAN, "AddressingMode", 50 },
    [WSMAN_ERROR_SCHEMA_VALIDATION] = { "s:Sender", "w:SchemaValidationError", WSMAN, NULL, 2150858817 },
    [WSMAN_ERROR_SELECTORS_UNEXPECTED] =
        { "s:Sender", "w:InvalidSelectors", WSMAN, "UnexpectedSelectors", 2150858813 },
    [WSMAN_ERROR_SELECTORS_INSUFFICIENT] =
        { "s:Sender", "w:InvalidSelectors", WSMAN, "InsufficientSelectors", 2150859002 },
    [WSMAN_ERROR_SELECTORS_AMBIGUOUS] =
        { "s:Sender", "w:InvalidSelectors", WSMAN, "AmbiguousSelectors", 2150858813 },
    [WSMAN_ERROR_SELECTORS_DUPLICATE] =
        { "s:Sender", "w:InvalidSelectors", WSMAN, "DuplicateSelectors", 2150858813 },
    [WSMAN_ERROR_SELECTORS_TYPE] = { "s:Sender", "w:InvalidSelectors", WSMAN, "TypeMismatch", 2150858813 },
    [WSMAN_ERROR_PARAMETER_NAME] = { "s:Sender", "w:InvalidParameter", WSMAN, "InvalidName", 87 },
    [WSMAN_ERROR_PARAMETER_VALUE] = { "s:Sender", "w:InvalidParameter", WSMAN, "InvalidValue", 87 },
    [WSMAN_ERROR_PARAMETER_TYPE] = { "s:Sender", "w:InvalidParameter", WSMAN, "TypeMismatch", 87 },
    [WSMAN_ERROR_OPTIONS] = { "s:Sender", "w:InvalidOptions", WSMAN, "InvalidName", 87 },
    [WSMAN_ERROR_ACCESS_DENIED] = { "s:Sender", "w:AccessDenied", WSMAN, NULL, 5 },
    /* the wsman form of CannotProcessFilter: one known client cannot read a fault with the enumeration action */
    [WSMAN_ERROR_FILTER] = { "s:Sender", "w:CannotProcessFilter", WSMAN, NULL, 2147749911 },
    [WSMAN_ERROR_FILTER_DIALECT] =
        { "s:Sender", "n:FilterDialectRequestedUnavailable", ENUMERATION, NULL, 2150858778 },
    [WSMAN_ERROR_ENUMERATION_CONTEXT] =
        { "s:Receiver", "n:InvalidEnumerationContext", ENUMERATION, NULL, 2150858779 },
    [WSMAN_ERROR_DELIVERY_MODE] =
        { "s:Sender", "e:DeliveryModeRequestedUnavailable", EVENTING, NULL, 2150858769 },
    [WSMAN_ERROR_TIMED_OUT] = { "s:Receiver", "w:TimedOut", WSMAN, NULL, 2150858793 },
    [WSMAN_ERROR_ENVELOPE_TOO_SMALL] = { "s:Sender", "w:EncodingLimit", WSMAN, "MinimumEnvelopeLimit", 2150858795 },
    [WSMAN_ERROR_ANSWER_TOO_LARGE] = { "s:Sender", "w:EncodingLimit", WSMAN, "MaxEnvelopeSize", 2150858795 },
    [WSMAN_ERROR_CHARACTER_SET] = { "s:Sender", "w:EncodingLimit", WSMAN, "CharacterSet", 2150858795 },
    [WSMAN_ERROR_FRAGMENT] = { "s:Sender", "w:UnsupportedFeature", WSMAN, "FragmentLevelAccess", 50 },
    [WSMAN_ERROR_FORMAT] = { "s:Sender", "w:UnsupportedFeature", WSMAN, "FormatMismatch", 50 },
    [WSMAN_ERROR_UNSUPPORTED] = { "s:Sender", "w:UnsupportedFeature", WSMAN, NULL, 50 },
    [WSMAN_ERROR_QUOTA] = { "s:Sender", "w:QuotaLimit", WSMAN, NULL, 2150859174 },
    [WSMAN_ERROR_ALREADY_EXISTS] = { "s:Sender", "w:AlreadyExists", WSMAN, NULL, 183 },
    [WSMAN_ERROR_INTERNAL] = { "s:Receiver", "w:InternalError", WSMAN, NULL, 0x80041001, BLOCK_WMI_ERROR },
};

/* CIM status -> fault, the HRESULT that WMI has for it, and its name in the CIM schema. */
static const struct {
    CimError    cim;
    WsmanError  fault;
    guint32     hresult;
    const char *description;
} cim_rows[] = {
    { CIM_ERROR_FAILED, WSMAN_ERROR_INTERNAL, 0x80041001, "CIM_ERR_FAILED" },
    { CIM_ERROR_ACCESS_DENIED, WSMAN_ERROR_ACCESS_DENIED, 0x80041003, "CIM_ERR_ACCESS_DENIED" },
    { CIM_ERROR_INVALID_NAMESPACE, WSMAN_ERROR_RESOURCE_URI, 0x8004100e, "CIM_ERR_INVALID_NAMESPACE" },
    { CIM_ERROR_INVALID_PARAMETER, WSMAN_ERROR_PARAMETER_VALUE, 0x80041008, "CIM_ERR_INVALID_PARAMETER" },
    { CIM_ERROR_INVALID_CLASS, WSMAN_ERROR_RESOURCE_URI, 0x80041010, "CIM_ERR_INVALID_CLASS" },
    { CIM_ERROR_NOT_FOUND, WSMAN_ERROR_RESOURCE_URI, 0x80041002, "CIM_ERR_NOT_FOUND" },
    { CIM_ERROR_NOT_SUPPORTED, WSMAN_ERROR_UNSUPPORTED, 0x8004100c, "CIM_ERR_NOT_SUPPORTED" },
    { CIM_ERROR_ALREADY_EXISTS, WSMAN_ERROR_ALREADY_EXISTS, 0x80041019, "CIM_ERR_ALREADY_EXISTS" },
    { CIM_ERROR_NO_SUCH_PROPERTY, WSMAN_ERROR_PARAMETER_NAME, 0x80041002, "CIM_ERR_NO_SUCH_PROPERTY" },
    { CIM_ERROR_TYPE_MISMATCH, WSMAN_ERROR_PARAMETER_TYPE, 0x80041005, "CIM_ERR_TYPE_MISMATCH" },
    { CIM_ERROR_QUERY_LANGUAGE, WSMAN_ERROR_FILTER_DIALECT, 0x80041018, "CIM_ERR_QUERY_LANGUAGE_NOT_SUPPORTED" },
    { CIM_ERROR_INVALID_QUERY, WSMAN_ERROR_FILTER, 0x80041017, "CIM_ERR_INVALID_QUERY" },
    { CIM_ERROR_METHOD_NOT_AVAILABLE, WSMAN_ERROR_ACTION, 0x8004102e, "CIM_ERR_METHOD_NOT_AVAILABLE" },
    { CIM_ERROR_METHOD_NOT_FOUND, WSMAN_ERROR_ACTION, 0x8004102e, "CIM_ERR_METHOD_NOT_FOUND" },
    { CIM_ERROR_AMBIGUOUS, WSMAN_ERROR_SELECTORS_AMBIGUOUS, 0x80041008, "CIM_ERR_INVALID_PARAMETER" },
};

typedef struct {
    const FaultRow *row;
    guint           cim_status;
    const char     *cim_description;
    guint32         hresult;
} Fault;

static Fault
fault_of(const GError *error)
{
    Fault fault = { &rows[WSMAN_ERROR_INTERNAL], CIM_ERROR_FAILED, "CIM_ERR_FAILED", 0x80041001 };

    if (error->domain == WSMAN_ERROR) {
        g_assert(error->code >= 0 && (gsize)error->code < G_N_ELEMENTS(rows));
        fault.row = &rows[error->code];
    } else if (error->domain == CIM_ERROR) {
        for (guint i = 0; i < G_N_ELEMENTS(cim_rows); i++) {
            if (cim_rows[i].cim == (CimError)error->code)
                fault = (Fault){ &rows[cim_rows[i].fault], cim_rows[i].cim, cim_rows[i].description, cim_rows[i].hresult };
        }
    }
    return fault;
}

const char *
fault_action(const GError *error)
{
    return fault_of(error).row->action;
}

static void
write_wsman_fault(XmlWriter *writer, const Fault *fault, const GError *error, const char *machine)
{
    g_autofree char *code = g_strdup_printf("%u", fault->row->windows_code);

    xml_open(writer, "f:WSManFault");
    xml_attribute(writer, "xmlns:f", NS_MS_FAULT);
    xml_attribute(writer, "Code", code);
    xml_attribute(writer, "Machine", machine);
    xml_element(writer, "f:Message", error->message);
    xml_close(writer);
}

static void
write_typed(XmlWriter *writer, const char *name, const char *type, const char *text)
{
    xml_open(writer, name);
    if (text == NULL)
        xml_attribute(writer, "xsi:nil", "true");
    else
        xml_attribute(writer, "xsi:type", type);
    if (text != NULL)
        xml_text(writer, text);
    xml_close(writer);
}

static void
write_wmi_error(XmlWriter *writer, const Fault *fault, const GError *error)
{
    g_autofree char *status = g_strdup_printf("%u", fault->cim_status);
    g_autofree char *message_id = g_strdup_printf("HRESULT 0x%08x", fault->hresult);
    g_autofree char *code = g_strdup_printf("%u", fault->hresult);

    xml_open(writer, "p:MSFT_WmiError");
    xml_attribute(writer, "xmlns:p", URI_CIM_SCHEMA "MSFT_WmiError");
    xml_attribute(writer, "xmlns:b", NS_CIM_BINDING);
    xml_attribute(writer, "xmlns:cim", NS_CIM_COMMON);
    xml_attribute(writer, "xmlns:xsi", NS_XSI);
    xml_attribute(writer, "b:IsCIM_Error", "true");
    xml_attribute(writer, "xsi:type", "p:MSFT_WmiError_Type");
    write_typed(writer, "p:CIMStatusCode", "cim:cimUnsignedInt", status);
    write_typed(writer, "p:CIMStatusCodeDescription", "cim:cimString", fault->cim_description);
    write_typed(writer, "p:ErrorSource", "cim:cimString", NULL);
    write_typed(writer, "p:ErrorSourceFormat", "cim:cimUnsignedShort", "0");
    write_typed(writer, "p:ErrorType", "cim:cimUnsignedShort", "0");
    write_typed(writer, "p:Message", "cim:cimString", error->message);
    write_typed(writer, "p:MessageID", "cim:cimString", message_id);
    write_typed(writer, "p:OtherErrorSourceFormat", "cim:cimString", NULL);
    write_typed(writer, "p:OtherErrorType", "cim:cimString", NULL);
    write_typed(writer, "p:OwningEntity", "cim:cimString", NULL);
    write_typed(writer, "p:PerceivedSeverity", "cim:cimUnsignedShort", "0");
    write_typed(writer, "p:ProbableCause", "cim:cimUnsignedShort", "0");
    write_typed(writer, "p:ProbableCauseDescription", "cim:cimString", NULL);
    write_typed(writer, "p:error_Category", "cim:cimUnsignedShort", "0");
    write_typed(writer, "p:error_Code", "cim:cimUnsignedInt", code);
    write_typed(writer, "p:error_Type", "cim:cimString", "HRESULT");
    write_typed(writer, "p:error_WindowsErrorMessage", "cim:cimString", error->message);
    xml_close(writer);
}

static void
write_code(XmlWriter *writer, const FaultRow *row)
{
    xml_open(writer, "s:Code");
    xml_element(writer, "s:Value", row->code);
    if (row->subcode != NULL) {
        xml_open(writer, "s:Subcode");
        xml_element(writer, "s:Value", row->subcode);
        xml_close(writer);
    }
    xml_close(writer);
}

void
fault_write(XmlWriter *writer, const GError *error, const char *machine)
{
    Fault fault = fault_of(error);

    xml_open(writer, "s:Fault");
    write_code(writer, fault.row);
    xml_open(writer, "s:Reason");
    xml_open(writer, "s:Text");
    xml_attribute(writer, "xml:lang", "en-US");
    xml_text(writer, error->message);
    xml_close(writer);
    xml_close(writer);
    xml_open(writer, "s:Detail");
    if (fault.row->detail != NULL) {
        g_autofree char *detail = g_strconcat(FAULT_DETAIL, fault.row->detail, NULL);

        xml_element(writer, "w:FaultDetail", detail);
    }
    if (fault.row->block == BLOCK_WMI_ERROR)
        write_wmi_error(writer, &fault, error);
    else
        write_wsman_fault(writer, &fault, error, machine);
    xml_close(writer);
    xml_close(writer);
}
