"""
MLServer: an unload has happened when it is answered, and its index is expensive.

The index reads every settings file in the repository; whether one model is
there is asked by ModelReady instead, which fails for a model that is not
registered. Requests that it has begun hold the model's object until they are
answered. Those that it has not even read yet, because a prediction occupies
its only thread, would be told that there is no such model: so an unload waits
until the thread is free. It has no counters to ask; that it answers at once,
several times, is what can be seen.
"""

from __future__ import annotations

import asyncio
from typing import Final

from adapters.domain.errors import ServerRefused, ServerSilent
from adapters.runtimes.client import RuntimeClient

#: Free: it answered so often in a row, each time within so many seconds.
_QUICK_S: Final = 0.02
_QUICK_ANSWERS: Final = 3
_PAUSE_S: Final = 0.02
#: A server that is never free is not waited for: what is lost then is retried by the mesh.
_QUIET_WITHIN_S: Final = 5.0


class MLServerClient(RuntimeClient):
    """The repository API of an MLServer."""

    #: UNKNOWN is a model that is registered and not ready.
    occupied = frozenset({"READY", "UNKNOWN"})

    async def unload(self, model: str, timeout_s: float) -> None:
        """Let it finish what it was sent, then as for any server."""
        await self._quiet(min(timeout_s, _QUIET_WITHIN_S))
        await super().unload(model, timeout_s)

    async def _quiet(self, within_s: float) -> None:
        clock = asyncio.get_running_loop().time
        end, quick = clock() + within_s, 0
        while quick < _QUICK_ANSWERS and clock() < end:
            asked = clock()
            try:
                await self._call(self._client.is_server_live(client_timeout=within_s), within_s)
            except ServerSilent:
                return
            quick = quick + 1 if clock() - asked < _QUICK_S else 0
            await asyncio.sleep(_PAUSE_S)

    async def _absent(self, model: str, timeout_s: float, refusal: ServerRefused | None) -> None:
        try:
            await self._call(self._client.is_model_ready(model, client_timeout=timeout_s), timeout_s)
        except ServerRefused:
            return
        raise refusal or ServerRefused("the server confirmed the unload, and still has the model")
