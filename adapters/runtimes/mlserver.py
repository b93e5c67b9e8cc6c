"""
MLServer: an unload has happened when it is answered, and its index is expensive.

The index reads every settings file in the repository; whether one model is
there is asked by ModelReady instead, which fails for a model that is not
registered. Requests in flight hold the model's object until they are answered.
"""

from __future__ import annotations

from adapters.domain.errors import ServerRefused
from adapters.runtimes.client import RuntimeClient


class MLServerClient(RuntimeClient):
    """The repository API of an MLServer."""

    #: UNKNOWN is a model that is registered and not ready.
    occupied = frozenset({"READY", "UNKNOWN"})

    async def _absent(self, model: str, timeout_s: float, refusal: ServerRefused | None) -> None:
        try:
            await self._call(self._client.is_model_ready(model, client_timeout=timeout_s), timeout_s)
        except ServerRefused:
            return
        raise refusal or ServerRefused("the server confirmed the unload, and still has the model")
