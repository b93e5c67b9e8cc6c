"""
Which loaded copies may leave a pod, and when each was last used.

Kept in memory only. A new leader takes every copy as used when it first sees
it, so that it evicts nothing on what it does not know. Each look at a model
forgets what is loaded no more, however it went: nothing here grows with time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from orchestrator.domain.eviction import Resident
from orchestrator.domain.fleet import Copy, CopyKey, CopyState


@dataclass(frozen=True, slots=True)
class _Times:
    seen: float
    used: float


class Residency:
    """Times of load and last use by copy. Times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        self._models: dict[str, dict[CopyKey, _Times]] = {}

    @property
    def models(self) -> int:
        """How many models have a loaded copy."""
        return len(self._models)

    def look(self, copies: Iterable[Copy], model: str, now: float) -> None:
        """A reconcile saw these copies of `model`, and no others."""
        before = self._models.pop(model, {})
        loaded = {c.key for c in copies if c.state is CopyState.LOADED}
        if loaded:
            self._models[model] = {key: before.get(key, _Times(now, now)) for key in loaded}

    def by_use(self, models: Iterable[str]) -> list[str]:
        """These models, the last used first, and those of which nothing is known last."""
        used = {m: max((t.used for t in self._models.get(m, {}).values()), default=float("-inf")) for m in models}
        return sorted(used, key=lambda model: (-used[model], model))

    def used(self, key: CopyKey, now: float) -> None:
        """A request asked for it."""
        times = self._models.get(key.model, {})
        if key in times:
            times[key] = replace(times[key], used=now)

    def residents(self, copies: Iterable[Copy], now: float, pinned: Callable[[CopyKey], bool]) -> tuple[Resident, ...]:
        """The loaded copies of a pod as eviction sees them."""
        return tuple(
            Resident(key=c.key, reserved=c.reserved, loaded_at=times.seen, last_used=times.used, pinned=pinned(c.key))
            for c in copies
            if c.state is CopyState.LOADED
            for times in [self._models.get(c.key.model, {}).get(c.key, _Times(now, now))]
        )
