"""A WS-Management client for the tests: it shares nothing with the server's code.

    client = WsmanClient('unix:/run/virt-replica/api.sock')
    client = WsmanClient('https://host:5986', user='admin', password='secret', ca_file='ca.pem')

    vm = client.wql("SELECT * FROM Msvm_ComputerSystem WHERE ElementName = 'guest'")[0]
    service = client.enumerate('Msvm_ReplicationService')[0]
    result = client.invoke(client.epr(service), 'InitiateFailover',
                           {'ComputerSystem': client.epr(vm), 'SnapshotSettingData': None})
    job = client.wait_job(result)          # raises JobFailed unless JobState is 7 (completed)

Envelopes are built as text, in the shape of one of the client families in STYLES (prefixes, header order, resource URI family,
optimized or not, forms of REF and embedded-instance arguments). Answers are parsed by namespace. A SOAP fault raises Fault.
Property values are None, str, Epr, Instance, or a list of these when the element is repeated; use Instance.array(name) for an array.
"""

import base64
import dataclasses
import http.client
import socket
import ssl
import time
import urllib.parse
import uuid
from xml.sax.saxutils import escape, quoteattr

from wsman_values import (  # noqa: F401  (some only for those who import this module)
    A, ALL_CLASSES, ANONYMOUS, ASSOCIATION_FILTER, B, CIM, CIM_SCHEMA, CLASS_SCHEMA, CQL, E, EmbeddedInstance, Envelope, Epr, F,
    FAULT_DETAIL, Fault, ID, Instance, InvokeResult, JOB_COMPLETED, JOB_FINAL_STATES, JobFailed, MS, N, NAMESPACE, ProtocolError,
    Reference, S, SELECTOR_FILTER, W, WMI_BASE, WQL, X, XSI, children_values, parse_cim_xml, parse_item, split_tag, to_text,
    ws_cim_type)


@dataclasses.dataclass(frozen=True)
class Style:
    """How one family of clients writes its requests."""
    name: str
    path: str = '/wsman'
    family: str = 'wmi'                 # 'wmi' or 'cim-schema'
    prefixes: tuple = ('s', 'a', 'w', 'n', 'x')
    header_order: tuple = ('To', 'ResourceURI', 'ReplyTo', 'Action', 'MaxEnvelopeSize', 'MessageID', 'Locale',
                           'SelectorSet', 'OptionSet', 'OperationTimeout')
    must_understand: tuple = ('ResourceURI', 'ReplyTo', 'Action', 'MaxEnvelopeSize')
    max_envelope: int = 512000
    timeout: str = 'PT60.000S'
    options: tuple = None               # None: no OptionSet; (): an empty one; of (name, type, value)
    invoke_options: bool = True
    namespace_selector: bool = False
    optimized: bool = True
    enumerate_max: int = 32000          # w:MaxElements of an optimized Enumerate
    pull_max: int = 32000               # n:MaxElements of a Pull; None: absent
    mode: str = None                    # w:EnumerationMode
    wql_any_class: bool = True          # WQL goes to '*', else to the class's URI
    pull_by_class: bool = False         # Pull under the URI of the class instead of '*'
    ref_form: str = 'children'          # 'children', 'wrapped', 'instance', 'path'
    instance_form: str = 'escaped'
    typed_parameters: bool = False      # xsi:type on parameters, cim prefix not declared
    preemptive_auth: bool = True
    encoding: str = 'utf-8'
    content_type: str = 'application/soap+xml;charset=UTF-8'
    declaration: bool = False
    pretty: bool = False
    user_agent: str = None
    put_modified_list: bool = False


STYLES = {style.name: style for style in (
    Style('winrm', max_envelope=153600, user_agent='Microsoft WinRM Client', optimized=False, pull_max=20),
    Style('cim-cmdlets', family='cim-schema', namespace_selector=True, mode='EnumerateObjectAndEPR',
          user_agent='Microsoft WinRM Client', typed_parameters=True, put_modified_list=True,
          options=(('__MI_CallbackRegistration', 'xs:int', '11'),
                   ('wmiarray:__MI_OPERATIONOPTIONS_CHANNELVALUE', 'xs:int', '0'),
                   ('wmiarray:__MI_OPERATIONOPTIONS_CHANNELVALUE', 'xs:int', '1'),
                   ('wmi:__MI_OPERATIONOPTIONS_WRITEERRORMODE', 'xs:int', '1'),
                   ('msftwinrm:UsePreciseArrays', 'xs:boolean', 'true'))),
    Style('openwsman', prefixes=('s', 'wsa', 'wsman', 'wsen', 'wxf'), optimized=False, pull_max=None, declaration=True,
          header_order=('Action', 'To', 'ResourceURI', 'MessageID', 'OperationTimeout', 'MaxEnvelopeSize', 'Locale',
                        'ReplyTo', 'SelectorSet', 'OptionSet'),
          must_understand=('Action', 'To', 'ResourceURI', 'MessageID'), preemptive_auth=False,
          user_agent='openwsman 2.6.5'),
    Style('openwsman-utf16', prefixes=('s', 'wsa', 'wsman', 'wsen', 'wxf'), optimized=False, pull_max=5, declaration=True,
          header_order=('Action', 'To', 'ResourceURI', 'MessageID', 'OperationTimeout', 'MaxEnvelopeSize', 'Locale',
                        'ReplyTo', 'SelectorSet', 'OptionSet'),
          must_understand=('Action', 'To', 'ResourceURI', 'MessageID'), preemptive_auth=False, encoding='utf-16',
          content_type='application/soap+xml;charset=utf-16', user_agent='openwsman 2.6.5'),
    Style('omi', path='/wsman/', family='cim-schema', namespace_selector=True, max_envelope=102400, enumerate_max=1000,
          pull_max=1000, options=(), invoke_options=False, must_understand=('ResourceURI', 'ReplyTo', 'MaxEnvelopeSize'),
          header_order=('To', 'ResourceURI', 'ReplyTo', 'Action', 'MaxEnvelopeSize', 'MessageID', 'OperationTimeout',
                        'Locale', 'OptionSet', 'SelectorSet'), ref_form='instance', timeout='PT90.000S'),
    Style('libvirt', prefixes=('s', 'wsa', 'wsman', 'wsen', 'wxf'), optimized=False, pull_max=None, pull_by_class=True,
          header_order=('Action', 'To', 'ResourceURI', 'MessageID', 'OperationTimeout', 'MaxEnvelopeSize', 'Locale',
                        'ReplyTo', 'SelectorSet', 'OptionSet'),
          must_understand=('Action', 'To', 'ResourceURI', 'MessageID'), preemptive_auth=False, instance_form='cdata',
          user_agent='openwsman 2.6.5'),
    Style('go-wsman', max_envelope=153600, timeout='PT60S', optimized=False, pull_max=10, ref_form='wrapped',
          instance_form='raw', pretty=True, user_agent='Go-http-client/1.1'),
)}


class WsmanClient:
    """One client over one kept connection. Not for several threads at once."""

    def __init__(self, url, *, user=None, password=None, ca_file=None, insecure=False, style='winrm', timeout=60,
                 namespace=NAMESPACE):
        self.url = url
        self.style = STYLES[style] if isinstance(style, str) else style
        self.user, self.password = user, password
        self.namespace = namespace
        self._timeout = timeout
        self._tls = None
        if url.startswith('https:'):
            self._tls = ssl.create_default_context(cafile=ca_file)
            if insecure:
                self._tls.check_hostname = False
                self._tls.verify_mode = ssl.CERT_NONE
        self._connection = None
        self._challenged = False

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    # ---- HTTP ----

    def _connect(self):
        if self.url.startswith('unix:'):
            return UnixConnection(self.url[len('unix:'):], timeout=self._timeout)
        url = urllib.parse.urlsplit(self.url)
        if self._tls is not None:
            return http.client.HTTPSConnection(url.hostname, url.port or 5986, timeout=self._timeout, context=self._tls)
        return http.client.HTTPConnection(url.hostname, url.port or 5985, timeout=self._timeout)

    def post(self, body, headers, path=None):
        """One POST: (status, headers, body). A kept connection that the server closed meanwhile is opened again."""
        reused = self._connection is not None
        while True:
            if self._connection is None:
                self._connection = self._connect()
            try:
                self._connection.request('POST', path or self.style.path, body=body, headers=headers)
                answer = self._connection.getresponse()
                data = answer.read()
                if answer.will_close:
                    self.close()
                return answer.status, answer.headers, data
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.close()
                if not reused:
                    raise
                reused = False

    def _authorization(self):
        token = base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()
        return f'Basic {token}'

    def send(self, text, headers=None, path=None):
        """Send envelope text in the style's encoding, answer a 401 with the password, return the parsed Envelope (faults too)."""
        fields = {'Content-Type': self.style.content_type}
        if self.style.user_agent:
            fields['User-Agent'] = self.style.user_agent
        fields.update(headers or {})
        if self.user is not None and (self.style.preemptive_auth or self._challenged):
            fields['Authorization'] = self._authorization()
        body = text.encode(self.style.encoding)
        status, answer, data = self.post(body, fields, path)
        if status == 401 and self.user is not None and 'Authorization' not in fields:
            self._challenged = True
            fields['Authorization'] = self._authorization()
            status, answer, data = self.post(body, fields, path)
        kind = answer.get_content_type()
        if status not in (200, 500) or kind != 'application/soap+xml':
            raise ProtocolError(f'no SOAP answer but {kind}', status, data)
        return Envelope(status, data, answer.get_content_charset('utf-8'))

    # ---- envelopes ----

    def uri(self, class_name, namespace=None):
        """Resource URI of a class ('*' for all) in the style's family."""
        if self.style.family == 'wmi':
            return f'{WMI_BASE}{namespace or self.namespace}/{class_name}'
        return ALL_CLASSES if class_name == '*' else CIM_SCHEMA + class_name

    def epr(self, thing):
        """Epr of an Instance, or an Epr itself. For an instance that came without one it is made from the usual key properties."""
        if isinstance(thing, Epr):
            return thing
        if thing.epr is not None:
            return thing.epr
        for names in (('InstanceID',), ('CreationClassName', 'SystemCreationClassName', 'SystemName', 'Name'),
                      ('CreationClassName', 'Name')):
            if all(thing.properties.get(name) is not None for name in names):
                return Epr(thing.class_name, {name: thing[name] for name in names}, self.namespace)
        raise ValueError(f'{thing.class_name}: keys not known, enumerate it with mode EnumerateObjectAndEPR')

    def _selectors(self, keys, namespace, uri, force_namespace=False):
        out = []
        if self.style.namespace_selector or force_namespace:
            out.append(('__cimnamespace', namespace or self.namespace))
        return out + list((keys or {}).items())

    def selector_set(self, selectors):
        _, a, w, _, _ = self.style.prefixes
        out = []
        for name, value in selectors:
            if isinstance(value, Epr):
                inner = f'<{a}:EndpointReference>{self.epr_children(value)}</{a}:EndpointReference>'
            else:
                inner = escape(to_text(value))
            out.append(f'<{w}:Selector Name={quoteattr(name)}>{inner}</{w}:Selector>')
        return f'<{w}:SelectorSet>{"".join(out)}</{w}:SelectorSet>'

    def epr_children(self, epr):
        """a:Address and a:ReferenceParameters; prefixes are declared on the envelope."""
        _, a, w, _, _ = self.style.prefixes
        uri = epr.resource_uri or self.uri(epr.class_name, epr.namespace)
        selectors = list(epr.keys.items())
        if uri.startswith(CIM_SCHEMA):
            selectors.insert(0, ('__cimnamespace', epr.namespace or self.namespace))
        return (f'<{a}:Address>{ANONYMOUS}</{a}:Address><{a}:ReferenceParameters><{w}:ResourceURI>{escape(uri)}'
                f'</{w}:ResourceURI>{self.selector_set(selectors)}</{a}:ReferenceParameters>')

    def _header_texts(self, action, uri, selectors, options, extra):
        style = self.style
        s, a, w, _, _ = style.prefixes
        blank = ('\n      ', '\n    ') if style.pretty else ('', '')

        def simple(prefix, name, text):
            mark = f' {s}:mustUnderstand="true"' if name in style.must_understand else ''
            return f'<{prefix}:{name}{mark}>{blank[0]}{escape(text)}{blank[1]}</{prefix}:{name}>'

        texts = {
            'To': simple(a, 'To', ANONYMOUS if self.url.startswith('unix') else self.url + style.path),
            'ResourceURI': simple(w, 'ResourceURI', uri) if uri else '',
            'ReplyTo': f'<{a}:ReplyTo><{a}:Address {s}:mustUnderstand="true">{ANONYMOUS}</{a}:Address></{a}:ReplyTo>',
            'Action': simple(a, 'Action', action),
            'MaxEnvelopeSize': simple(w, 'MaxEnvelopeSize', str(style.max_envelope)),
            'MessageID': simple(a, 'MessageID', f'uuid:{uuid.uuid4()}'),
            'Locale': f'<{w}:Locale xml:lang="en-US" {s}:mustUnderstand="false"/>'
                      f'<p:DataLocale xmlns:p="{MS}" xml:lang="en-US" {s}:mustUnderstand="false"/>',
            'OperationTimeout': simple(w, 'OperationTimeout', style.timeout),
            'SelectorSet': self.selector_set(selectors) if selectors else '',
            'OptionSet': '',
        }
        if options is not None:
            inner = ''.join(f'<{w}:Option Name={quoteattr(name)} Type={quoteattr(kind)}>{escape(value)}</{w}:Option>'
                            for name, kind, value in options)
            texts['OptionSet'] = f'<{w}:OptionSet {s}:mustUnderstand="true">{inner}</{w}:OptionSet>'
        return ''.join(texts[name] for name in style.header_order) + extra

    def envelope(self, action, uri, body='', selectors=(), options=None, extra_headers=''):
        """Envelope text in the client's style."""
        s, a, w, n, x = self.style.prefixes
        declarations = ' '.join(f'xmlns:{p}="{ns}"' for p, ns in zip(self.style.prefixes, (S, A, W, N, X)))
        headers = self._header_texts(action, uri, list(selectors), options, extra_headers)
        top = '<?xml version="1.0" encoding="%s"?>\n' % self.style.encoding.upper() if self.style.declaration else ''
        if self.style.pretty:
            return f'{top}<{s}:Envelope {declarations}>\n  <{s}:Header>\n    {headers}\n  </{s}:Header>\n' \
                   f'  <{s}:Body>\n    {body}\n  </{s}:Body>\n</{s}:Envelope>\n'
        return f'{top}<{s}:Envelope {declarations}><{s}:Header>{headers}</{s}:Header><{s}:Body>{body}</{s}:Body></{s}:Envelope>'

    def request(self, action, uri, body='', selectors=(), options=None, extra_headers=''):
        """Send one operation; the answer's Envelope, or Fault raised. Checks what holds for every answer."""
        answer = self.send(self.envelope(action, uri, body, selectors, options, extra_headers))
        if answer.body.find(f'{{{S}}}Fault') is not None:
            if answer.status != 500:
                raise ProtocolError('a fault with another status than 500', answer.status, answer.raw)
            raise Fault(answer)
        if answer.status != 200 or answer.action != action + 'Response' or not answer.relates_to:
            raise ProtocolError(f'the answer to {action} has wrong headers', answer.status, answer.raw)
        return answer

    # ---- operations ----

    def identify(self, anonymous=None):
        """anonymous: None, 'header' or 'path'. Returns a dict of the answer's elements."""
        text = f'<s:Envelope xmlns:s="{S}" xmlns:id="{ID}"><s:Header/><s:Body><id:Identify/></s:Body></s:Envelope>'
        headers = {'WSMANIDENTIFY': 'unauthenticated'} if anonymous == 'header' else {}
        answer = self.send(text, headers, '/wsman-anon/identify' if anonymous == 'path' else None)
        if answer.status != 200 or answer.child is None or answer.child.tag != f'{{{ID}}}IdentifyResponse':
            raise ProtocolError('no IdentifyResponse', answer.status, answer.raw)
        return {split_tag(e.tag)[1]: e.text if len(e) == 0 else [c.text for c in e] for e in answer.child}

    def get(self, target, keys=None):
        """target: class name with keys, Epr, or Instance (read again)."""
        epr = self._target(target, keys)
        answer = self.request(f'{X}/Get', self._uri_of(epr), '', self._selectors_of(epr), self.style.options)
        return Instance(answer.child)

    def put(self, target, changes, keys=None, whole=None):
        """Change properties. Shape by style: cim-cmdlets sends all properties as nil but the changed ones and the list of those;
        others send what @whole (an Instance from Get, openwsman's way) has with the changes, or the keys and changes."""
        epr = self._target(target, keys)
        uri = self._uri_of(epr)
        options = list(self.style.options) if self.style.options is not None else None
        values = dict(epr.keys)
        if self.style.put_modified_list:
            current = whole or self.get(epr)
            values = {name: values.get(name) for name in current.properties}
            options = (options or []) + [('wmiarray:__MIInstanceModifiedPropertiesList', 'xs:string', n) for n in changes]
        elif whole is not None:
            values = dict(whole.properties)
        values.update(changes)
        properties = ''.join(self._parameter('p', name, value) for name, value in values.items())
        body = f'<p:{epr.class_name} xmlns:p="{uri}" xmlns:xsi="{XSI}">{properties}</p:{epr.class_name}>'
        answer = self.request(f'{X}/Put', uri, body, self._selectors_of(epr), options)
        return Instance(answer.child) if answer.child is not None else None

    def enumerate(self, class_name, mode='', polymorphism=None, filter_xml='', uri=None, namespace=None):
        """All instances: list of Instance, or of Epr in mode EnumerateEPR. In EnumerateObjectAndEPR each has .epr."""
        mode = self.style.mode if mode == '' else mode
        selectors = self._selectors({}, namespace, None)
        uri = uri or self.uri(class_name, namespace)
        items, context = self.start_enumeration(uri, selectors, mode, polymorphism, filter_xml)
        pull_uri = self.uri(class_name, namespace) if self.style.pull_by_class else uri
        while context:
            batch, context = self.pull(context, pull_uri, selectors)
            items += batch
        return [parse_item(element) for element in items]

    def start_enumeration(self, uri, selectors=(), mode=None, polymorphism=None, filter_xml='', optimized=None,
                          max_elements=None, extra_headers=''):
        """Enumerate: (item elements so far, context or None at the end)."""
        _, _, w, n, _ = self.style.prefixes
        optimized = self.style.optimized if optimized is None else optimized
        parts = []
        if optimized:
            count = max_elements or self.style.enumerate_max
            parts += [f'<{w}:OptimizeEnumeration/>', f'<{w}:MaxElements>{count}</{w}:MaxElements>' if count else '']
        if mode:
            parts.append(f'<{w}:EnumerationMode>{mode}</{w}:EnumerationMode>')
        if polymorphism:
            parts.append(f'<b:PolymorphismMode xmlns:b="{B}">{polymorphism}</b:PolymorphismMode>')
        body = f'<{n}:Enumerate>{"".join(parts)}{filter_xml}</{n}:Enumerate>'
        answer = self.request(f'{N}/Enumerate', uri, body, selectors, self.style.options, extra_headers)
        return self._items(answer, 'EnumerateResponse', W)

    def pull(self, context, uri, selectors=(), max_elements=None, extra_headers=''):
        """Pull: (item elements, context or None at the end)."""
        _, _, _, n, _ = self.style.prefixes
        count = max_elements or self.style.pull_max
        limit = f'<{n}:MaxElements>{count}</{n}:MaxElements>' if count else ''
        body = f'<{n}:Pull><{n}:EnumerationContext>{context}</{n}:EnumerationContext>{limit}</{n}:Pull>'
        answer = self.request(f'{N}/Pull', uri, body, selectors, self.style.options, extra_headers)
        return self._items(answer, 'PullResponse', N)

    def release(self, context, uri):
        _, _, _, n, _ = self.style.prefixes
        body = f'<{n}:Release><{n}:EnumerationContext>{context}</{n}:EnumerationContext></{n}:Release>'
        self.request(f'{N}/Release', uri, body)

    @staticmethod
    def _items(answer, name, namespace):
        response = answer.child
        if response is None or response.tag != f'{{{N}}}{name}':
            raise ProtocolError(f'no {name}', answer.status, answer.raw)
        items = response.find(f'{{{namespace}}}Items')
        context = (response.findtext(f'{{{N}}}EnumerationContext') or '').strip()
        ended = response.find(f'{{{namespace}}}EndOfSequence') is not None
        if ended == bool(context):
            raise ProtocolError('context and EndOfSequence do not fit together', answer.status, answer.raw)
        return list(items) if items is not None else [], context or None

    def wql(self, query, mode='', namespace=None):
        """Instances that a WQL query gives."""
        _, _, w, _, _ = self.style.prefixes
        words = query.replace('{', ' ').split()
        lower = [word.lower() for word in words]
        class_name = words[lower.index('from') + 1] if 'from' in lower else '*'
        text = f'<{w}:Filter Dialect="{WQL}">{escape(query)}</{w}:Filter>'
        space = namespace or self.namespace
        uri = f'{WMI_BASE}{space}/*' if self.style.wql_any_class else self.uri(class_name, namespace)
        return self.enumerate(class_name, mode, filter_xml=text, uri=uri, namespace=namespace)

    def selector_filter(self, class_name, selectors, mode=''):
        """Instances of a class whose properties equal the given ones."""
        _, _, w, _, _ = self.style.prefixes
        inner = self.selector_set(selectors.items())
        return self.enumerate(class_name, mode, filter_xml=f'<{w}:Filter Dialect="{SELECTOR_FILTER}">{inner}</{w}:Filter>')

    def associators(self, target, assoc_class=None, result_class=None, role=None, result_role=None, mode=''):
        """Instances at the far end of associations."""
        return self._association('AssociatedInstances', target, mode, (
            ('AssociationClassName', assoc_class), ('Role', role), ('ResultClassName', result_class), ('ResultRole', result_role)))

    def references(self, target, result_class=None, role=None, mode=''):
        """Association instances that name the target."""
        return self._association('AssociationInstances', target, mode, (('ResultClassName', result_class), ('Role', role)))

    def _association(self, kind, target, mode, options):
        _, _, w, _, _ = self.style.prefixes
        inner = ''.join(f'<b:{name}>{escape(value)}</b:{name}>' for name, value in options if value)
        text = (f'<{w}:Filter Dialect="{ASSOCIATION_FILTER}"><b:{kind} xmlns:b="{B}"><b:Object>'
                f'{self.epr_children(self.epr(target))}</b:Object>{inner}</b:{kind}></{w}:Filter>')
        return self.enumerate('*', mode, filter_xml=text)

    def invoke(self, target, method, parameters=None, keys=None, body=None):
        """Call a method. target: class name (static or singleton), Epr or Instance. body: the element literally."""
        epr = self._target(target, keys)
        uri = self._uri_of(epr)
        if body is None:
            inner = ''.join(self._parameter('p', name, value) for name, value in (parameters or {}).items())
            body = f'<p:{method}_INPUT xmlns:p="{uri}" xmlns:xsi="{XSI}">{inner}</p:{method}_INPUT>'
        options = self.style.options if self.style.invoke_options else None
        answer = self.request(f'{uri}/{method}', uri, body, self._selectors_of(epr), options)
        if answer.child is None or split_tag(answer.child.tag) != (uri, f'{method}_OUTPUT'):
            raise ProtocolError(f'no {method}_OUTPUT', answer.status, answer.raw)
        out = children_values(answer.child)
        message = [e.text for e in answer.header if e.tag == '{urn:virt-replica:wsman}Message']
        return InvokeResult(int(out.pop('ReturnValue')), out, answer, message[0] if message else None)

    def wait_job(self, what, timeout=60, want=JOB_COMPLETED):
        """Read a job (InvokeResult, Epr or instance id) again until it ends. JobFailed unless its state is @want."""
        if isinstance(what, InvokeResult):
            if what.return_value == 0:
                return None
            if what.return_value != 4096:
                raise ValueError(f'the method answered {what.return_value}, not 4096: {what.message}')
            what = what.job
        epr = what if isinstance(what, Epr) else Epr('Msvm_ConcreteJob', {'InstanceID': what})
        deadline = time.monotonic() + timeout
        while True:
            job = self.get(epr)
            if job.number('JobState') in JOB_FINAL_STATES:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f'job {epr.keys} is in state {job["JobState"]} after {timeout} s')
            time.sleep(0.1)   # the interval at which real clients poll
        if want is not None and job.number('JobState') != want:
            raise JobFailed(job)
        return job

    def get_class(self, name, options=('IncludeInheritedElements', 'IncludeQualifiers')):
        """CLASS element of CIM-XML."""
        answer = self.request(f'{X}/Get', CLASS_SCHEMA, '', [('__cimnamespace', self.namespace), ('ClassName', name)],
                              [(option, 'xs:boolean', 'true') for option in options])
        return answer.child

    def enumerate_classes(self, name=''):
        """CLASS elements of all classes, or of a class and those below it."""
        selectors = [('__cimnamespace', self.namespace), ('ClassName', name)]
        items, context = self.start_enumeration(CLASS_SCHEMA, selectors, optimized=True, max_elements=32000)
        while context:
            batch, context = self.pull(context, CLASS_SCHEMA, selectors, 32000)
            items += batch
        return items

    # ---- arguments ----

    def _target(self, target, keys):
        if isinstance(target, str):
            return Epr(target, keys or {}, self.namespace)
        return self.epr(target)

    def _uri_of(self, epr):
        return epr.resource_uri or self.uri(epr.class_name, epr.namespace)

    def _selectors_of(self, epr):
        force = self._uri_of(epr).startswith(CIM_SCHEMA)
        return self._selectors(epr.keys, epr.namespace, None, force)

    def _parameter(self, prefix, name, value, form=None):
        if isinstance(value, (list, tuple)):
            return ''.join(self._parameter(prefix, name, item) for item in value)
        tag = f'{prefix}:{name}'
        if value is None:
            return f'<{tag} xsi:nil="true"/>'
        if isinstance(value, Epr):
            return self._reference(tag, value, self.style.ref_form)
        if isinstance(value, Instance):
            return self._reference(tag, self.epr(value), self.style.ref_form)
        if isinstance(value, Reference):
            return self._reference(tag, value.epr, value.form)
        if isinstance(value, EmbeddedInstance):
            return self._embedded(tag, value, value.form or self.style.instance_form)
        kind = ' xsi:type="cim:cim%s"' % ws_cim_type(value) if self.style.typed_parameters else ''
        return f'<{tag}{kind}>{escape(to_text(value))}</{tag}>'

    def _reference(self, tag, epr, form):
        _, a, _, _, _ = self.style.prefixes
        if form == 'children':
            return f'<{tag}>{self.epr_children(epr)}</{tag}>'
        if form == 'wrapped':
            return f'<{tag}><{a}:EndpointReference>{self.epr_children(epr)}</{a}:EndpointReference></{tag}>'
        if form == 'path':
            return f'<{tag}>{escape(epr.path("HOST"))}</{tag}>'
        if form == 'instance':   # with the xsi prefix bound to the URI that OMI writes
            uri = self.uri(epr.class_name, epr.namespace)
            keys = ''.join(f'<p1:{k}>{escape(to_text(v))}</p1:{k}>' for k, v in epr.keys.items())
            return (f'<{tag} xmlns:p1="{uri}" xmlns:xsi="http://www.w3.org/2001/XMLSchema" '
                    f'xsi:type="p1:{epr.class_name}_Type">{keys}</{tag}>')
        raise ValueError(form)

    def _embedded(self, tag, value, form):
        uri = self.uri(value.class_name)
        if form == 'cdata':
            return f'<{tag}><![CDATA[{value.cim_xml()}]]></{tag}>'
        if form == 'escaped':
            return f'<{tag}>{escape(value.cim_xml())}</{tag}>'
        if form == 'declaration':
            text = ('<?xml version="1.0"?><CIM CIMVERSION="2.0" DTDVERSION="2.0"><DECLARATION><DECLGROUP><VALUE.OBJECT>'
                    f'{value.cim_xml()}</VALUE.OBJECT></DECLGROUP></DECLARATION></CIM>')
            return f'<{tag}>{escape(text)}</{tag}>'
        if form == 'raw':
            return f'<{tag}>{value.ws_cim(uri)}</{tag}>'
        if form == 'ws-cim-text':
            return f'<{tag}>{escape(value.ws_cim(uri))}</{tag}>'
        if form == 'mof':
            return f'<{tag}>{escape(value.mof())}</{tag}>'
        if form == 'typed':
            return (f'<{tag} xmlns:p1="{uri}" xsi:type="p1:{value.class_name}_Type">{value.properties_xml("p1")}</{tag}>')
        raise ValueError(form)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path, timeout=60):
        super().__init__('localhost', timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
