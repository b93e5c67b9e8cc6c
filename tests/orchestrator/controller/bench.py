"""
A controller with its queue and workers, in a world of fakes, on the event loop's fake time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from orchestrator.controller.actor import Actor
from orchestrator.controller.controller import Controller, Key, enqueue_model, enqueue_pool, enqueue_status
from orchestrator.controller.counts import ControllerCounts
from orchestrator.controller.desired import DesiredState
from orchestrator.controller.observer import Observer
from orchestrator.controller.pool_keeper import PoolKeeper
from orchestrator.controller.reconciler import Reconciler
from orchestrator.controller.removals import Removals
from orchestrator.controller.residency import Residency
from orchestrator.domain.config import Config
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.trained_model import ModelStatus
from orchestrator.fleet.observed import ObservedFleet
from orchestrator.machinery.work_queue import WorkQueue
from tests.orchestrator.builders import make_model, make_runtime
from tests.orchestrator.controller.fakes import FakeActivators, FakeFleet, FakeMesh, FakePlatform, now, statuses_of

SECRET = {"type": "s3", "access_key_id": "id", "secret_access_key": "first", "endpoint_url": "http://s3:9000"}


class Bench:
    """`async with Bench() as bench`: the controller runs in it; time passes by `after`."""

    def __init__(self, *, pods: int = 1, grace_s: float = 60.0) -> None:
        self.platform = FakePlatform(runtimes={"mlserver-0.x": make_runtime()}, storage=secret())
        self.fleet = FakeFleet()
        self.mesh = FakeMesh()
        self.activators = FakeActivators()
        self._defaults = Config(pods_per_runtime=pods, pool_grace_s=grace_s)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """As the manager starts it: desired state, pods, reports, then work."""
        start = now()
        self.queue: WorkQueue[Key] = WorkQueue(now)
        self.statuses: WorkQueue[Key] = WorkQueue(now, name="status")
        self.desired = DesiredState()
        self.counts = ControllerCounts()
        self.keeper = PoolKeeper(now)
        self.observer = Observer(self.desired, self.fleet.observed, self.mesh, self.activators, now)
        self.residency = Residency()
        actor = Actor(
            observer=self.observer,
            fleet=self.fleet,
            view=self.fleet.observed,
            mesh=self.mesh,
            activators=self.activators,
            residency=self.residency,
            enqueue=enqueue_model(self.queue),
            counts=self.counts,
            clock=now,
        )
        self.removals = Removals(residency=self.residency, recorder=self.platform, clock=now)
        self.reconciler = Reconciler(
            desired=self.desired,
            observer=self.observer,
            actor=actor,
            view=self.fleet.observed,
            activators=self.activators,
            residency=self.residency,
            removals=self.removals,
            keeper=self.keeper,
            pools=self.platform,
            statuses=self.platform,
            recorder=self.platform,
            defaults=self._defaults,
            enqueue_pool=enqueue_pool(self.queue),
            enqueue_model=enqueue_model(self.queue),
            enqueue_status=enqueue_status(self.statuses),
            clock=now,
            wall=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=int(now() - start)),
        )
        self.controller = Controller(
            queue=self.queue,
            statuses=self.statuses,
            desired=self.desired,
            keeper=self.keeper,
            reconciler=self.reconciler,
            removals=self.removals,
            counts=self.counts,
        )
        self.fleet.on_change = self.controller.fleet_changed
        self.mesh.on_change = self.controller.models_changed
        self.activators.on_want = lambda name: self.controller.models_changed(frozenset({name}))
        self.platform.deliver(self.controller)
        await self.platform.run(self.fleet.list_pods)
        await asyncio.sleep(0.1)
        self.controller.models_changed(self.fleet.observed.models() | frozenset(self.mesh.envoy))
        self.controller.fleet_changed(frozenset(), self.fleet.observed.runtimes())
        self._task = asyncio.create_task(self.controller.run())

    async def stop(self) -> None:
        """The queue is drained; nothing may have ended a worker before."""
        assert self._task is not None
        assert not self._task.done()
        self.queue.shut_down()
        await self._task

    async def restart(self) -> None:
        """Another controller: it knows what is stored, and what adapters and the Envoy tell."""
        await self.stop()
        self.mesh.published.clear()
        self.fleet.observed = ObservedFleet(now)
        await self.start()

    async def after(self, seconds: float = 1.0) -> None:
        """Let time pass; all that is due happens."""
        await asyncio.sleep(seconds)

    async def apply(self, *names: str, **fields: Any) -> None:
        """Create or change models; a changed one has the next generation."""
        for name in names:
            before = self.platform.models.get(name)
            status = before.status if before else ModelStatus()
            generation = before.generation + 1 if before else 1
            values: dict[str, Any] = {"status": status, "generation": generation}
            self.platform.models[name] = make_model(name, **values | fields)
        await self.deliver()

    async def delete(self, name: str) -> None:
        """Take a model away."""
        del self.platform.models[name]
        await self.deliver()

    async def deliver(self, *, deleted: Collection[tuple[str, str]] | None = None) -> None:
        """The platform lists, and a second passes."""
        self.platform.deliver(self.controller, deleted=deleted)
        await self.after()

    @property
    def ready(self) -> dict[str, tuple[str, str]]:
        """Ready's status and reason, as stored."""
        return statuses_of(self.platform.models)


def secret(**fields: str) -> StorageConfig:
    """Secret storage-config with the key `default`."""
    return StorageConfig({"default": json.dumps(SECRET | fields)})
