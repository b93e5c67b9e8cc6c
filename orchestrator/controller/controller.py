"""
The controller: events put names into a queue, workers reconcile them.

Start order matters: first the desired state is listed, then the pods, then each
pod's adapter reports or is not waited for any longer. Only then do workers run,
so that a copy that was not reported yet is never taken for absent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, NamedTuple

import structlog

from orchestrator.controller.counts import ControllerCounts
from orchestrator.controller.desired import DesiredState
from orchestrator.controller.pool_keeper import PoolKeeper
from orchestrator.controller.reconciler import Reconciler
from orchestrator.controller.removals import Removals
from orchestrator.domain.errors import FleetError, PlatformUnavailable
from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.trained_model import TrainedModel
from orchestrator.machinery.work_queue import WorkQueue

log = structlog.get_logger(__name__)

#: Reconciles are short and wait for adapters only: more workers than cores, few enough to stay fair.
WORKERS: Final = 16
#: How many statuses may be written at the same time.
WRITERS: Final = 16


class Key(NamedTuple):
    """An entry of the queue (law 1: queues carry names only)."""

    kind: Literal["model", "pool", "status"]
    name: str


class Controller:
    """Events in, reconciles out. Implements `ports.DesiredSink`."""

    def __init__(
        self,
        *,
        queue: WorkQueue[Key],
        statuses: WorkQueue[Key],
        desired: DesiredState,
        keeper: PoolKeeper,
        reconciler: Reconciler,
        removals: Removals,
        counts: ControllerCounts,
    ) -> None:
        self._queue = queue
        self._statuses = statuses
        self._desired = desired
        self._keeper = keeper
        self._reconciler = reconciler
        self._removals = removals
        self._counts = counts
        self.synced = asyncio.Event()

    # Events. All of them are synchronous and only mark work to do.

    def replace(
        self,
        *,
        models: Mapping[str, TrainedModel],
        runtimes: Mapping[str, ServingRuntime],
        storage: StorageConfig | None,
        config: Mapping[str, str],
        deleted: Collection[tuple[str, str]] | None = None,
    ) -> None:
        """A complete listing of the desired state."""
        self._removals.listed(deleted)
        pools = self._desired.runtimes.keys() | runtimes.keys()
        pools_changed = runtimes != self._desired.runtimes or config != self._desired.config
        changed = self._desired.replace(models=models, runtimes=runtimes, storage=storage, config=config)
        if pools_changed:
            # Pools before their models: a model's status would tell what ailed the pool of the former ServingRuntime.
            for runtime in pools:
                self._queue.add(Key("pool", runtime))
        self.models_changed(changed)
        if self.synced.is_set():
            # Not of the first list: pods may be silent yet, and what is said here counts when they tell what they hold.
            self._said_deleted(deleted or ())
        self.synced.set()

    def change(self, models: Mapping[str, TrainedModel | None], *, deleted: Collection[tuple[str, str]] = ()) -> None:
        """Some models changed; None: absent."""
        self._removals.deleted(deleted)
        self.models_changed(self._desired.change(models))
        self._said_deleted(deleted)

    def _said_deleted(self, models: Collection[tuple[str, str]]) -> None:
        """Also of one that came and went unseen: what is said of it is forgotten only when it is looked at."""
        self.models_changed(frozenset(name for name, _ in models))

    def fleet_changed(self, models: frozenset[str], runtimes: frozenset[str]) -> None:
        """Copies of these models changed; so did pods of these runtimes."""
        for name in self._reconciler.by_use(models):
            self._queue.add(Key("model", name))
        for runtime in runtimes:
            self._queue.add(Key("pool", runtime))
            for name in self._reconciler.by_use(self._keeper.waiting(runtime)):
                self._queue.add(Key("model", name))

    def models_changed(self, names: frozenset[str]) -> None:
        """Routes or demand of these models changed."""
        for name in names:
            self._queue.add(Key("model", name))

    # Work.

    async def run(self) -> None:
        """Reconcile until cancelled or shut down. Call it when the first lists are in."""
        self._reconciler.prime()
        async with asyncio.TaskGroup() as writers:
            for number in range(WRITERS):
                writers.create_task(self._work(self._statuses), name=f"writer-{number}")
            async with asyncio.TaskGroup() as workers:
                for number in range(WORKERS):
                    workers.create_task(self._work(self._queue), name=f"worker-{number}")
            self._statuses.shut_down()

    async def _work(self, queue: WorkQueue[Key]) -> None:
        while (key := await queue.get()) is not None:
            try:
                await self._reconcile(queue, key)
            finally:
                queue.done(key)
            # With a full queue and reconciles that never await, nothing else would run, not even the lease.
            await asyncio.sleep(0)

    async def _reconcile(self, queue: WorkQueue[Key], key: Key) -> None:
        try:
            requeue_after = await self._look(key)
        except FleetError as error:
            # Ordinary: a pod went, a boot changed, a leader was deposed. The next look sees it.
            log.info("command_refused", **_named(key), problem=str(error))
            self._counts.reconcile_failures.add(key.kind, "refused")
            queue.add_rate_limited(key)
        except PlatformUnavailable as error:
            # No bug, and it may concern all models at once: no traceback.
            log.warning("platform_unavailable", **_named(key), problem=str(error))
            queue.add_rate_limited(key, at_least=error.retry_after_s)
        except Exception:
            # One model's trouble must not end the worker that serves all others.
            log.exception("reconcile_failed", **_named(key))
            self._counts.reconcile_failures.add(key.kind, "failed")
            queue.add_rate_limited(key)
        else:
            queue.forget(key)
            if requeue_after is not None:
                queue.add_after(key, requeue_after)

    async def _look(self, key: Key) -> float | None:
        match key.kind:
            case "model":
                return await self._reconciler.model(key.name)
            case "pool":
                return await self._reconciler.pool(key.name)
            case "status":
                await self._reconciler.status(key.name)
                return None


def enqueue_model(queue: WorkQueue[Key]) -> Callable[[str, float], None]:
    """How the actor marks another model."""
    return lambda name, delay: queue.add_after(Key("model", name), delay)


def enqueue_pool(queue: WorkQueue[Key]) -> Callable[[str], None]:
    """How the reconciler marks a pool."""
    return lambda runtime: queue.add(Key("pool", runtime))


def enqueue_status(queue: WorkQueue[Key]) -> Callable[[str], None]:
    """How the reconciler marks a model whose status is to be written."""
    return lambda name: queue.add(Key("status", name))


def _named(key: Key) -> dict[str, str]:
    return {"runtime" if key.kind == "pool" else "trained_model": key.name}
