"""
Counters of what the controller did, and sums over the models by condition.

The sums are a walk over all models: once a scrape, never in an event.
"""

from __future__ import annotations

from collections import Counter as Bag
from collections.abc import Iterable
from typing import Final

from orchestrator.domain.errors import Reason
from orchestrator.domain.trained_model import ModelStatus
from orchestrator.machinery.figures import Counter, Figure, gauges
from orchestrator.ports import StatusWriter

_REASONS: Final = frozenset(reason.value for reason in Reason)


class ControllerCounts:
    """The counters of one leader's term."""

    def __init__(self) -> None:
        self.evictions: Final = Counter("wml_evictions", "Copies that had to make room for another model.", "runtime")
        self.reconcile_failures: Final = Counter(
            "wml_reconcile_failures",
            "Reconciles that ended early: refused by an adapter, which is ordinary, or failed, which is not.",
            "kind",
            "cause",
        )
        self.status_writes: Final = Counter("wml_status_writes", "Statuses that were written.")
        self.status_write_failures: Final = Counter("wml_status_write_failures", "Statuses that could not be written.")

    def figures(self) -> list[Figure]:
        """The counters as they stand."""
        counted = (self.evictions, self.reconcile_failures, self.status_writes, self.status_write_failures)
        return [each.read() for each in counted]


class CountedStatuses:
    """Counts what another writer writes. Implements `ports.StatusWriter`."""

    def __init__(self, statuses: StatusWriter, counts: ControllerCounts) -> None:
        self._statuses = statuses
        self._counts = counts

    async def write_status(self, name: str, uid: str, status: ModelStatus) -> None:
        """See `ports.StatusWriter`."""
        try:
            await self._statuses.write_status(name, uid, status)
        except Exception:
            self._counts.status_write_failures.add()
            raise
        self._counts.status_writes.add()


def census(statuses: Iterable[ModelStatus]) -> list[Figure]:
    """How many models are ready or not and why, and for how many the latest change failed."""
    ready: Bag[tuple[str, ...]] = Bag()
    behind: Bag[tuple[str, ...]] = Bag()
    for status in statuses:
        condition = status.condition("Ready")
        ready[("Unknown", "") if condition is None else (condition.status, _known(condition.reason))] += 1
        current = status.condition("UpToDate")
        if current is not None and current.status == "False":
            behind[_known(current.reason),] += 1
    return [
        gauges("wml_trained_models", "TrainedModels by their condition Ready.", ("ready", "reason"), ready),
        gauges("wml_trained_models_behind", "TrainedModels whose latest change failed, by why.", ("reason",), behind),
    ]


def _known(reason: str) -> str:
    """The reason as a label: a status written by another version may hold any text, which counts as "Other"."""
    return reason if reason in _REASONS else "Other"
