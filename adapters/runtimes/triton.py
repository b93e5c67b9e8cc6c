"""
Triton: unloading is asynchronous, so the index is asked until it confirms.

A request in flight keeps the unloaded model alive until it is answered, which
the index shows as UNLOADING: the confirmation is also the drain.
"""

from __future__ import annotations

import asyncio
from typing import Final

from adapters.domain.errors import ServerRefused, ServerSilent
from adapters.runtimes.client import RuntimeClient

_FIRST_S: Final = 0.01
_LAST_S: Final = 0.25


class TritonClient(RuntimeClient):
    """The repository API of a Triton in explicit mode."""

    occupied = frozenset({"READY", "LOADING", "UNLOADING"})

    async def _absent(self, model: str, timeout_s: float, refusal: ServerRefused | None) -> None:
        interval = _FIRST_S
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            states = (await self._index()).get(model, frozenset())
            if not states & self.occupied:
                return
            if refusal is not None:
                raise refusal
            if asyncio.get_running_loop().time() > deadline:
                raise ServerSilent(timeout_s)
            await asyncio.sleep(interval)
            interval = min(2 * interval, _LAST_S)
