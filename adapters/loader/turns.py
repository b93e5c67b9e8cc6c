"""
Turns: a bounded number of jobs at once, urgent ones first, fair between tenants, otherwise in order of arrival.

A job asks for a turn under a key, so that a waiting job can be hurried when a
request begins to wait for its copy. It also names its tenant (`of`, such as the
store that it downloads from). Fair between tenants: among equally urgent jobs the
next turn goes to the tenant with the fewest jobs in progress. So when a thousand
models of a slow store wait, a model of another store gets the next free turn.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from adapters.domain.copies import CopyKey


@dataclass(slots=True, eq=False)
class _Waiting:
    key: CopyKey
    of: str
    urgent: bool
    #: How many turns the job takes.
    weight: int
    number: int
    admitted: asyncio.Future[None]


class Turns:
    """At most `limit` turns are held at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._numbers = itertools.count()
        #: (urgent, tenant) → waiting jobs in order of arrival; no queue is empty. Jobs wait only while there are not
        #: enough free turns for the next one.
        self._waiting: dict[tuple[bool, str], dict[_Waiting, None]] = {}
        #: Tenant → how many of its jobs hold turns.
        self._held: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, key: CopyKey, *, urgent: bool, of: str = "", alone: bool = False) -> AsyncIterator[None]:
        """Wait for a turn on behalf of tenant `of`, and hold it; `alone`: hold all turns."""
        weight = self._limit if alone else 1
        admitted = asyncio.get_running_loop().create_future()
        waiting = _Waiting(key, of, urgent, weight, next(self._numbers), admitted)
        await self._enter(waiting)
        try:
            yield
        finally:
            self._leave(waiting)

    def hurry(self, key: CopyKey) -> None:
        """Jobs that wait under `key` are urgent from now on."""
        for waiting in [each for queue in self._waiting.values() for each in queue if each.key == key]:
            self._take(waiting)
            waiting.urgent = True
            self._put(waiting)
        # The job that was next may need all turns, while the hurried one needs only the one that is free.
        self._admit()

    async def _enter(self, waiting: _Waiting) -> None:
        self._put(waiting)
        self._admit()
        try:
            await waiting.admitted
        except asyncio.CancelledError:
            if not waiting.admitted.cancelled():
                self._leave(waiting)  # it was admitted at the same moment
            elif waiting in self._waiting.get((waiting.urgent, waiting.of), ()):
                self._take(waiting)
                self._admit()
            raise

    def _leave(self, left: _Waiting) -> None:
        self._free += left.weight
        self._held[left.of] -= 1
        if not self._held[left.of]:
            del self._held[left.of]
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            following = min((next(iter(queue)) for queue in self._waiting.values()), key=self._order)
            if following.admitted.cancelled():
                self._take(following)  # it has not noticed yet
                continue
            if following.weight > self._free:
                return
            self._take(following)
            self._free -= following.weight
            self._held[following.of] += 1
            following.admitted.set_result(None)

    def _order(self, waiting: _Waiting) -> tuple[bool, int, int]:
        return not waiting.urgent, self._held[waiting.of], waiting.number

    def _put(self, waiting: _Waiting) -> None:
        self._waiting.setdefault((waiting.urgent, waiting.of), {})[waiting] = None

    def _take(self, waiting: _Waiting) -> None:
        queue = self._waiting[waiting.urgent, waiting.of]
        del queue[waiting]
        if not queue:
            del self._waiting[waiting.urgent, waiting.of]


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
