"""A peer of virt-replicad that says whatever a test wants: the HTTPS between hosts, spoken by hand (src/link/link-wire.h)."""

import http.client
import json
import os
import ssl
import uuid

PATH = "/virt-replica/v1/"
SETTINGS = json.dumps({"authentication_type": 2, "compression_enabled": True, "recovery_connection_point": "localhost",
                       "recovery_server_port": 1, "replication_interval_sec": 30, "recovery_history": 1})


class Peer:
    def __init__(self, certificates, name, port):
        self.name = name
        self.port = port
        self.context = ssl.create_default_context(cafile=os.path.join(certificates, "ca.pem"))
        if name is not None:
            self.context.load_cert_chain(os.path.join(certificates, f"{name}.pem"), os.path.join(certificates, f"{name}-key.pem"))

    def request(self, method, path, body=None, headers=None, chunked=False):
        """(status, answer as dict, or text when it is not JSON)."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=60)
        try:
            connection.request(method, path, body=iter([body]) if chunked else body, headers=headers or {},
                               encode_chunked=chunked)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def hello(self):
        return self.request("GET", PATH + "hello")

    def offer(self, vm, domain_xml, name="guest", disks=({"id": "vda", "size_bytes": 2**20},), method="POST", **changes):
        """Offers a VM for replication."""
        text = {"name": name, "lineage": str(uuid.uuid4()), "domain_xml": domain_xml, "settings": SETTINGS,
                "primary_host": self.name, "memory_bytes": 16 * 2**20, "disks": list(disks)}
        text.update(changes)
        return self.request(method, f"{PATH}relationships/{vm}", json.dumps(text), {"Content-Type": "application/json"})

    def position(self, vm):
        return self.request("GET", f"{PATH}relationships/{vm}")

    def remove(self, vm):
        return self.request("DELETE", f"{PATH}relationships/{vm}")

    def send_log(self, vm, body, position=1, kind=1, lineage=None, **headers):
        fields = {"X-Log-Kind": str(kind), "X-Log-Lineage": lineage or str(uuid.uuid4()), "X-Log-Age-Usec": "0",
                  "X-Log-Offset": "0", "Transfer-Encoding": "chunked"}
        fields.update({key.replace("_", "-"): value for key, value in headers.items()})
        return self.request("POST", f"{PATH}relationships/{vm}/logs/{position}", body, fields, chunked=True)
