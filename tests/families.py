"""
The families of IP that this machine has.
"""

from __future__ import annotations

import socket
from typing import Final


def _has(host: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


#: Of each family that there is, the address of this machine.
LOOPBACKS: Final = ("127.0.0.1", *(["::1"] if _has("::1") else []))
