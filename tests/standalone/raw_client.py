"""
Many large requests from little memory: HTTP/2 by hand, whose messages end in zeros that are never all there.

A gRPC client has each message whole in memory, and so cannot ask for more than
the machine has. This one sends of every message what flow control allows at the
moment, which is also what it measures: how much of it the other side takes.

Not a client for answers: of these it knows only how a request has ended.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from typing import Final, Self

from grpc import StatusCode

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_ACK = _END_STREAM = 1
_END_HEADERS: Final = 4
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE = 1, 4
_DEFAULT_WINDOW: Final = 65_535
_LARGEST_WINDOW: Final = 2**31 - 1
_FRAME: Final = 16_384
_HEAD: Final = 9
#: The name grpc-status in HPACK's Huffman code, with its length: what any peer says that may keep no table.
_GRPC_STATUS: Final = b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f"
_CODES: Final = {str(code.value[0]).encode(): code for code in StatusCode}


class RawClient:
    """One connection; `ask` begins requests, a thread sends them on and hears of their ends."""

    def __init__(self, target: str, path: str, headers: dict[str, str]) -> None:
        host, _, port = target.rpartition(":")
        self._headers = b"".join(
            _literal(name, value)
            for name, value in {
                ":method": "POST",
                ":scheme": "http",
                ":path": path,
                ":authority": target,
                "content-type": "application/grpc",
                "te": "trailers",
                **headers,
            }.items()
        )
        #: Bytes of messages that the other side has taken.
        self.sent = 0
        #: Requests that ended, by status; and those that were reset, which had none: gRPC calls most of them INTERNAL.
        self.statuses: Counter[StatusCode] = Counter()
        self.resets = 0
        self._socket = socket.create_connection((host, int(port)))
        self._received = b""
        self._next = 1
        self._initial = _DEFAULT_WINDOW
        self._window = _DEFAULT_WINDOW
        #: By stream: what is left to send, and its window.
        self._left: dict[int, int] = {}
        self._windows: dict[int, int] = {}
        self._starts: dict[int, bytes] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="raw-client")

    def __enter__(self) -> Self:
        # All that comes is taken.
        settings = struct.pack(">HIHI", _HEADER_TABLE_SIZE, 0, _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        more = (_LARGEST_WINDOW - _DEFAULT_WINDOW).to_bytes(4)
        self._socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, more))
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    @property
    def ended(self) -> int:
        """Requests that ended, whatever the answer."""
        return self.statuses.total() + self.resets

    @property
    def sending(self) -> int:
        """Requests that have not ended, and whose messages the other side does not have whole."""
        with self._lock:
            return sum(left > 0 for left in self._left.values())

    def ask(self, count: int, size: int, head: bytes = b"") -> None:
        """Begin so many requests with messages of that size, which begin with `head`."""
        start = b"\0" + struct.pack(">I", size) + head
        with self._lock:
            for _ in range(count):
                self._left[self._next] = size + len(start) - len(head)
                self._windows[self._next] = self._initial
                self._starts[self._next] = start
                self._socket.sendall(_frame(_HEADERS, _END_HEADERS, self._next, self._headers))
                self._next += 2

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector, suppress(ConnectionError):
            selector.register(self._socket, selectors.EVENT_READ)
            while not self._stop.is_set():
                if selector.select(0.01):
                    received = self._socket.recv(1 << 20)
                    if not received:
                        break
                    self._received += received
                with self._lock:
                    self._take()
                    self._send_on()
        with self._lock:
            # The other side closed the connection, and all that was on it.
            for stream in tuple(self._left):
                self._end(stream)
                self.resets += 1

    def _take(self) -> None:
        while len(self._received) >= _HEAD:
            length = int.from_bytes(self._received[:3])
            if len(self._received) < _HEAD + length:
                return
            kind, flags = self._received[3], self._received[4]
            stream = int.from_bytes(self._received[5:9])
            payload = self._received[_HEAD : _HEAD + length]
            self._received = self._received[_HEAD + length :]
            self._hear(kind, flags, stream, payload)

    def _hear(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            for position in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HI", payload, position)
                if name == _INITIAL_WINDOW_SIZE:
                    for each in self._windows:
                        self._windows[each] += value - self._initial
                    self._initial = value
            self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            more = int.from_bytes(payload)
            if stream == 0:
                self._window += more
            elif stream in self._windows:
                self._windows[stream] += more
        elif stream in self._left and kind == _RST_STREAM:
            self._end(stream)
            self.resets += 1
        elif stream in self._left and kind == _HEADERS and flags & _END_STREAM:
            self._end(stream)
            self.statuses[_status(payload)] += 1

    def _end(self, stream: int) -> None:
        del self._left[stream], self._windows[stream], self._starts[stream]

    def _send_on(self) -> None:
        for stream, left in self._left.items():
            room = min(left, self._windows[stream], self._window)
            while room > 0:
                size = min(room, _FRAME)
                start, self._starts[stream] = self._starts[stream][:size], self._starts[stream][size:]
                left -= size
                room -= size
                flags = 0 if left else _END_STREAM
                self._socket.sendall(_frame(_DATA, flags, stream, start + bytes(size - len(start))))
                self._left[stream] = left
                self._windows[stream] -= size
                self._window -= size
                self.sent += size


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _status(trailers: bytes) -> StatusCode:
    """The status that a call ends with."""
    _, found, rest = trailers.partition(_GRPC_STATUS)
    assert found, f"trailers without a status: {trailers!r}"
    return _CODES[rest[1 : 1 + rest[0]]]


def _literal(name: str, value: str) -> bytes:
    """A header that no table is needed for."""
    assert len(name) < 127
    assert len(value) < 127
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
