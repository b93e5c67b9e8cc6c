"""
Ports for processes that are told a number.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

#: Above those of well-known services.
_LEAST_PORT: Final = 15_000


@contextmanager
def reserved() -> Iterator[int]:
    """
    A port of this machine that nobody is given by chance, and that who knows it can listen at.

    One that was only found free may be the local end of somebody's connection by the time that a process has started.
    """
    with socket.socket() as held:
        # Servers say the same of their sockets: then the kernel lets both have the port, as long as one listens.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def free_port() -> int:
    """A loopback port that nobody has now, nor is given who asks for any: the kernel gives those above."""
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    while True:
        port = _LEAST_PORT + secrets.randbelow(max(given, 2 * _LEAST_PORT) - _LEAST_PORT)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
