"""
Which models need which runtime, and how many pods each runtime therefore has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from orchestrator.domain.fleet import PodView
from orchestrator.domain.pool import PoolPlan, on_its_way, plan_pool

#: How long models that lack room may take to try a pod that has just come up.
_LOOK_S: Final = 1.0


class PoolKeeper:
    """Counts of models by runtime, and since when a runtime has had none."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._models: defaultdict[str, set[str]] = defaultdict(set)
        self._needs: dict[str, frozenset[str]] = {}
        self._idle_since: dict[str, float] = {}
        self._waits_for: dict[str, str] = {}
        self._waiting: defaultdict[str, set[str]] = defaultdict(set)
        #: Runtime → model that lacks room → since when.
        self._starved: defaultdict[str, dict[str, float]] = defaultdict(dict)
        #: Runtime → when a model that lacks room was last looked at.
        self._starved_at: dict[str, float] = {}

    def needs(self, model: str, runtimes: frozenset[str]) -> frozenset[str]:
        """The model needs these runtimes now; returns the runtimes for which that changed."""
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
        The model waits for this runtime (None: for none): for a first pod, or for room in the pods that there are.

        Returns whether its need for room has changed.
        """
        before = self._waits_for.pop(model, None)
        since = None
        if before is not None:
            self._waiting[before].discard(model)
            since = self._starved[before].pop(model, None)
        if runtime is not None:
            self._waits_for[model] = runtime
            self._waiting[runtime].add(model)
            if for_room:
                self._starved_at[runtime] = self._clock()
                self._starved[runtime][model] = self._clock() if since is None or before != runtime else since
        return (since is not None) != (for_room and runtime is not None)

    def starved_s(self, model: str) -> float:
        """For how many seconds the model has lacked room; 0 if it does not."""
        runtime = self._waits_for.get(model)
        since = self._starved[runtime].get(model) if runtime is not None else None
        return self._clock() - since if since is not None else 0.0

    def waiting(self, runtime: str) -> frozenset[str]:
        """The models that wait for this runtime: to look at when one of its pods changes."""
        return frozenset(self._waiting[runtime])

    def models(self, runtime: str) -> frozenset[str]:
        """The models that need this runtime. O(models): call it when a pod came or went, not for every event."""
        return frozenset(self._models[runtime])

    def plan(
        self,
        runtime: str,
        pods: Iterable[PodView],
        *,
        replicas: int,
        limit: int,
        grace_s: float,
        may_shrink: bool = False,
    ) -> PoolPlan:
        """
        Desired replicas given the current pods. No pod is added for want of room while one is still starting.

        `replicas`: pods asked for so far; more or fewer may be there while one replaces another. `may_shrink`: a pool
        above the limit gives up pods.
        """
        there = tuple(pods)
        pods = [p for p in there if not p.pod.terminating]
        unheard = any(p.unheard for p in pods)
        # While a pod is silent, starting or ending, it is not known what would be left without one more.
        settled = len(there) == replicas and not unheard and not any(p.coming or p.leaving for p in there)
        now = self._clock()
        models = len(self._models[runtime])
        idle_since = now if models else self._idle_since.setdefault(runtime, now)
        coming = any(on_its_way(p, now) for p in pods) or len(pods) < replicas
        # A model that lacked room before the newest pod came up may find room in that pod: it is to look first.
        last = max((p.since for p in pods if p.usable), default=0.0)
        starved = bool(self._starved[runtime]) and not coming
        looked = self._starved_at.get(runtime, 0.0) >= last
        decided = plan_pool(
            models=models,
            current=replicas,
            starved=starved and looked,
            unheard=unheard,
            limit=limit,
            idle_s=now - idle_since,
            grace_s=grace_s,
            spares=may_shrink and settled,
        )
        return decided if looked or not starved else replace(decided, requeue_after=_LOOK_S)
