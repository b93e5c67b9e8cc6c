"""The controller at work with adapters that fall silent in the middle of something, or come and go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.demand import ReadyAt, WaitFor, Want
from orchestrator.domain.pool import GROWTH_PATIENCE_S
from tests.orchestrator.builders import endpoint
from tests.orchestrator.controller.bench import Bench
from tests.orchestrator.controller.fakes import MOMENT

pytestmark = pytest.mark.looptime

LOADED = ("True", "Loaded")
ASKED = Want(load=True)


async def fill(bench: Bench) -> None:
    """Two pods that answer, of which the second has more room."""
    await bench.apply(*"abc")
    await bench.after(5.0)
    assert {bench.fleet.observed.copies(name)[0].pod for name in "abc"} == {"p1", "p2"}


def hear(bench: Bench, pod: str) -> None:
    """Its adapter answers again."""
    bench.fleet.servers[pod].frozen = False
    bench.fleet.report(pod, full=True)


async def command(bench: Bench, name: str) -> str:
    """A load is commanded; the pod that has the command, and has told nothing yet."""
    loads = len(bench.fleet.loads)
    bench.fleet.lasts_s = 5.0
    await bench.apply(name)
    bench.activators.want(name, ASKED)
    ((pod, _),) = bench.fleet.loads[loads:]
    bench.fleet.lasts_s = MOMENT
    return pod


async def test_a_load_in_a_pod_that_falls_silent_is_not_waited_for_without_end() -> None:
    """It may be over in a moment; after that the model is loaded in a pod that answers, in another's place."""
    async with Bench(pods=2) as bench:
        await fill(bench)
        pod = await command(bench, "digits")
        bench.fleet.silence(pod)
        await bench.after(GROWTH_PATIENCE_S - 2)
        assert isinstance(bench.activators.told("digits"), WaitFor)
        assert [name for _, name in bench.fleet.loads].count("digits") == 1
        await bench.after(10.0)
        assert bench.activators.told("digits") == ReadyAt((endpoint("p1"),))
        assert bench.ready["digits"] == LOADED
        unloads = list(bench.fleet.unloads)
        hear(bench, pod)
        await bench.after(60.0)
        assert bench.ready["digits"] == LOADED
        assert bench.fleet.unloads == unloads


@pytest.mark.parametrize("under_way", [True, False])
async def test_where_no_pod_answers_another_is_started(under_way: bool) -> None:
    """One more, if the pool may have it, and not before the silence has lasted; not because a pod takes long to start."""
    async with Bench(pods=3) as bench:
        await bench.apply("other")
        if under_way:
            await command(bench, "digits")
        bench.fleet.silence("p1")
        await bench.apply("digits")
        bench.activators.want("digits", ASKED)
        await bench.after(GROWTH_PATIENCE_S - 2)
        assert len(bench.platform.pods) == 1
        bench.fleet.absent.add("p2")
        await bench.after(100.0)
        assert len(bench.platform.pods) == 2
        bench.fleet.absent.clear()
        bench.platform.tell()
        await bench.after(5.0)
        assert bench.activators.told("digits") == ReadyAt((endpoint("p2"),))
        assert bench.ready["digits"] == LOADED
        assert len(bench.platform.pods) == 2


@pytest.mark.parametrize("message", ["", "exited with code 1"])
async def test_another_is_started_also_where_the_silent_pods_server_was_down(message: str) -> None:
    """Whether or not the platform has a reason for that."""
    async with Bench(pods=2) as bench:
        await bench.apply("other")
        bench.fleet.kill("p1", back=False)
        bench.platform.pods = [replace(pod, message=message) for pod in bench.platform.pods]
        bench.platform.tell()
        await bench.after()
        bench.fleet.silence("p1")
        bench.activators.want("other", ASKED)
        await bench.after(GROWTH_PATIENCE_S + 10.0)
        assert bench.activators.told("other") == ReadyAt((endpoint("p2"),))


@pytest.mark.parametrize("silent", [True, False])
async def test_nobody_leaves_for_what_another_pod_may_come_for(silent: bool) -> None:
    """A pod that has been silent for long is not waited for, and keeps no other pod from being started."""
    async with Bench(pods=3) as bench:
        await bench.apply(*"abcd")
        await bench.after(60.0)
        if silent:
            bench.fleet.silence("p2")
        await bench.after(60.0)
        await bench.apply("digits")
        bench.activators.want("digits", ASKED)
        await bench.after(10.0)
        assert bench.activators.told("digits") == ReadyAt((endpoint("p3"),))
        assert bench.fleet.loaded() == {*"abcd", "digits"}


async def test_a_request_for_what_nobody_can_load_is_told_that_its_pod_does_not_answer() -> None:
    """The pool may have no other pod; nothing is said of a silence that may be over in a moment."""
    async with Bench() as bench:
        await bench.apply("a")
        pod = await command(bench, "digits")
        bench.fleet.silence(pod)
        await bench.after(GROWTH_PATIENCE_S - 2)
        writes = len(bench.platform.writes)
        await bench.after(60.0)
        told = bench.activators.told("digits")
        assert isinstance(told, WaitFor)
        assert f"pod pod-{pod} does not answer" in told.message
        assert len(bench.platform.writes) == writes + 1
        hear(bench, pod)
        await bench.after()
        assert isinstance(bench.activators.told("digits"), ReadyAt)


@pytest.mark.parametrize("up_s", [2.0, 0.05])
async def test_an_adapter_that_comes_and_goes_makes_no_status_flap(up_s: float) -> None:
    """What it holds serves on and is READY; what is loaded there meanwhile comes, and its request is answered."""
    async with Bench() as bench:
        await bench.apply("a")
        writes, envoy = len(bench.platform.writes), dict(bench.mesh.envoy)
        for _ in range(30):
            bench.fleet.silence("p1")
            await bench.after(2.0)
            hear(bench, "p1")
            await bench.after(up_s)
        assert (len(bench.platform.writes), bench.mesh.envoy) == (writes, envoy)
        bench.fleet.lasts_s = 3.0
        await bench.apply("digits")
        bench.activators.want("digits", ASKED)
        for _ in range(30):
            bench.fleet.silence("p1")
            await bench.after(2.0)
            hear(bench, "p1")
            await bench.after(up_s)
        assert isinstance(bench.activators.told("digits"), ReadyAt)
        assert bench.ready == {"a": LOADED, "digits": LOADED}
        said = [(c.status, c.reason) for _, s in bench.platform.writes[writes:] if (c := s.condition("Ready"))]
        assert said.count(LOADED) == 1
        assert len(said) <= 3


@pytest.mark.parametrize("in_use", [False, True])
async def test_who_waits_for_room_is_not_told_anew_each_time_an_adapter_comes_and_goes(in_use: bool) -> None:
    """And comes into the place of what is used less, if anything is, though no silence of that pod ever lasts."""
    async with Bench(pods=2) as bench:
        await bench.apply(*"abcd")
        await bench.after(60.0)
        for name in "abcd" if in_use else "":
            bench.activators.want(name, ASKED)
        bench.fleet.silence("p2")
        await bench.apply("digits")
        bench.activators.want("digits", ASKED)
        for _ in range(30):
            await bench.after(2.0)
            hear(bench, "p2")
            await bench.after(2.0)
            bench.fleet.silence("p2")
        told = bench.activators.told("digits")
        assert isinstance(told, WaitFor if in_use else ReadyAt)
        assert bench.ready["digits"] == (("False", "Loading") if in_use else LOADED)
        assert len([name for name, _ in bench.platform.writes if name == "digits"]) <= 4
