"""Which models need which runtime."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.controller.pool_keeper import PoolKeeper
from orchestrator.domain.fleet import PodView, ServerState
from orchestrator.domain.pool import PoolPlan
from tests.orchestrator.builders import make_view

NONE: frozenset[str] = frozenset()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_news_is_what_a_runtime_gained_or_lost() -> None:
    """Saying the same again is no news."""
    keeper = PoolKeeper(Clock())
    assert keeper.needs("a", frozenset({"x"})) == {"x"}
    assert keeper.needs("a", frozenset({"x"})) == NONE
    assert keeper.needs("a", frozenset({"y"})) == {"x", "y"}
    assert keeper.models("y") == {"a"}
    assert keeper.needs("a", NONE) == {"y"}
    assert keeper.needs("never seen", NONE) == NONE


def test_a_pool_ends_when_its_grace_has_passed_since_its_last_model_went() -> None:
    """A model that comes in between starts the grace anew; one that nobody ever needed has its grace too."""
    clock = Clock()
    keeper = PoolKeeper(clock)

    def plan(current: int) -> PoolPlan:
        return keeper.plan("x", [make_view()] * current, replicas=current, limit=1, grace_s=60.0)

    assert plan(1) == PoolPlan(1, 60.0)
    keeper.needs("a", frozenset({"x"}))
    assert plan(0) == PoolPlan(1)
    clock.now = 100.0
    keeper.needs("a", NONE)
    clock.now = 150.0
    assert plan(1) == PoolPlan(1, 10.0)
    keeper.needs("b", frozenset({"x"}))
    keeper.needs("b", NONE)
    clock.now = 200.0
    assert plan(1) == PoolPlan(1, 10.0)
    clock.now = 210.0
    assert plan(1) == PoolPlan(0)


def test_a_pool_grows_for_who_lacks_room_and_not_while_it_grows() -> None:
    """
    Waiting for a first pod is no want of room.

    Pods that replace others are no growth, and that one is on its way out and not replaced yet is no shrinking.
    """
    keeper, replicas = PoolKeeper(Clock()), 1
    ready, coming, ending = make_view("p1"), make_view("p2", server=ServerState.STARTING), make_view(terminating=True)

    def plan(*pods: PodView) -> PoolPlan:
        nonlocal replicas
        decided = keeper.plan("x", pods, replicas=replicas, limit=3, grace_s=1.0)
        replicas = decided.replicas
        return decided

    keeper.needs("a", frozenset({"x"}))
    assert not keeper.waits("a", "x")
    assert plan(ready) == PoolPlan(1)
    assert keeper.waits("a", "x", for_room=True)
    assert plan(ready, coming) == PoolPlan(1)
    assert plan(ready) == PoolPlan(2)
    assert plan(ready) == PoolPlan(2)
    assert plan(ready, ending) == PoolPlan(2)
    assert plan(ready, coming) == PoolPlan(2)
    assert plan(ready, make_view("p2", server=ServerState.LOST, message="exited with code 1")) == PoolPlan(3)
    assert keeper.waits("a", None)
    assert plan(ready) == PoolPlan(3)
    assert plan(ready, make_view("p2"), make_view("p3"), coming) == PoolPlan(3)


def test_a_pool_does_not_grow_for_who_has_not_looked_into_its_newest_pod() -> None:
    """What lacked room before it came may fit there; only if it still does not is there to be another."""
    clock = Clock()
    keeper = PoolKeeper(clock)
    keeper.needs("a", frozenset({"x"}))
    keeper.waits("a", "x", for_room=True)
    clock.now = 5.0
    pods = [make_view("p1"), make_view("p2", since=4.0)]
    assert keeper.plan("x", pods, replicas=2, limit=3, grace_s=60.0) == PoolPlan(2, 1.0)
    assert not keeper.waits("a", "x", for_room=True)
    assert keeper.plan("x", pods, replicas=2, limit=3, grace_s=60.0) == PoolPlan(3)


@pytest.mark.parametrize(
    ("second", "replicas"),
    [
        pytest.param(make_view("p2", known=False, since=80.0), 2, id="silent for a moment"),
        pytest.param(make_view("p2", known=False), 3, id="silent for long"),
        pytest.param(make_view("p2", known=False, boot=""), 2, id="long in coming"),
    ],
)
def test_a_pool_grows_beside_a_pod_that_has_been_silent_for_long(second: PodView, replicas: int) -> None:
    """It may never answer again; one that was never heard may take long to start."""
    clock = Clock()
    clock.now = 100.0
    keeper = PoolKeeper(clock)
    keeper.needs("a", frozenset({"x"}))
    keeper.waits("a", "x", for_room=True)
    assert keeper.plan("x", [make_view("p1"), second], replicas=2, limit=4, grace_s=60.0) == PoolPlan(replicas)


def test_how_long_a_model_has_lacked_room_is_counted_from_when_it_began_to() -> None:
    """Saying so again does not begin anew; another runtime does."""
    clock = Clock()
    keeper = PoolKeeper(clock)
    assert keeper.starved_s("a") == 0.0
    keeper.waits("a", "x", for_room=True)
    clock.now = 5.0
    keeper.waits("a", "x", for_room=True)
    assert keeper.starved_s("a") == 5.0
    keeper.waits("a", "y", for_room=True)
    clock.now = 7.0
    assert keeper.starved_s("a") == 2.0
    keeper.waits("a", "y")
    assert keeper.starved_s("a") == 0.0


def test_what_a_pool_is_to_have_counts_and_not_what_it_has_just_now() -> None:
    """While pods are replaced there are more of them; one that was asked for and is not there yet is on its way."""
    keeper = PoolKeeper(Clock())
    keeper.needs("a", frozenset({"x"}))

    def plan(pods: int, replicas: int) -> PoolPlan:
        views = [make_view(f"p{number}") for number in range(pods)]
        return keeper.plan("x", views, replicas=replicas, limit=4, grace_s=1.0)

    assert plan(2, 1) == PoolPlan(1)
    assert plan(0, 2) == PoolPlan(2)
    keeper.waits("a", "x", for_room=True)
    assert plan(2, 1) == PoolPlan(2)
    assert plan(1, 2) == PoolPlan(2)
    assert plan(2, 2) == PoolPlan(3)


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param((make_view("p1"),), id="one is to come"),
        pytest.param((make_view("p1"), make_view("p2"), make_view("p3")), id="one is replaced"),
        pytest.param((make_view("p1"), make_view("p2", terminating=True)), id="one goes, and is replaced"),
        pytest.param((make_view("p1"), make_view("p2", draining=True)), id="one drains"),
        pytest.param((make_view("p1"), make_view("p2", known=False)), id="one is silent"),
        pytest.param((make_view("p1"), make_view("p2", unheard=True)), id="one has not been heard"),
        pytest.param((make_view("p1"), make_view("p2", server=ServerState.STARTING)), id="one starts"),
        pytest.param(
            (make_view("p1"), make_view("p2"), make_view("p3", terminating=True)), id="the one before has not gone"
        ),
    ],
)
def test_a_pool_is_not_made_smaller_while_it_changes(pods: tuple[PodView, ...]) -> None:
    """Nor by a limit that is not said to be one for what is there."""
    keeper = PoolKeeper(Clock())
    keeper.needs("a", frozenset({"x"}))
    assert keeper.plan("x", pods, replicas=2, limit=1, grace_s=1.0, may_shrink=True) == PoolPlan(2)
    two = make_view("p1"), make_view("p2")
    assert keeper.plan("x", two, replicas=2, limit=1, grace_s=1.0) == PoolPlan(2)
    assert keeper.plan("x", two, replicas=2, limit=1, grace_s=1.0, may_shrink=True) == PoolPlan(1)
    broken = make_view("p2", server=ServerState.LOST, message="exited with code 1")
    assert keeper.plan("x", (two[0], broken), replicas=2, limit=1, grace_s=1.0, may_shrink=True) == PoolPlan(1)


words = st.tuples(
    st.sampled_from("abc"), st.frozensets(st.sampled_from("xy")), st.sampled_from([None, "x", "y"]), st.booleans()
)


@given(st.lists(words, max_size=12))
def test_the_books_are_what_was_said_last(said: list[tuple[str, frozenset[str], str | None, bool]]) -> None:
    """Against two plain mappings; whoever needs and waits for nothing is forgotten."""
    keeper = PoolKeeper(Clock())
    needs: dict[str, frozenset[str]] = {}
    waits: dict[str, tuple[str | None, bool]] = {}
    for model, runtimes, waited, for_room in said:
        starved = waits.get(model, (None, False))
        assert keeper.needs(model, runtimes) == needs.get(model, NONE) ^ runtimes
        news = keeper.waits(model, waited, for_room=for_room)
        assert news == ((starved[0] is not None and starved[1]) != (waited is not None and for_room))
        needs[model], waits[model] = runtimes, (waited, for_room)
        for runtime in "xy":
            assert keeper.models(runtime) == {m for m, r in needs.items() if runtime in r}
            assert keeper.waiting(runtime) == {m for m, (r, _) in waits.items() if r == runtime}
    for model in needs:
        keeper.needs(model, NONE)
        keeper.waits(model, None)
    assert not keeper._needs
    assert not keeper._waits_for
