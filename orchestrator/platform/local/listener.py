"""
Whether Envoy has its listener: asked over its admin socket, since nothing else tells.

Envoy binds its port when it starts, and listens once it has heard from the
controller. Whoever binds the same port and listens in between wins it: Envoy
says so in its log, gives the listener up for good, and runs on, healthy to all
who look at the process. Such a one is ended, so that it is started again as any
other that died.

Not promised: that an Envoy which does not answer is well. A frozen one is not
judged here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Never

import structlog

log = structlog.get_logger(__name__)

_EVERY_S: Final = 2.0
_PATIENCE_S: Final = 2.0
_MAX_BYTES: Final = 64 << 10
_REQUEST: Final = (
    b"GET /stats?filter=listener_manager.listener_create_failure HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
)
_GIVEN_UP: Final = re.compile(rb"listener_create_failure: [1-9]")


async def gave_up_listener(admin: Path) -> bool:
    """Whether the Envoy with that admin socket says that it has. False from one that does not answer."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(admin)
            try:
                writer.write(_REQUEST)
                said = b""
                while len(said) < _MAX_BYTES and (part := await reader.read(4096)):
                    said += part
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return _GIVEN_UP.search(said) is not None


class ListenerWatch:
    """Calls `end` for each Envoy that runs without its listener."""

    def __init__(self, admin: Path, end: Callable[[str], None], *, every_s: float = _EVERY_S) -> None:
        self._admin = admin
        self._end = end
        self._every_s = every_s

    async def run(self) -> Never:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            if await gave_up_listener(self._admin):
                log.error("envoy_without_listener", admin=str(self._admin))
                self._end("it ran without its listener")
