"""What the tests of the protocol share: one server, and what holds for every fault."""

from server import Server  # it puts tests/lib on the path
import wsman_client as ws
from wsman_client import A, E, F, Fault, N

VM = 'Msvm_ComputerSystem'
SERVICE = 'Msvm_ReplicationService'
INVALID_PARAMETER = 32773

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


def finish():
    """The last claim of each program: the server is whole, and its exit code tells of nothing that a sanitizer found."""
    assert server.client().enumerate(VM)
    assert server.stop() == 0
