#!/usr/bin/env python3
"""What the service refuses, and how: faults, HTTP errors, and input that is broken or hostile."""

import dataclasses
import http.client
import socket
import sys

sys.dont_write_bytecode = True

from checks import SERVICE, VM, check_fault, each_style, expect_fault, finish, raw, raw_fault, server, service_of, some_vm  # noqa: E402
import tap  # noqa: E402
import wsman_client as ws  # noqa: E402
from wsman_client import A, B, E, Fault, N, S, W, X  # noqa: E402


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
    finish()


if __name__ == '__main__':
    try:
        tap.run()
    finally:
        if server.process.poll() is None:
            server.stop()
