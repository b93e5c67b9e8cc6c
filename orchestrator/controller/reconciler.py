"""
One reconcile: observe, plan, act, tell.

A reconcile is level-based: it does not know which event woke it, and running
it twice does nothing the second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import structlog

from orchestrator.controller.actor import Actor
from orchestrator.controller.desired import DesiredState
from orchestrator.controller.observer import Observer
from orchestrator.controller.pool_keeper import PoolKeeper
from orchestrator.controller.removals import Removals
from orchestrator.controller.reporter import Reporter
from orchestrator.controller.residency import Residency
from orchestrator.domain import memory as memories
from orchestrator.domain.action import MakeRoom, Plan, destructive
from orchestrator.domain.answering import answer
from orchestrator.domain.config import PODS_PER_RUNTIME, Config, parse_config
from orchestrator.domain.need import lacks_room, needed, needed_anywhere, waits_for
from orchestrator.domain.observation import Observation
from orchestrator.domain.plan import plan
from orchestrator.domain.pool import growth_wait
from orchestrator.domain.serving_runtime import ServingRuntime, with_image
from orchestrator.ports import Activators, FleetView, Pools, Recorder, StatusWriter

log = structlog.get_logger(__name__)


class Reconciler:
    """What a worker does with a name. Methods return in how many seconds to look again (None: not until woken)."""

    def __init__(
        self,
        *,
        desired: DesiredState,
        observer: Observer,
        actor: Actor,
        view: FleetView,
        activators: Activators,
        residency: Residency,
        removals: Removals,
        keeper: PoolKeeper,
        pools: Pools,
        statuses: StatusWriter,
        recorder: Recorder,
        defaults: Config,
        enqueue_pool: Callable[[str], None],
        enqueue_model: Callable[[str, float], None],
        enqueue_status: Callable[[str], None],
        clock: Callable[[], float],
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._desired = desired
        self._observer = observer
        self._actor = actor
        self._view = view
        self._activators = activators
        self._residency = residency
        self._removals = removals
        self._keeper = keeper
        self._pools = pools
        self._reporter = Reporter(
            desired=desired,
            view=view,
            statuses=statuses,
            recorder=recorder,
            enqueue=enqueue_status,
            reconcile=lambda name: enqueue_model(name, 0.0),
            clock=clock,
            wall=wall,
        )
        self._defaults = defaults
        self._enqueue_pool = enqueue_pool
        self._clock = clock
        #: Runtimes as last seen, since a pool outlives its deleted ServingRuntime until it is scaled down.
        self._runtimes: dict[str, ServingRuntime] = {}
        self._config_data: Mapping[str, str] = {}
        self._parsed = defaults

    def prime(self) -> None:
        """
        Count which runtimes the listed models need, before the first reconcile.

        Once, over all models: a pool that is reconciled before its models would be taken for idle.
        """
        for name, model in self._desired.models.items():
            needs = needed_anywhere(model, self._desired.target(name), self._desired.last_good(name))
            self._keeper.needs(name, needs)

    async def model(self, name: str) -> float | None:
        """Bring one model nearer to what its TrainedModel asks for, and say in its status how far it is."""
        now = self._clock()
        seen = self._observer.observe(name)
        self._residency.look(seen.copies, name, now, lost=seen.comes_back)
        decided = plan(seen, now)
        self._account(seen, decided)
        decided = self._without_what_waits(seen, decided)
        for action in decided.actions:
            await self._actor.act(name, action)
        if decided.stands_by:
            self._observer.remember(name, memories.standing_by(self._observer.memory(name)))
        untold_s = self._tell(name, now, stale_handled=seen.want is not None and seen.want.stale)
        return (decided + Plan(requeue_after=untold_s)).requeue_after

    async def status(self, name: str) -> None:
        """Store the status of one model, if it is due."""
        await self._reporter.write(name)

    async def pool(self, runtime: str) -> float | None:
        """Have as many pods of this runtime as its models need."""
        found = self._desired.runtimes.get(runtime) or self._runtimes.get(runtime)
        config = self._config()
        there = self._view.pods(runtime)
        pods = [p for p in there if not p.pod.terminating]
        pool = self._view.pool(runtime)
        # Pods may outlive their pool.
        before = pool.replicas if pool is not None else len(pods)
        decided = self._keeper.plan(
            runtime,
            there,
            replicas=before,
            limit=config.pods_per_runtime,
            grace_s=config.pool_grace_s,
            # A limit that is merely missing from the ConfigMap ends no pod (law 9: absence never deletes).
            may_shrink=PODS_PER_RUNTIME in self._desired.config,
        )
        if found is not None:
            self._runtimes[runtime] = found
            await self._pools.scale(with_image(found, config.images.get(runtime)), decided.replicas)
        elif (pods or before) and not decided.replicas:
            # The pool's ServingRuntime was deleted while no controller ran.
            await self._pools.end(runtime)
        else:
            return decided.requeue_after
        if decided.replicas != before:
            log.info("pool_scaled", runtime=runtime, replicas=decided.replicas, before=before)
        return decided.requeue_after

    def by_use(self, names: Iterable[str]) -> Sequence[str]:
        """The most recently used first: if there is no time or room for all, models in use get it."""
        return self._residency.by_use(names, self._clock())

    def _account(self, seen: Observation, decided: Plan) -> None:
        """Tell the pool keeper which runtimes this model needs and waits for."""
        runtimes = needed(seen)
        changed = self._keeper.needs(seen.name, runtimes)
        if self._keeper.waits(seen.name, waits_for(seen, decided), for_room=lacks_room(seen, decided)):
            changed |= runtimes
        for runtime in changed:
            self._enqueue_pool(runtime)

    def _without_what_waits(self, seen: Observation, decided: Plan) -> Plan:
        """The plan but for removals that nobody asked for, and for evictions while another pod may come."""
        if (wait_s := self._removals.wait(seen)) > 0:
            decided = decided.without(destructive(decided.actions), wait_s)
        for action in decided.actions:
            if isinstance(action, MakeRoom) and (wait_s := self._growth_wait(seen, action)) > 0:
                decided = decided.without({action}, wait_s)
        return decided

    def _tell(self, name: str, now: float, *, stale_handled: bool) -> float | None:
        """
        Tell activators and the user how far the model is now: its routes are published, its loads under way.

        `stale_handled`: the actions took up the mark that the route is stale. Returns in how many seconds to look again.
        """
        seen = self._observer.observe(name)
        if seen.lost and not seen.comes_back:
            # READY shows no loss of what is not to come back.
            self._view.found(name)
        # A stale mark that came during the actions has had no effect yet, and an answer now would clear it.
        if seen.want is not None and (stale_handled or not seen.want.stale):
            for copy in seen.serving:
                self._residency.used(copy.key, now)
            self._activators.answer(name, answer(seen))
        return self._reporter.tell(seen)

    def _growth_wait(self, seen: Observation, room: MakeRoom) -> float:
        """For how long another pod may come before anything is evicted for this model."""
        limit = self._config().pods_per_runtime
        pod = seen.pod(room.pod)
        runtime = pod.pod.runtime if pod is not None else ""
        pool = [p for p in seen.pods if p.pod.runtime == runtime]
        known = self._view.pool(runtime)
        message = known.message if known is not None else ""
        waited_s = self._keeper.starved_s(seen.name)
        return growth_wait(pool, limit=limit, message=message, waited_s=waited_s, now=self._clock())

    def _config(self) -> Config:
        """The live settings: of each the last value that could be read."""
        if self._desired.config != self._config_data:
            self._config_data = self._desired.config
            self._parsed, problems = parse_config(self._config_data, self._defaults, self._parsed)
            for problem in problems:
                log.warning("config_refused", problem=str(problem))
        return self._parsed
