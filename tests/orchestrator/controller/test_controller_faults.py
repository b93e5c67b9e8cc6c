"""The controller at work when others fail: restarts, dead servers, silent pods, refusals; and what an event costs."""

from __future__ import annotations

import pytest

from orchestrator.domain.demand import ReadyAt, Want
from orchestrator.domain.observation import Observation
from orchestrator.domain.routes import Route
from tests.orchestrator.builders import endpoint
from tests.orchestrator.controller.bench import Bench

pytestmark = pytest.mark.looptime

LOADED = ("True", "Loaded")
SERVED = Route("digits", (endpoint("p1"),))


async def test_a_restart_with_everything_up_changes_nothing() -> None:
    """No load, no unload, no status write, no pool; the routes are taken over as they are."""
    async with Bench() as bench:
        await bench.apply("digits", "other")
        before = (
            list(bench.fleet.loads),
            list(bench.fleet.unloads),
            len(bench.platform.writes),
            dict(bench.mesh.envoy),
        )
        await bench.restart()
        await bench.after(100.0)
        after = (list(bench.fleet.loads), list(bench.fleet.unloads), len(bench.platform.writes), dict(bench.mesh.envoy))
        assert after == before
        assert len(bench.platform.pods) == 1
        assert bench.mesh.published["digits"].acked


async def test_a_restart_does_not_bring_down_what_cannot_be_heard() -> None:
    """A silent pod's models serve on by the routes that are there, whatever has become of their spec meanwhile."""
    async with Bench() as bench:
        await bench.apply("digits", "other")
        bench.fleet.silence("p1")
        envoy = dict(bench.mesh.envoy)
        bench.platform.storage = None
        await bench.restart()
        await bench.after(100.0)
        assert bench.mesh.envoy == envoy
        assert bench.fleet.unloads == []
        assert bench.ready == {"digits": LOADED, "other": LOADED}
        bench.fleet.servers["p1"].frozen = False
        bench.fleet.report("p1", full=True)
        await bench.after()
        assert bench.mesh.envoy == envoy
        assert bench.mesh.published["digits"].acked


async def test_what_was_deleted_while_no_controller_ran_leaves_too() -> None:
    """Its copy is there, an Envoy routes to it, and no list names it."""
    async with Bench() as bench:
        await bench.apply("digits", "other")
        del bench.platform.models["digits"]
        await bench.restart()
        await bench.after(60.0)
        assert bench.fleet.loaded() == {"other"}
        assert set(bench.mesh.envoy) == {"other"}


async def test_a_dead_server_is_told_and_its_models_brought_back() -> None:
    """RuntimeUnavailable until loaded and routed again, each told once; nothing of it remains."""
    async with Bench() as bench:
        await bench.apply("digits")
        writes = len(bench.platform.writes)
        bench.mesh.frozen = True
        bench.fleet.kill("p1")
        await bench.after(100.0)
        assert bench.fleet.loaded() == {"digits"}
        assert bench.ready == {"digits": ("False", "RuntimeUnavailable")}
        bench.mesh.thaw()
        await bench.after()
        assert bench.ready == {"digits": LOADED}
        assert bench.mesh.envoy == {"digits": SERVED}
        assert len(bench.platform.writes) == writes + 2
        assert not bench.fleet.observed.lost("digits")


async def test_what_stands_by_does_not_notice_a_dead_server() -> None:
    """It is not there to be lost: it stays READY, and its next load is no comeback."""
    async with Bench() as bench:
        for name in ("a", "b", "c"):
            await bench.apply(name)
            await bench.after(5.0)
        bench.fleet.kill("p1", back=False)
        await bench.after()
        assert bench.ready["a"] == LOADED
        assert bench.ready["b"] == bench.ready["c"] == ("False", "RuntimeUnavailable")


async def test_a_model_deleted_when_its_server_died_is_no_loss_for_its_successor() -> None:
    """Nothing is kept of the old one's."""
    async with Bench() as bench:
        await bench.apply("digits")
        bench.fleet.kill("p1", back=False)
        await bench.delete("digits")
        assert not bench.fleet.observed.lost("digits")


async def test_a_silent_pod_changes_nothing_that_is_told() -> None:
    """Unknown is no news: no status, no route, no load elsewhere; a deletion waits until it is heard."""
    async with Bench() as bench:
        await bench.apply("digits", "other")
        writes, envoy = len(bench.platform.writes), dict(bench.mesh.envoy)
        bench.fleet.silence("p1")
        await bench.after(100.0)
        assert len(bench.platform.writes) == writes
        assert bench.mesh.envoy == envoy
        await bench.delete("digits")
        await bench.after(10.0)
        assert bench.fleet.loaded() == {"digits", "other"}
        bench.fleet.servers["p1"].frozen = False
        bench.fleet.report("p1", full=True)
        await bench.after()
        assert bench.fleet.loaded() == {"other"}


async def test_a_stale_route_has_its_copy_looked_at_once() -> None:
    """A request came back: the adapter is asked, the activator answered."""
    async with Bench() as bench:
        await bench.apply("digits")
        bench.activators.want("digits", Want(load=True, stale=True))
        await bench.after()
        assert bench.fleet.loads == [("p1", "digits"), ("p1", "digits")]
        assert bench.activators.answers["digits"] == ReadyAt((endpoint("p1"),))


async def test_refused_commands_are_tried_again_and_end_no_worker() -> None:
    """The adapter was not ready; then it was."""
    async with Bench() as bench:
        await bench.apply("other")
        bench.fleet.servers["p1"].frozen = True
        await bench.apply("digits")
        assert "digits" not in bench.fleet.loaded()
        bench.fleet.servers["p1"].frozen = False
        await bench.after(60.0)
        assert bench.ready["digits"] == LOADED


async def test_a_model_whose_status_cannot_be_written_holds_up_no_other() -> None:
    """And is written when it can be."""
    async with Bench() as bench:
        bench.platform.trouble = "no space left on device"
        await bench.apply("digits", "other")
        assert bench.ready == {}
        assert bench.fleet.loaded() == {"digits", "other"}
        bench.platform.trouble = ""
        await bench.after(60.0)
        assert bench.ready == {"digits": LOADED, "other": LOADED}


async def test_a_hundred_models_cost_no_more_than_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is loaded once; an event of one wakes one."""
    async with Bench() as bench:
        bench.fleet.capacity = 10_000
        await bench.apply(*(f"m{i}" for i in range(100)))
        await bench.after(5.0)
        assert len(bench.fleet.loads) == 100
        assert set(bench.ready.values()) == {LOADED}
        looks: list[str] = []
        observe = bench.observer.observe

        def noted(name: str) -> Observation:
            looks.append(name)
            return observe(name)

        with monkeypatch.context() as patch:
            patch.setattr(bench.observer, "observe", noted)
            bench.mesh.on_change(frozenset({"m7"}))
            bench.fleet.report("p1")
            await bench.after()
        assert set(looks) == {"m7"}
