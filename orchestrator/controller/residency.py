"""
Which loaded copies may leave a pod, and when each was last used.

Kept in memory only. A new leader takes every copy as used when it first sees
it, so that it evicts nothing for lack of knowledge. Each look at a model forgets
copies that are not loaded any more, so nothing here grows with time. But when a
model's server died its last use is kept until the model is loaded again, or is
not to be: so models in use come back first, and are not the first to leave.

Requests to a loaded model are known from the Envoys' reports, ten seconds late.
Between two reports a model in steady use counts as used now: otherwise a model
that was asked for once, just now, would take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.domain.eviction import Resident
from orchestrator.domain.fleet import Copy, CopyKey, CopyState

#: Steady use, in requests a second.
_ALL_THE_TIME: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Times:
    seen: float
    used: float


class Residency:
    """Times of load and last use by copy. Times are seconds on one monotonic clock."""

    def __init__(self, rate: Callable[[str], float] = lambda _: 0.0) -> None:
        """`rate`: requests a second for a model, as last reported."""
        self._rate = rate
        self._models: dict[str, dict[CopyKey, _Times]] = {}
        #: Model that went with its server → when it was last used.
        self._lost: dict[str, float] = {}

    @property
    def models(self) -> int:
        """How many models have a loaded copy."""
        return len(self._models)

    def look(self, copies: Iterable[Copy], model: str, now: float, *, lost: bool = False) -> None:
        """A reconcile saw these copies of `model`, no others; `lost`: it went with its server and is to come back."""
        last = self.last_used(model, now)
        before, kept = self._models.pop(model, {}), self._lost.pop(model, None)
        loaded = {c.key for c in copies if c.state is CopyState.LOADED}
        if loaded:
            fresh = _Times(now, now if kept is None else kept)
            self._models[model] = {key: before.get(key, fresh) for key in loaded}
        elif lost and (used := kept if last is None else last) is not None:
            self._lost[model] = used

    def by_use(self, models: Iterable[str], now: float) -> list[str]:
        """These models, the most recently used first, and models without a known use last."""
        used = {m: self._last(m, now) for m in models}
        return sorted(used, key=lambda model: (-used[model], model))

    def used(self, key: CopyKey, now: float) -> None:
        """A request asked for this copy's model."""
        times = self._models.get(key.model, {})
        if key in times:
            times[key] = replace(times[key], used=now)

    def reported(self, rates: Mapping[str, float], now: float) -> None:
        """Model → requests a second since the last report, to any copy; 0: none but requests under way all along."""
        for model, rate in rates.items():
            times = self._models.get(model, {})
            # Assume evenly spaced requests: the last was at most 1/rate seconds ago.
            used = now - (1 / rate if rate else 0.0)
            for key in times:
                times[key] = replace(times[key], used=max(times[key].used, used))

    def last_used(self, model: str, now: float) -> float | None:
        """When a loaded copy was last used, or first seen; None if none is loaded."""
        return max((self._used(model, times, now) for times in self._models.get(model, {}).values()), default=None)

    def _last(self, model: str, now: float) -> float:
        at = self.last_used(model, now)
        return self._lost.get(model, float("-inf")) if at is None else at

    def _used(self, model: str, times: _Times, now: float) -> float:
        return now if self._rate(model) >= _ALL_THE_TIME else times.used

    def residents(self, copies: Iterable[Copy], now: float, pinned: Callable[[CopyKey], bool]) -> tuple[Resident, ...]:
        """The loaded copies of a pod as eviction sees them."""
        return tuple(
            Resident(
                key=c.key,
                reserved=c.reserved,
                loaded_at=times.seen,
                last_used=self._used(c.key.model, times, now),
                pinned=pinned(c.key),
            )
            for c in copies
            if c.state is CopyState.LOADED
            for times in [self._models.get(c.key.model, {}).get(c.key, _Times(now, now))]
        )
