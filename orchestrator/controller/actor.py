"""
Carries out a plan's actions, in their order.

An action that fails raises: the worker looks at the model again later, from a
fresh observation, which shows the actions that were done before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, assert_never

import structlog

from orchestrator.controller.claims import Claims
from orchestrator.controller.counts import ControllerCounts
from orchestrator.controller.observer import Observer
from orchestrator.controller.residency import Residency
from orchestrator.domain import memory as memories
from orchestrator.domain.action import Action, LoadCopy, MakeRoom, PublishRoute, RemoveRoute, UnloadCopy
from orchestrator.domain.eviction import choose_victims
from orchestrator.domain.fleet import Copy, CopyKey, CopyRef, CopyState
from orchestrator.ports import Activators, Fleet, FleetView, Mesh

log = structlog.get_logger(__name__)

#: A copy stays at least this long, so that models which do not fit together do not replace each other at every request.
MIN_RESIDENCY_S: Final = 1.0


class Actor:
    """Carries out actions for the reconciler. `enqueue` marks another model for a look."""

    def __init__(
        self,
        *,
        observer: Observer,
        fleet: Fleet,
        view: FleetView,
        mesh: Mesh,
        activators: Activators,
        residency: Residency,
        enqueue: Callable[[str, float], None],
        counts: ControllerCounts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._observer = observer
        self._fleet = fleet
        self._view = view
        self._mesh = mesh
        self._activators = activators
        self._residency = residency
        self._enqueue = enqueue
        self._counts = counts
        self._clock = clock
        self._claims = Claims()

    async def act(self, name: str, action: Action) -> None:
        """Raises FleetError when an adapter did not accept its command."""
        match action:
            case PublishRoute(route):
                self._mesh.publish(route)
                event = "route_published" if route.endpoints else "route_withdrawn"
                log.info(event, trained_model=route.model, endpoints=list(route.endpoints))
            case RemoveRoute(model):
                self._mesh.remove(model)
                log.info("route_removed", trained_model=model)
            case LoadCopy():
                await self._load(action)
            case UnloadCopy(pod, key):
                await self._fleet.unload(pod, key)
                memory = self._observer.memory(name)
                self._observer.remember(name, memories.interrupted(memory, key, self._clock()))
                log.info("unload_commanded", trained_model=key.model, pod=self._pod_name(pod), revision=key.revision)
            case MakeRoom(pod, need):
                self._make_room(name, pod, need)
            case _:
                assert_never(action)

    async def _load(self, action: LoadCopy) -> None:
        target = action.target
        await self._fleet.load(action.pod, action.order)
        name, event = action.key.model, "load_commanded"
        memory = self._observer.memory(name)
        if action.verify:
            event = "load_verified"
        elif action.hurry:
            event = "load_hurried"
            self._observer.remember(name, memories.hurried(memory, target))
        else:
            self._claims.end(name)
            self._observer.remember(name, memories.commanded(memory, target, action.pod, urgent=action.urgent))
        log.info(
            event,
            trained_model=name,
            runtime=target.runtime.name,
            pod=self._pod_name(action.pod),
            revision=action.key.revision,
        )

    def _make_room(self, name: str, pod: str, need: int) -> None:
        now = self._clock()
        view = self._view.pod(pod)
        if view is None:
            return
        copies = self._view.copies_in(pod)
        leaving = sum(c.reserved for k, c in copies.items() if self._leaving(k, c))
        victims = choose_victims(
            # The model's own former revision is no victim: it serves until the new one does.
            self._residency.residents((c for k, c in copies.items() if k.model != name), now, self._pinned),
            need=need,
            free=max(0, view.free + leaving - self._claims.others(name, pod, now)),
            now=now,
            min_residency_s=MIN_RESIDENCY_S,
        )
        if victims is None:
            self._enqueue(name, MIN_RESIDENCY_S)
            return
        self._claims.make(name, pod, need, now)
        for key in victims:
            self._observer.remember(key.model, memories.evicting(self._observer.memory(key.model), CopyRef(pod, key)))
            self._enqueue(key.model, 0.0)
            self._counts.evictions.add(view.pod.runtime)
            log.info("evicted", trained_model=key.model, pod=view.pod.name, revision=key.revision, in_favour_of=name)

    def _leaving(self, key: CopyKey, copy: Copy) -> bool:
        # A pod may have thousands of failed copies that found no room, and each of their models asks: so the state is
        # looked at before the memory.
        going = copy.state is CopyState.LOADED and self._observer.memory(key.model).evict == copy.ref
        return going or copy.state is CopyState.UNLOADING

    def _pinned(self, key: CopyKey) -> bool:
        memory = self._observer.memory(key.model)
        # A copy of a revision that its model does not ask for is being replaced, so it is not evicted; except the last
        # good revision, which answers in the place of one that failed, or for which there is no room.
        replaced = memory.failed is None and memory.room is None
        before = None if replaced else memory.last_good
        asked = {(m.uid, m.revision) for m in (memory, before) if m is not None}
        return (
            (key.uid, key.revision) not in asked
            or memory.evict is not None
            or memory.irreplaceable
            or self._activators.wanted(key.model) is not None
        )

    def _pod_name(self, uid: str) -> str:
        view = self._view.pod(uid)
        return view.pod.name if view is not None else uid
