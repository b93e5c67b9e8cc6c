"""
The work queue: an asyncio shell over `QueueState`, with per-key back-off.

Callers on the event loop add names; workers await `get`. Adding never blocks
and may happen in any callback. Not thread-safe, and it keeps nothing over a
restart: the queue is level-based, the first list refills it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from orchestrator.machinery.figures import Figure
from orchestrator.machinery.queue_metrics import QueueMetrics
from orchestrator.machinery.queue_state import QueueState

K = TypeVar("K", bound=Hashable)

#: client-go's ItemExponentialFailureRateLimiter, with a cap that suits models: 5 ms · 2ⁿ up to 30 s.
_BASE_S: Final = 0.005
_CAP_S: Final = 30.0
#: A timer may fire a rounding error before the time it was set for, and what is left of a delay may be less than the
#: clock can tell: neither must become a busy loop.
_TICK_S: Final = 0.001


class WorkQueue(Generic[K]):
    """Names that owe a reconcile."""

    def __init__(self, clock: Callable[[], float], *, name: str = "controller") -> None:
        self._state: QueueState[K] = QueueState()
        self._metrics: QueueMetrics[K] = QueueMetrics(name)
        self._clock = clock
        self._changed = asyncio.Event()
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._state.queue)

    def add(self, key: K) -> None:
        """Owe `key` a reconcile, once however often it is added before a worker takes it."""
        if self._state.add(key):
            self._metrics.added(key, self._clock())
        self._changed.set()

    def add_after(self, key: K, delay: float) -> None:
        """The same in `delay` seconds."""
        if self._state.shutting_down:
            return
        now = self._clock()
        self._metrics.retried()
        if self._state.add_after(key, max(delay, _TICK_S) if delay > 0 else delay, now):
            self._metrics.added(key, now)
        self._changed.set()

    def add_rate_limited(self, key: K, *, at_least: float = 0.0) -> None:
        """After an error: the same, later each time until `forget`, and in `at_least` so many seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, max(at_least, min(_CAP_S, _BASE_S * 2 ** min(failures, 20))))

    def forget(self, key: K) -> None:
        """`key` did well; its next error is its first. `done` is still owed."""
        self._failures.pop(key, None)

    async def get(self) -> K | None:
        """The next key; None when the queue is shut down and empty. The caller owes `done`."""
        while True:
            now = self._clock()
            for due, since in self._state.tick(now):
                self._metrics.added(due, since)
            key = self._state.get()
            if key is not None:
                self._metrics.taken(key, now)
                return key
            if self._state.shutting_down:
                return None
            await self._wait()

    async def _wait(self) -> None:
        self._changed.clear()
        due = self._state.next_due()
        timeout = None if due is None else max(_TICK_S, due - self._clock())
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            # A delay ended: the caller's loop ticks.
            return

    def done(self, key: K) -> None:
        """The worker no longer holds `key`."""
        self._state.done(key)
        self._metrics.done(key, self._clock())
        self._changed.set()

    def figures(self) -> list[Figure]:
        """The queue's metrics as they stand, named like client-go's."""
        return self._metrics.figures(self._clock())

    def shut_down(self) -> None:
        """Accept nothing more; workers get None once what is queued is served."""
        self._state.shut_down()
        self._changed.set()
