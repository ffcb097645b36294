#!/usr/bin/env python3
"""The service as each family of clients meets it. Answers are checked as parsed XML with namespaces."""

import dataclasses
import http.client
import io
import socket
import sys
import xml.etree.ElementTree as ET

sys.dont_write_bytecode = True

from server import Server  # noqa: E402  (it puts tests/lib on the path)
import tap  # noqa: E402
import wsman_client as ws  # noqa: E402
from wsman_client import A, B, CIM, E, F, MS, N, S, W, X, XSI, EmbeddedInstance, Epr, Fault, ProtocolError, Reference  # noqa: E402

VM = 'Msvm_ComputerSystem'
SERVICE = 'Msvm_ReplicationService'
INVALID_PARAMETER = 32773
XSD_URI = 'http://schemas.dmtf.org/wbem/ws-cim/1/cim-schema/2/*'

server = Server()


def expect_fault(subcode, detail, call, *arguments, **options):
    """The call must give this fault. Checks what holds for every fault."""
    try:
        call(*arguments, **options)
    except Fault as fault:
        assert (fault.subcode, fault.detail) == (subcode, detail), str(fault)
        check_fault(fault)
        return fault
    raise AssertionError(f'{subcode} {detail}: no fault came')


def check_fault(fault):
    actions = (A + '/fault', N + '/fault', E + '/fault', 'http://schemas.dmtf.org/wbem/wsman/1/wsman/fault')
    assert fault.status == 500, fault.status
    assert fault.action in actions, fault.action
    assert fault.reason and fault.envelope.message_id.startswith('uuid:')
    block = fault.envelope.root.find(f'.//{{{F}}}WSManFault')
    if block is not None:
        assert block[0].tag == f'{{{F}}}Message' and block.get('Machine'), 'f:Message must be the first child'
        assert fault.wsman_code > 0
    else:
        assert fault.cim_status is not None, 'neither WSManFault nor MSFT_WmiError'


def raw(text, **headers):
    """Status, parsed answer (None when it is no XML) to text sent as it is, by the administrator."""
    client = server.client()
    fields = {'Content-Type': 'application/soap+xml;charset=UTF-8', 'Authorization': client._authorization(), **headers}
    status, answer, data = client.post(text if isinstance(text, bytes) else text.encode(), fields)
    client.close()
    if answer.get_content_type() != 'application/soap+xml':
        return status, None
    return status, ws.Envelope(status, data, answer.get_content_charset('utf-8'))


def raw_fault(text, **headers):
    status, envelope = raw(text, **headers)
    assert status == 500 and envelope is not None, status
    fault = Fault(envelope)
    check_fault(fault)
    return fault


def some_vm(client):
    """One that is not the host."""
    return client.enumerate(VM, mode='EnumerateObjectAndEPR')[-1]


def service_of(client):
    return client.enumerate(SERVICE, mode='EnumerateObjectAndEPR')[0]


def each_style():
    for name in ws.STYLES:
        yield name, server.client(name)


# ---- Identify and authentication ----

def test_identify_with_authentication():
    for name, client in each_style():
        answer = client.identify()
        assert answer['ProtocolVersion'] == W, name
        assert answer['ProductVersion'] == '1.2.3'
        assert answer['SecurityProfiles'] == ['http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/basic']


def test_anonymous_identify_hides_the_version():
    client = server.client(user=None)
    for way in ('header', 'path'):
        answer = client.identify(anonymous=way)
        assert answer['ProductVendor'] and '1.2.3' not in answer['ProductVersion'], answer


def test_anonymous_gets_nothing_else():
    client = server.client(user=None)
    text = client.envelope(f'{X}/Get', client.uri(VM))
    for path, headers in (('/wsman', {}), ('/wsman', {'WSMANIDENTIFY': 'unauthenticated'}), ('/wsman-anon/identify', {})):
        fields = {'Content-Type': 'application/soap+xml', **headers}
        status, answer, _ = client.post(text.encode(), fields, path)
        assert status == 401 and answer['WWW-Authenticate'].startswith('Basic realm='), (path, headers, status)


def test_wrong_password_and_unknown_user_are_refused():
    for user, password in (('admin', 'wrong'), ('stranger', 'secret'), ('', '')):
        client = server.client(user=user, password=password)
        try:
            client.identify()
            raise AssertionError(f'{user} got in')
        except ProtocolError as error:
            assert error.status == 401


def test_unix_socket_needs_no_password():
    assert server.local_client().identify()['ProductVersion'] == '1.2.3'


def test_tls_with_password():
    if server.ca is None:
        raise tap.Skip('certtool is not installed')
    for style in ('winrm', 'openwsman'):
        assert len(server.tls_client(style).enumerate(VM)) > 0


def test_connection_is_kept():
    client = server.client()
    client.identify()
    connection = client._connection
    for _ in range(3):
        client.enumerate(VM)
    assert client._connection is connection


# ---- reading ----

def test_each_style_sees_the_same_instances():
    want = sorted(vm['Name'] for vm in server.local_client().enumerate(VM, mode=None))
    assert len(want) >= 2
    for name, client in each_style():
        objects = client.enumerate(VM, mode=None)
        eprs = client.enumerate(VM, mode='EnumerateEPR')
        both = client.enumerate(VM, mode='EnumerateObjectAndEPR')
        assert sorted(vm['Name'] for vm in objects) == want, name
        assert sorted(epr.keys['Name'] for epr in eprs) == want, name
        assert sorted(vm.epr.keys['Name'] for vm in both) == want, name
        assert all(vm['Name'] == vm.epr.keys['Name'] for vm in both), name


def test_each_style_gets_by_reference_and_by_some_keys():
    for name, client in each_style():
        vm = some_vm(client)
        assert client.get(vm.epr)['ElementName'] == vm['ElementName'], name
        assert client.get(VM, {'Name': vm['Name'].lower()})['Name'] == vm['Name'], name
        assert client.get('CIM_ComputerSystem', {'name': vm['Name']}).class_name == VM, name


def test_each_style_queries():
    for name, client in each_style():
        vm = some_vm(client)
        found = client.wql(f"SELECT * FROM {VM} WHERE ElementName = '{vm['ElementName']}'  ", mode=None)
        assert [v['Name'] for v in found] == [vm['Name']], name
        assert client.wql(f'select * from {SERVICE}', mode='EnumerateEPR')[0].class_name == SERVICE, name
        assert client.wql(f"SELECT * FROM {VM} WHERE ElementName = 'none such'") == [], name


def test_query_on_the_class_itself():
    client = server.client()
    client.style = dataclasses.replace(client.style, wql_any_class=False)
    assert len(client.wql(f'SELECT * FROM {VM}')) >= 2
    other = f'<w:Filter Dialect="{ws.WQL}">SELECT * FROM {SERVICE}</w:Filter>'
    expect_fault('CannotProcessFilter', None, client.enumerate, VM, filter_xml=other)


def test_selector_filter():
    for name, client in each_style():
        vm = some_vm(client)
        found = client.selector_filter(VM, {'elementname': vm['ElementName']}, mode=None)
        assert [v['Name'] for v in found] == [vm['Name']], name
    expect_fault('CannotProcessFilter', None, server.client().selector_filter, VM, {'Nonsense': '1'})


def test_associations():
    for name, client in each_style():
        vm = some_vm(client)
        settings = client.associators(vm, result_class='Msvm_ReplicationSettingData', mode='EnumerateObjectAndEPR')
        assert settings and all(s.class_name == 'Msvm_ReplicationSettingData' for s in settings), name
        links = client.references(vm, result_class='Msvm_ElementSettingData', mode=None)
        assert links and all(isinstance(link['ManagedElement'], Epr) for link in links), name
        assert client.get(links[0]['ManagedElement'])['Name'] == vm['Name'], name


def test_associators_of_in_wql():
    client = server.client()
    vm = some_vm(client)
    found = client.wql('ASSOCIATORS OF {%s} WHERE ResultClass = Msvm_ReplicationSettingData' % vm.epr.path())
    assert found and found[0].class_name == 'Msvm_ReplicationSettingData'


def test_polymorphism_none_leaves_subclasses_out():
    client = server.client()
    assert len(client.enumerate('CIM_ComputerSystem')) >= 2
    assert client.enumerate('CIM_ComputerSystem', polymorphism='None') == []
    assert len(client.enumerate('CIM_ComputerSystem', polymorphism='ExcludeSubClassProperties')) >= 2


def test_instance_has_every_property_in_order():
    for style in ('winrm', 'omi'):
        client = server.client(style)
        vm = some_vm(client)
        names = [ws._split_tag(e.tag)[1] for e in vm.element]
        schema = client.get_class(VM)
        declared = [e.get('NAME') for e in schema if e.tag.startswith('PROPERTY') and e.tag != 'PROPERTY.ARRAY']
        assert names == sorted(names, key=str.lower), names
        assert set(declared) <= set(names), set(declared) - set(names)
        assert vm.uri == client.uri(VM) and vm.type == f'p:{VM}_Type'
        nil = [e for e in vm.element if e.get(f'{{{XSI}}}nil') == 'true']
        assert nil and all(len(e) == 0 and not e.text for e in nil)


def test_datetimes_are_elements_of_the_common_schema():
    vm = some_vm(server.client())
    stamp = vm.element.find(f'{{{vm.uri}}}InstallDate/{{{CIM}}}Datetime')
    assert stamp is not None and 'T' in stamp.text


def test_no_instances_is_no_fault():
    for name, client in each_style():
        assert client.wql(f"SELECT * FROM Msvm_ConcreteJob WHERE InstanceID = 'none'") == [], name


# ---- shape of answers ----

def prefixes_by_element(text):
    """[(tag, {prefix: uri} declared on it)] in document order."""
    found, pending = [], {}
    for event, item in ET.iterparse(io.StringIO(text), events=('start-ns', 'start')):
        if event == 'start-ns':
            pending[item[0]] = item[1]
        else:
            found.append((item.tag, pending))
            pending = {}
    return found


def test_prefixes_are_those_of_winrm():
    client = server.client('libvirt')
    vm, service = some_vm(client), service_of(client)
    result = client.invoke(service, 'InitiateFailover', {'ComputerSystem': vm.epr})
    elements = prefixes_by_element(result.envelope.text)
    envelope = elements[0][1]
    assert {'s': S, 'a': A, 'w': W}.items() <= envelope.items(), envelope
    output = [declared for tag, declared in elements if tag.endswith('_OUTPUT')][0]
    assert output['p'] == client.uri(SERVICE)
    answer = client.request(f'{N}/Enumerate', client.uri(VM), f'<n:Enumerate xmlns:n="{N}"/>')
    assert prefixes_by_element(answer.text)[0][1].get('n') == N
    answer = client.request(f'{X}/Get', client.uri(VM), '', vm.epr.keys.items())
    elements = prefixes_by_element(answer.text)
    assert elements[0][1].get('x') == X
    assert [declared for tag, declared in elements if tag.endswith('}' + VM)][0]['p'] == client.uri(VM)


def test_answer_headers():
    client = server.client()
    text = client.envelope(f'{X}/Get', client.uri(VM), '', [('Name', some_vm(client)['Name'])])
    first, second = client.send(text), client.send(text)   # the same MessageID again is no error
    for answer in (first, second):
        assert answer.status == 200 and answer.action == f'{X}/GetResponse'
        assert answer.header.findtext(f'{{{A}}}To') == ws.ANONYMOUS
        assert answer.relates_to in text
        assert answer.message_id == 'uuid:' + answer.message_id[5:].upper()
    assert first.message_id != second.message_id


def test_references_in_both_families():
    for style, selector in (('winrm', False), ('cim-cmdlets', True)):
        client = server.client(style)
        epr = some_vm(client).epr
        assert epr.resource_uri == client.uri(VM) and epr.has_namespace_selector == selector
        link = client.references(epr, result_class='Msvm_ElementSettingData', mode=None)[0]
        element = link.element.find(f'{{{link.uri}}}ManagedElement')
        assert [e.tag for e in element] == [f'{{{A}}}Address', f'{{{A}}}ReferenceParameters']
        names = [s.get('Name') for s in element.iter(f'{{{W}}}Selector')]
        assert ('__cimnamespace' in names) == selector and names[-1] != '__cimnamespace'


def test_pull_without_max_elements_gives_one():
    client = server.client('libvirt')
    items, context = client.start_enumeration(client.uri(VM))
    assert items == []
    for _ in range(2):
        items, context = client.pull(context, client.uri(VM))
        assert len(items) == 1
        if context is None:
            break
    items, context = client.start_enumeration(client.uri(VM), optimized=True, max_elements=None)
    client.style = dataclasses.replace(client.style, optimized=True, enumerate_max=None)
    items, context = client.start_enumeration(client.uri(VM))
    assert len(items) == 1 and context


def test_optimized_end_has_an_empty_context():
    client = server.client('omi')
    answer = client.request(f'{N}/Enumerate', client.uri(VM), f'<n:Enumerate xmlns:n="{N}"><w:OptimizeEnumeration/>'
                            '<w:MaxElements>1000</w:MaxElements></n:Enumerate>')
    assert [e.tag for e in answer.child] == [f'{{{N}}}EnumerationContext', f'{{{W}}}Items', f'{{{W}}}EndOfSequence']
    assert not answer.child[0].text


def test_pull_end_has_no_context():
    client = server.client()
    _, context = client.start_enumeration(client.uri(SERVICE), optimized=False)
    body = f'<n:Pull><n:EnumerationContext> {context}\n</n:EnumerationContext><n:MaxElements>9</n:MaxElements></n:Pull>'
    answer = client.request(f'{N}/Pull', client.uri('*'), body)
    assert [e.tag for e in answer.child] == [f'{{{N}}}Items', f'{{{N}}}EndOfSequence']


def test_total_count_on_request():
    client = server.client()
    header = f'<w:RequestTotalItemsCountEstimate s:mustUnderstand="true"/>'
    total = len(client.enumerate(VM))
    answer = client.request(f'{N}/Enumerate', client.uri(VM), '<n:Enumerate/>', extra_headers=header)
    assert int(answer.header.findtext(f'{{{W}}}TotalItemsCountEstimate')) == total
    answer = client.request(f'{N}/Enumerate', client.uri(VM), '<n:Enumerate/>')
    assert answer.header.find(f'{{{W}}}TotalItemsCountEstimate') is None


def test_small_envelopes_give_fewer_items():
    client = server.client()
    client.style = dataclasses.replace(client.style, max_envelope=8192, optimized=True)
    want = len(server.client().enumerate(VM))
    items, context = client.start_enumeration(client.uri(VM))
    assert 0 < len(items) < want and context
    assert len(client.enumerate(VM)) == want
    answer = client.request(f'{N}/Enumerate', client.uri(VM), '<n:Enumerate><w:OptimizeEnumeration/>'
                            '<w:MaxElements>99</w:MaxElements></n:Enumerate>')
    assert len(answer.raw) <= 8192
    expect_fault('EncodingLimit', 'MaxEnvelopeSize', client.get_class, VM)


def test_utf16_is_answered_in_kind():
    for encoding, content in (('utf-16', 'utf-16'), ('utf-16-le', 'UTF-16LE'), ('utf-16-be', 'utf-16be')):
        client = server.client()
        client.style = dataclasses.replace(client.style, encoding=encoding,
                                           content_type=f'application/soap+xml;charset={content}')
        body = client.envelope(f'{N}/Enumerate', client.uri(VM), '<n:Enumerate/>').encode(encoding)
        headers = {'Content-Type': client.style.content_type, 'Authorization': client._authorization()}
        status, answer, data = client.post(body, headers)
        assert status == 200 and answer.get_content_charset().lower() == content.lower()
        assert 'EnumerateResponse' in data.decode(encoding)
        assert len(client.enumerate(VM)) >= 2
        expect_fault('DestinationUnreachable', 'InvalidResourceURI', client.get, 'Msvm_Nonsense', {'Name': 'x'})


# ---- enumeration contexts ----

def test_context_belongs_to_its_user():
    mine, other = server.client(), server.client(user='other')
    _, context = mine.start_enumeration(mine.uri(VM), optimized=False)
    expect_fault('InvalidEnumerationContext', None, other.pull, context, other.uri(VM))
    other.release(context, other.uri(VM))   # tolerated, and without effect
    items, _ = mine.pull(context, mine.uri('*'))
    assert items
    fault = expect_fault('InvalidEnumerationContext', None, mine.pull, 'uuid:none', mine.uri(VM))
    assert fault.code == 'Receiver'


def test_released_context_is_gone():
    client = server.client()
    _, context = client.start_enumeration(client.uri(VM), optimized=False)
    client.release(context, client.uri(VM))
    expect_fault('InvalidEnumerationContext', None, client.pull, context, client.uri(VM))
    client.release(context, client.uri(VM))


def test_contexts_are_bounded_per_user():
    client, contexts = server.client(user='operator'), []
    for _ in range(100):
        contexts.append(client.start_enumeration(client.uri(VM), optimized=False)[1])
    fault = expect_fault('QuotaLimit', None, client.start_enumeration, client.uri(VM), optimized=False)
    assert fault.wsman_code == 2150859174
    assert server.client().enumerate(VM), 'another user is not concerned'
    client.release(contexts.pop(), client.uri(VM))
    contexts.append(client.start_enumeration(client.uri(VM), optimized=False)[1])
    for context in contexts:
        client.release(context, client.uri(VM))


# ---- methods ----

def test_each_style_invokes():
    for name, client in each_style():
        service, vm = service_of(client), some_vm(client)
        result = client.invoke(service, 'InitiateFailover', {'ComputerSystem': vm.epr, 'SnapshotSettingData': None})
        assert result.return_value != INVALID_PARAMETER, (name, result)
        assert 'Job' in result.out, name
        result = client.invoke(service, 'InitiateFailover', {'ComputerSystem': None})
        assert result.return_value == INVALID_PARAMETER and result.message, (name, result)


def test_reference_arguments_in_every_form():
    client = server.client()
    service, vm = service_of(client), some_vm(client)
    want = client.invoke(service, 'InitiateFailover', {'ComputerSystem': vm.epr}).return_value
    assert want != INVALID_PARAMETER
    for form in ('children', 'wrapped', 'instance', 'path'):
        result = client.invoke(service, 'InitiateFailover', {'computersystem': Reference(vm.epr, form)})
        assert result.return_value == want, (form, result)


def test_input_element_in_every_namespace():
    client = server.client()
    service, vm = service_of(client), some_vm(client)
    inner = client.epr_children(vm.epr)
    want = client.invoke(service, 'InitiateFailover', {'ComputerSystem': vm.epr}).return_value
    for body in (f'<InitiateFailover_INPUT><ComputerSystem>{inner}</ComputerSystem></InitiateFailover_INPUT>',
                 f'<InitiateFailover_INPUT xmlns="{ws.CIM_SCHEMA}{SERVICE}"><ComputerSystem>{inner}</ComputerSystem>'
                 '</InitiateFailover_INPUT>',
                 f'<q:InitiateFailover_INPUT xmlns:q="{client.uri(SERVICE)}"><ComputerSystem>{inner}</ComputerSystem>'
                 '</q:InitiateFailover_INPUT>'):
        assert client.invoke(service, 'InitiateFailover', body=body).return_value == want, body


def test_body_may_be_empty():
    client = server.client()
    assert client.invoke(service_of(client), 'InitiateFailover', body='').return_value == INVALID_PARAMETER


def test_output_order():
    client = server.client()
    result = client.invoke(service_of(client), 'InitiateFailover', {})
    names = [ws._split_tag(e.tag)[1] for e in result.envelope.child]
    assert names == ['Job', 'ReturnValue'] and result.out['Job'] is None


def test_embedded_instances_in_every_form():
    client = server.client()
    service = service_of(client)
    for number, form in enumerate(('cdata', 'escaped', 'declaration', 'raw', 'ws-cim-text', 'typed', 'mof')):
        name = f'host{number}.example'
        entry = EmbeddedInstance('Msvm_ReplicationAuthorizationSettingData',
                                 {'AllowedPrimaryHostSystem': name, 'TrustGroup': 'a < b & "c"',
                                  'ReplicaStorageLocation': '/srv/replica'}, form)
        result = client.invoke(service, 'AddAuthorizationEntry', {'AuthorizationEntry': entry})
        assert result.return_value in (0, 4096), (form, result)
        found = client.wql(f"SELECT * FROM Msvm_ReplicationAuthorizationSettingData WHERE AllowedPrimaryHostSystem = '{name}'")
        assert [e['TrustGroup'] for e in found] == ['a < b & "c"'], (form, found)
        result = client.invoke(service, 'RemoveAuthorizationEntry', {'AllowedPrimaryHostSystem': name})
        assert result.return_value in (0, 4096), (form, result)


def test_job_by_get_and_by_query():
    for name in ('winrm', 'libvirt', 'omi', 'go-wsman'):
        client = server.client(name)
        service, vm = service_of(client), some_vm(client)
        result = client.invoke(service, 'StartReplication', {'ComputerSystem': vm.epr, 'InitialReplicationType': 1})
        if result.return_value != 4096:
            raise tap.Skip(f'the test service answered {result.return_value}')
        job = client.get(result.job)
        found = client.wql(f"SELECT * FROM Msvm_ConcreteJob WHERE InstanceID = '{job['InstanceID']}'", mode=None)
        assert [j['InstanceID'] for j in found] == [job['InstanceID']], name


def test_reader_may_not_invoke():
    client = server.client(user='reader')
    assert client.enumerate(VM)
    service, vm = service_of(client), some_vm(client)
    try:
        result = client.invoke(service, 'InitiateFailover', {'ComputerSystem': vm.epr})
        assert result.return_value == 32769, result
    except Fault as fault:
        assert fault.subcode == 'AccessDenied' and fault.wsman_code == 5


# ---- class schema ----

def test_class_schema():
    for style in ('cim-cmdlets', 'winrm'):
        client = server.client(style)
        schema = client.get_class(SERVICE.lower())
        assert schema.tag == 'CLASS' and schema.get('NAME') == SERVICE and schema.get('SUPERCLASS')
        method = [m for m in schema.iter('METHOD') if m.get('NAME') == 'InitiateFailover'][0]
        assert {p.get('NAME') for p in method.iter('PARAMETER.REFERENCE')} == {'ComputerSystem', 'SnapshotSettingData', 'Job'}
        everything = client.enumerate_classes()
        assert all(e.tag == 'CLASS' for e in everything) and len(everything) > 20
        below = client.enumerate_classes('CIM_ConcreteJob')
        assert {'CIM_ConcreteJob', 'Msvm_ConcreteJob'} <= {e.get('NAME') for e in below} and len(below) < len(everything)
    expect_fault('DestinationUnreachable', 'InvalidResourceURI', server.client().get_class, 'Msvm_Nonsense')


def test_class_schema_as_xsd_is_refused():
    expect_fault('UnsupportedFeature', 'FormatMismatch', server.client().request, f'{X}/Get', XSD_URI)


# ---- writing ----

def test_put_is_answered_by_a_fault_where_nothing_may_change():
    for style in ('cim-cmdlets', 'openwsman', 'omi'):
        client = server.client(style)
        vm = some_vm(client)
        expect_fault('UnsupportedFeature', None, client.put, vm.epr, {'ElementName': 'x'}, whole=vm)


def test_put_of_a_property_that_is_not_there():
    client = server.client('openwsman')
    expect_fault('InvalidParameter', 'InvalidName', client.put, some_vm(client).epr, {'Nonsense': 'x'})


# ---- faults ----

def test_fault_for_unknown_things():
    for name, client in each_style():
        for call, arguments in ((client.get, ('Msvm_Nonsense', {'Name': 'x'})), (client.enumerate, ('Msvm_Nonsense',)),
                                (client.get, (VM, {'Name': 'no such'})), (client.invoke, ('Msvm_Nonsense', 'Do', {})),
                                (client.wql, ('SELECT * FROM Msvm_Nonsense',))):
            try:
                call(*arguments)
                raise AssertionError((name, arguments))
            except Fault as fault:
                check_fault(fault)
                if call != client.wql:
                    assert (fault.subcode, fault.detail) == ('DestinationUnreachable', 'InvalidResourceURI'), str(fault)
                    assert fault.wsman_code == 2150858752 and fault.code == 'Sender'


def test_fault_for_unknown_namespace():
    client = server.client()
    expect_fault('DestinationUnreachable', 'InvalidResourceURI', client.enumerate, VM, namespace='root/nowhere')
    client = server.client('omi')
    expect_fault('DestinationUnreachable', 'InvalidResourceURI', client.enumerate, VM, namespace='root/nowhere')


def test_faults_for_selectors():
    client = server.client()
    cases = (({'Nonsense': '1'}, 'UnexpectedSelectors'), ({'CreationClassName': VM}, 'AmbiguousSelectors'), ({}, 'InsufficientSelectors'))
    for keys, detail in cases:
        expect_fault('InvalidSelectors', detail, client.get, VM, keys)
    expect_fault('InvalidSelectors', 'DuplicateSelectors', client.request, f'{X}/Get', client.uri(VM), '',
                 [('Name', 'x'), ('name', 'y')])
    expect_fault('InvalidSelectors', 'UnexpectedSelectors', client.start_enumeration, client.uri(VM), [('Name', 'x')])


def test_faults_for_actions():
    client = server.client()
    service = service_of(client)
    expect_fault('ActionNotSupported', 'ActionMismatch', client.invoke, service, 'DoNothing', {})
    for action in ('Create', 'Delete', 'Nonsense'):
        expect_fault('ActionNotSupported', 'ActionMismatch', client.request, f'{X}/{action}', client.uri(VM), '',
                     some_vm(client).epr.keys.items())
    shell = 'http://schemas.microsoft.com/wbem/wsman/1/windows/shell/cmd'
    expect_fault('DestinationUnreachable', 'InvalidResourceURI', client.request, f'{X}/Create', shell)


def test_faults_for_parameters():
    client = server.client()
    service = service_of(client)
    expect_fault('InvalidParameter', 'InvalidName', client.invoke, service, 'InitiateFailover', {'Nonsense': '1'})
    expect_fault('InvalidParameter', 'InvalidName', client.invoke, service, 'InitiateFailover', {'Job': '1'})
    expect_fault('InvalidParameter', 'TypeMismatch', client.invoke, service, 'StartReplication',
                 {'InitialReplicationType': 'fast'})
    expect_fault('InvalidParameter', 'InvalidValue', client.invoke, service, 'InitiateFailover', {'ComputerSystem': 'nonsense'})
    expect_fault('SchemaValidationError', None, client.invoke, service, 'InitiateFailover', body='<Other_INPUT/>')


def test_faults_for_filters():
    client = server.client()

    def filtered(dialect, text):
        return client.enumerate('*', filter_xml=f'<w:Filter Dialect="{dialect}">{text}</w:Filter>')

    expect_fault('FilterDialectRequestedUnavailable', None, filtered, ws.CQL, f'SELECT * FROM {VM}')
    expect_fault('FilterDialectRequestedUnavailable', None, filtered, 'urn:nonsense', '')
    expect_fault('CannotProcessFilter', None, filtered, ws.WQL, 'SELECT FROM WHERE')
    expect_fault('CannotProcessFilter', None, filtered, ws.WQL, '')
    expect_fault('CannotProcessFilter', None, filtered, ws.ASSOCIATION_FILTER, '')
    expect_fault('CannotProcessFilter', None, filtered, ws.ASSOCIATION_FILTER,
                 f'<b:AssociatedInstances xmlns:b="{B}"/>')


def test_subscribe_is_refused_cleanly():
    client = server.client()
    body = f'<e:Subscribe xmlns:e="{E}"><e:Delivery Mode="http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull"/></e:Subscribe>'
    fault = expect_fault('DeliveryModeRequestedUnavailable', None, client.request, f'{E}/Subscribe', client.uri('*'), body)
    assert fault.subcode_namespace == E and fault.action == f'{E}/fault'


def test_header_that_must_be_understood():
    client = server.client()
    header = '<z:Strange xmlns:z="urn:strange" s:mustUnderstand="true"/>'
    try:
        client.request(f'{X}/Get', client.uri(VM), extra_headers=header)
        raise AssertionError('no fault')
    except Fault as fault:
        check_fault(fault)
        assert fault.code == 'MustUnderstand' and fault.envelope.relates_to
        note = fault.envelope.header.find(f'{{{S}}}NotUnderstood')
        prefix, _, local = note.get('qname').partition(':')
        assert local == 'Strange' and fault.envelope.prefixes[prefix] == 'urn:strange'
    fragment = '<w:FragmentTransfer s:mustUnderstand="true">Name</w:FragmentTransfer>'
    expect_fault('UnsupportedFeature', 'FragmentLevelAccess', client.request, f'{X}/Get', client.uri(VM), extra_headers=fragment)


def test_header_that_is_missing():
    client = server.client()
    good = client.envelope(f'{X}/Get', client.uri(VM))
    for name in ('Action', 'MessageID'):
        start = good.index(f'<a:{name}')
        end = good.index(f'</a:{name}>') + len(f'</a:{name}>')
        assert raw_fault(good[:start] + good[end:]).subcode == 'MessageInformationHeaderRequired', name


def test_envelope_that_is_too_small():
    client = server.client()
    client.style = dataclasses.replace(client.style, max_envelope=8191)
    expect_fault('EncodingLimit', 'MinimumEnvelopeLimit', client.enumerate, VM)


def test_operation_timeout():
    client = server.client()
    for text in ('PT60.000S', 'PT60S', 'PT1M30S', 'P60.000S'):
        client.style = dataclasses.replace(client.style, timeout=text)
        assert client.enumerate(VM), text
    client.style = dataclasses.replace(client.style, timeout='PT0.000001S')
    fault = expect_fault('TimedOut', None, client.enumerate, VM)
    assert fault.wsman_code == 2150858793 and fault.code == 'Receiver'


# ---- HTTP ----

def http_answer(method, path, body=b'', headers=None, port=None):
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=30)
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


def test_paths_and_methods():
    client = server.client()
    body = client.envelope(f'{N}/Enumerate', client.uri(VM), '<n:Enumerate/>').encode()
    headers = {'Content-Type': 'application/soap+xml;charset=UTF-8', 'Authorization': client._authorization()}
    for path in ('/wsman', '/wsman/', '/wsman?PSVersion=5.1'):
        assert http_answer('POST', path, body, headers)[0].status == 200, path
    for path in ('/', '/wsmann', '/wsman/x', '/wsman/../wsman'):
        assert http_answer('POST', path, body, headers)[0].status == 404, path
    answer = http_answer('GET', '/wsman', headers=headers)[0]
    assert answer.status == 405 and answer.headers['Allow'] == 'POST'


def test_content_types():
    client = server.client()
    body = client.envelope(f'{N}/Enumerate', client.uri(VM), '<n:Enumerate/>')
    for kind, status in (('text/xml', 200), ('application/soap+xml', 200), ('application/soap+xml; charset="utf-8"', 200),
                         ('text/plain', 400), ('', 400)):
        assert raw(body, **{'Content-Type': kind})[0] == status, kind
    fault = raw_fault(body, **{'Content-Type': 'application/soap+xml;charset=koi8-r'})
    assert (fault.subcode, fault.detail) == ('EncodingLimit', 'CharacterSet')
    fault = raw_fault(b'\xff\xfe\x00')
    assert (fault.subcode, fault.detail) == ('EncodingLimit', 'CharacterSet')


def socket_request(lines, body=b'', more=()):
    """Bytes over a bare socket; status and the rest of the answer."""
    with socket.create_connection(('127.0.0.1', server.port), timeout=30) as link:
        head = '\r\n'.join(lines).encode() + b'\r\n\r\n'
        link.sendall(head + body)
        for wait, data in more:
            assert link.recv(4096).startswith(wait)
            link.sendall(data)
        answer = http.client.HTTPResponse(link)
        answer.begin()
        return answer.status, answer.read()


def test_odd_framing():
    client = server.client()
    body = client.envelope(f'{N}/Enumerate', client.uri(VM), '<n:Enumerate/>').encode()
    common = ['POST /wsman/ HTTP/1.1', 'HOST:x', 'content-type:application/soap+xml;charset=UTF-8',
              'authorization:' + client._authorization()]
    assert socket_request(common + [f'Content-Length:{len(body)}'], body)[0] == 200
    half = len(body) // 2
    chunked = b''.join(b'%x\r\n%s\r\n' % (len(part), part) for part in (body[:half], body[half:])) + b'0\r\n\r\n'
    assert socket_request(common + ['Transfer-Encoding: chunked'], chunked)[0] == 200
    status, _ = socket_request(common + [f'Content-Length: {len(body)}', 'Expect: 100-continue'],
                               more=[(b'HTTP/1.1 100', body)])
    assert status == 200


# ---- bad input ----

def test_bad_xml_gives_a_fault():
    good = server.client().envelope(f'{X}/Get', 'u')
    deep = '<a>' * 70 + '</a>' * 70
    bomb = '<!DOCTYPE s:Envelope [' + '<!ENTITY a "aaaaaaaaaa">' + \
        ''.join(f'<!ENTITY a{i} "&a{i - 1 if i else ""};&a{i - 1 if i else ""};">' for i in range(30)) + ']>'
    cases = ('', 'nonsense', good[:-5], good.replace('</s:Body>', ''), '<?xml version="1.0"?><!DOCTYPE x>' + good,
             '<!DOCTYPE x SYSTEM "file:///etc/passwd">' + good, bomb + good.replace('<s:Body>', '<s:Body>&a29;'),
             '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + good.replace('<s:Body>', '<s:Body>&e;'),
             good.replace('<s:Body>', f'<s:Body>{deep}'), good.replace('<s:Body>', '<s:Body><q:x/>'), '<a/>',
             good.replace('<s:Header>', '<s:Header/><s:Header>'))
    for text in cases:
        assert raw_fault(text).subcode == 'SchemaValidationError', text[:200]


def test_other_soap_and_addressing():
    good = server.client().envelope(f'{X}/Get', server.client().uri(VM))
    fault = raw_fault(good.replace(S, 'http://schemas.xmlsoap.org/soap/envelope/'))
    assert fault.code == 'VersionMismatch'
    fault = raw_fault(good.replace(A, 'http://www.w3.org/2005/08/addressing'))
    assert fault.subcode == 'MessageInformationHeaderRequired' or fault.code == 'MustUnderstand', str(fault)
    fault = raw_fault(good.replace(X, 'urn:nonsense'))
    assert fault.subcode == 'ActionNotSupported', str(fault)


def test_too_large_a_body_is_refused():
    padding = b' ' * 600000
    status, _ = raw(padding)
    assert status == 413
    client = server.client()
    lines = ['POST /wsman HTTP/1.1', 'Host: x', 'Content-Type: application/soap+xml', 'Authorization: ' + client._authorization(),
             'Content-Length: 2000000000']
    assert socket_request(lines, b'<')[0] in (413, 400)


def test_half_a_request_hurts_nobody():
    client = server.client()
    with socket.create_connection(('127.0.0.1', server.port), timeout=30) as link:
        link.sendall(b'POST /wsman HTTP/1.1\r\nHost: x\r\nContent-Type: application/soap+xml\r\n'
                     b'Authorization: %s\r\nContent-Length: 1000\r\n\r\n<s:Env' % client._authorization().encode())
        assert client.enumerate(VM)
    assert client.enumerate(VM)


def test_long_message_id():
    client = server.client()
    good = client.envelope(f'{X}/Get', client.uri(VM))
    fault = raw_fault(good.replace('uuid:', 'uuid:' + 'x' * 100000))
    assert fault.subcode == 'InvalidMessageInformationHeader' and len(fault.envelope.raw) < 10000


def test_server_is_still_whole():
    """Runs last: the server's exit code tells of anything that a sanitizer found."""
    assert server.client().enumerate(VM)
    assert server.stop() == 0


if __name__ == '__main__':
    try:
        tap.run()
    finally:
        if server.process.poll() is None:
            server.stop()
