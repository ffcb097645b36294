#!/usr/bin/env python3
"""The service as each family of clients meets it. Answers are checked as parsed XML with namespaces."""

import dataclasses
import io
import sys
import xml.etree.ElementTree as ET

sys.dont_write_bytecode = True

from checks import INVALID_PARAMETER, SERVICE, VM, each_style, expect_fault, finish, server, service_of, some_vm  # noqa: E402
import tap  # noqa: E402
import wsman_client as ws  # noqa: E402
from wsman_client import (  # noqa: E402
    A, CIM, EmbeddedInstance, Epr, Fault, MS, N, ProtocolError, Reference, S, W, X, XSI)

XSD_URI = 'http://schemas.dmtf.org/wbem/ws-cim/1/cim-schema/2/*'


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


def test_association_instance_is_named_by_references():
    for name in ('winrm', 'cim-cmdlets', 'go-wsman'):
        client = server.client(name)
        link = client.references(some_vm(client), result_class='Msvm_ElementSettingData', mode='EnumerateObjectAndEPR')[0]
        assert isinstance(link.epr.keys['ManagedElement'], Epr), name
        again = client.get(link.epr)
        assert again['SettingData'].keys == link['SettingData'].keys, name


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
        names = [ws.split_tag(e.tag)[1] for e in vm.element]
        schema = client.get_class(VM)
        declared = [e.get('NAME') for e in schema if e.tag.startswith('PROPERTY') and e.tag != 'PROPERTY.ARRAY']
        assert names == sorted(names, key=str.lower), names
        assert set(declared) <= set(names), set(declared) - set(names)
        assert vm.uri == client.uri(VM) and vm.type == f'p:{VM}_Type'
        nil = [e for e in vm.element if e.get(f'{{{XSI}}}nil') == 'true']
        assert nil and all(len(e) == 0 and not e.text for e in nil)


def test_null_arrays_are_marked_on_request():
    for style, want in (('cim-cmdlets', 'true'), ('omi', None)):
        client = server.client(style)
        vm = some_vm(client)
        arrays = {e.get('NAME') for e in client.get_class(VM).iter('PROPERTY.ARRAY')}
        null = [e for e in vm.element if ws.split_tag(e.tag)[1] in arrays and e.get(f'{{{XSI}}}nil') == 'true']
        assert null and all(e.get(f'{{{MS}}}IsNullArray') == want for e in null), style


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
    names = [ws.split_tag(e.tag)[1] for e in result.envelope.child]
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


def test_server_is_still_whole():
    finish()


if __name__ == '__main__':
    try:
        tap.run()
    finally:
        if server.process.poll() is None:
            server.stop()
