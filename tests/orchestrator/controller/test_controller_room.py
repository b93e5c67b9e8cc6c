"""Room in a pool that is not as it should be: pods that do not come, fall silent or are refused."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.domain.demand import Want
from orchestrator.domain.errors import PlatformUnavailable
from orchestrator.domain.fleet import Pool
from orchestrator.domain.pool import GROWTH_PATIENCE_S
from orchestrator.domain.trained_model import ModelStatus
from tests.orchestrator.controller.bench import Bench
from tests.orchestrator.controller.fakes import FakePlatform, now

pytestmark = pytest.mark.looptime

RUNTIME = "mlserver-0.x"
LOADED = ("True", "Loaded")


async def until_loaded(bench: Bench) -> float:
    """Ask for a model that stands by; the seconds until it is loaded."""
    name = min(bench.platform.models.keys() - bench.fleet.loaded())
    begun = now()
    bench.activators.want(name, Want(load=True))
    while name not in bench.fleet.loaded():
        await bench.after(0.1)
        assert now() - begun < 300, f"{name} does not come: {bench.activators.told(name)}"
    bench.activators.want(name, None)
    await bench.after(2.0)
    return now() - begun - 2.0


class Refused(FakePlatform):
    """A platform that has but one pod of each pool, whatever it is told."""

    def _run_pods(self, runtime: str) -> None:
        wanted = self.replicas[runtime]
        self.replicas[runtime] = min(1, wanted)
        super()._run_pods(runtime)
        self.replicas[runtime] = wanted
        self.tell()


async def test_a_pod_that_does_not_come_is_waited_for_once() -> None:
    """Its image may take an hour: the first that lacks room waits for it a while, the next ones do not."""
    async with Bench(pods=2) as bench:
        bench.fleet.absent.add("p2")
        await bench.apply(*"abcd")
        await bench.after(100.0)
        assert len(bench.platform.pods) == 2
        for _ in range(3):
            assert await until_loaded(bench) < 2.0


async def test_a_pool_whose_pods_are_refused_does_not_wait_for_them() -> None:
    """A quota of one pod where two are allowed: what lacks room takes another's place at once, each time."""
    bench = Bench(pods=2)
    bench.platform = Refused(runtimes=bench.platform.runtimes, storage=bench.platform.storage)
    async with bench:
        await bench.apply(*"abcd")
        bench.platform.troubles[RUNTIME] = "its pods are refused: exceeded quota"
        bench.platform.tell()
        await bench.after(60.0)
        for _ in range(3):
            assert await until_loaded(bench) < 2.0


async def test_one_silent_pod_does_not_keep_the_others_from_serving() -> None:
    """For a while it may have room; then what is asked for comes into the pod that answers."""
    async with Bench(pods=2) as bench:
        await bench.apply(*"abcdef")
        await bench.after(60.0)
        bench.fleet.silence("p1")
        await bench.after(1.0)
        assert GROWTH_PATIENCE_S - 5 < await until_loaded(bench) < GROWTH_PATIENCE_S + 5
        assert await until_loaded(bench) < 2.0


async def test_a_dead_node_costs_its_models_a_load_elsewhere() -> None:
    """
    Its pod stays listed for minutes, and its adapter is silent, which alone moves nothing.

    Once a request has come back from there, the model is not ready, until it is loaded in the pod that answers.
    """
    async with Bench(pods=2) as bench:
        await bench.apply(*"abc")
        await bench.after(30.0)
        (there,) = (name for name in "abc" if bench.fleet.observed.copies(name)[0].pod == "p2")
        bench.fleet.silence("p2")
        await bench.after(120.0)
        assert bench.ready[there] == LOADED
        loads = len(bench.fleet.loads)
        bench.activators.want(there, Want(load=True, stale=True))
        writes = len(bench.platform.writes)
        await bench.after(10.0)
        said = [status.condition("Ready") for name, status in bench.platform.writes[writes:] if name == there]
        *meanwhile, last = [(c.status, c.reason) for c in said if c is not None]
        assert set(meanwhile) == {("False", "RuntimeUnavailable")}
        assert last == LOADED
        assert ("p1", there) in bench.fleet.loads[loads:]
        assert bench.mesh.published[there].route.endpoints == (bench.platform.pods[0].endpoint,)
        assert bench.ready[there] == LOADED


async def test_statuses_that_cannot_be_written_cost_no_loads() -> None:
    """What has loaded stands by, though nobody could write that down: else new models would replace each other."""
    async with Bench() as bench:
        bench.platform.trouble = PlatformUnavailable("403 Forbidden")
        await bench.apply(*"abcd")
        await bench.after(60.0)
        loads = len(bench.fleet.loads)
        await bench.after(300.0)
        assert len(bench.fleet.loads) == loads


async def test_what_is_amiss_and_keeps_no_pod_away_is_no_reason_not_to_wait_for_one() -> None:
    """A pool grows though the API server does not show its budgets: nobody leaves."""
    bench = Bench(pods=2)

    class Aside(FakePlatform):
        def tell(self) -> None:
            said = "the API server refuses to show PodDisruptionBudgets"
            self.on_pods(tuple(self.pods), {r: Pool(count, aside=said) for r, count in self.replicas.items()})

    bench.platform = Aside(runtimes=bench.platform.runtimes, storage=bench.platform.storage)
    async with bench:
        await bench.apply(*"abcd")
        await bench.after(60.0)
        assert bench.fleet.loaded() == set("abcd")


async def test_that_a_model_loaded_is_written_down_however_slow_that_is() -> None:
    """It may have left again when its turn comes: else the next leader would not know that it can stand by."""
    bench = Bench()

    class Slow(FakePlatform):
        async def write_status(self, name: str, uid: str, status: ModelStatus) -> None:
            await asyncio.sleep(20.0)
            await super().write_status(name, uid, status)

    bench.platform = Slow(runtimes=bench.platform.runtimes, storage=bench.platform.storage)
    async with bench:
        await bench.apply(*(f"m{number:02}" for number in range(40)))
        await bench.after(2000.0)
        assert all(model.status.active_revision for model in bench.platform.models.values())
