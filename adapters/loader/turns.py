"""
Turns: a bounded number at once, the urgent first, otherwise in order.

A turn is asked for under a key, so that a waiting one can be hurried when a
request begins to wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from adapters.domain.copies import CopyKey


@dataclass(slots=True, eq=False)
class _Waiting:
    key: CopyKey
    urgent: bool
    #: How many turns it takes.
    weight: int
    admitted: asyncio.Future[None]


class Turns:
    """At most `limit` turns are held at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        #: In order of arrival. Non-empty only while there are not enough turns for the one that is next.
        self._waiting: list[_Waiting] = []

    @asynccontextmanager
    async def turn(self, key: CopyKey, *, urgent: bool, alone: bool = False) -> AsyncIterator[None]:
        """Wait for a turn and hold it; `alone`: for all of them."""
        weight = self._limit if alone else 1
        await self._enter(_Waiting(key, urgent, weight, asyncio.get_running_loop().create_future()))
        try:
            yield
        finally:
            self._leave(weight)

    def hurry(self, key: CopyKey) -> None:
        """What waits under `key` is urgent from now on."""
        for waiting in self._waiting:
            if waiting.key == key:
                waiting.urgent = True

    async def _enter(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._admit()
        try:
            await waiting.admitted
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._admit()
            elif not waiting.admitted.cancelled():
                self._leave(waiting.weight)  # it was admitted at the same moment
            raise

    def _leave(self, weight: int) -> None:
        self._free += weight
        self._admit()

    def _admit(self) -> None:
        # One that was cancelled a moment ago has not come to remove itself.
        self._waiting = [each for each in self._waiting if not each.admitted.cancelled()]
        while self._waiting:
            following = next((each for each in self._waiting if each.urgent), self._waiting[0])
            if following.weight > self._free:
                return
            self._waiting.remove(following)
            self._free -= following.weight
            following.admitted.set_result(None)


class Locks:
    """One lock a name, kept only while it is held or waited for."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Wait for the name and hold it."""
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[name]
            if users == 1:
                del self._locks[name]
            else:
                self._locks[name] = lock, users - 1
