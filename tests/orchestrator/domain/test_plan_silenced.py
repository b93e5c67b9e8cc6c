"""A load over which pods fall silent, one after the other: not in a third."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.domain.action import LoadCopy, Plan
from orchestrator.domain.answering import answer
from orchestrator.domain.conditions import ready_verdict, up_to_date_verdict
from orchestrator.domain.demand import Refused, WaitFor, Want
from orchestrator.domain.fleet import CopyState, PodView
from orchestrator.domain.observation import Observation
from orchestrator.domain.plan import plan
from tests.orchestrator.builders import (
    endpoint,
    make_condition,
    make_copy,
    make_key,
    make_observation,
    make_route,
    make_status,
    make_target,
    make_view,
)

NOW = 1000.0


def loads(seen: Observation) -> list[tuple[str, str]]:
    """Pod and revision of each."""
    return [(a.pod, a.key.revision) for a in plan(seen, NOW).actions if isinstance(a, LoadCopy)]


def silenced(*pods: PodView, **fields: Any) -> Observation:
    """Two pods that are given up have it under way, one was tried after the other; and these."""
    dead = tuple(make_view(uid, known=False, given_up=True) for uid in ("p1", "p2"))
    copies = (make_copy(CopyState.LOADING), make_copy(CopyState.DOWNLOADING, pod="p2", reserved=0))
    values: dict[str, Any] = {"pods": (*dead, *pods), "copies": copies, "want": Want(load=True)}
    return make_observation(**values | fields)


def test_a_load_over_which_two_pods_fell_silent_is_tried_in_no_third() -> None:
    """It says so, until one of them is heard or gone, or the model changes."""
    seen = silenced(make_view("p3"))
    assert plan(seen, NOW) == Plan()
    verdict = ready_verdict(seen)
    assert (verdict.status, verdict.reason) == ("False", "ModelLoadFailed")
    assert "pod-p1 and pod-p2 fell silent" in verdict.message
    assert isinstance(answer(seen), Refused)
    gone = replace(seen, pods=seen.pods[1:], copies=seen.copies[1:])
    heard = replace(seen, pods=(make_view("p1"), *seen.pods[1:]), copies=seen.copies[1:])
    waits = replace(seen, pods=(replace(seen.pods[0], given_up=False, since=NOW), *seen.pods[1:]))
    changed = replace(seen, target=make_target("r2"))
    for better in (gone, heard, waits, changed):
        assert ready_verdict(better).reason != "ModelLoadFailed"
        assert isinstance(answer(better), WaitFor)
    for better in (gone, heard, changed):
        assert loads(better)


def test_no_hand_over_of_it_is_tried_either() -> None:
    """It serves where it is until that pod ends."""
    seen = silenced(
        make_view("p3", draining=True),
        make_view("p4"),
        status=make_status(make_condition(), active="r1"),
        route=make_route(endpoint("p3")),
    )
    seen = replace(seen, copies=(*seen.copies, make_copy(pod="p3")), want=None)
    assert plan(seen, NOW) == Plan()
    assert ready_verdict(seen).status == "True"
    assert loads(replace(seen, copies=seen.copies[1:])) == [("p4", "r1")]


def test_the_last_good_revision_comes_back_for_it() -> None:
    """As for a load that failed; that it is Standby or loads meanwhile is what READY says."""
    status = make_status(make_condition(), active="r0")
    seen = silenced(make_view("p3"), status=status, last_good=make_target("r0"))
    assert loads(seen) == [("p3", "r0")]
    assert ready_verdict(seen).status == "True"
    assert isinstance(answer(seen), WaitFor)
    served = replace(seen, copies=(*seen.copies, make_copy(pod="p3", key=make_key("r0"))))
    served = replace(served, route=make_route(endpoint("p3")))
    assert plan(served, NOW) == Plan()
    assert up_to_date_verdict(served).reason == "ModelLoadFailed"
