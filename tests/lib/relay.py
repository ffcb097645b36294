"""A TCP relay on this machine that counts what passes, can be slow, and can be cut or stopped up like a cable."""

import contextlib
import socket
import threading
import time


class Relay:
    """Listens on a free port (.port) and passes connections on to 127.0.0.1:@target_port, at most .rate bytes a second of each one
    towards the target (None: as fast as it goes)."""

    def __init__(self, target_port, rate=None):
        self.target_port = target_port
        self.rate = rate
        self.forward_bytes = 0   # towards the target
        self.backward_bytes = 0
        self.is_cut = False
        self.hold_at = None      # forward bytes after which nothing passes any more
        self.is_holding = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.cut_at = None       # forward bytes after which it cuts itself
        self.lock = threading.Lock()
        self.pairs = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        if rate is not None:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # or a second's worth of many is taken at once
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self.is_cut:
                    raise OSError("cut")
                target = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                client.close()
                continue
            pair = (client, target)
            with self.lock:
                self.pairs.add(pair)
            threading.Thread(target=self._pass, args=(client, target, True, pair), daemon=True).start()
            threading.Thread(target=self._pass, args=(target, client, False, pair), daemon=True).start()

    def _pass(self, source, sink, forward, pair):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                rate = self.rate if forward else None
                with self.lock:
                    if forward:
                        self.forward_bytes += len(data)
                    else:
                        self.backward_bytes += len(data)
                    if forward and self.hold_at is not None and self.forward_bytes >= self.hold_at:
                        self.hold_at = None
                        self.goes_on.clear()
                        self.is_holding.set()
                    cut = self.cut_at is not None and self.forward_bytes >= self.cut_at
                if cut:
                    self.cut_at = None
                    self.cut()
                if rate is not None:
                    time.sleep(len(data) / rate)
                self.goes_on.wait()
        self._end(pair)

    def _end(self, pair):
        with self.lock:
            self.pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self):
        """Ends all connections, and new ones until mend()."""
        self.is_cut = True
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            self._end(pair)

    def cut_after(self, count):
        """cut() by itself as soon as @count more bytes went forward."""
        self.cut_at = self.forward_bytes + count

    def mend(self):
        self.is_cut = False

    def hold_after(self, more_bytes):
        """Lets @more_bytes pass to the target, then nothing in either direction until let_go(); is_holding tells when."""
        with self.lock:
            self.is_holding.clear()
            self.hold_at = self.forward_bytes + more_bytes

    def let_go(self):
        with self.lock:
            self.hold_at = None
            self.goes_on.set()

    def close(self):
        self.listener.close()
        self.let_go()
        self.cut()
