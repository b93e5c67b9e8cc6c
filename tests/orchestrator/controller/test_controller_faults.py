"""The controller at work when others fail: restarts, dead servers, silent pods, refusals; and what an event costs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.controller import desired as desired_module
from orchestrator.controller.controller import WORKERS
from orchestrator.domain.demand import ReadyAt, Refused, Want
from orchestrator.domain.fleet import Failure
from orchestrator.domain.observation import Observation
from orchestrator.domain.routes import Route
from orchestrator.domain.target import Target, resolve
from orchestrator.domain.trained_model import TrainedModel
from tests.orchestrator.builders import endpoint, make_model, make_runtime
from tests.orchestrator.controller.bench import Bench, secret

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


@pytest.mark.parametrize("back", [True, False])
async def test_what_was_deleted_meanwhile_leaves_in_order_though_no_envoy_has_dialled_yet(back: bool) -> None:
    """It may be routed to: withdrawn first, and for the ACK of who has not been heard five seconds are the bound."""
    async with Bench() as bench:
        await bench.apply("digits", "other")
        del bench.platform.models["digits"]
        bench.mesh.away = True
        await bench.restart()
        await bench.after(3.0)
        assert bench.fleet.loaded() == {"digits", "other"}
        if back:
            bench.mesh.connect()
            await bench.after(1.0)
            assert bench.mesh.envoy["digits"] == Route("digits")
        else:
            await bench.after(2.5)
        assert bench.fleet.loaded() == {"other"}
        await bench.after(60.0)
        bench.mesh.connect()
        await bench.after(60.0)
        assert set(bench.mesh.envoy) == {"other"}


async def test_the_pool_of_a_runtime_that_was_deleted_while_no_controller_ran_ends() -> None:
    """When nothing needs it and the grace is over; nobody remembers more of it than its name."""
    async with Bench(grace_s=10.0) as bench:
        await bench.apply("digits")
        bench.platform.runtimes = {}
        await bench.restart()
        await bench.after(100.0)
        assert bench.fleet.loaded() == {"digits"}
        assert bench.ready == {"digits": LOADED}
        await bench.delete("digits")
        await bench.after(8.0)
        assert len(bench.platform.pods) == 1
        await bench.after(4.0)
        assert bench.platform.pods == []


async def test_a_pool_does_not_end_while_nobody_knows_what_a_pod_holds() -> None:
    """Its model was to move to another runtime and could not; the pod where it serves has not been heard since."""
    async with Bench(grace_s=10.0) as bench:
        bench.platform.runtimes["other"] = make_runtime("other", auto_select=frozenset())
        await bench.apply("digits")
        bench.fleet.broken["digits"] = Failure(reason="ModelLoadFailed", message="not an SVM")
        await bench.apply("digits", inference_service="other")
        bench.fleet.silence("p1")
        await bench.restart()
        await bench.after(100.0)
        assert "digits" in bench.fleet.loaded()
        await bench.delete("digits")
        await bench.after(100.0)
        bench.fleet.servers["p1"].frozen = False
        bench.fleet.report("p1", full=True)
        await bench.after(12.0)
        assert bench.platform.pods == []


async def test_a_pool_without_grace_waits_until_its_last_model_has_left_in_order() -> None:
    """The Envoys let go of it first, or five seconds pass."""
    async with Bench(grace_s=0.0) as bench:
        await bench.apply("digits")
        bench.mesh.frozen = True
        await bench.delete("digits")
        await bench.after(3.0)
        assert bench.fleet.loaded() == {"digits"}
        await bench.after(2.0)
        assert bench.fleet.unloads == [("p1", "digits")]
        assert bench.platform.pods == []


async def test_a_pod_that_does_not_come_up_is_not_waited_for_for_ever() -> None:
    """Neither one that starts and starts, nor one of which the platform says that it crashes: others leave instead."""
    async with Bench(pods=2) as bench:
        bench.fleet.stuck.add("p2")
        for name in ("a", "b", "c"):
            await bench.apply(name)
            await bench.after(5.0)
        assert len(bench.platform.pods) == 2
        assert bench.fleet.loaded() == {"a", "b"}
        await bench.after(30.0)
        assert bench.fleet.loaded() == {"b", "c"}
        bench.platform.pods[1] = replace(bench.platform.pods[1], message="server exited with code 1")
        bench.platform.tell()
        await bench.apply("d")
        await bench.after(5.0)
        assert bench.fleet.loaded() == {"c", "d"}


async def test_a_raised_limit_counts_at_once() -> None:
    """The next model that lacks room gets another pod, and nobody leaves for it."""
    async with Bench(pods=1) as bench:
        await bench.apply("a", "b")
        bench.platform.config = {"podsPerRuntime": "2"}
        await bench.deliver()
        await bench.apply("c")
        await bench.after(10.0)
        assert bench.fleet.loaded() == {"a", "b", "c"}
        assert bench.platform.replicas == {"mlserver-0.x": 2}


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
        assert set(bench.counts.reconcile_failures.read().samples) == {("model", "refused")}


async def test_a_model_that_nobody_expected_is_its_own_trouble_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it resolves to cannot be found out, when it is delivered and when a controller begins: the others serve."""

    def odd(model: TrainedModel, *world: Any) -> Target:
        if model.name == "odd":
            raise TypeError("the secret is in here")
        return resolve(model, *world)

    monkeypatch.setattr(desired_module, "resolve", odd)
    async with Bench() as bench:
        for _ in range(2):
            await bench.apply("odd", "digits")
            bench.platform.storage = secret(region="elsewhere")
            await bench.deliver()
            assert bench.ready == {"odd": ("False", "ModelLoadFailed"), "digits": LOADED}
            condition = bench.platform.models["odd"].status.condition("Ready")
            assert condition is not None
            assert condition.message.startswith("internal error of the orchestrator (TypeError in odd:")
            bench.activators.want("odd", Want(load=True))
            await bench.after()
            assert isinstance(bench.activators.told("odd"), Refused)
            await bench.restart()
        monkeypatch.setattr(desired_module, "resolve", resolve)
        await bench.apply("odd")
        assert bench.ready == {"odd": LOADED, "digits": LOADED}


async def test_a_last_good_revision_that_nobody_expected_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model's next one is loaded, and the others are looked at."""

    def last_good(*_: Any) -> None:
        raise TypeError

    async with Bench() as bench:
        await bench.apply("digits")
        monkeypatch.setattr(desired_module, "last_good", last_good)
        await bench.apply("digits", "other", storage_uri="s3://models/second")
        await bench.restart()
        await bench.after()
        assert bench.ready == {"digits": LOADED, "other": LOADED}
        assert bench.fleet.loads.count(("p1", "digits")) == 2


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


async def test_models_that_wait_for_nobody_leave_the_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those without room: whatever else is on the loop has its turn whenever each worker has had one."""
    async with Bench() as bench:
        reconciles, most = 0, 0

        async def reconcile(_: str) -> None:
            nonlocal reconciles
            reconciles += 1

        monkeypatch.setattr(bench.reconciler, "model", reconcile)
        bench.controller.models_changed(frozenset(f"m{number}" for number in range(10 * WORKERS)))
        while len(bench.queue):
            before = reconciles
            await asyncio.sleep(0)
            most = max(most, reconciles - before)
        assert 0 < most <= WORKERS


async def test_a_list_that_lost_most_models_takes_a_fifth_of_them_at_most() -> None:
    """
    An API server that came back without half of its objects: nobody said that they were deleted.

    Routes and copies of the rest stay as they are, and are not touched when a better list comes. What is said to be
    deleted goes at once meanwhile. A list that stays as it is has its way in the end.
    """
    names = [f"m{n}" for n in range(10)]
    async with Bench() as bench:
        bench.fleet.capacity = 200
        await bench.apply(*names)
        listed = dict(bench.platform.models)
        loads = list(bench.fleet.loads)
        bench.platform.models = {"m0": listed["m0"]}
        await bench.deliver(deleted=())
        await bench.after(10.0)
        gone = set(names) - bench.fleet.loaded()
        assert len(gone) == 2
        assert {n for n in names if bench.mesh.envoy[n].endpoints} == bench.fleet.loaded()
        kept = sorted(bench.fleet.loaded() - {"m0"})
        await bench.deliver(deleted=[(kept[0], listed[kept[0]].uid)])
        await bench.after(10.0)
        assert set(names) - bench.fleet.loaded() == gone | {kept[0]}

        bench.platform.models = {n: listed[n] for n in bench.fleet.loaded()}
        await bench.deliver(deleted=())
        await bench.after(100.0)
        assert bench.fleet.loaded() == bench.platform.models.keys()
        assert bench.fleet.loads == loads
        assert set(bench.ready.values()) == {("True", "Loaded")}

        bench.platform.models = {}
        await bench.deliver(deleted=())
        await bench.after(600.0)
        assert bench.fleet.loaded() == set()


async def test_a_change_is_a_listing_of_what_it_names() -> None:
    """It loads, and what it says to be deleted goes; of what is merely missing in it the brake lets a fifth go."""
    names = [f"m{n}" for n in range(5)]
    async with Bench() as bench:
        bench.fleet.capacity = 200
        await bench.deliver(deleted=())
        bench.controller.change({name: make_model(name) for name in names})
        await bench.after(5.0)
        assert bench.fleet.loaded() == set(names)
        bench.controller.change(dict.fromkeys(names[:2]), deleted=[(n, f"uid-{n}") for n in names[:2]])
        await bench.after(5.0)
        assert bench.fleet.loaded() == set(names[2:])
        bench.controller.change(dict.fromkeys(names[2:]))
        await bench.after(5.0)
        assert len(bench.fleet.loaded()) == 2
