"""Statuses that cannot be written, or slowly: they hold up nobody, and are told when they can be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from orchestrator.controller.controller import WORKERS
from orchestrator.controller.reporter import REWRITE_S
from orchestrator.domain.demand import ReadyAt, Want
from orchestrator.domain.errors import PlatformUnavailable
from orchestrator.domain.fleet import Failure, LoadOrder
from orchestrator.domain.trained_model import ModelStatus
from tests.orchestrator.builders import make_condition, make_status
from tests.orchestrator.controller.bench import Bench

pytestmark = pytest.mark.looptime

LOADED = ("True", "Loaded")


async def test_a_model_whose_status_cannot_be_written_holds_up_no_other() -> None:
    """And is written when it can be."""
    async with Bench() as bench:
        bench.platform.trouble = OSError("no space left on device")
        await bench.apply("digits", "other")
        assert bench.ready == {}
        assert bench.fleet.loaded() == {"digits", "other"}
        assert ("status", "failed") in bench.counts.reconcile_failures.read().samples
        bench.platform.trouble = None
        await bench.after(60.0)
        assert bench.ready == {"digits": LOADED, "other": LOADED}


async def test_statuses_that_are_written_slowly_hold_up_no_request() -> None:
    """
    A webhook for statuses that times out: more models wait to be told of than are written at once.

    One that a request waits for is loaded meanwhile, and each is told of in the end.
    """
    async with Bench() as bench:
        bench.fleet.capacity = 10_000
        await bench.apply("digits")
        bench.platform.slow_s = 30.0
        names = [f"m{n}" for n in range(3 * WORKERS)]
        bench.fleet.broken |= dict.fromkeys(names, Failure(reason="ModelNotFound", message="not there"))
        await bench.apply(*names)
        bench.activators.want("new", Want(load=True))
        await bench.apply("new")
        assert isinstance(bench.activators.told("new"), ReadyAt)
        assert bench.ready == {"digits": LOADED}
        await bench.after(300.0)
        assert bench.ready == {"digits": LOADED, "new": LOADED} | dict.fromkeys(names, ("False", "ModelNotFound"))


async def test_what_changes_while_a_status_is_written_is_told_afterwards() -> None:
    """And once: the one that was on its way, then the one that is true. What is to be done is done meanwhile."""
    async with Bench() as bench:
        await bench.apply("digits")
        bench.platform.slow_s = 10.0
        bench.fleet.kill("p1", back=False)
        bench.activators.want("digits", Want(load=True))
        await bench.after(5.0)
        bench.fleet.servers["p1"].boot = 2
        bench.fleet.report("p1", full=True)
        await bench.after(1.0)
        assert isinstance(bench.activators.told("digits"), ReadyAt)
        await bench.after(30.0)
        told = ["Loaded", "RuntimeUnavailable", "Loaded"]
        ready = [status.condition("Ready") for _, status in bench.platform.writes]
        assert [condition.reason for condition in ready if condition is not None] == told
        assert [reason for _, _, reason, _ in bench.platform.events] == told


@pytest.mark.parametrize("slow_s", [0.0, 5.0])
async def test_what_served_last_comes_back_though_its_status_was_late(
    slow_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """v2 serves while the API server takes its time, v3 comes and fails, the server dies: v2 is the last good one."""
    async with Bench() as bench:
        await bench.apply("digits")
        bench.platform.slow_s = slow_s
        await bench.apply("digits", storage_uri="s3://models/v2")
        (second,) = bench.fleet.observed.copies("digits")
        load, failure = bench.fleet.load, Failure(reason="ModelNotFound", message="no v3")

        async def without_v3(pod: str, order: LoadOrder) -> None:
            bench.fleet.broken = {"digits": failure} if order.uri.endswith("v3") else {}
            await load(pod, order)

        monkeypatch.setattr(bench.fleet, "load", without_v3)
        await bench.apply("digits", storage_uri="s3://models/v3")
        await bench.after(6.0)
        bench.platform.slow_s = 0.0
        await bench.after(6.0)
        assert bench.platform.models["digits"].status.active_storage_uri == "s3://models/v2"
        assert bench.ready == {"digits": LOADED}
        bench.fleet.kill("p1")
        await bench.after(3.0)
        assert second.key in {c.key for c in bench.fleet.observed.copies("digits")}
        assert bench.ready == {"digits": LOADED}


async def test_a_platform_that_is_away_is_a_line_and_no_traceback() -> None:
    """It may be of all models at once; what was to be told is told later."""
    async with Bench() as bench:
        bench.platform.trouble = PlatformUnavailable("status of a: no answer")
        with capture_logs() as lines:
            await bench.apply("a")
        assert bench.platform.writes == []
        assert {line["event"] for line in lines if line["log_level"] != "info"} == {"platform_unavailable"}
        bench.platform.trouble = None
        await bench.after(10.0)
        assert bench.ready == {"a": LOADED}


async def test_a_platform_that_asks_to_be_left_alone_is() -> None:
    """For as long as it asks, though it would take the status before."""
    async with Bench() as bench:
        bench.platform.trouble = PlatformUnavailable("status of a: 429", retry_after_s=30.0)
        await bench.apply("a")
        bench.platform.trouble = None
        await bench.after(28.0)
        assert bench.platform.writes == []
        await bench.after(2.0)
        assert bench.ready == {"a": LOADED}


async def overwrite(bench: Bench, status: ModelStatus) -> None:
    bench.platform.models["a"] = replace(bench.platform.models["a"], status=status)
    await bench.deliver()


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_status_that_somebody_else_stored_is_overwritten(restarted: bool) -> None:
    """At once, by all that it was before; also one of a leader before us."""
    async with Bench() as bench:
        await bench.apply("a")
        ours = bench.platform.models["a"].status
        if restarted:
            await bench.restart()
        writes = len(bench.platform.writes)
        await overwrite(bench, make_status(make_condition("Ready", "False", "Bogus")))
        await bench.after()
        assert bench.platform.models["a"].status == ours
        await bench.deliver()
        await bench.after(100.0)
        assert len(bench.platform.writes) == writes + 1
        assert bench.fleet.loads == [("p1", "a")]


async def test_two_who_write_a_status_do_not_chase_each_other() -> None:
    """One write for what is seen, and a while between two."""
    async with Bench() as bench:
        await bench.apply("a")
        ours = bench.platform.models["a"].status
        writes = len(bench.platform.writes)
        for number in range(20):
            await overwrite(bench, make_status(make_condition("Ready", "False", f"Bogus{number}")))
        assert len(bench.platform.writes) == writes + 1
        await bench.after(REWRITE_S)
        assert len(bench.platform.writes) == writes + 2
        assert bench.platform.models["a"].status == ours
        await bench.after(10 * REWRITE_S)
        assert len(bench.platform.writes) == writes + 2


async def test_a_status_that_was_stored_over_ours_while_we_wrote_is_overwritten() -> None:
    """Whichever of them came first."""
    async with Bench() as bench:
        await bench.apply("a")
        ours = bench.platform.models["a"].status
        bench.platform.slow_s = 5.0
        await overwrite(bench, make_status(make_condition("Ready", "False", "First")))
        await overwrite(bench, make_status(make_condition("Ready", "False", "Second")))
        await bench.after(60.0)
        assert bench.platform.models["a"].status == ours
        assert len(bench.platform.writes) == 3


async def test_what_is_stored_is_made_sure_of_when_a_write_may_have_arrived() -> None:
    """What it said is not true any more, and what was told before is again."""
    async with Bench() as bench:
        await bench.apply("a")
        ours = bench.platform.models["a"].status
        bench.platform.trouble = PlatformUnavailable("status of a: no answer", retry_after_s=10.0)
        bench.fleet.kill("p1", back=False)
        await bench.after()
        # As it may be that it was stored.
        bench.platform.models["a"] = replace(
            bench.platform.models["a"], status=make_status(make_condition("Ready", "False", "RuntimeUnavailable"))
        )
        bench.platform.trouble = None
        bench.fleet.servers["p1"].boot = 2
        bench.fleet.report("p1", full=True)
        await bench.after(20.0)
        assert bench.platform.models["a"].status == ours
