"""What is planned after a failure: when it is tried again, and where."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.action import Plan
from orchestrator.domain.demand import Want
from orchestrator.domain.fleet import Failure
from orchestrator.domain.loading import RETRY_CAP_S, retry_delay
from orchestrator.domain.observation import Observation
from orchestrator.domain.plan import plan
from tests.orchestrator.builders import endpoint, make_copy, make_failed, make_observation, make_route, make_view
from tests.orchestrator.domain.test_plan import NOW, actions, failed, load


def test_a_failed_load_is_tried_again_later_each_time() -> None:
    """2 s, doubled up to 5 min; the plan says when."""
    assert [retry_delay(n) for n in (1, 2, 3, 8, 9, 10_000)] == [2.0, 4.0, 8.0, 256.0, RETRY_CAP_S, RETRY_CAP_S]
    seen = make_observation(copies=(make_failed(),), memory=failed(loads=3))
    assert plan(seen, NOW + 1) == Plan(requeue_after=7.0)
    assert plan(seen, NOW + 8).actions == (load(),)


@pytest.mark.parametrize(
    "seen",
    [
        make_observation(copies=(make_failed(),), memory=replace(failed(), credentials="others")),
        make_observation(copies=(make_failed(source_changed=True),), memory=failed(source_changed=True)),
        make_observation(copies=(), memory=replace(failed(), failed_at=None)),
    ],
)
def test_it_is_tried_at_once_when_something_was_mended(seen: Observation) -> None:
    """The Secret, the object; or its server died while it was tried."""
    assert actions(seen) == [load()]


def test_it_is_tried_at_once_when_the_pod_where_it_failed_is_gone() -> None:
    """Another has come, of a ServingRuntime that was mended perhaps. Not what took its server down: it may have been that."""
    another = make_observation(pods=(make_view("p2"),), copies=(), memory=replace(failed(), pod="p1"))
    assert actions(another) == [load("p2")]
    assert actions(replace(another, pods=(make_view("p1"), make_view("p2")))) == []
    assert actions(replace(another, pods=(make_view("p1", terminating=True), make_view("p2")))) == [load("p2")]
    crashed = replace(failed(), pod="p1", crashes=2, failure=Failure(reason="x", message="died", crashed=True))
    assert actions(replace(another, memory=crashed)) == []


def test_a_request_does_not_hurry_a_failed_load() -> None:
    """Else a client that polls would undo the back-off."""
    assert actions(make_observation(copies=(make_failed(),), memory=failed(), want=Want(load=True))) == []


def test_a_stale_route_has_the_copy_looked_at() -> None:
    """Where it is believed to be, in each pod that can be asked; a plain request does not."""
    pods = (make_view("p1"), make_view("p2", known=False), make_view("p3"))
    copies = tuple(make_copy(pod=p, reserved=7) for p in ("p1", "p2", "p3"))
    endpoints = tuple(sorted(endpoint(p) for p in ("p1", "p3")))
    seen = make_observation(pods=pods, copies=copies, route=make_route(*endpoints), want=Want(stale=True))
    assert actions(seen) == [load(p, reserve=7, urgent=True, verify=True) for p in ("p1", "p3")]
    assert actions(replace(seen, want=Want(load=True))) == []
