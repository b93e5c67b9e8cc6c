"""The controller at work while a pod is on its way out: what it holds is elsewhere, or withdrawn, before it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.demand import Want
from orchestrator.domain.fleet import Failure, Pod
from orchestrator.domain.routes import Route
from tests.orchestrator.builders import endpoint, make_pod
from tests.orchestrator.controller.bench import Bench

pytestmark = pytest.mark.looptime

LOADED = ("True", "Loaded")
WITHDRAWN = Route("digits")


def served_by(uid: str, model: str = "digits") -> Route:
    return Route(model, (endpoint(uid),))


def list_pods(bench: Bench, *pods: Pod) -> None:
    """The platform has these."""
    bench.platform.pods = list(pods)
    bench.platform.tell()


async def test_a_replaced_pod_hands_over_to_its_replacement() -> None:
    """It waits for it, and ends empty. READY is not written once, and the pool is told no other number."""
    async with Bench() as bench:
        await bench.apply("digits", "other")
        written = len(bench.platform.writes)
        bench.fleet.stuck.add("p2")
        bench.fleet.drain("p1")
        list_pods(bench, make_pod("p1", terminating=True))
        await bench.after(10.0)
        assert [p.uid for p in bench.platform.pods] == ["p1", "p2"]
        assert bench.mesh.envoy == {"digits": served_by("p1"), "other": served_by("p1", "other")}
        assert bench.fleet.unloads == []
        bench.fleet.stuck.clear()
        bench.fleet.report("p2")
        await bench.after(10.0)
        assert bench.mesh.envoy == {"digits": served_by("p2"), "other": served_by("p2", "other")}
        assert not bench.fleet.servers["p1"].copies
        list_pods(bench, make_pod("p2"))
        await bench.after(10.0)
        assert bench.ready == {"digits": LOADED, "other": LOADED}
        assert len(bench.platform.writes) == written
        assert bench.platform.peak == 1


async def test_a_place_that_comes_free_is_taken() -> None:
    """The other pod is full, and nobody is evicted; until another model goes."""
    async with Bench(pods=2) as bench:
        await bench.apply("a", "b", "c")
        await bench.after(60.0)
        assert {len(server.copies) for server in bench.fleet.servers.values()} == {1, 2}
        (leaving,) = (uid for uid, server in bench.fleet.servers.items() if len(server.copies) == 1)
        (staying,) = bench.fleet.servers.keys() - {leaving}
        written, unloads = len(bench.platform.writes), len(bench.fleet.unloads)
        bench.fleet.drain(leaving)
        await bench.after(10.0)
        assert len(bench.fleet.unloads) == unloads
        gone = min(key.model for key in bench.fleet.servers[staying].copies)
        await bench.delete(gone)
        await bench.after(10.0)
        assert not bench.fleet.servers[leaving].copies
        assert bench.ready == dict.fromkeys({"a", "b", "c"} - {gone}, LOADED)
        assert bench.mesh.envoy == {name: served_by(staying, name) for name in bench.ready} | {gone: Route(gone)}
        assert len(bench.platform.writes) == written


async def test_without_a_place_it_is_withdrawn_before_the_pod_ends() -> None:
    """It stands by, READY, and comes back where somebody asks for it; that the pod ends is no loss of anything."""
    async with Bench() as bench:
        await bench.apply("digits")
        written = len(bench.platform.writes)
        bench.fleet.drain("p1")
        await bench.after(10.0)
        assert bench.mesh.envoy["digits"] == served_by("p1")
        bench.fleet.drain("p1", closing=True)
        await bench.after()
        assert bench.mesh.envoy["digits"] == WITHDRAWN
        assert bench.fleet.unloads == [("p1", "digits")]
        assert bench.ready == {"digits": LOADED}
        list_pods(bench)
        await bench.after(60.0)
        assert [p.uid for p in bench.platform.pods] == ["p2"]
        assert bench.ready == {"digits": LOADED}
        assert len(bench.platform.writes) == written
        assert bench.fleet.loads == [("p1", "digits")]
        bench.activators.want("digits", Want(load=True))
        await bench.after()
        assert bench.mesh.envoy["digits"] == served_by("p2")
        assert len(bench.platform.writes) == written


async def test_who_asks_while_it_is_withdrawn_is_answered_by_the_next_pod() -> None:
    """It is loaded as soon as there is one."""
    async with Bench() as bench:
        await bench.apply("digits")
        bench.fleet.drain("p1", closing=True)
        await bench.after()
        bench.activators.want("digits", Want(load=True))
        await bench.after()
        assert bench.mesh.envoy["digits"] == WITHDRAWN
        list_pods(bench, make_pod("p1", terminating=True))
        await bench.after()
        assert bench.mesh.envoy["digits"] == served_by("p2")
        assert bench.ready == {"digits": LOADED}


async def test_a_pod_that_ends_before_its_time_takes_its_models_with_it() -> None:
    """Those that were not handed over yet: READY says so, until they are loaded again."""
    async with Bench() as bench:
        await bench.apply("digits")
        written = len(bench.platform.writes)
        bench.fleet.drain("p1")
        await bench.after()
        list_pods(bench)
        await bench.after()
        said = [status.condition("Ready") for _, status in bench.platform.writes[written:]]
        assert [(c.status, c.reason) for c in said if c is not None] == [("False", "RuntimeUnavailable"), LOADED]


async def test_a_model_whose_runtime_is_deleted_says_so_before_it_is_gone() -> None:
    """It answers for a while, since the runtime may come back. Then it is not READY, and withdrawn in order."""
    async with Bench() as bench:
        await bench.apply("digits")
        del bench.platform.runtimes["mlserver-0.x"]
        bench.fleet.drain("p1")
        list_pods(bench, make_pod("p1", terminating=True))
        await bench.deliver()
        await bench.after(10.0)
        assert bench.ready == {"digits": LOADED}
        assert bench.mesh.envoy["digits"] == served_by("p1")
        await bench.after(10.0)
        assert bench.ready == {"digits": ("False", "NoSupportingRuntime")}
        assert bench.mesh.envoy["digits"] == WITHDRAWN
        assert bench.fleet.unloads == [("p1", "digits")]


async def test_a_runtime_that_is_replaced_in_time_takes_its_models_over() -> None:
    """READY is not written once."""
    async with Bench() as bench:
        await bench.apply("digits")
        runtime = bench.platform.runtimes.pop("mlserver-0.x")
        bench.fleet.drain("p1")
        list_pods(bench, make_pod("p1", terminating=True))
        await bench.deliver()
        await bench.after(10.0)
        bench.platform.runtimes["mlserver-0.x"] = runtime
        await bench.deliver()
        await bench.after(30.0)
        assert bench.mesh.envoy["digits"] == served_by("p2")
        assert bench.ready == {"digits": LOADED}


async def test_a_lowered_limit_ends_one_pod_after_another() -> None:
    """What it holds is handed over first, as far as it fits; READY is not written once. The next waits for that."""
    async with Bench(pods=3) as bench:
        bench.platform.lingers = True
        for name in ("a", "b", "c", "d", "e"):
            await bench.apply(name)
            await bench.after(5.0)
        await bench.delete("b")
        await bench.delete("c")
        assert [p.uid for p in bench.platform.pods] == ["p1", "p2", "p3"]
        written = len(bench.platform.writes)
        bench.platform.config = {"podsPerRuntime": "1"}
        await bench.deliver()
        for leaving, kept in (("p3", ["p1", "p2"]), ("p2", ["p1"])):
            await bench.after(60.0)
            assert [p.uid for p in bench.platform.pods if p.terminating] == [leaving]
            bench.fleet.drain(leaving)
            await bench.after(10.0)
            bench.fleet.drain(leaving, closing=True)
            await bench.after(10.0)
            assert not bench.fleet.servers[leaving].copies
            list_pods(bench, *(make_pod(uid) for uid in kept))
            await bench.after()
        await bench.after(60.0)
        assert bench.platform.replicas == {"mlserver-0.x": 1}
        assert len(bench.fleet.loaded()) == 2
        assert bench.ready == dict.fromkeys(("a", "d", "e"), LOADED)
        assert len(bench.platform.writes) == written
        left = next(name for name in bench.ready if name not in bench.fleet.loaded())
        bench.activators.want(left, Want(load=True))
        await bench.after(10.0)
        assert bench.mesh.envoy[left] == served_by("p1", left)


async def test_a_limit_that_is_not_said_any_more_ends_nobody() -> None:
    """An empty answer may be anything; the default is a limit for growth alone."""
    async with Bench(pods=1) as bench:
        bench.platform.config = {"podsPerRuntime": "2"}
        await bench.apply("a", "b", "c")
        await bench.after(10.0)
        assert bench.platform.replicas == {"mlserver-0.x": 2}
        bench.platform.config = {}
        await bench.deliver()
        await bench.after(100.0)
        assert bench.platform.replicas == {"mlserver-0.x": 2}
        assert bench.fleet.loaded() == {"a", "b", "c"}


async def test_what_failed_is_tried_in_the_pod_that_comes_after() -> None:
    """A ServingRuntime was mended: its new pod has nothing of the old one's back-off, which is minutes by then."""
    async with Bench() as bench:
        bench.fleet.broken["digits"] = Failure(reason="ModelLoadFailed", message="Model digits not found")
        await bench.apply("digits")
        await bench.after(400.0)
        assert bench.ready == {"digits": ("False", "ModelLoadFailed")}
        loads = len(bench.fleet.loads)
        del bench.fleet.broken["digits"]
        (old,) = bench.platform.pods
        list_pods(bench, replace(old, terminating=True), make_pod("new"))
        await bench.after(2.0)
        assert bench.fleet.loads[loads:] == [("new", "digits")]
        assert bench.ready == {"digits": LOADED}
