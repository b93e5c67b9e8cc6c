"""
Whether a pod's server has hung: its adapter is asked, as a kubelet's liveness probe asks in a cluster.

It is the adapter that tells a server which has hung from one that loads or
predicts (adapters/health.py). It is asked more than once, so that a server which
was frozen for a moment longer than its patience is left alone.

Unlike a kubelet this takes only a plain "hung" for one: an adapter that does not
answer is being started again, or is frozen itself, and says nothing about its
server. So there is no minute to wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final, Never

import aiohttp

from orchestrator.platform.local.adapter_health import asked

_EVERY_S: Final = 10.0
#: So many answers in a row.
_FAILURES: Final = 3
_TIMEOUT_S: Final = 5.0


async def hung(socket: Path) -> str:
    """Why the server has hung, by the adapter with that health socket; "" if it has not, or nobody answers."""
    try:
        status, said = await asked(socket, "/livez", _TIMEOUT_S)
    except (aiohttp.ClientError, TimeoutError):
        return ""
    return said if status == HTTPStatus.SERVICE_UNAVAILABLE else ""


class LivenessProbe:
    """Calls `end` with the reason, for each server that hangs."""

    def __init__(self, socket: Path, end: Callable[[str], None], *, every_s: float = _EVERY_S) -> None:
        self._socket = socket
        self._end = end
        self._every_s = every_s

    async def run(self) -> Never:
        """Ask until cancelled."""
        failures = 0
        while True:
            await asyncio.sleep(self._every_s)
            why = await hung(self._socket)
            failures = failures + 1 if why else 0
            if failures == _FAILURES:
                self._end(why)
                failures = 0
