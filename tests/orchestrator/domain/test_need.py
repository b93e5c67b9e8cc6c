"""What a model needs of pools."""

from __future__ import annotations

import pytest

from orchestrator.domain.action import Plan
from orchestrator.domain.demand import Want
from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import CopyState
from orchestrator.domain.need import needed, waits_for
from orchestrator.domain.observation import Memory
from tests.orchestrator.builders import (
    make_copy,
    make_failed,
    make_key,
    make_observation,
    make_runtime,
    make_status,
    make_target,
    make_view,
)

OURS, OTHER = "mlserver-0.x", "triton-2.x"
PROBLEM = ModelProblem(Reason.STORAGE_CONFIG_MISSING, "no Secret")
HELD = make_copy(pod="p9")
ELSEWHERE = make_view("p9", runtime=OTHER)


def test_the_runtimes_of_the_target_and_of_the_last_good_revision_are_needed() -> None:
    """Both are to be loaded, maybe."""
    good = make_target("r0", runtime=make_runtime(OTHER))
    assert needed(make_observation()) == {OURS}
    assert needed(make_observation(last_good=good)) == {OURS, OTHER}
    assert needed(make_observation(model=None, target=None)) == frozenset()


def test_a_spec_that_cannot_be_served_stops_no_runtime_that_served_it() -> None:
    """One that never did needs none."""
    active = make_status(active="r0", runtime=OTHER)
    assert needed(make_observation(target=PROBLEM, status=active)) == {OTHER}
    assert needed(make_observation(target=PROBLEM)) == frozenset()


@pytest.mark.parametrize("state", CopyState)
def test_a_pod_is_needed_for_as_long_as_what_it_has_must_leave_in_order(state: CopyState) -> None:
    """Not for a load that is under way, or has failed."""
    held = make_copy(state, pod="p9", key=make_key("r7"))
    expected = {OURS, OTHER} if state in (CopyState.LOADED, CopyState.UNKNOWN) else {OURS}
    assert needed(make_observation(copies=(held,), pods=(ELSEWHERE,))) == expected


def test_a_silent_pod_is_needed_while_it_serves() -> None:
    """What else it may have is no reason."""
    silent = make_view("p9", runtime=OTHER, known=False)
    assert needed(make_observation(copies=(HELD,), pods=(silent,))) == {OURS, OTHER}
    former = make_copy(pod="p9", key=make_key("r7", uid="another"))
    assert needed(make_observation(copies=(former,), pods=(silent,))) == {OURS}


def test_a_model_waits_for_pods_until_one_of_them_has_it() -> None:
    """A copy that failed is none, nor is one in a pod on its way out."""
    pod, leaving = make_view("p9"), make_view("p9", draining=True)
    assert waits_for(make_observation(), Plan()) == OURS
    assert waits_for(make_observation(copies=(make_failed(pod="p9"),), pods=(pod,)), Plan()) == OURS
    assert waits_for(make_observation(copies=(HELD,), pods=(leaving,)), Plan()) == OURS
    assert waits_for(make_observation(copies=(HELD,), pods=(pod,)), Plan()) is None
    assert waits_for(make_observation(target=PROBLEM), Plan()) is None


def test_a_model_that_stands_by_waits_for_demand_and_no_pod() -> None:
    """Until there is some; whether it stood by before or is to do so now."""
    evicted = Memory(uid=HELD.key.uid, revision="r1", evicted=True)
    seen = make_observation(pods=(make_view(),), status=make_status(active="r1"), memory=evicted)
    assert waits_for(seen, Plan()) is None
    assert waits_for(make_observation(pods=(make_view(),)), Plan(stands_by=True)) is None
    asked = make_observation(pods=(make_view(),), status=make_status(active="r1"), memory=evicted, want=Want(load=True))
    assert waits_for(asked, Plan()) == OURS
