"""
Gathers all facts about one model into one frozen observation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.controller.desired import DesiredState
from orchestrator.domain import memory as memories
from orchestrator.domain.observation import Memory, Observation
from orchestrator.domain.orphan import closed
from orchestrator.domain.pool import timed
from orchestrator.domain.target import Target
from orchestrator.ports import Activators, FleetView, Mesh


class Observer:
    """Observes models for the reconciler, and keeps its memory of each."""

    def __init__(
        self,
        desired: DesiredState,
        fleet: FleetView,
        mesh: Mesh,
        activators: Activators,
        clock: Callable[[], float],
    ) -> None:
        self._desired = desired
        self._fleet = fleet
        self._mesh = mesh
        self._activators = activators
        self._clock = clock
        self._memories: dict[str, Memory] = {}

    def observe(self, name: str) -> Observation:
        """Everything about the model, now."""
        model = self._desired.model(name)
        target = self._desired.target(name)
        copies = self._fleet.copies(name)
        stranger = self._mesh.stranger(name)
        before, now = self.memory(name), self._clock()
        loaded = before.loaded if model is not None and before.uid == model.uid else None
        last_good = self._desired.last_good(name, loaded)
        want = self._activators.wanted(name)
        if model is not None and not before.uid:
            # This controller has not seen this object's target yet: the failures that its status tells are taken over.
            known = memories.resumed(model)
            before = replace(before, failure=known.failure, last_good=before.last_good or known.last_good)
        pods = {uid: pod for uid in {c.pod for c in copies} if (pod := self._fleet.pod(uid)) is not None}
        memory = memories.remember(
            before,
            uid=model.uid if model else "",
            target=target,
            last_good=last_good,
            copies=copies,
            now=now,
            leaving={uid for uid, pod in pods.items() if pod.leaving},
            ending={uid for uid, pod in pods.items() if pod.ending},
            silent={uid for uid, pod in pods.items() if not pod.known},
            stale=want is not None and want.stale,
        )
        if model is None and not copies:
            self._memories.pop(name, None)
        else:
            self._memories[name] = memory
        runtimes = {each.runtime.name for each in (target, last_good) if isinstance(each, Target)}
        if not isinstance(target, Target) and model is not None:
            runtimes |= {model.status.active_runtime, model.status.runtime} - {""}
        for runtime in runtimes:
            pods |= {p.pod.uid: p for p in self._fleet.pods(runtime)}
        route = self._mesh.view(name)
        if route is None and (stranger or copies):
            # Any pod may hold a copy that an earlier leader routed to, whatever the target is now.
            pods |= {p.pod.uid: p for p in self._fleet.pods()}
        return Observation(
            name=name,
            model=model,
            target=target,
            last_good=last_good,
            pods=tuple(closed(timed(pods[uid], now), memory.orphaned_since, now) for uid in sorted(pods)),
            pools=tuple((r, pool.said) for r in sorted(runtimes) if (pool := self._fleet.pool(r)) is not None),
            copies=copies,
            route=route,
            stranger=stranger,
            want=want,
            lost=self._fleet.lost(name),
            memory=memory,
        )

    def memory(self, name: str) -> Memory:
        """The memory of the model."""
        return self._memories.get(name, Memory())

    def remember(self, name: str, memory: Memory) -> None:
        """Replace the memory of the model."""
        self._memories[name] = memory
