"""
Ports for processes that are told a number.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


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
