"""
Whether a pod's server or its adapter has hung: the adapter is asked, as kubelets' liveness probes ask in a cluster.

It is the adapter that tells a server which has hung from one that loads or
predicts (adapters/health.py). It is asked more than once, so that a server which
was frozen for a moment longer than its patience is left alone.

Unlike a kubelet this takes only a plain "hung" for one: an adapter that does not
answer says nothing about its server. One that takes the question and stays silent
for a minute has hung itself; one that takes none is being started again.
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
#: So many answers in a row, or questions without one.
_FAILURES: Final = 3
_SILENCES: Final = 4
_TIMEOUT_S: Final = 5.0


async def hung(socket: Path) -> str | None:
    """
    Why the server has hung, by the adapter with that health socket; "" if it has not.

    None if the adapter takes the question and does not answer.
    """
    try:
        status, said = await asked(socket, "/livez", _TIMEOUT_S)
    except TimeoutError:
        return None
    except aiohttp.ClientError:
        return ""
    return said if status == HTTPStatus.SERVICE_UNAVAILABLE else ""


class LivenessProbe:
    """Calls `end_server` for each server that hangs, and `end_adapter` for each adapter, with the reason."""

    def __init__(
        self,
        socket: Path,
        *,
        end_server: Callable[[str], None],
        end_adapter: Callable[[str], None],
        every_s: float = _EVERY_S,
    ) -> None:
        self._socket = socket
        self._end_server = end_server
        self._end_adapter = end_adapter
        self._every_s = every_s

    async def run(self) -> Never:
        """Ask until cancelled."""
        failures = silences = 0
        while True:
            await asyncio.sleep(self._every_s)
            why = await hung(self._socket)
            failures = failures + 1 if why else 0
            silences = silences + 1 if why is None else 0
            if why and failures == _FAILURES:
                self._end_server(why)
                failures = 0
            if silences == _SILENCES:
                self._end_adapter("the adapter has not answered for a minute")
                silences = 0
