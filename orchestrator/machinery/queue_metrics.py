"""
The metrics of a work queue, by the names that client-go gave them, so that dashboards for controllers fit.

Law: adds = gets + depth. An add counts when it makes a key owe work, not when
the key owed it already; from then to the get it is in the queue, from the get
to `done` it is worked on. `now` is any monotonic clock, in seconds.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from orchestrator.machinery.figures import SHORT_S, Counter, Figure, Timing, gauges

K = TypeVar("K", bound=Hashable)

_LABEL = "name"


class QueueMetrics(Generic[K]):
    """What one queue did. `name` tells queues of a process apart."""

    __slots__ = ("_adds", "_begun", "_name", "_queued", "_retries", "_since", "_worked")

    def __init__(self, name: str) -> None:
        self._name = name
        #: Keys that owe work, and since when.
        self._since: dict[K, float] = {}
        #: Keys that are worked on, and since when.
        self._begun: dict[K, float] = {}
        self._adds = Counter("workqueue_adds", "Keys that came to owe work.", _LABEL)
        self._retries = Counter("workqueue_retries", "Keys that were to come again after a while.", _LABEL)
        self._queued = Timing(
            "workqueue_queue_duration_seconds", "How long keys waited for a worker.", _LABEL, bounds=SHORT_S
        )
        self._worked = Timing(
            "workqueue_work_duration_seconds", "How long keys were worked on.", _LABEL, bounds=SHORT_S
        )
        # Rates exist from the first event on only if there was a zero before.
        for each in (self._adds, self._retries, self._queued, self._worked):
            each.expect(name)

    def added(self, key: K, now: float) -> None:
        """The key owes work from now on; it did not before."""
        self._since[key] = now
        self._adds.add(self._name)

    def taken(self, key: K, now: float) -> None:
        """A worker has the key."""
        self._queued.observe(now - self._since.pop(key), self._name)
        self._begun[key] = now

    def done(self, key: K, now: float) -> None:
        """The worker is done with it. Once more does not count."""
        begun = self._begun.pop(key, None)
        if begun is not None:
            self._worked.observe(now - begun, self._name)

    def retried(self) -> None:
        """A key was to come again after a while, be it zero."""
        self._retries.add(self._name)

    def figures(self, now: float) -> list[Figure]:
        """As it stands."""
        running = [now - begun for begun in self._begun.values()]
        return [
            self._gauge("workqueue_depth", "Keys that owe work and are not worked on yet.", len(self._since)),
            self._adds.read(),
            self._queued.read(),
            self._worked.read(),
            self._gauge(
                "workqueue_unfinished_work_seconds", "Seconds so far of all that is worked on now.", sum(running)
            ),
            self._gauge(
                "workqueue_longest_running_processor_seconds",
                "Seconds so far of what is worked on longest.",
                max(running, default=0.0),
            ),
            self._retries.read(),
        ]

    def _gauge(self, name: str, help_: str, value: float) -> Figure:
        return gauges(name, help_, (_LABEL,), {(self._name,): value})
