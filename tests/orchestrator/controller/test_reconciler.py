"""One reconcile: what it tells, and what it asks of pools. The whole is tested in test_controller.py."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.demand import Want
from orchestrator.domain.fleet import CopyState, Failure, Pool
from orchestrator.ports import Activators
from tests.orchestrator.builders import make_copy, make_key, make_pod, make_runtime
from tests.orchestrator.controller.bench import Bench
from tests.orchestrator.controller.fakes import FakeActivators

pytestmark = pytest.mark.looptime


async def test_a_second_look_does_nothing() -> None:
    """Level-based: whatever woke it."""
    async with Bench() as bench:
        await bench.apply("digits")
        before = (list(bench.fleet.loads), len(bench.platform.writes), len(bench.platform.events))
        for _ in range(3):
            assert await bench.reconciler.model("digits") is None
            assert await bench.reconciler.pool("mlserver-0.x") is None
        assert (list(bench.fleet.loads), len(bench.platform.writes), len(bench.platform.events)) == before


async def test_names_that_are_nobodys_cost_nothing() -> None:
    """A model that never was, a pool of no runtime."""
    async with Bench() as bench:
        assert await bench.reconciler.model("nobody") is None
        assert await bench.reconciler.pool("nothing") is None
        assert bench.platform.writes == []


async def test_events_tell_of_changes_with_warnings_for_what_needs_a_person() -> None:
    """A failure is; what comes back is told; nothing twice."""
    async with Bench() as bench:
        bench.fleet.broken["digits"] = Failure(reason="ModelNotFound", message="no such object")
        await bench.apply("digits")
        await bench.after(20.0)
        bench.fleet.broken.clear()
        await bench.after(20.0)
        assert [(reason, warning) for _, warning, reason, _ in bench.platform.events] == [
            ("ModelNotFound", True),
            ("Loaded", False),
        ]


async def test_a_failed_update_is_a_warning_while_the_old_one_serves() -> None:
    """Ready says nothing new; UpToDate does."""
    async with Bench() as bench:
        await bench.apply("digits")
        bench.fleet.broken["digits"] = Failure(reason="ModelNotFound", message="no such object")
        events = len(bench.platform.events)
        await bench.apply("digits", storage_uri="s3://models/next")
        assert bench.ready == {"digits": ("True", "Loaded")}
        status = bench.platform.models["digits"].status
        assert (status.observed_generation, status.active_storage_uri) == (2, "s3://models/digits")
        assert [(r, w) for _, w, r, _ in bench.platform.events[events:]] == [
            ("Loading", False),
            ("ModelNotFound", True),
        ]
        bench.fleet.broken.clear()
        await bench.after(20.0)
        assert bench.platform.models["digits"].status.active_storage_uri == "s3://models/next"
        assert [k.revision for k in bench.fleet.servers["p1"].copies] == [status_revision(bench)]


def status_revision(bench: Bench) -> str:
    return bench.platform.models["digits"].status.active_revision


async def test_a_config_that_is_none_leaves_the_defaults() -> None:
    """Until there was a good one. A typo stops no pool, and is one line; a good one counts from the next look."""
    async with Bench(grace_s=10.0) as bench:
        bench.platform.config = {"poolGraceSecond": "1"}
        await bench.apply("digits")
        assert bench.ready == {"digits": ("True", "Loaded")}
        bench.platform.config = {"poolGraceSeconds": "30"}
        await bench.deliver()
        # Broken again: the last that could be read counts.
        bench.platform.config = {"poolGraceSeconds": "soon"}
        with capture_logs() as lines:
            await bench.apply("other")
            await bench.delete("other")
        assert [line["event"] for line in lines].count("config_refused") == 1
        await bench.delete("digits")
        await bench.after(20.0)
        assert len(bench.platform.pods) == 1
        await bench.after(20.0)
        assert bench.platform.pods == []


async def test_the_pool_of_a_runtime_that_was_deleted_is_brought_down() -> None:
    """When what it served is gone; until then it serves on."""
    async with Bench(grace_s=10.0) as bench:
        await bench.apply("digits")
        bench.platform.runtimes = {"other": make_runtime("other", auto_select=frozenset())}
        await bench.deliver()
        await bench.after(100.0)
        assert bench.fleet.loaded() == {"digits"}
        assert bench.ready == {"digits": ("True", "Loaded")}
        await bench.delete("digits")
        await bench.after(100.0)
        assert bench.platform.pods == []


async def test_a_stale_route_that_is_reported_while_a_model_is_looked_at_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer given now would settle a mark that nothing was done about."""
    async with Bench() as bench:
        await bench.apply("digits")
        bench.activators.want("digits", Want(load=True))
        await bench.after()
        bench.activators.answers.clear()
        activators: Activators = bench.activators
        asked = 0

        def wanted(model: str) -> Want | None:
            nonlocal asked
            asked += 1
            if asked == 2:
                bench.activators.wants[model] = Want(load=True, stale=True)
            return FakeActivators.wanted(bench.activators, model)

        with monkeypatch.context() as patch:
            patch.setattr(activators, "wanted", wanted)
            await bench.reconciler.model("digits")
        assert bench.activators.answers == {}
        loads = len(bench.fleet.loads)
        await bench.reconciler.model("digits")
        assert len(bench.fleet.loads) == loads + 1
        assert "digits" in bench.activators.answers


async def test_a_pool_whose_pods_are_being_replaced_does_not_grow_by_them() -> None:
    """There are two, and there is to be one: what the platform says of the pool counts."""
    async with Bench() as bench:
        await bench.apply("digits")
        pods = (*bench.platform.pods, make_pod("next"))
        bench.fleet.observed.list_pods(pods, {"mlserver-0.x": Pool(1)})
        await bench.reconciler.pool("mlserver-0.x")
        assert bench.platform.replicas == {"mlserver-0.x": 1}


async def test_an_image_of_the_configuration_replaces_the_runtimes_own() -> None:
    """From the next look at the pool, which a change of the configuration brings; and back when it is taken out."""
    async with Bench() as bench:
        raw = {"spec": {"containers": [{"name": "mlserver", "image": "registry/mlserver:1"}]}}
        bench.platform.runtimes = {"mlserver-0.x": make_runtime(raw=raw)}
        await bench.apply("digits")
        assert bench.platform.images == {"mlserver-0.x": ["registry/mlserver:1"]}
        bench.platform.config = {"image.mlserver-0.x": "registry/mlserver:2"}
        await bench.deliver()
        assert bench.platform.images == {"mlserver-0.x": ["registry/mlserver:2"]}
        bench.platform.config = {}
        await bench.deliver()
        assert bench.platform.images == {"mlserver-0.x": ["registry/mlserver:1"]}


async def test_why_a_pool_has_no_pods_is_told_to_who_waits_for_it() -> None:
    """No pod could say it, since there is none."""
    async with Bench() as bench:
        bench.platform.on_pods = lambda pods, pools: None
        await bench.apply("digits")
        news = bench.fleet.observed.list_pods((), {"mlserver-0.x": Pool(1, "exceeded quota: pods")})
        bench.controller.fleet_changed(news.models, news.runtimes)
        await bench.after()
        ready = bench.platform.models["digits"].status.condition("Ready")
        assert ready is not None
        assert (ready.reason, ready.message) == (
            "RuntimeStarting",
            "runtime mlserver-0.x: its server starts; exceeded quota: pods",
        )


async def test_what_ailed_the_pool_of_a_runtime_that_was_deleted_is_not_said_of_the_next() -> None:
    """Which is there again under its name: its models' first word is of the new one."""
    async with Bench() as bench:
        await bench.apply("digits")
        bench.fleet.stuck.add("p2")
        bench.platform.troubles = {"mlserver-0.x": "ServingRuntime mlserver-0.x has been deleted"}
        bench.platform.runtimes = {}
        bench.platform.pods = []
        bench.platform.tell()
        await bench.deliver()
        written = len(bench.platform.writes)
        bench.platform.runtimes = {"mlserver-0.x": make_runtime(uid="another")}
        await bench.deliver()
        said = [status.condition("Ready") for _, status in bench.platform.writes[written:]]
        assert [(c.reason, "deleted" in c.message) for c in said if c is not None] == [("RuntimeUnavailable", False)]


async def test_a_pool_that_a_leader_before_left_without_its_runtime_is_ended() -> None:
    """Even if it has no pod at the moment: it would get one again."""
    async with Bench(grace_s=10.0) as bench:
        bench.platform.replicas["gone"] = 2
        bench.platform.tell()
        await bench.reconciler.pool("gone")
        await bench.after(20.0)
        await bench.reconciler.pool("gone")
        assert bench.platform.replicas["gone"] == 0


async def test_a_pod_with_a_copy_of_which_nothing_is_known_stays() -> None:
    """A newer adapter's word, about a model that nobody has any more: it may serve, and goes when it is known to be gone."""
    async with Bench() as bench:
        await bench.apply("digits")
        copies, key = bench.fleet.servers["p1"].copies, make_key(model="other")
        copies[key] = make_copy(CopyState.UNKNOWN, key=key)
        bench.fleet.report("p1")
        await bench.delete("digits")
        await bench.after(1000.0)
        assert bench.fleet.unloads == [("p1", "digits")]
        assert bench.platform.replicas == {"mlserver-0.x": 1}
        del copies[key]
        bench.fleet.report("p1", gone=(key,))
        await bench.after(1000.0)
        assert bench.platform.replicas.get("mlserver-0.x", 0) == 0
