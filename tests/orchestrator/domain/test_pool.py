"""How many pods a runtime has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.pool import PoolPlan, plan_pool


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
        (5, 4, True, 0.0, PoolPlan(3)),
        (0, 2, False, 10.0, PoolPlan(2, 50.0)),
        (0, 2, False, 60.0, PoolPlan(0)),
        (0, 2, True, 70.0, PoolPlan(0)),
    ],
)
def test_a_pool_grows_from_need_and_ends_after_its_grace(
    models: int, current: int, starved: bool, idle_s: float, expected: PoolPlan
) -> None:
    """With a limit of 3 pods and a grace of 60 s."""
    found = plan_pool(models=models, current=current, starved=starved, limit=3, idle_s=idle_s, grace_s=60.0)
    assert found == expected


@given(
    models=st.integers(0, 3),
    current=st.integers(0, 5),
    starved=st.booleans(),
    limit=st.integers(0, 4),
    idle_s=st.floats(0, 100),
)
def test_a_needed_pool_has_a_pod_and_never_too_many(
    models: int, current: int, starved: bool, limit: int, idle_s: float
) -> None:
    """One at a time, at least one, at most the limit; what stays on is looked at when its grace ends."""
    found = plan_pool(models=models, current=current, starved=starved, limit=limit, idle_s=idle_s, grace_s=60.0)
    if models:
        assert 1 <= found.replicas <= max(1, limit)
        assert found.replicas <= max(1, current + 1)
        assert found.requeue_after is None
    else:
        assert found.replicas in {0, current}
        assert (found.requeue_after is None) == (found.replicas == 0)
