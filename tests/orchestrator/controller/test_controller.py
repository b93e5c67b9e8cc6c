"""The controller at work: what becomes of the world when models come, go, fail and do not fit."""

from __future__ import annotations

import pytest

from orchestrator.domain.demand import ReadyAt, Refused, WaitFor, Want
from orchestrator.domain.fleet import Failure
from orchestrator.domain.routes import Route
from tests.orchestrator.builders import endpoint, make_model
from tests.orchestrator.controller.bench import Bench, secret
from tests.orchestrator.controller.fakes import now

pytestmark = pytest.mark.looptime

LOADED = ("True", "Loaded")
BROKEN = Failure(reason="ModelNotFound", message="bucket 'models' has no object 'digits'")
SERVED = Route("digits", (endpoint("p1"),))


async def test_a_model_comes_from_nothing_to_ready() -> None:
    """Pool, load, route, ACK, READY; told once, since all of it is over in a moment."""
    async with Bench() as bench:
        assert bench.platform.replicas.get("mlserver-0.x", 0) == 0
        await bench.apply("digits")
        assert bench.platform.replicas == {"mlserver-0.x": 1}
        assert bench.fleet.loads == [("p1", "digits")]
        assert bench.mesh.envoy == {"digits": SERVED}
        conditions = [s.condition("Ready") for _, s in bench.platform.writes]
        told = list(dict.fromkeys((c.status, c.reason) for c in conditions if c is not None))
        assert told == [LOADED]
        status = bench.platform.models["digits"].status
        assert (status.observed_generation, status.runtime) == (1, "mlserver-0.x")
        assert status.active_storage_uri == "s3://models/digits"
        assert ("digits", False, "Loaded", "served by mlserver-0.x") in bench.platform.events
        writes = len(bench.platform.writes)
        await bench.after(1000.0)
        assert len(bench.platform.writes) == writes
        assert bench.fleet.loads == [("p1", "digits")]


async def test_ready_waits_for_the_mesh_however_long() -> None:
    """A frozen Envoy routes as before: READY is not a guess."""
    async with Bench() as bench:
        bench.mesh.frozen = True
        await bench.apply("digits")
        await bench.after(1000.0)
        assert bench.fleet.loaded() == {"digits"}
        assert bench.ready == {"digits": ("False", "Loading")}
        bench.mesh.thaw()
        await bench.after()
        assert bench.ready == {"digits": LOADED}


async def test_a_deleted_model_leaves_nothing_behind() -> None:
    """Withdrawn, unloaded when the Envoys have let go, its cluster removed later; nothing remembers it."""
    async with Bench() as bench:
        await bench.apply("digits", "other")
        await bench.delete("digits")
        assert bench.mesh.envoy["digits"] == Route("digits")
        assert bench.fleet.loaded() == {"other"}
        await bench.after(40.0)
        assert set(bench.mesh.envoy) == {"other"}
        assert bench.mesh.view("digits") is None
        assert bench.keeper.models("mlserver-0.x") == {"other"}
        assert bench.desired.model("digits") is None
        assert set(bench.observer._memories) == {"other"}
        assert set(bench.residency._models) == {"other"}
        assert set(bench.desired._targets) == set(bench.desired._echoes) == {"other"}


@pytest.mark.parametrize("common", [False, True])
async def test_a_deletion_of_what_was_never_seen_leaves_nothing_behind(common: bool) -> None:
    """A model that came and went between two deliveries, be something else new or not."""
    async with Bench() as bench:
        await bench.deliver(deleted=())
        if common:
            await bench.deliver(deleted=[("digits", "uid-digits")])
        else:
            bench.controller.change({"digits": None}, deleted=[("digits", "uid-digits")])
            await bench.after()
        assert not bench.removals._deleted


async def test_a_frozen_envoy_holds_up_a_withdrawal_for_five_seconds() -> None:
    """Then the copy goes all the same: memory is not held for who does not answer."""
    async with Bench() as bench:
        await bench.apply("digits")
        bench.mesh.frozen = True
        await bench.delete("digits")
        await bench.after(3.0)
        assert bench.fleet.loaded() == {"digits"}
        await bench.after(2.0)
        assert bench.fleet.loaded() == set()


async def test_delete_and_create_is_another_model() -> None:
    """Also in one listing: the old one's copy leaves, the new one's comes, and its status starts from nothing."""
    async with Bench() as bench:
        await bench.apply("digits")
        del bench.platform.models["digits"]
        await bench.apply("digits", uid="second")
        await bench.after()
        assert bench.ready == {"digits": LOADED}
        assert [k.uid for k in bench.fleet.servers["p1"].copies] == ["second"]


async def test_a_new_model_of_an_old_name_inherits_no_failure() -> None:
    """Neither what failed nor its back-off is its own."""
    async with Bench() as bench:
        bench.fleet.broken["digits"] = BROKEN
        await bench.apply("digits")
        await bench.after(300.0)
        bench.fleet.broken.clear()
        del bench.platform.models["digits"]
        await bench.apply("digits", uid="second")
        await bench.after()
        assert bench.ready == {"digits": LOADED}


async def test_a_failure_is_told_and_tried_again_ever_later() -> None:
    """The status does not flap with the retries; it recovers by itself."""
    async with Bench() as bench:
        bench.fleet.broken["digits"] = BROKEN
        await bench.apply("digits", "other")
        assert bench.ready == {"digits": ("False", "ModelNotFound"), "other": LOADED}
        assert ("digits", True, "ModelNotFound", BROKEN.message) in bench.platform.events
        writes = len(bench.platform.writes)
        await bench.after(60.0)
        tries = bench.fleet.loads.count(("p1", "digits"))
        assert 5 <= tries <= 6
        assert len(bench.platform.writes) == writes
        bench.fleet.broken.clear()
        await bench.after(65.0)
        assert bench.ready["digits"] == LOADED


async def test_a_mended_secret_is_tried_at_once() -> None:
    """By what failed; what serves is not loaded again."""
    async with Bench() as bench:
        await bench.apply("other")
        bench.fleet.broken["digits"] = Failure(reason="StorageAccessDenied", message="denied")
        await bench.apply("digits")
        await bench.after(100.0)
        bench.fleet.broken.clear()
        bench.platform.storage = secret(secret_access_key="second")
        await bench.deliver()
        assert bench.ready == {"digits": LOADED, "other": LOADED}
        assert bench.fleet.loads.count(("p1", "other")) == 1
        assert bench.fleet.credentials[-1].secret_access_key == "second"


async def test_an_object_that_changed_is_tried_at_once() -> None:
    """The adapter says so; one try, not one a report."""
    async with Bench() as bench:
        bench.fleet.broken["digits"] = BROKEN
        await bench.apply("digits")
        await bench.after(100.0)
        tries = len(bench.fleet.loads)
        bench.fleet.broken["digits"] = Failure(reason="ModelLoadFailed", message="not an SVM")
        copies = bench.fleet.servers["p1"].copies
        changed = Failure(reason="ModelNotFound", message=BROKEN.message, source_changed=True)
        for key, copy in copies.items():
            copies[key] = type(copy)(key=key, pod=copy.pod, state=copy.state, failure=changed)
        bench.fleet.report("p1")
        await bench.after(1.0)
        assert len(bench.fleet.loads) == tries + 1
        assert bench.ready["digits"] == ("False", "ModelLoadFailed")


async def test_a_spec_that_cannot_be_served_is_told_and_mended() -> None:
    """No Secret, then one: nothing but the Secret was changed."""
    async with Bench() as bench:
        bench.platform.storage = None
        await bench.apply("digits")
        assert bench.ready == {"digits": ("False", "StorageConfigMissing")}
        bench.platform.storage = secret()
        await bench.deliver()
        assert bench.ready == {"digits": LOADED}
        bench.platform.storage = None
        await bench.deliver()
        assert bench.fleet.loaded() == {"digits"}
        assert bench.ready == {"digits": LOADED}
        up_to_date = bench.platform.models["digits"].status.condition("UpToDate")
        assert up_to_date is not None
        assert (up_to_date.status, up_to_date.reason) == ("False", "StorageConfigMissing")


async def test_who_asks_for_what_is_not_there_is_told_so() -> None:
    """And nothing is remembered of it."""
    async with Bench() as bench:
        bench.activators.want("nobody", Want(load=True))
        await bench.after()
        assert bench.activators.answers["nobody"] == Refused(
            5, "model 'nobody' not found: there is no TrainedModel of that name"
        )
        assert bench.observer._memories == {}


async def test_who_asks_too_early_is_told_to_wait_and_then_where() -> None:
    """The latest word is the one that counts."""
    async with Bench() as bench:
        bench.activators.want("digits", Want(load=True))
        await bench.after()
        assert isinstance(bench.activators.told("digits"), Refused)
        bench.platform.models["digits"] = make_model("digits")
        bench.platform.deliver(bench.controller)
        await bench.after(0.005)
        assert isinstance(bench.activators.told("digits"), WaitFor)
        await bench.after()
        assert bench.activators.answers["digits"] == ReadyAt((endpoint("p1"),))


async def test_three_models_in_room_for_two() -> None:
    """The least recently used one leaves for the third; all are READY; a request brings it back for another."""
    async with Bench() as bench:
        await bench.apply("a")
        await bench.after(5.0)
        await bench.apply("b")
        await bench.after(5.0)
        await bench.apply("c")
        await bench.after(5.0)
        assert bench.fleet.loaded() == {"b", "c"}
        assert bench.ready == {"a": LOADED, "b": LOADED, "c": LOADED}
        assert bench.mesh.envoy["a"] == Route("a")
        writes = len(bench.platform.writes)
        await bench.after(1000.0)
        bench.activators.want("a", Want(load=True))
        await bench.after(5.0)
        assert bench.fleet.loaded() == {"a", "c"}
        assert bench.activators.answers["a"] == ReadyAt((endpoint("p1"),))
        assert bench.ready == {"a": LOADED, "b": LOADED, "c": LOADED}
        # Neither leaving nor coming back was news.
        assert len(bench.platform.writes) == writes


async def test_a_readiness_question_loads_nothing() -> None:
    """Standby stays Standby."""
    async with Bench() as bench:
        for name in ("a", "b", "c"):
            await bench.apply(name)
            await bench.after(5.0)
        bench.activators.want("a", Want(load=False))
        await bench.after(5.0)
        assert bench.fleet.loaded() == {"b", "c"}


async def test_models_that_do_not_fit_together_do_not_starve_each_other() -> None:
    """Three requests wait, two fit: who is waited for is not evicted; when one is answered the next has its turn."""
    async with Bench() as bench:
        for name in ("a", "b", "c"):
            await bench.apply(name)
            await bench.after(5.0)
        for name in ("a", "b", "c"):
            bench.activators.want(name, Want(load=True))
        await bench.after(10.0)
        assert bench.fleet.loaded() == {"b", "c"}
        bench.activators.want("b", None)
        await bench.after(10.0)
        assert bench.fleet.loaded() == {"a", "c"}


async def test_what_stands_by_is_not_looked_at_when_a_pod_changes() -> None:
    """Thousands may stand by; they wait for demand only."""
    async with Bench() as bench:
        for name in ("a", "b", "c"):
            await bench.apply(name)
            await bench.after(5.0)
        assert bench.keeper.waiting("mlserver-0.x") == frozenset()


@pytest.mark.parametrize("away_s", [0.02, 5.0])
async def test_what_is_asked_for_comes_back_first_when_a_server_has_died(away_s: float) -> None:
    """However long it takes to be up again; and is not the first to leave for having come first."""
    async with Bench() as bench:
        bench.fleet.capacity = 1000
        names = [f"m{number:02d}" for number in range(60)]
        await bench.apply(*names)
        hot = set(names[7::11])
        bench.residency.reported(dict.fromkeys(hot, 5.0), now())
        before = len(bench.fleet.loads)
        bench.fleet.kill("p1", back=False)
        await bench.after(away_s)
        bench.fleet.servers["p1"].boot = 2
        bench.fleet.report("p1", full=True)
        await bench.after(10.0)
        assert {model for _, model in bench.fleet.loads[before : before + len(hot)]} == hot
        assert bench.fleet.loaded() == set(names)
        assert set(bench.residency.by_use(names, now())[: len(hot)]) == hot
        assert bench.residency._lost == {}


async def test_a_pool_lives_on_for_its_grace_and_then_ends() -> None:
    """0 → 1 → 0; a model that comes within the grace finds it, one that comes later starts it again."""
    async with Bench(grace_s=60.0) as bench:
        await bench.apply("digits")
        await bench.delete("digits")
        await bench.after(50.0)
        assert len(bench.platform.pods) == 1
        await bench.apply("digits")
        await bench.delete("digits")
        await bench.after(50.0)
        assert len(bench.platform.pods) == 1
        await bench.after(10.0)
        assert bench.platform.pods == []
        await bench.apply("digits")
        assert bench.ready == {"digits": LOADED}
        assert [p.uid for p in bench.platform.pods] == ["p2"]


async def test_a_pool_grows_before_anything_is_evicted() -> None:
    """One pod at a time, up to the limit; only then does the least recently used leave."""
    async with Bench(pods=2) as bench:
        for name in ("a", "b", "c", "d"):
            await bench.apply(name)
            await bench.after(5.0)
        assert len(bench.platform.pods) == 2
        assert bench.fleet.loaded() == {"a", "b", "c", "d"}
        await bench.apply("e")
        await bench.after(10.0)
        assert bench.platform.replicas == {"mlserver-0.x": 2}
        assert "e" in bench.fleet.loaded()
        assert len(bench.fleet.loaded()) == 4


async def test_one_starved_model_starts_one_pod_only() -> None:
    """While the new pod starts it is not yet full: no third for the same want of room."""
    async with Bench(pods=5) as bench:
        for name in ("a", "b"):
            await bench.apply(name)
        await bench.apply("c")
        await bench.after(20.0)
        assert bench.platform.replicas == {"mlserver-0.x": 2}
        assert bench.platform.peak == 2
        assert bench.fleet.loaded() == {"a", "b", "c"}
