/* names: the URIs of WS-Management and of the standards under it. */
#pragma once

#define NS_SOAP         "http://www.w3.org/2003/05/soap-envelope"
#define NS_ADDRESSING   "http://schemas.xmlsoap.org/ws/2004/08/addressing"
#define NS_ENUMERATION  "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
#define NS_TRANSFER     "http://schemas.xmlsoap.org/ws/2004/09/transfer"
#define NS_EVENTING     "http://schemas.xmlsoap.org/ws/2004/08/eventing"
#define NS_WSMAN        "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
#define NS_CIM_BINDING  "http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd"
#define NS_CIM_COMMON   "http://schemas.dmtf.org/wbem/wscim/1/common"
#define NS_MS_WSMAN     "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"
#define NS_MS_FAULT     "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
#define NS_IDENTITY     "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
#define NS_XSI          "http://www.w3.org/2001/XMLSchema-instance"

/* A header of our own beside an _OUTPUT whose ReturnValue is an error code: one sentence for a person. */
#define NS_MESSAGE      "urn:virt-replica:wsman"

#define ADDRESS_ANONYMOUS NS_ADDRESSING "/role/anonymous"

#define ACTION_GET          NS_TRANSFER "/Get"
#define ACTION_PUT          NS_TRANSFER "/Put"
#define ACTION_CREATE       NS_TRANSFER "/Create"
#define ACTION_DELETE       NS_TRANSFER "/Delete"
#define ACTION_ENUMERATE    NS_ENUMERATION "/Enumerate"
#define ACTION_PULL         NS_ENUMERATION "/Pull"
#define ACTION_RELEASE      NS_ENUMERATION "/Release"
#define ACTION_SUBSCRIBE    NS_EVENTING "/Subscribe"

#define FAULT_ACTION_ADDRESSING  NS_ADDRESSING "/fault"
#define FAULT_ACTION_ENUMERATION NS_ENUMERATION "/fault"
#define FAULT_ACTION_EVENTING    NS_EVENTING "/fault"
#define FAULT_ACTION_WSMAN       "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"
#define FAULT_DETAIL             "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/"

#define URI_WMI         "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
#define URI_CIM_SCHEMA  "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
#define URI_ALL_CLASSES "http://schemas.dmtf.org/wbem/wscim/1/*"
#define URI_CLASS_XML   "http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/"
#define URI_CLASS_XSD   "http://schemas.dmtf.org/wbem/ws-cim/1/cim-schema/2/"

#define DIALECT_WQL         "http://schemas.microsoft.com/wbem/wsman/1/WQL"
#define DIALECT_SELECTOR    "http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter"
#define DIALECT_ASSOCIATION "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter"

#define DEFAULT_CIM_NAMESPACE "root/virtualization/v2"
