"""What a WS-Management client sends and gets: names, references, instances, answers and faults. wsman_client.py uses it."""

import dataclasses
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

S = 'http://www.w3.org/2003/05/soap-envelope'
A = 'http://schemas.xmlsoap.org/ws/2004/08/addressing'
N = 'http://schemas.xmlsoap.org/ws/2004/09/enumeration'
X = 'http://schemas.xmlsoap.org/ws/2004/09/transfer'
E = 'http://schemas.xmlsoap.org/ws/2004/08/eventing'
W = 'http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd'
B = 'http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd'
CIM = 'http://schemas.dmtf.org/wbem/wscim/1/common'
MS = 'http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd'
F = 'http://schemas.microsoft.com/wbem/wsman/1/wsmanfault'
ID = 'http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd'
XSI = 'http://www.w3.org/2001/XMLSchema-instance'

ANONYMOUS = A + '/role/anonymous'
NAMESPACE = 'root/virtualization/v2'
WMI_BASE = 'http://schemas.microsoft.com/wbem/wsman/1/wmi/'
CIM_SCHEMA = 'http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
ALL_CLASSES = 'http://schemas.dmtf.org/wbem/wscim/1/*'
CLASS_SCHEMA = 'http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/*'
WQL = 'http://schemas.microsoft.com/wbem/wsman/1/WQL'
CQL = 'http://schemas.dmtf.org/wbem/cql/1/dsp0202.pdf'
SELECTOR_FILTER = 'http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter'
ASSOCIATION_FILTER = 'http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter'
FAULT_DETAIL = 'http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/'

JOB_COMPLETED = 7
JOB_FINAL_STATES = (7, 8, 9, 10, 32768)


class ProtocolError(Exception):
    """The answer is not what the protocol allows; status and body are kept."""

    def __init__(self, text, status=None, body=b''):
        super().__init__(f'{text} (HTTP {status}): {body[:2000]!r}')
        self.status = status
        self.body = body


class Fault(Exception):
    """A SOAP fault. code and subcode are local names ('Sender', 'InvalidSelectors'), subcode_namespace its URI, detail the
    last part of w:FaultDetail, wsman_code the number in WSManFault, cim_status that of MSFT_WmiError."""

    def __init__(self, envelope):
        body = envelope.body
        fault = body.find(f'{{{S}}}Fault')
        self.envelope = envelope
        self.status = envelope.status
        self.action = envelope.action
        self.code = qname_local(fault.findtext(f'{{{S}}}Code/{{{S}}}Value'))
        subcode = fault.findtext(f'{{{S}}}Code/{{{S}}}Subcode/{{{S}}}Value')
        self.subcode = qname_local(subcode)
        self.subcode_namespace = envelope.prefixes.get((subcode or '').strip().partition(':')[0])
        self.reason = fault.findtext(f'{{{S}}}Reason/{{{S}}}Text')
        detail = fault.findtext(f'{{{S}}}Detail/{{{W}}}FaultDetail')
        self.detail = detail[len(FAULT_DETAIL):] if detail and detail.startswith(FAULT_DETAIL) else detail
        block = fault.find(f'{{{S}}}Detail/{{{F}}}WSManFault')
        self.wsman_code = int(block.get('Code')) if block is not None else None
        self.message = block.findtext(f'{{{F}}}Message') if block is not None else None
        status = [e.text for e in fault.iter() if e.tag.endswith('MSFT_WmiError}CIMStatusCode')]
        self.cim_status = int(status[0]) if status else None
        super().__init__(f'{self.code}/{self.subcode} {self.detail or ""}: {self.reason}')


class JobFailed(Exception):
    """A job ended in another state than completed; .job is its last instance."""

    def __init__(self, job):
        super().__init__(f"job {job['InstanceID']} ended in state {job['JobState']}: "
                         f"{job.properties.get('ErrorDescription')}")
        self.job = job


@dataclasses.dataclass
class Epr:
    """Endpoint reference of an instance (or, without keys, of a class)."""
    class_name: str
    keys: dict = dataclasses.field(default_factory=dict)
    namespace: str = NAMESPACE
    resource_uri: str = None   # as received; None: made from the client's style
    has_namespace_selector: bool = False

    def path(self, host=None):
        """Object path text, as WMI writes it."""
        keys = ','.join('%s="%s"' % (k, str(v).replace('\\', '\\\\').replace('"', '\\"'))
                        for k, v in sorted(self.keys.items()))
        prefix = f'\\\\{host}\\' if host else ''
        space = self.namespace.replace('/', '\\')
        return f'{prefix}{space}:{self.class_name}.{keys}'

    @staticmethod
    def parse(element):
        """From the element that holds a:ReferenceParameters."""
        parameters = element.find(f'{{{A}}}ReferenceParameters')
        uri = parameters.findtext(f'{{{W}}}ResourceURI')
        namespace, class_name = split_uri(uri)
        keys, has_selector = {}, False
        for selector in parameters.iterfind(f'{{{W}}}SelectorSet/{{{W}}}Selector'):
            inner = selector.find(f'{{{A}}}EndpointReference')
            if selector.get('Name').lower() == '__cimnamespace':
                namespace, has_selector = selector.text, True
            else:
                keys[selector.get('Name')] = Epr.parse(inner) if inner is not None else selector.text or ''
        return Epr(class_name, keys, namespace, uri, has_selector)


@dataclasses.dataclass
class EmbeddedInstance:
    """An instance as a method argument. form: None (the style's), 'cdata', 'escaped', 'declaration' (CIM-XML text),
    'raw' (WS-CIM child element), 'ws-cim-text' (the same, escaped), 'typed' (the argument element itself holds the
    properties, xsi:type names the class), 'mof'."""
    class_name: str
    properties: dict
    form: str = None
    types: dict = dataclasses.field(default_factory=dict)   # name -> CIM type, 'string' when absent

    def cim_xml(self):
        out = [f'<INSTANCE CLASSNAME="{self.class_name}">']
        for name, value in self.properties.items():
            kind = self.types.get(name, 'string')
            if isinstance(value, (list, tuple)):
                items = ''.join(f'<VALUE>{escape(to_text(v))}</VALUE>' for v in value)
                out.append(f'<PROPERTY.ARRAY NAME="{name}" TYPE="{kind}"><VALUE.ARRAY>{items}</VALUE.ARRAY></PROPERTY.ARRAY>')
            elif value is None:
                out.append(f'<PROPERTY NAME="{name}" TYPE="{kind}"/>')
            else:
                out.append(f'<PROPERTY NAME="{name}" TYPE="{kind}"><VALUE>{escape(to_text(value))}</VALUE></PROPERTY>')
        return ''.join(out) + '</INSTANCE>'

    def properties_xml(self, prefix):
        out = []
        for name, value in self.properties.items():
            for item in value if isinstance(value, (list, tuple)) else [value]:
                if item is None:
                    out.append(f'<{prefix}:{name} xmlns:xsi="{XSI}" xsi:nil="true"/>')
                else:
                    out.append(f'<{prefix}:{name}>{escape(to_text(item))}</{prefix}:{name}>')
        return ''.join(out)

    def ws_cim(self, uri):
        return f'<e1:{self.class_name} xmlns:e1="{uri}">{self.properties_xml("e1")}</e1:{self.class_name}>'

    def mof(self):
        def literal(value):
            if value is None:
                return 'NULL'
            if isinstance(value, bool):
                return 'TRUE' if value else 'FALSE'
            if isinstance(value, (list, tuple)):
                return '{' + ', '.join(literal(v) for v in value) + '}'
            if isinstance(value, int):
                return str(value)
            return '"' + str(value).replace('\\', '\\\\').replace('"', '\\"') + '"'
        lines = ''.join(f'  {name} = {literal(value)};\n' for name, value in self.properties.items())
        return f'instance of {self.class_name}\n{{\n{lines}}};\n'


class Instance:
    """An instance from an answer. Subscript it for a property; KeyError when the answer has no such element."""

    def __init__(self, element):
        self.element = element
        self.uri, self.class_name = split_tag(element.tag)
        self.type = element.get(f'{{{XSI}}}type')
        self.properties = children_values(element)
        self.epr = None   # set in EnumerateObjectAndEPR

    def __getitem__(self, name):
        return self.properties[name]

    def get(self, name, default=None):
        value = self.properties.get(name)
        return default if value is None else value

    def number(self, name):
        value = self.properties[name]
        return None if value is None else int(value)

    def array(self, name):
        value = self.properties.get(name)
        return [] if value is None else value if isinstance(value, list) else [value]

    def embedded(self, name):
        """The properties of an embedded instance given as CIM-XML text: dict."""
        return parse_cim_xml(self.properties[name])[1]

    def __repr__(self):
        return f'<{self.class_name} {self.properties}>'


@dataclasses.dataclass
class InvokeResult:
    return_value: int
    out: dict
    envelope: object
    message: str = None   # what the server says about a return code that is an error

    @property
    def job(self):
        return self.out.get('Job')


class Envelope:
    """A parsed answer."""

    def __init__(self, status, raw, charset):
        self.status = status
        self.raw = raw
        text = raw.decode(charset)
        self.text = text[1:] if text.startswith('\ufeff') else text
        parser = ET.XMLPullParser(events=('start-ns',))
        parser.feed(self.text)
        self.prefixes = {prefix: uri for _, (prefix, uri) in parser.read_events()}
        self.root = ET.fromstring(self.text)
        self.header = self.root.find(f'{{{S}}}Header')
        self.body = self.root.find(f'{{{S}}}Body')
        self.action = self._header(A, 'Action')
        self.message_id = self._header(A, 'MessageID')
        self.relates_to = self._header(A, 'RelatesTo')

    def _header(self, namespace, name):
        return self.header.findtext(f'{{{namespace}}}{name}') if self.header is not None else None

    @property
    def child(self):
        """The first element of the body, or None."""
        return self.body[0] if len(self.body) else None


@dataclasses.dataclass
class Reference:
    """A REF argument in a form of its own, whatever the style."""
    epr: Epr
    form: str


def parse_cim_xml(text):
    """One INSTANCE element of CIM-XML: (class name, properties)."""
    root = ET.fromstring(text)
    if root.tag != 'INSTANCE':
        raise ProtocolError('no INSTANCE element', None, text.encode())
    properties = {}
    for element in root:
        value = element.find('VALUE')
        array = element.find('VALUE.ARRAY')
        if element.tag == 'PROPERTY.ARRAY':
            properties[element.get('NAME')] = None if array is None else [v.text or '' for v in array]
        elif element.tag == 'PROPERTY':
            properties[element.get('NAME')] = None if value is None else value.text or ''
        elif element.tag == 'PROPERTY.REFERENCE':
            properties[element.get('NAME')] = element[0] if len(element) else None
    return root.get('CLASSNAME'), properties


def to_text(value):
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return str(value)


def ws_cim_type(value):
    return 'Boolean' if isinstance(value, bool) else 'UnsignedInt' if isinstance(value, int) else 'String'


def split_tag(tag):
    namespace, _, name = tag[1:].rpartition('}') if tag.startswith('{') else ('', '', tag)
    return namespace, name


def qname_local(text):
    return text.strip().rpartition(':')[2] if text else None


def split_uri(uri):
    head, _, class_name = uri.rpartition('/')
    namespace = head[len(WMI_BASE):] if head.lower().startswith(WMI_BASE.lower()) else None
    return namespace, class_name


def _value(element):
    if element.get(f'{{{XSI}}}nil') in ('true', '1'):
        return None
    if element.find(f'{{{A}}}ReferenceParameters') is not None:
        return Epr.parse(element)
    for name in ('Datetime', 'Interval', 'Date', 'Time'):
        child = element.find(f'{{{CIM}}}{name}')
        if child is not None:
            return child.text
    if len(element):
        return Instance(element)
    return element.text or ''


def children_values(parent):
    values, counts = {}, {}
    for element in parent:
        name = split_tag(element.tag)[1]
        counts[name] = counts.get(name, 0) + 1
        if counts[name] == 1:
            values[name] = _value(element)
        else:
            if counts[name] == 2:
                values[name] = [values[name]]
            values[name].append(_value(element))
    return values


def parse_item(element):
    """An element of Items: Instance, Epr, or Instance with .epr."""
    if element.tag == f'{{{A}}}EndpointReference':
        return Epr.parse(element)
    if element.tag == f'{{{W}}}Item':
        instance = Instance(element[0])
        instance.epr = Epr.parse(element.find(f'{{{A}}}EndpointReference'))
        return instance
    return Instance(element)
