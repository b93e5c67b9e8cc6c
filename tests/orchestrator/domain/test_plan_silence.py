"""What is loaded in pods that nobody hears, and asked for: loaded elsewhere, and what is on its way hurried."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.action import Action, LoadCopy, MakeRoom, Plan, PublishRoute
from orchestrator.domain.demand import Want
from orchestrator.domain.fleet import NO_ROOM, Copy, CopyState, PodView, ServerState
from orchestrator.domain.loading import retry_delay
from orchestrator.domain.memory import remember
from orchestrator.domain.need import lacks_room
from orchestrator.domain.observation import Memory, Observation
from orchestrator.domain.plan import plan
from orchestrator.domain.pool import GROWTH_PATIENCE_S, timed
from orchestrator.domain.routes import Route
from tests.orchestrator.builders import (
    endpoint,
    make_condition,
    make_copy,
    make_failed,
    make_key,
    make_observation,
    make_pod,
    make_route,
    make_status,
    make_target,
    make_view,
)

NOW = 1000.0
KEY = make_key()
UNANSWERED = Memory(uid=KEY.uid, revision="r1", reserve=10, unanswered=True)
ASKED = Want(load=True, stale=True)
DEAD = make_view("p1", known=False, since=NOW)
FULL = make_view("p2", total=100, reserved=100)
STATUS = make_status(make_condition(), active="r1")


def load(pod: str, **fields: bool) -> LoadCopy:
    return LoadCopy(pod, KEY, make_target(), 10, True, **fields)


def actions(seen: Observation, now: float = NOW) -> list[Action]:
    return list(plan(seen, now).actions)


def in_silence(*others: PodView, dead: PodView = DEAD, memory: Memory = UNANSWERED) -> Observation:
    return make_observation(
        status=STATUS,
        pods=(dead, *others),
        copies=(make_copy(reserved=10),),
        memory=memory,
        route=make_route(endpoint("p1")),
        want=ASKED,
    )


def test_what_nobody_answers_for_is_loaded_elsewhere() -> None:
    """Once: while it is on its way there nothing more is done. Nothing is taken away."""
    seen = in_silence(make_view("p2"))
    assert actions(seen) == [load("p2")]
    on_its_way = make_copy(CopyState.DOWNLOADING, pod="p2", reserved=0)
    memory = replace(UNANSWERED, urgent=True)
    assert actions(replace(seen, copies=(*seen.copies, on_its_way), memory=memory)) == []


def test_what_failed_elsewhere_is_tried_again_there_later_each_time() -> None:
    """A pod on a dead node may be listed for days: a store that did not answer once is no reason to wait for it."""
    seen = in_silence(make_view("p2"), memory=replace(UNANSWERED, loads=1))
    failed = replace(seen, copies=(*seen.copies, make_failed(pod="p2")))
    memory = remember(
        failed.memory, uid=KEY.uid, target=make_target(), copies=failed.copies, now=NOW, silent=("p1",), stale=True
    )
    assert memory.failed is not None
    assert memory.unanswered
    tried = replace(failed, memory=replace(memory, credentials=make_target().credentials.version))
    assert plan(tried, NOW + 1) == Plan(requeue_after=retry_delay(1) - 1)
    assert actions(tried, NOW + retry_delay(1)) == [load("p2")]


def test_silence_alone_moves_nothing() -> None:
    """Its server answers on, for all that is known."""
    assert actions(in_silence(make_view("p2"), memory=replace(UNANSWERED, unanswered=False))) == []


def test_the_copy_that_is_heard_answers_alone() -> None:
    """Requests for it do not go where they came back from; and when that pod is heard again, to both."""
    seen = in_silence(make_view("p2"))
    both = replace(seen, copies=(*seen.copies, make_copy(pod="p2")), memory=replace(UNANSWERED, unanswered=False))
    routed = replace(both, route=make_route(endpoint("p2")), want=None)
    assert actions(replace(both, want=None)) == [PublishRoute(Route("digits", (endpoint("p2"),)))]
    assert actions(routed) == []
    again = replace(routed, pods=(make_view("p1"), make_view("p2")))
    assert actions(again) == [PublishRoute(Route("digits", tuple(sorted((endpoint("p1"), endpoint("p2"))))))]


@pytest.mark.parametrize("dead", [DEAD, make_view("p1", known=False, since=NOW, terminating=True)])
def test_others_leave_for_what_nobody_answers_for_if_it_stays_silent(dead: PodView) -> None:
    """A pod on its way out is not waited for at all: a dead node's stays listed until the node is taken away."""
    seen = in_silence(FULL, dead=dead)
    assert actions(seen) == ([] if dead is DEAD else [MakeRoom("p2", 10)])
    assert actions(seen, NOW + GROWTH_PATIENCE_S) == [MakeRoom("p2", 10)]
    without_room = replace(seen, copies=(*seen.copies, make_failed(NO_ROOM, pod="p2", needed=10)))
    assert actions(without_room, NOW + GROWTH_PATIENCE_S) == [MakeRoom("p2", 10)]
    assert actions(replace(seen, want=None), NOW + GROWTH_PATIENCE_S) == []
    assert actions(in_silence(make_view("p2", total=5), dead=dead), NOW + GROWTH_PATIENCE_S) == []


@pytest.mark.parametrize("state", [CopyState.DOWNLOADING, CopyState.LOADING])
def test_what_is_on_its_way_is_hurried_once_a_request_waits_for_it(state: CopyState) -> None:
    """Else it would wait its turn behind all that nobody waits for. Once, and not if it was commanded for a request."""
    memory = Memory(uid=KEY.uid, revision="r1", reserve=10)
    coming = make_copy(state, reserved=10)
    seen = make_observation(copies=(coming,), memory=memory, want=Want(load=True))
    assert actions(seen) == [load("p1", hurry=True)]
    assert actions(replace(seen, memory=replace(memory, urgent=True))) == []
    assert actions(replace(seen, want=None)) == []
    assert actions(replace(seen, pods=(DEAD,))) == []


UNDER_WAY = (CopyState.DOWNLOADING, CopyState.LOADING, CopyState.UNLOADING, CopyState.UNKNOWN)


@pytest.mark.parametrize("state", UNDER_WAY)
def test_what_was_on_its_way_when_its_pod_fell_silent_counts_as_none_after_a_while(state: CopyState) -> None:
    """It may be over in a moment; then it is loaded like what is not in memory: evicting too, if a request waits."""
    memory = Memory(uid=KEY.uid, revision="r1", reserve=10, urgent=True)
    seen = make_observation(
        copies=(make_copy(state),), pods=(DEAD, make_view("p2")), memory=memory, want=Want(load=True)
    )
    assert plan(seen, NOW + 1) == Plan(requeue_after=GROWTH_PATIENCE_S - 1)
    later = NOW + GROWTH_PATIENCE_S
    assert actions(timed_all(seen, later), later) == [load("p2")]
    assert actions(timed_all(replace(seen, want=None), later), later) == [replace(load("p2"), urgent=False)]
    full = replace(seen, pods=(DEAD, FULL))
    assert actions(timed_all(full, later), later) == [MakeRoom("p2", 10)]
    alone = replace(seen, pods=(DEAD,))
    assert plan(timed_all(alone, later), later) == Plan()


def test_what_had_the_name_before_is_not_waited_for_without_end() -> None:
    """Its pod may never answer again: a model that was deleted and made anew is loaded elsewhere, and answers there."""
    other = make_copy(key=make_key("r1", uid="another"))
    seen = make_observation(copies=(other,), pods=(DEAD, make_view("p2")))
    assert plan(seen, NOW + 1) == Plan(requeue_after=GROWTH_PATIENCE_S - 1)
    later = NOW + GROWTH_PATIENCE_S
    assert [a.pod for a in actions(timed_all(seen, later), later) if isinstance(a, LoadCopy)] == ["p2"]


@pytest.mark.parametrize(
    "held",
    [
        pytest.param(make_copy(key=make_key("r1", uid="another")), id="what had the name before"),
        pytest.param(make_copy(CopyState.DOWNLOADING, reserved=0), id="the hand-over so far"),
    ],
)
def test_a_hand_over_does_not_wait_for_a_silent_pod_without_end(held: Copy) -> None:
    """The pod that has it ends, and with it what was not handed over."""
    seen = make_observation(
        status=STATUS,
        pods=(DEAD, make_view("p2", draining=True), make_view("p3")),
        copies=(held, make_copy(pod="p2", reserved=10)),
        route=make_route(endpoint("p2")),
    )
    assert plan(seen, NOW + 1) == Plan(requeue_after=GROWTH_PATIENCE_S - 1)
    later = NOW + GROWTH_PATIENCE_S
    assert actions(timed_all(seen, later), later) == [replace(load("p3"), urgent=False)]


def test_what_is_on_its_way_in_a_silent_pod_that_ends_is_looked_at_again() -> None:
    """No pod has room for it; once it is given up, others leave for it."""
    memory = Memory(uid=KEY.uid, revision="r1", reserve=10, urgent=True)
    ends = replace(DEAD, draining=True)
    seen = make_observation(
        copies=(make_copy(CopyState.LOADING, reserved=10),), pods=(ends, FULL), memory=memory, want=Want(load=True)
    )
    assert plan(seen, NOW + 1) == Plan(requeue_after=GROWTH_PATIENCE_S - 1)
    later = NOW + GROWTH_PATIENCE_S
    assert actions(timed_all(seen, later), later) == [MakeRoom("p2", 10)]


@pytest.mark.parametrize(
    "dead",
    [
        pytest.param(DEAD, id="silent"),
        pytest.param(
            replace(DEAD, server=ServerState.LOST, pod=make_pod("p1", message="exited with code 1")), id="broken"
        ),
        pytest.param(replace(DEAD, pod=make_pod("p1", terminating=True)), id="on its way out"),
    ],
)
def test_where_no_pod_answers_the_model_is_looked_at_when_the_silence_has_lasted(dead: PodView) -> None:
    """Whatever the pod was like before: from then on another is wanted, and the message says that none answers."""
    seen = make_observation(pods=(dead,))
    soon = plan(seen, NOW + 1)
    assert soon == Plan(requeue_after=GROWTH_PATIENCE_S - 1)
    assert not lacks_room(seen, soon)
    later = NOW + GROWTH_PATIENCE_S
    silent = timed_all(seen, later)
    assert plan(silent, later) == Plan()
    assert lacks_room(silent, Plan())


def test_an_update_that_nobody_hears_of_any_more_keeps_no_hand_over_from_its_place() -> None:
    """The update has no room anywhere else; the revision that serves, in a pod that ends, has."""
    memory = Memory(uid=KEY.uid, revision="r1", reserve=20, last_good=Memory(uid=KEY.uid, revision="r0", reserve=10))
    seen = make_observation(
        status=make_status(make_condition(), active="r0"),
        last_good=make_target("r0"),
        copies=(make_copy(CopyState.LOADING), make_copy(pod="p2", key=make_key("r0"), reserved=10)),
        pods=(DEAD, make_view("p2", draining=True), make_view("p3", total=30, reserved=15)),
        memory=memory,
        route=make_route(endpoint("p2")),
    )
    for moment in (NOW, NOW + GROWTH_PATIENCE_S):
        loads = [a for a in actions(timed_all(seen, moment), moment) if isinstance(a, LoadCopy)]
        assert [(a.pod, a.key.revision) for a in loads] == [("p3", "r0")]


def test_an_update_that_nobody_hears_of_any_more_is_loaded_elsewhere() -> None:
    """The revision before serves meanwhile, or comes back in the pod that answers."""
    before = make_target("r0")
    old = make_copy(pod="p2", key=make_key("r0"))
    seen = make_observation(
        status=make_status(make_condition(), active="r0"),
        last_good=before,
        copies=(make_copy(CopyState.LOADING), old),
        pods=(DEAD, make_view("p2")),
        route=make_route(endpoint("p2")),
    )
    later = NOW + GROWTH_PATIENCE_S
    assert actions(seen, later - 1) == []
    assert [(a.pod, a.key) for a in actions(timed_all(seen, later), later) if isinstance(a, LoadCopy)] == [("p2", KEY)]
    tried = replace(seen.memory, failure=make_failed().failure, loads=1, credentials="")
    silent = replace(seen, copies=(make_copy(CopyState.LOADING),), memory=tried, route=None, lost=True)
    assert actions(silent) == [LoadCopy("p2", make_key("r0"), before, 0, False)]
    alone = replace(silent, pods=(DEAD,))
    assert not alone.falls_back
    assert timed_all(alone, later).falls_back


def test_where_an_update_is_on_its_way_no_older_revision_is_loaded() -> None:
    """The pod of the one that serves is silent, and a request has come back from there: the update answers it soon."""
    seen = make_observation(
        status=make_status(make_condition(), active="r0"),
        last_good=make_target("r0"),
        pods=(DEAD, make_view("p2")),
        copies=(make_copy(key=make_key("r0"), reserved=10), make_copy(CopyState.DOWNLOADING, pod="p2", reserved=10)),
        memory=UNANSWERED,
        route=make_route(endpoint("p1")),
        want=ASKED,
    )
    assert actions(seen) == [load("p2", hurry=True)]


def timed_all(seen: Observation, now: float) -> Observation:
    """The pods as they are seen then."""
    return replace(seen, pods=tuple(timed(p, now) for p in seen.pods))
