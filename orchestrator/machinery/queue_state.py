"""
The work queue's state: what client-go's workqueue (k8s.io/client-go/util/workqueue) does, without clock or event loop.

Laws, each checked by a property test:

- `queue ⊆ dirty`, `queue ∩ processing = ∅`, `dirty − processing = queue`
- any number of adds between two gets of a key give one reconcile, an add while
  the key is processed gives exactly one more
- never two workers on one key; between keys first in, first out
- a delayed key keeps its earliest time, and an add does not cancel it
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class QueueState(Generic[K]):
    """A de-duplicating, fair queue. `now` is any monotonic clock, in seconds."""

    __slots__ = ("_heap", "_order", "dirty", "processing", "queue", "shutting_down", "waiting")

    def __init__(self) -> None:
        #: Order of work. Every key here is dirty and not processing.
        self.queue: OrderedDict[K, None] = OrderedDict()
        #: Keys that owe a reconcile.
        self.dirty: set[K] = set()
        #: Keys that a worker holds.
        self.processing: set[K] = set()
        #: Delayed keys and the time at which each becomes an ordinary add.
        self.waiting: dict[K, float] = {}
        self.shutting_down = False
        # May hold entries that `waiting` no longer confirms; those are skipped when due.
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0

    def add(self, key: K) -> bool:
        """Owe `key` a reconcile; whether it owed none before."""
        if self.shutting_down or key in self.dirty:
            return False
        self.dirty.add(key)
        if key not in self.processing:
            self.queue[key] = None
        return True

    def add_after(self, key: K, delay: float, now: float) -> bool:
        """Add `key` in `delay` seconds; of several delays the earliest counts. Whether it was added at once."""
        if self.shutting_down:
            return False
        if delay <= 0:
            return self.add(key)
        ready = now + delay
        if key in self.waiting and self.waiting[key] <= ready:
            return False
        self.waiting[key] = ready
        self._order += 1
        heapq.heappush(self._heap, (ready, self._order, key))
        return False

    def tick(self, now: float) -> list[tuple[K, float]]:
        """Turn every delayed key that is due into an add; those that owed nothing before, and since when they do."""
        added: list[tuple[K, float]] = []
        while self._heap and self._heap[0][0] <= now:
            ready, _, key = heapq.heappop(self._heap)
            if self.waiting.get(key) == ready:
                del self.waiting[key]
                if self.add(key):
                    added.append((key, ready))
        return added

    def next_due(self) -> float | None:
        """When `tick` next has something to do."""
        while self._heap and self.waiting.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def get(self) -> K | None:
        """The next key, now held by the caller, who owes a `done`; None if there is none."""
        if not self.queue:
            return None
        key, _ = self.queue.popitem(last=False)
        self.processing.add(key)
        self.dirty.discard(key)
        return key

    def done(self, key: K) -> None:
        """The caller no longer holds `key`."""
        self.processing.discard(key)
        if key in self.dirty:
            self.queue[key] = None

    def shut_down(self) -> None:
        """Accept nothing more; what is queued is still served."""
        self.shutting_down = True
        self.waiting.clear()
        self._heap.clear()

    @property
    def drained(self) -> bool:
        """Whether all owed work is done after a shutdown."""
        return self.shutting_down and not self.queue and not self.processing
