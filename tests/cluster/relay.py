"""
From a loopback port of the host to an address inside the node's network.

A client in the test's own process, which is outside, so speaks with a pod as
if it were beside it. A thread may be in another network namespace than its
process: the one that accepts connections joins the node's, hence what it
connects to is inside, while the socket that it accepts from was made outside.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CHUNK: Final = 1 << 16


class Relay:
    """Serves until closed; an end of one side is an end of the other."""

    def __init__(self, pid: int, host: str, port: int) -> None:
        self._pid = pid
        self._to = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        """For a client outside."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Ends all connections, and returns when nothing of this is left."""
        with self._lock:
            self._closed = True
            sides = list(self._open)
        # A shutdown wakes whoever waits for the socket, a close does not.
        for each in (self._listener, *sides):
            _shut(each, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        descriptor = os.open(f"/proc/{self._pid}/ns/net", os.O_RDONLY)
        try:
            if _LIBC.setns(descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)
        while not self._closed:
            try:
                outer, _ = self._listener.accept()
            except OSError:
                return
            try:
                inner = socket.create_connection(self._to, timeout=5)
            except OSError:
                # What a client would have seen inside: nobody listens there.
                outer.close()
                continue
            inner.settimeout(None)
            for side in (outer, inner):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._join(outer, inner)

    def _join(self, outer: socket.socket, inner: socket.socket) -> None:
        pair = (outer, inner)
        left = threading.Semaphore(1)
        with self._lock:
            if self._closed:
                for side in pair:
                    side.close()
                return
            self._open.update(pair)
            for source, sink in (pair, pair[::-1]):
                thread = threading.Thread(target=self._pump, args=(source, sink, pair, left), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        pair: tuple[socket.socket, socket.socket],
        first: threading.Semaphore,
    ) -> None:
        try:
            while data := source.recv(_CHUNK):
                sink.sendall(data)
        except OSError:
            # A reset of one side; all that the other can be told is that it is over.
            _shut(source, socket.SHUT_RDWR)
        _shut(sink, socket.SHUT_WR)
        if not first.acquire(blocking=False):
            with self._lock:
                self._open.difference_update(pair)
            for side in pair:
                side.close()


def _shut(side: socket.socket, how: int) -> None:
    try:
        side.shutdown(how)
    except OSError:
        # It is over already.
        pass


@contextmanager
def relayed(pid: int, host: str, port: int) -> Iterator[str]:
    """An address outside for `host`:`port` inside the network namespace of `pid`."""
    relay = Relay(pid, host, port)
    try:
        yield relay.address
    finally:
        relay.close()
