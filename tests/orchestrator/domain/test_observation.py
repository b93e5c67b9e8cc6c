"""What one observation says of itself: the target's key, who serves, where."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.answering import answer
from orchestrator.domain.demand import WaitFor, Want
from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import CopyState
from orchestrator.domain.observation import Memory
from tests.orchestrator.builders import (
    endpoint,
    make_copy,
    make_key,
    make_observation,
    make_status,
    make_target,
    make_view,
)

PODS = (make_view("p1"), make_view("p2"), make_view("p3", runtime="triton-2.x"))
PROBLEM = ModelProblem(Reason.STORAGE_CONFIG_MISSING, "no Secret")


def test_the_pool_is_the_targets_runtimes() -> None:
    """Pods that merely hold a copy are seen, and are no place for a load."""
    seen = make_observation(pods=PODS)
    assert [p.pod.uid for p in seen.pool()] == ["p1", "p2"]
    assert seen.pod("p3") is PODS[2]
    assert seen.pod("p4") is None
    assert make_observation(pods=PODS, target=PROBLEM).pool() == ()


def test_the_target_serves_before_the_last_good_and_that_before_any() -> None:
    """A copy of another object never does, nor one that leaves, nor one that is not loaded."""
    new, good, other = (make_copy(pod="p1", key=make_key(r)) for r in ("r1", "r0", "r9"))
    stranger = make_copy(key=make_key(uid="another"))
    loading = replace(new, state=CopyState.LOADING)
    status = make_status(active="r0")
    for copies, expected in [
        ((new, good, other, stranger), (new,)),
        ((loading, good, other, stranger), (good,)),
        ((loading, other, stranger), (other,)),
        ((loading, stranger), ()),
    ]:
        assert make_observation(copies=copies, status=status, pods=PODS).serving == expected
    leaving = Memory(uid=new.key.uid, revision="r1", evict=new.ref)
    assert make_observation(copies=(loading, good), status=status, pods=PODS, memory=leaving).serving == (good,)
    # What it came in place of goes with it.
    assert make_observation(copies=(new, good), status=status, pods=PODS, memory=leaving).serving == ()
    assert make_observation(copies=(new,), model=None, pods=PODS).serving == ()
    assert make_observation(copies=(good,), target=PROBLEM, status=status, pods=PODS).serving == (good,)
    latest = Memory(uid=new.key.uid, revision="r1")
    seen = make_observation(copies=(new, good), target=PROBLEM, status=status, pods=PODS, memory=latest)
    assert seen.serving == (new,)


def test_endpoints_are_those_of_the_serving_pods_sorted_and_once() -> None:
    """Equal state gives an equal route."""
    copies = (make_copy(pod="p2"), make_copy(pod="p1"))
    expected = tuple(sorted((endpoint("p1"), endpoint("p2"))))
    assert make_observation(copies=copies, pods=PODS).endpoints == expected
    assert make_observation(copies=copies[::-1], pods=PODS).endpoints == expected


def test_a_pod_without_an_address_serves_nothing() -> None:
    """It cannot be routed to, and an empty endpoint is none: what is elsewhere serves, be it in a pod that leaves."""
    nowhere = replace(PODS[0], known=False, pod=replace(PODS[0].pod, adapter="", endpoint=""))
    copies = (make_copy(pod="p1"), make_copy(pod="p2"))
    leaving = replace(PODS[1], draining=True)
    for other in (PODS[1], leaving):
        assert make_observation(copies=copies, pods=(nowhere, other)).endpoints == (endpoint("p2"),)
    alone = make_observation(copies=copies[:1], pods=(nowhere,), status=make_status(active="r1"), want=Want(load=True))
    assert (alone.serving, alone.endpoints) == ((), ())
    # A request for it waits: it is not sent to nowhere, and not refused.
    assert isinstance(answer(alone), WaitFor)


def test_a_target_loaded_before_if_it_is_what_loaded_last() -> None:
    """Of this very revision: Standby is promised of nothing else."""
    assert make_observation(status=make_status(active="r1")).loaded_before
    assert not make_observation(status=make_status(active="r0")).loaded_before
    assert not make_observation().loaded_before
    assert not make_observation(status=make_status(active="r1"), target=PROBLEM).loaded_before
    assert not make_observation(model=None).loaded_before


def test_the_target_key_is_name_uid_and_revision() -> None:
    """No model or no target, no key."""
    assert make_observation(target=make_target("r7")).target_key == make_key("r7")
    assert make_observation(target=PROBLEM).target_key is None
    assert make_observation(model=None).target_key is None
