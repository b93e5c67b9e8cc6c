"""One decision about one model, by example. Its laws are in test_plan_laws.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.action import (
    Action,
    LoadCopy,
    MakeRoom,
    Plan,
    PublishRoute,
    RemoveRoute,
    UnloadCopy,
    destructive,
)
from orchestrator.domain.demand import Want
from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import NO_ROOM, CopyState, Failure, PodView, ServerState
from orchestrator.domain.memory import evicting, standing_by
from orchestrator.domain.observation import Memory, Observation
from orchestrator.domain.plan import plan
from orchestrator.domain.pool import GROWTH_PATIENCE_S
from orchestrator.domain.routes import Route
from orchestrator.domain.withdrawal import ACK_BOUND_S, LAZY_REMOVE_S, STRANGER_RECHECK_S, WITHDRAW_GRACE_S
from tests.orchestrator.builders import (
    endpoint,
    make_condition,
    make_copy,
    make_credentials,
    make_failed,
    make_key,
    make_memory,
    make_observation,
    make_route,
    make_status,
    make_target,
    make_view,
)

NOW = 1000.0
KEY = make_key()
MEMORY = Memory(uid=KEY.uid, revision="r1")
LOADED_BEFORE = make_status(make_condition(), active="r1")
PROBLEM = ModelProblem(Reason.STORAGE_CONFIG_MISSING, "create it")
WITHDRAW = PublishRoute(Route("digits"))
REMOVE = RemoveRoute("digits")


def load(pod: str = "p1", *, reserve: int = 0, urgent: bool = False, verify: bool = False) -> LoadCopy:
    return LoadCopy(pod, KEY, make_target(), reserve, urgent, verify)


def unload(revision: str = "r1", *, pod: str = "p1", uid: str = "") -> UnloadCopy:
    return UnloadCopy(pod, make_key(revision, uid=uid))


def failed(reason: str = "ModelNotFound", *, loads: int = 1, needed: int = 0, source_changed: bool = False) -> Memory:
    credentials = make_credentials().version
    failure = Failure(reason=reason, message="why", needed=needed, source_changed=source_changed)
    return make_memory(failure, failed_at=NOW, loads=loads, credentials=credentials)


def actions(seen: Observation, now: float = NOW) -> list[Action]:
    return list(plan(seen, now).actions)


# From nothing to serving.


def test_a_model_goes_to_the_roomiest_pod_that_is_ready() -> None:
    """At the size it had before, if any; first in the adapter's queue if somebody waits."""
    pods = (make_view("p1", total=5), make_view("p2", total=9), make_view("p3", known=False))
    assert actions(make_observation(pods=pods)) == [load("p2")]
    memory = replace(MEMORY, reserve=6)
    assert actions(make_observation(pods=pods, memory=memory, want=Want(load=True))) == [
        load("p2", reserve=6, urgent=True)
    ]


@pytest.mark.parametrize(
    "seen",
    [
        make_observation(pods=()),
        make_observation(pods=(make_view(server=ServerState.STARTING),)),
        make_observation(pods=(make_view(known=False),)),
        make_observation(target=PROBLEM),
        *(make_observation(copies=(make_copy(s),)) for s in (CopyState.DOWNLOADING, CopyState.LOADING)),
        make_observation(copies=(make_copy(CopyState.UNLOADING),)),
        make_observation(copies=(make_copy(CopyState.UNLOADING, key=make_key(uid="another")),)),
        make_observation(model=None),
    ],
)
def test_there_is_nothing_to_do_but_wait(seen: Observation) -> None:
    """For a pod, for a person, for a load or an unload that is under way: all of them wake it by themselves."""
    assert plan(seen, NOW) == Plan()


def test_a_loaded_copy_is_routed_once() -> None:
    """And again when it serves elsewhere."""
    seen = make_observation(copies=(make_copy(),))
    published = PublishRoute(Route("digits", (endpoint(),)))
    assert actions(seen) == [published]
    assert actions(replace(seen, route=make_route(endpoint(), acked=False))) == []
    assert actions(replace(seen, route=make_route("10.0.0.1:1"))) == [published]
    assert actions(replace(seen, route=make_route())) == [published]


# Leaving.


def test_a_deleted_model_is_withdrawn_then_unloaded_then_its_route_removed() -> None:
    """Route first; unload after ACK and grace; the cluster lazily, since a retry may still be on its way to it."""
    gone = make_observation(model=None, copies=(make_copy(),), route=make_route(endpoint()))
    assert actions(gone) == [WITHDRAW]
    withdrawn = replace(gone, route=make_route(since=NOW))
    assert plan(withdrawn, NOW).actions == ()
    assert plan(withdrawn, NOW).requeue_after == pytest.approx(WITHDRAW_GRACE_S)
    assert plan(withdrawn, NOW + WITHDRAW_GRACE_S).actions == (unload(),)
    leaving = replace(withdrawn, copies=(make_copy(CopyState.UNLOADING),))
    assert plan(leaving, NOW + 1) == Plan()
    empty = replace(withdrawn, copies=())
    assert plan(empty, NOW + 1) == Plan(requeue_after=LAZY_REMOVE_S - 1)
    assert plan(empty, NOW + LAZY_REMOVE_S).actions == (REMOVE,)
    assert plan(replace(empty, route=None), NOW + LAZY_REMOVE_S) == Plan()


def test_an_envoy_that_does_not_acknowledge_is_waited_for_five_seconds() -> None:
    """Bounded: a frozen Envoy must not keep memory for ever; the grace after a late ACK does not outlast the bound."""
    silent = make_observation(model=None, copies=(make_copy(),), route=make_route(acked=False, since=NOW))
    assert plan(silent, NOW + 1) == Plan(requeue_after=ACK_BOUND_S - 1)
    assert plan(silent, NOW + ACK_BOUND_S).actions == (unload(),)
    late = replace(silent, route=replace(make_route(since=NOW), acked_at=NOW + 4.9))
    assert plan(late, NOW + 4.9).requeue_after == pytest.approx(0.1)


def test_a_copy_that_moved_is_unloaded_only_when_the_new_route_is_accepted() -> None:
    """Make before break, also between pods: the old pod serves until the Envoys have let go of it."""
    old, new = make_copy(pod="p1", key=make_key("r0")), make_copy(pod="p2")
    pods = (make_view("p1"), make_view("p2"))
    seen = make_observation(copies=(old, new), pods=pods, route=make_route(endpoint("p1")))
    assert actions(seen) == [PublishRoute(Route("digits", (endpoint("p2"),)))]
    moved = replace(seen, route=make_route(endpoint("p2"), acked=False, since=NOW))
    assert actions(moved) == []
    accepted = replace(seen, route=make_route(endpoint("p2"), since=NOW))
    assert plan(accepted, NOW + WITHDRAW_GRACE_S).actions == (unload("r0"),)


def test_a_copy_replaced_in_its_pod_needs_no_withdrawal() -> None:
    """The route does not change; the adapter has replaced it already."""
    copies = (make_copy(key=make_key("r0")), make_copy())
    assert actions(make_observation(copies=copies, route=make_route(endpoint()))) == [unload("r0")]


def test_nothing_is_unloaded_from_a_silent_pod() -> None:
    """Unknown is not absent; when it is heard again, its models are looked at."""
    pods = (make_view(known=False),)
    assert plan(make_observation(model=None, copies=(make_copy(),), pods=pods, route=make_route()), NOW) == Plan()


@pytest.mark.parametrize("state", [CopyState.DOWNLOADING, CopyState.LOADING, CopyState.FAILED])
def test_what_never_served_leaves_at_once(state: CopyState) -> None:
    """Another revision's, another object's, a deleted model's."""
    for seen in (
        make_observation(copies=(make_copy(state, key=make_key("r0")), make_copy(CopyState.LOADING))),
        make_observation(model=None, copies=(make_copy(state, key=make_key("r0")),)),
        make_observation(target=PROBLEM, copies=(make_copy(state, key=make_key("r0")),)),
    ):
        assert actions(seen) == [unload("r0")]


def test_what_may_have_replaced_what_serves_leaves_in_its_order() -> None:
    """Its report may be on its way: the pod's requests may be its own already. Until then only the route is withdrawn."""
    copies = (make_copy(key=make_key("r0")), make_copy(CopyState.LOADING))
    gone = make_observation(model=None, copies=copies, route=make_route(endpoint()))
    assert actions(gone) == [WITHDRAW]
    withdrawn = replace(gone, route=make_route(since=NOW))
    assert plan(withdrawn, NOW + WITHDRAW_GRACE_S).actions == (unload("r0"), unload())
    # Where the one before serves on, the attempt is called off at once.
    seen = make_observation(target=make_target("r0"), copies=copies, route=make_route(endpoint()))
    assert actions(seen) == [unload()]


def test_a_failure_that_a_copy_elsewhere_made_up_for_is_cleared_away() -> None:
    """Else it would be taken for the model's failure once that copy is evicted."""
    copies = (make_copy(pod="p1"), make_failed(pod="p2"))
    pods = (make_view("p1"), make_view("p2"))
    assert actions(make_observation(copies=copies, pods=pods, route=make_route(endpoint("p1")))) == [unload(pod="p2")]


def test_a_failure_elsewhere_is_cleared_away_when_it_is_tried_again() -> None:
    """One failure at a time: the last."""
    copies = (make_failed(pod="p1"), make_failed(pod="p2"))
    seen = make_observation(copies=copies, pods=(make_view("p1"), make_view("p2")), memory=replace(failed(), pod="p2"))
    assert actions(seen) == [unload(pod="p1")]


def test_a_copy_of_an_earlier_object_leaves_before_the_new_one_comes() -> None:
    """Servers know names only: both cannot be in one pod."""
    other = make_copy(key=make_key(uid="another"))
    seen = make_observation(copies=(other,), route=make_route(endpoint()))
    assert actions(seen) == [WITHDRAW]
    assert actions(replace(seen, route=make_route())) == [unload(uid="another")]
    assert actions(replace(seen, copies=(), route=make_route())) == [REMOVE, load()]


def test_the_last_good_copy_stays_when_the_spec_cannot_be_served() -> None:
    """Law 4: neither withdrawn nor unloaded."""
    for seen in (
        make_observation(copies=(make_copy(),), target=PROBLEM, route=make_route(endpoint())),
        make_observation(
            copies=(make_copy(key=make_key("r0")),), memory=failed(), route=make_route(endpoint()), status=LOADED_BEFORE
        ),
    ):
        assert actions(seen) == []


# Routes that a leader before left.


def test_a_route_that_nobody_published_is_taken_over_by_what_serves() -> None:
    """Publishing an equal one sends nothing."""
    seen = make_observation(copies=(make_copy(),), stranger=True)
    assert actions(seen) == [PublishRoute(Route("digits", (endpoint(),)))]


def test_a_route_that_nobody_published_and_nothing_serves_is_removed() -> None:
    """When every pod has been heard, or the model is proven gone."""
    pods = (make_view("p1"), make_view("p2", known=False))
    assert actions(
        make_observation(copies=(make_copy(CopyState.FAILED, key=KEY),), stranger=True, memory=failed())
    ) == [REMOVE]
    assert actions(make_observation(model=None, stranger=True, pods=pods)) == [REMOVE]
    waiting = make_observation(target=PROBLEM, stranger=True, pods=pods)
    assert plan(waiting, NOW) == Plan(requeue_after=STRANGER_RECHECK_S)


def test_a_model_deleted_while_no_leader_was_there_leaves_as_any_other() -> None:
    """Its copy is loaded and an Envoy routes to it: withdrawn by us first, so that the rest takes its course."""
    seen = make_observation(model=None, copies=(make_copy(),), stranger=True)
    assert actions(seen) == [WITHDRAW]
    assert plan(replace(seen, stranger=False, route=make_route(since=NOW)), NOW + 1).actions == (unload(),)
    # No Envoy has been heard yet: it may have that route all the same.
    assert actions(replace(seen, stranger=False)) == [WITHDRAW]


def test_a_former_object_that_may_be_routed_to_waits_for_who_may_serve_its_successor() -> None:
    """Absence of a route is known only of Envoys that were heard, absence of a copy only of pods that were."""
    pods = (make_view("p1"), make_view("p2", known=False))
    seen = make_observation(copies=(make_copy(key=make_key(uid="another")),), pods=pods)
    assert plan(seen, NOW).actions == ()
    assert actions(replace(seen, pods=pods[:1])) == [WITHDRAW]


# Room.

FULL = make_view(total=100, reserved=95)


def test_a_model_that_has_never_loaded_or_is_asked_for_has_others_leave() -> None:
    """In the largest pod, since it may need all of it."""
    memory = replace(failed(NO_ROOM, needed=10), reserve=10)
    small = make_view("p2", total=50, reserved=50)
    for seen in (
        make_observation(pods=(small, FULL), memory=memory),
        make_observation(pods=(small, FULL), memory=memory, status=LOADED_BEFORE, want=Want(load=True)),
    ):
        assert plan(seen, NOW) == Plan(actions=(MakeRoom("p1", 10),))


def test_a_model_that_nobody_asks_for_stands_by_instead() -> None:
    """It loaded once, and will again on demand; then nothing more is tried until it is asked for."""
    memory = replace(failed(NO_ROOM, needed=10), reserve=10)
    seen = make_observation(pods=(FULL,), memory=memory, status=LOADED_BEFORE)
    assert plan(seen, NOW) == Plan(stands_by=True)
    assert plan(replace(seen, memory=standing_by(memory)), NOW) == Plan()
    room = replace(seen, memory=standing_by(memory), pods=(make_view(),), want=Want(load=True))
    assert actions(room) == [load(reserve=10, urgent=True)]


def test_what_failed_is_tried_before_room_is_made_for_it() -> None:
    """Nobody leaves for a model that may not load, and it is not left unready to stand by: the adapter looks first."""
    memory = replace(failed(), failed_at=NOW - 1000, reserve=10)
    for status in (LOADED_BEFORE, make_status()):
        seen = make_observation(pods=(FULL,), copies=(make_failed(),), memory=memory, status=status)
        assert plan(seen, NOW) == Plan(actions=(load(),))


def test_pods_that_are_smaller_than_they_were_are_asked_all_the_same() -> None:
    """No eviction would help: the adapter says with both numbers that it is too large."""
    seen = make_observation(pods=(FULL,), memory=replace(MEMORY, reserve=200))
    assert actions(seen) == [load(reserve=200)]


def test_room_is_made_where_its_own_copy_is_not_in_the_way() -> None:
    """What serves stays until its successor is loaded: it cannot be evicted for it."""
    copies = (make_copy(key=make_key("r0"), reserved=60),)
    pods = (make_view("p1", total=100, reserved=60), make_view("p2", total=100, reserved=100))
    seen = make_observation(
        copies=copies,
        pods=pods,
        memory=replace(MEMORY, reserve=60),
        route=make_route(endpoint("p1")),
        status=make_status(make_condition(), active="r0"),
    )
    assert actions(seen) == [MakeRoom("p2", 60)]


@pytest.mark.parametrize("fields", [{}, {"boot": "", "unheard": True}, {"boot": "", "server": ServerState.STARTING}])
def test_a_pod_that_is_not_heard_may_have_room_so_nobody_leaves(fields: dict[str, Any]) -> None:
    """
    Knowing less evicts nothing; but it may fail for hours, and keeps no other from being of use.

    Whether it fell silent, was there before we were, or its image is on its way.
    """
    silent = make_view("p2", known=False, since=NOW, **fields)
    seen = make_observation(pods=(FULL, silent), memory=replace(MEMORY, reserve=10))
    assert plan(seen, NOW + 1) == Plan(requeue_after=GROWTH_PATIENCE_S - 1)
    assert actions(seen, NOW + GROWTH_PATIENCE_S) == [MakeRoom("p1", 10)]


@pytest.mark.parametrize(
    "view",
    [
        make_view("p2", known=False, draining=True),
        make_view("p2", known=False, terminating=True),
        make_view("p2", known=False, server=ServerState.STARTING, message="server exited with code 1"),
    ],
)
def test_a_silent_pod_that_is_on_its_way_out_or_never_came_up_is_not_waited_for(view: PodView) -> None:
    """It would take no load if it were heard."""
    seen = make_observation(pods=(FULL, view), memory=replace(MEMORY, reserve=10))
    assert actions(seen) == [MakeRoom("p1", 10)]


def test_what_has_to_leave_is_withdrawn_and_unloaded_and_not_loaded_again() -> None:
    """Even if somebody asks for it meanwhile: first it goes."""
    memory = evicting(MEMORY, make_copy().ref)
    seen = make_observation(
        copies=(make_copy(),), route=make_route(endpoint()), memory=memory, want=Want(load=True), status=LOADED_BEFORE
    )
    assert actions(seen) == [WITHDRAW]
    assert actions(replace(seen, route=make_route())) == [unload()]
    assert actions(replace(seen, route=make_route(since=NOW), copies=())) == []


def test_of_two_copies_only_the_one_that_makes_room_leaves() -> None:
    """A pod that was cut off has its copy still, and another has one by now: what is evicted there is served here."""
    here, there = make_copy(), make_copy(pod="p2")
    both = (make_view("p1"), make_view("p2"))
    seen = make_observation(
        pods=both, copies=(here, there), route=make_route(endpoint(), endpoint("p2")), memory=evicting(MEMORY, here.ref)
    )
    elsewhere = make_route(endpoint("p2"))
    assert actions(seen) == [PublishRoute(elsewhere.route)]
    assert actions(replace(seen, route=elsewhere)) == [unload()]


def test_the_destructive_actions_are_those_that_take_away() -> None:
    """Law 9 speaks of these."""
    all_of_them = (PublishRoute(Route("digits", ("h:1",))), WITHDRAW, REMOVE, load(), unload(), MakeRoom("p1", 1))
    assert destructive(all_of_them) == {WITHDRAW, REMOVE, unload(), MakeRoom("p1", 1)}
