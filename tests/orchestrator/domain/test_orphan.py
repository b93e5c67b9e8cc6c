"""A model whose runtime is gone answers for a while, and leaves in order before its pods do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import Copy, CopyState
from orchestrator.domain.orphan import PATIENCE_S, closed, left_s, orphaned_since
from orchestrator.domain.plan import plan
from orchestrator.domain.target import Target
from tests.orchestrator.builders import make_copy, make_key, make_observation, make_target, make_view

NOW = 1000.0
GONE = ModelProblem(Reason.RUNTIME_NOT_RECOGNIZED, "there is no ServingRuntime of that name")
UID = make_key().uid


def since(
    *copies: Copy,
    before: float | None = None,
    target: Target | ModelProblem | None = GONE,
    last_good: Target | None = None,
    leaving: frozenset[str] = frozenset({"p1"}),
) -> float | None:
    return orphaned_since(before, uid=UID, target=target, last_good=last_good, copies=copies, leaving=leaving, now=NOW)


@pytest.mark.parametrize("reason", [Reason.RUNTIME_NOT_RECOGNIZED, Reason.NO_SUPPORTING_RUNTIME])
def test_it_begins_with_the_first_look_and_stays(reason: Reason) -> None:
    """Whatever the runtime was found by."""
    gone = ModelProblem(reason, "gone")
    assert since(make_copy(), target=gone) == NOW
    assert since(make_copy(), target=gone, before=NOW - 7) == NOW - 7


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(since(make_copy(), before=1.0, leaving=frozenset()), id="its pod stays"),
        pytest.param(since(make_copy(), make_copy(pod="p2"), before=1.0), id="another pod stays"),
        pytest.param(since(before=1.0), id="nothing is loaded"),
        pytest.param(since(make_copy(CopyState.LOADING), before=1.0), id="nothing is loaded yet"),
        pytest.param(since(make_copy(), before=1.0, target=make_target()), id="the runtime is back"),
        pytest.param(since(make_copy(), before=1.0, last_good=make_target()), id="the last good one can be had"),
        pytest.param(
            since(make_copy(), before=1.0, target=ModelProblem(Reason.STORAGE_CONFIG_MISSING, "no Secret")),
            id="it is not the runtime that lacks",
        ),
        pytest.param(since(make_copy(key=make_key(uid="other")), before=1.0), id="it is another model's"),
    ],
)
def test_it_is_no_orphan(found: float | None) -> None:
    """Then the time begins anew, should it become one."""
    assert found is None


def test_a_pod_that_leaves_ends_once_the_time_is_over() -> None:
    """And no other; a pod that is silent is not taken from, whatever the time."""
    leaving, staying = make_view("p1", draining=True), make_view("p2")
    assert closed(leaving, None, NOW) == leaving
    assert not closed(leaving, NOW - PATIENCE_S + 1, NOW).ending
    assert closed(leaving, NOW - PATIENCE_S, NOW).ending
    assert closed(staying, NOW - PATIENCE_S, NOW) == staying
    assert not closed(replace(leaving, known=False), NOW - PATIENCE_S, NOW).ending


@given(st.floats(0, 1e6), st.floats(0, 1e3))
def test_it_is_looked_at_again_when_the_time_is_over(begun: float, passed: float) -> None:
    """Though nothing else happens."""
    seen = make_observation(target=GONE, pods=(make_view("p1", draining=True),), copies=(make_copy(),))
    seen = replace(seen, memory=replace(seen.memory, orphaned_since=begun))
    left = left_s(begun, begun + passed)
    assert 0 <= left <= PATIENCE_S + 1e-6
    again = plan(seen, begun + passed).requeue_after
    assert again is None if left == 0 else again is not None and again <= left
