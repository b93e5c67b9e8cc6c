"""How many pods a runtime has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.fleet import PodView, ServerState
from orchestrator.domain.pool import (
    GROWTH_PATIENCE_S,
    PoolPlan,
    growth_wait,
    on_its_way,
    patience_left,
    plan_pool,
    timed,
)
from tests.orchestrator.builders import make_view

NOW = 1000.0


@pytest.mark.parametrize(
    ("models", "current", "starved", "idle_s", "expected"),
    [
        (0, 0, False, 0.0, PoolPlan(0)),
        (1, 0, False, 0.0, PoolPlan(1)),
        (1, 0, True, 0.0, PoolPlan(1)),
        (5, 1, False, 0.0, PoolPlan(1)),
        (5, 1, True, 0.0, PoolPlan(2)),
        (5, 3, True, 0.0, PoolPlan(3)),
        (5, 2, False, 0.0, PoolPlan(2)),
        (5, 4, True, 0.0, PoolPlan(4)),
        (0, 2, False, 10.0, PoolPlan(2, 50.0)),
        (0, 2, False, 60.0, PoolPlan(0)),
        (0, 2, True, 70.0, PoolPlan(0)),
    ],
)
def test_a_pool_grows_from_need_and_ends_after_its_grace(
    models: int, current: int, starved: bool, idle_s: float, expected: PoolPlan
) -> None:
    """With a limit of 3 pods and a grace of 60 s."""
    found = plan_pool(
        models=models, current=current, starved=starved, unheard=False, limit=3, idle_s=idle_s, grace_s=60.0
    )
    assert found == expected


def test_a_pool_of_which_a_pod_has_not_been_heard_does_not_end() -> None:
    """What it holds is not known."""
    found = plan_pool(models=0, current=2, starved=False, unheard=True, limit=3, idle_s=1e6, grace_s=60.0)
    assert found == PoolPlan(2)


@pytest.mark.parametrize(
    ("current", "limit", "spares", "expected"),
    [(3, 1, True, 2), (2, 1, True, 1), (1, 0, True, 1), (3, 1, False, 3), (2, 2, True, 2), (1, 3, True, 1)],
)
def test_a_pool_that_has_too_many_gives_up_one(current: int, limit: int, spares: bool, expected: int) -> None:
    """At a time, and only while it can do without it; also when somebody lacks room."""
    for starved in (False, current >= limit):
        found = plan_pool(
            models=5,
            current=current,
            starved=starved,
            unheard=False,
            limit=limit,
            idle_s=0.0,
            grace_s=60.0,
            spares=spares,
        )
        assert found == PoolPlan(expected)


@pytest.mark.parametrize(
    ("pool", "waited_s", "expected"),
    [
        ([make_view("p1")], 0.0, GROWTH_PATIENCE_S),
        ([make_view("p1")], 20.0, GROWTH_PATIENCE_S - 20.0),
        ([make_view("p1")], 40.0, 0.0),
        ([make_view("p1"), make_view("p2")], 0.0, 0.0),
        ([make_view("p1"), make_view("p2", server=ServerState.STARTING, since=NOW)], 0.0, GROWTH_PATIENCE_S),
        ([make_view("p1"), make_view("p2", server=ServerState.STARTING, since=NOW)], 20.0, GROWTH_PATIENCE_S - 20.0),
        ([make_view("p1"), make_view("p2", known=False, since=NOW - 20.0)], 0.0, GROWTH_PATIENCE_S - 20.0),
        ([make_view("p1"), make_view("p2", known=False, since=NOW - 40.0)], 0.0, 0.0),
        ([make_view("p1"), make_view("p2", server=ServerState.LOST, message="exited with code 1")], 0.0, 0.0),
        ([make_view("p1"), make_view("p2", draining=True)], 0.0, 0.0),
        ([make_view("p1"), make_view("p2", terminating=True)], 0.0, GROWTH_PATIENCE_S),
    ],
)
def test_who_lacks_room_waits_a_while_for_a_pod_that_may_come(
    pool: list[PodView], waited_s: float, expected: float
) -> None:
    """With a limit of 2 pods, of which one that ends is none. One that is long in coming is not waited for again."""
    assert growth_wait(pool, limit=2, message="", waited_s=waited_s, now=NOW) == expected


@pytest.mark.parametrize(
    ("pod", "comes"),
    [
        (make_view("p2", known=False, since=NOW - 20.0), True),
        (make_view("p2", known=False, since=NOW - 40.0), False),
        (make_view("p2", known=False, since=NOW - 40.0, boot=""), True),
        (make_view("p2", known=False, since=NOW - 40.0, boot="", unheard=True), False),
        (make_view("p2", server=ServerState.STARTING, since=NOW - 40.0), True),
        (make_view("p2"), False),
        (make_view("p2", draining=True), False),
    ],
)
def test_a_pod_that_was_heard_once_is_on_its_way_for_a_while_only(pod: PodView, comes: bool) -> None:
    """One that was never heard may take long to start: no other is started beside it, and none is waited for."""
    assert on_its_way(pod, NOW) is comes
    waits_s = growth_wait([make_view("p1"), pod], limit=3, message="", waited_s=0.0, now=NOW)
    assert waits_s == (max(0.0, patience_left(pod, NOW)) if comes else GROWTH_PATIENCE_S)


def test_who_lacks_room_does_not_wait_for_pods_that_the_platform_refuses() -> None:
    """The next is refused as well; but one that is on its way is on its way."""
    pool = [make_view("p1")]
    assert growth_wait(pool, limit=3, message="exceeded quota", waited_s=0.0, now=NOW) == 0.0
    pool.append(make_view("p2", server=ServerState.STARTING, since=NOW))
    assert growth_wait(pool, limit=3, message="exceeded quota", waited_s=0.0, now=NOW) == GROWTH_PATIENCE_S


@given(
    models=st.integers(0, 3),
    current=st.integers(0, 5),
    starved=st.booleans(),
    unheard=st.booleans(),
    limit=st.integers(0, 4),
    idle_s=st.floats(0, 100),
)
def test_a_needed_pool_has_a_pod_and_never_too_many(
    models: int, current: int, starved: bool, unheard: bool, limit: int, idle_s: float
) -> None:
    """
    One at a time, at least one, never fewer, and none beyond the limit.

    What stays on is looked at when its grace ends, or when it is heard.
    """
    found = plan_pool(
        models=models, current=current, starved=starved, unheard=unheard, limit=limit, idle_s=idle_s, grace_s=60.0
    )
    if models:
        assert max(1, current) <= found.replicas <= max(1, current, limit)
        assert found.replicas <= max(1, current + 1)
        assert found.requeue_after is None
    else:
        assert found.replicas in {0, current}
        assert (found.requeue_after is None) == (found.replicas == 0 or unheard)
        assert found.replicas == current or not unheard


@pytest.mark.parametrize(("known", "since", "given_up"), [(False, 0.0, True), (False, 0.1, False), (True, 0.0, False)])
def test_a_pod_is_given_up_when_it_has_not_been_heard_for_long(known: bool, since: float, given_up: bool) -> None:
    """Whatever its server is like, one that is heard is not."""
    pod = make_view(known=known, since=NOW - GROWTH_PATIENCE_S + since, server=ServerState.LOST)
    assert timed(pod, NOW).given_up is given_up
