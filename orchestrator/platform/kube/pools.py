"""
Pools as Deployments: what the controller asks for, applied and kept so.

`scale` only notes what is wanted. One worker brings each pool there, after the
first lists of Deployments and pods are in, and again whenever a watch shows that something else is
there; what is refused is tried again with back-off, and told meanwhile to all
who wait for the pool. How many pods a pool is to have counts from the moment it
is wanted, since the controller would ask for one more otherwise.

A Deployment is created only where there is none, for a ServingRuntime that is
there: the garbage collector would take one of a deleted ServingRuntime away as
soon as it was made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final, Never

import structlog

from orchestrator.domain.errors import EventReason, surprise
from orchestrator.domain.fleet import Pod, Pool
from orchestrator.domain.serving_runtime import API_VERSION, ServingRuntime
from orchestrator.machinery.backoff import Backoff
from orchestrator.machinery.term import Term
from orchestrator.machinery.work_queue import WorkQueue
from orchestrator.platform.kube.api import ApiError, ApiUnreachable, KubeApi, Raw
from orchestrator.platform.kube.deployment import pool_objects
from orchestrator.platform.kube.paths import core, group
from orchestrator.platform.kube.pod_settings import PodSettings
from orchestrator.platform.kube.pool_book import Apply, Delete, Done, End, Keep, Leave, PoolBook, Wish, read_alone
from orchestrator.platform.kube.pool_names import SELECTOR
from orchestrator.platform.kube.reflector import Reflector
from orchestrator.ports import OnPods

log = structlog.get_logger(__name__)

#: Whoever changes a Deployment of ours again and again gets it back so often, and no more.
_REPAIR_S: Final = 5.0
#: Between attempts at what was refused, or not answered.
_RETRY_S: Final = (0.5, 30.0)
#: A pod that is stuck is told so much later than it might be.
STUCK_LOOK_S: Final = 15.0
#: A ServingRuntime that is gone is looked for again: its source may lag behind.
_GONE_S: Final = 30.0

#: Name and uid of a ServingRuntime, reason and message: a warning for who looks at it.
Report = Callable[[str, str, EventReason, str], None]


class _Overtaken(Exception):
    """This process leads no more, as it was about to write."""


class KubePools:
    """Implements ports.Pools. `run` once."""

    def __init__(
        self,
        api: KubeApi,
        settings: PodSettings,
        *,
        term: Term,
        report: Report,
        clock: Callable[[], float],
        random: Callable[[], float],
        repair_s: float = _REPAIR_S,
    ) -> None:
        """`clock` is monotonic; `report` is called when a pool gets into trouble, and must not block."""
        self._api = api
        self._settings = settings
        self._term = term
        self._report = report
        self._clock = clock
        self._repair_s = repair_s
        self._book = PoolBook(clock)
        self._queue: WorkQueue[str] = WorkQueue(clock)
        self._applied_at: dict[str, float] = {}
        self._random = random
        #: Of runtimes whose last step came to nothing.
        self._backoffs: dict[str, Backoff] = {}
        self._on_pods: OnPods | None = None
        self._told: tuple[tuple[Pod, ...], dict[str, Pool]] | None = None
        namespace = settings.namespace
        self._deployments = Reflector(
            api,
            group("apps/v1", "deployments", namespace),
            on_list=self._list_deployments,
            on_event=self._deployment,
            read=lambda raw: read_alone(deployments=[raw]),
            on_refused=self._refused("Deployments"),
            clock=clock,
            random=random,
        )
        self._budgets = Reflector(
            api,
            group("policy/v1", "poddisruptionbudgets", namespace),
            on_list=lambda raws: self._look_at(self._book.list_budgets(raws)),
            on_event=lambda kind, raw: self._look_at(self._book.budget(kind, raw)),
            on_refused=self._refused("PodDisruptionBudgets"),
            clock=clock,
            random=random,
            label_selector=SELECTOR,
        )
        self._pods = Reflector(
            api,
            core("pods", namespace),
            on_list=self._list_pods,
            on_event=self._pod,
            read=lambda raw: read_alone(pods=[raw]),
            on_refused=self._refused("pods"),
            clock=clock,
            random=random,
            label_selector=SELECTOR,
        )

    async def scale(self, runtime: ServingRuntime, replicas: int) -> None:
        """Have `replicas` pods of this runtime. Returns before they run."""
        try:
            wish = Keep(objects=pool_objects(runtime, self._settings), replicas=max(0, replicas))
        except ValueError as error:
            wish = Keep(objects=str(error), replicas=max(0, replicas))
        self._want(runtime.name, wish)

    async def end(self, runtime: str) -> None:
        """Have no pods of the runtime of that name. Returns before they are gone."""
        self._want(runtime, End())

    async def run(self, on_pods: OnPods) -> None:
        """Call back with the complete list of pods and pools, now and on each change, until cancelled."""
        self._on_pods = on_pods
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._deployments.run(), name="deployments")
            tasks.create_task(self._budgets.run(), name="budgets")
            tasks.create_task(self._pods.run(), name="pods")
            tasks.create_task(self._tell_of_the_stuck(), name="stuck pods")
            # Without budgets pools can be kept: only what somebody does to a budget is not seen.
            for each in (self._deployments, self._pods):
                await each.synced.wait()
            await self._work()

    # Events.

    def _want(self, runtime: str, wish: Wish) -> None:
        if self._book.want(runtime, wish):
            self._queue.add(runtime)
            self._tell()

    def _list_deployments(self, raws: list[Raw]) -> None:
        self._look_at(self._book.list_deployments(raws))

    def _deployment(self, kind: str, raw: Raw) -> None:
        self._look_at(self._book.deployment(kind, raw))

    def _list_pods(self, raws: list[Raw]) -> None:
        self._book.list_pods(raws)
        self._tell()

    def _pod(self, kind: str, raw: Raw) -> None:
        self._book.pod(kind, raw)
        self._tell()

    def _refused(self, kind: str) -> Callable[[str], None]:
        def take(problem: str) -> None:
            self._book.refused(kind, problem)
            self._tell()

        return take

    def _look_at(self, runtimes: Iterable[str]) -> None:
        for runtime in runtimes:
            self._queue.add(runtime)
        self._tell()

    def _tell(self) -> None:
        if self._on_pods is None or not self._book.listed:
            return
        now = self._book.pods(), self._book.pools()
        if now != self._told:
            self._told = now
            self._on_pods(*now)

    async def _tell_of_the_stuck(self) -> Never:
        """That nothing happens to a pod is no event."""
        while True:
            await asyncio.sleep(STUCK_LOOK_S)
            self._tell()

    # Work.

    async def _work(self) -> None:
        while (runtime := await self._queue.get()) is not None:
            try:
                await self._look(runtime)
            finally:
                self._queue.done(runtime)

    async def _look(self, runtime: str) -> None:
        """One pool, one step nearer. What is refused is tried again."""
        try:
            again = await self._step(runtime)
        except ApiUnreachable as error:
            log.warning("pool_unreachable", runtime=runtime, problem=str(error))
            self._retry(runtime)
        except ApiError as error:
            # A conflict is another's haste: what it has done is about to be seen.
            if error.status != HTTPStatus.CONFLICT and not error.passing:
                self._trouble(runtime, EventReason.REFUSED, f"the API server refuses: {error.message}")
            log.warning("pool_refused", runtime=runtime, problem=str(error))
            self._retry(runtime, error.retry_after_s or 0.0)
        except _Overtaken:
            log.warning("pool_left", runtime=runtime, problem="this process does not lead any more")
        except Exception as error:
            # One that nobody expected is this pool's trouble: the others are to be kept.
            log.exception("pool_failed", runtime=runtime)
            self._trouble(runtime, EventReason.UNEXPECTED, surprise(error))
            self._retry(runtime)
        else:
            self._backoffs.pop(runtime, None)
            if again:
                self._queue.add_after(runtime, again)

    def _lead(self) -> None:
        """Before each write: whatever was waited for took its time."""
        if self._term.over:
            raise _Overtaken

    def _retry(self, runtime: str, wanted_s: float = 0.0) -> None:
        backoff = self._backoffs.setdefault(runtime, Backoff(*_RETRY_S, self._random))
        self._queue.add_after(runtime, max(wanted_s, backoff.next()))

    async def _step(self, runtime: str) -> float:
        """Returns in how many seconds to look again; 0: when woken."""
        if self._term.over:
            return 0.0
        match self._book.step(runtime):
            case Done():
                self._trouble(runtime)
            case Leave(reason=reason, message=message):
                self._trouble(runtime, reason, message)
            case Delete(name=name, uid=uid):
                await self._delete(name, uid)
                log.info("pool_deleted", runtime=runtime)
            case Apply() as wanted:
                return await self._apply(runtime, wanted)
        return 0.0

    async def _apply(self, runtime: str, wanted: Apply) -> float:
        since = self._clock() - self._applied_at.get(runtime, float("-inf"))
        if wanted.repair and since < self._repair_s:
            return self._repair_s - since
        objects, namespace = wanted.objects, self._settings.namespace
        path = group("apps/v1", "deployments", namespace, objects.name)
        body = objects.at(wanted.replicas)
        if wanted.uid is None:
            if await self._uid(path) is not None:
                # Somebody was quicker: the watch is about to say who.
                return self._repair_s
            owner = group(API_VERSION, "servingruntimes", namespace, runtime)
            if await self._uid(owner) != objects.owner:
                self._trouble(runtime, EventReason.SERVING_RUNTIME_GONE, f"ServingRuntime {runtime} has been deleted")
                return _GONE_S
        else:
            # Of this Deployment, and not of one that took its name meanwhile.
            body = {**body, "metadata": {**body["metadata"], "uid": wanted.uid}}
        self._lead()
        # Without force, somebody's who is quicker still is not overwritten.
        deployment = await self._api.apply(path, body, force=wanted.uid is not None)
        self._lead()
        budget = await self._api.apply(
            group("policy/v1", "poddisruptionbudgets", namespace, objects.name), objects.budget
        )
        self._applied_at[runtime] = self._clock()
        self._book.applied(objects, wanted.replicas, deployment, budget)
        self._trouble(runtime)
        self._tell()
        log.info("pool_applied", runtime=runtime, replicas=wanted.replicas, repair=wanted.repair)
        return 0.0

    async def _uid(self, path: str) -> str | None:
        """Of the object that is there now."""
        try:
            return str((await self._api.get(path))["metadata"]["uid"])
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def _delete(self, name: str, uid: str) -> None:
        namespace = self._settings.namespace
        deployment = group("apps/v1", "deployments", namespace, name)
        budget = group("policy/v1", "poddisruptionbudgets", namespace, name)
        await self._gone(budget)
        await self._gone(deployment, {"preconditions": {"uid": uid}, "propagationPolicy": "Background"})

    async def _gone(self, path: str, options: Raw | None = None) -> None:
        self._lead()
        try:
            await self._api.delete(path, options)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def _trouble(self, runtime: str, reason: EventReason | None = None, message: str = "") -> None:
        """What there is, or that there is none."""
        if not self._book.trouble(runtime, message):
            return
        if reason is not None:
            log.warning("pool_troubled", runtime=runtime, reason=reason, problem=message)
            self._report(runtime, self._book.owner(runtime), reason, message)
        self._tell()
