"""
Which models need which runtime, and how many pods each runtime therefore has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from orchestrator.domain.fleet import PodView
from orchestrator.domain.pool import PoolPlan, plan_pool

#: How long those that lack room may take to look into a pod that has come.
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
        #: Since when, by runtime and model.
        self._starved: defaultdict[str, dict[str, float]] = defaultdict(dict)
        #: When one of them was last looked at.
        self._starved_at: dict[str, float] = {}

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
        """The models that wait for this runtime: worth a look when one of its pods changes."""
        return frozenset(self._waiting[runtime])

    def models(self, runtime: str) -> frozenset[str]:
        """The models that need this runtime. O(models): for a pod that came or went, not for every event."""
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
        How many pods it should have, that has these. While one of them is on its way another would come too early.

        `replicas`: how many it is to have so far: more or fewer are there while one replaces another. `may_shrink`:
        the limit counts for those that are there, too.
        """
        there = tuple(pods)
        pods = [p for p in there if not p.pod.terminating]
        unheard = any(p.unheard for p in pods)
        # Of a pod that is silent, comes or goes nobody knows what will be left when another has gone.
        settled = len(there) == replicas and not unheard and not any(p.coming or p.leaving for p in there)
        now = self._clock()
        models = len(self._models[runtime])
        idle_since = now if models else self._idle_since.setdefault(runtime, now)
        on_its_way = any(p.coming for p in pods) or len(pods) < replicas
        # Who lacked room before the last of them came may have found some in it.
        last = max((p.since for p in pods if p.usable), default=0.0)
        starved = bool(self._starved[runtime]) and not on_its_way
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
