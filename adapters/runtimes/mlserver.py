"""
MLServer: an unload has happened when it is answered, and its index is expensive.

The index reads every settings file in the repository. So ModelReady is asked
instead whether one model is there: it fails for a model that is not registered.
Requests that MLServer has begun hold the model's object until they are answered.
Requests that it has not read yet, because a prediction occupies its only thread,
would be told that there is no such model: so an unload waits until the thread is
free. MLServer has no counters for that; several prompt answers in a row are taken
as the sign.
"""

from __future__ import annotations

import asyncio
from typing import Final

from adapters.domain.errors import ServerRefused, ServerSilent
from adapters.runtimes.client import RuntimeClient

#: The thread counts as free after _QUICK_ANSWERS answers in a row, each within _QUICK_S.
_QUICK_S: Final = 0.02
_QUICK_ANSWERS: Final = 3
_PAUSE_S: Final = 0.02
#: The longest wait for a free thread: the mesh retries the requests that are lost then.
_QUIET_WITHIN_S: Final = 5.0


class MLServerClient(RuntimeClient):
    """The repository API of an MLServer."""

    #: UNKNOWN is the state of a model that is registered and not ready.
    occupied = frozenset({"READY", "UNKNOWN"})

    async def unload(self, model: str, timeout_s: float) -> None:
        """Let the server read the requests that it was sent, then unload as for any server."""
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
