"""
Which models need which runtime, and how many pods each runtime therefore has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from orchestrator.domain.pool import PoolPlan, plan_pool


class PoolKeeper:
    """Counts of models by runtime, and since when a runtime has had none."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._models: defaultdict[str, set[str]] = defaultdict(set)
        self._needs: dict[str, frozenset[str]] = {}
        self._idle_since: dict[str, float] = {}
        self._waits_for: dict[str, str] = {}
        self._waiting: defaultdict[str, set[str]] = defaultdict(set)
        self._starved: defaultdict[str, set[str]] = defaultdict(set)

    def needs(self, model: str, runtimes: frozenset[str]) -> frozenset[str]:
        """The model needs these runtimes now; returns those for which that is news."""
        before = self._needs.get(model, frozenset())
        if runtimes:
            self._needs[model] = runtimes
        else:
            self._needs.pop(model, None)
        for runtime in before - runtimes:
            self._models[runtime].discard(model)
            if not self._models[runtime]:
                self._idle_since[runtime] = self._clock()
        for runtime in runtimes - before:
            self._models[runtime].add(model)
            self._idle_since.pop(runtime, None)
        return before ^ runtimes

    def waits(self, model: str, runtime: str | None, *, for_room: bool = False) -> bool:
        """
        The model waits for this runtime (None: for none): for a first pod, or for room in those there are.

        Returns whether the need for room is news.
        """
        before = self._waits_for.pop(model, None)
        if before is not None:
            self._waiting[before].discard(model)
        was_starved = before is not None and model in self._starved[before]
        if was_starved and before is not None:
            self._starved[before].discard(model)
        if runtime is not None:
            self._waits_for[model] = runtime
            self._waiting[runtime].add(model)
            if for_room:
                self._starved[runtime].add(model)
        return was_starved != (for_room and runtime is not None)

    def waiting(self, runtime: str) -> frozenset[str]:
        """The models that wait for this runtime: worth a look when one of its pods changes."""
        return frozenset(self._waiting[runtime])

    def models(self, runtime: str) -> frozenset[str]:
        """The models that need this runtime. O(models): for a pod that came or went, not for every event."""
        return frozenset(self._models[runtime])

    def plan(self, runtime: str, *, current: int, growing: bool, limit: int, grace_s: float) -> PoolPlan:
        """How many pods it should have. `growing`: one of those it has is not usable yet; another would come too early."""
        now = self._clock()
        models = len(self._models[runtime])
        idle_since = now if models else self._idle_since.setdefault(runtime, now)
        return plan_pool(
            models=models,
            current=current,
            starved=bool(self._starved[runtime]) and not growing,
            limit=limit,
            idle_s=now - idle_since,
            grace_s=grace_s,
        )
