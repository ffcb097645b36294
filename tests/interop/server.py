"""Starts wsman-test-server (its path in WSMAN_TEST_SERVER) and gives clients for its listeners."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / 'lib')]

from wsman_client import WsmanClient  # noqa: E402


class Server:
    """One server; use as a context. Its folder goes with it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='vr-wsman-')
        self.ca = None
        certificates = self._make_certificates()
        self.process = subprocess.Popen([os.environ['WSMAN_TEST_SERVER'], self.folder, *certificates],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.listeners = {}
        for line in self.process.stdout:
            kind, _, value = line.strip().partition(' ')
            if kind == 'ready':
                break
            self.listeners[kind] = value
        else:
            raise RuntimeError('the server did not start')

    def _make_certificates(self):
        if shutil.which('certtool') is None:
            return []
        subprocess.run([HERE.parent / 'lib' / 'make-certificates', self.folder, 'server'], check=True)
        self.ca = os.path.join(self.folder, 'ca.pem')
        return [os.path.join(self.folder, 'server.pem'), os.path.join(self.folder, 'server-key.pem')]

    @property
    def port(self):
        return int(self.listeners['http'])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def client(self, style='winrm', user='admin', password='secret', **options):
        """Over TCP with user and password."""
        return WsmanClient(self.url, style=style, user=user, password=password, **options)

    def local_client(self, style='winrm'):
        """Over the unix socket."""
        return WsmanClient('unix:' + self.listeners['unix'], style=style)

    def tls_client(self, style='winrm'):
        return WsmanClient(f"https://127.0.0.1:{self.listeners['https']}", style=style, user='admin', password='secret',
                           ca_file=self.ca)

    def stop(self):
        """Ends the server; its exit code says whether the sanitizers found something."""
        self.process.stdin.close()
        code = self.process.wait(timeout=30)
        self.process.stdout.close()
        shutil.rmtree(self.folder)
        return code
