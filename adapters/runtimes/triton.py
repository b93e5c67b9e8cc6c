"""
Triton: unloading is asynchronous, so the index is asked until it confirms.

A request in flight keeps the unloaded model alive until it is answered, which
the index shows as UNLOADING: the confirmation is also the drain.

Triton reports READY even for a model whose stub process has ended: `stubs` tells.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from adapters.domain.errors import ServerRefused, ServerSilent
from adapters.runtimes.client import RuntimeClient
from adapters.runtimes.stubs import Stubs

_FIRST_S: Final = 0.01
_LAST_S: Final = 0.25


class TritonClient(RuntimeClient):
    """The repository API of a Triton in explicit mode."""

    occupied = frozenset({"READY", "LOADING", "UNLOADING"})

    def __init__(self, target: str, repository: Path) -> None:
        super().__init__(target)
        self._stubs = Stubs(repository)

    async def close(self) -> None:
        """Close the connection, and watch no stubs any more."""
        self._stubs.close()
        await super().close()

    async def unload(self, model: str, timeout_s: float) -> None:
        """Unload as for any server. The model's stubs have ended then."""
        await super().unload(model, timeout_s)
        self._stubs.forget(model)

    async def is_loaded(self, model: str) -> bool:
        """Whether Triton says so, and no stub of the model has ended since it was loaded."""
        return await super().is_loaded(model) and self._stubs.whole(model)

    async def loaded_models(self) -> frozenset[str]:
        """The models, as for any server; their stubs are watched from now on."""
        await self._stubs.look()
        return await super().loaded_models()

    async def ailing(self) -> str:
        """Return a model of which a stub has ended: broken, unless it is being unloaded or loaded again."""
        return await self._stubs.ended()

    async def _loaded(self, model: str) -> bool:
        await self._stubs.look(model)
        return await super()._loaded(model)

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
