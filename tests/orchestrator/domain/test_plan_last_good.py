"""Law 4 as the plan keeps it: after an update that failed, it is the last good revision that comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from orchestrator.domain.action import LoadCopy, MakeRoom, Plan, UnloadCopy
from orchestrator.domain.answering import answer
from orchestrator.domain.conditions import ready_verdict, status_of, up_to_date_verdict
from orchestrator.domain.demand import OnDemand, Refused, WaitFor, Want
from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import NO_ROOM, CopyState, Failure, PodView, ServerState
from orchestrator.domain.loading import POOL_RECHECK_S, SERVER_PATIENCE_S
from orchestrator.domain.memory import evicting, remember, standing_by
from orchestrator.domain.need import needed_anywhere, waits_for
from orchestrator.domain.observation import MAX_CRASHES, Memory, Observation
from orchestrator.domain.plan import plan
from orchestrator.domain.target import Target
from tests.orchestrator.builders import (
    MIB,
    endpoint,
    make_condition,
    make_copy,
    make_credentials,
    make_failed,
    make_key,
    make_model,
    make_observation,
    make_route,
    make_runtime,
    make_status,
    make_target,
    make_view,
)
from tests.orchestrator.domain.test_plan_laws import NOW, make_world
from tests.orchestrator.domain.world import SIZE, World
from tests.picks import Picks, numbers
from tests.properties import examples

BEFORE = make_target("r0")
GOOD = make_key("r0")
FAILURE = Failure(reason="ModelLoadFailed", message="corrupt")
FAILED = Memory(
    uid=GOOD.uid,
    revision="r1",
    failure=FAILURE,
    failed_at=NOW,
    loads=3,
    credentials=make_credentials().version,
    last_good=Memory(uid=GOOD.uid, revision="r0"),
)
STATUS = make_status(make_condition(), active="r0")
PROBLEM = ModelProblem(Reason.STORAGE_KEY_NOT_FOUND, "add it")


def update(**fields: Any) -> Observation:
    """`r0` has loaded, the update to `r1` has failed, and nothing is in memory."""
    values: dict[str, Any] = {"status": STATUS, "memory": FAILED, "last_good": BEFORE}
    return make_observation(**values | fields)


def test_what_comes_back_is_what_served() -> None:
    """After a crash of its server, a restart of all, or with a spec that cannot be served at all."""
    restored = (LoadCopy("p1", GOOD, BEFORE, 0, False),)
    assert plan(update(lost=True), NOW).actions == restored
    assert plan(update(), NOW).actions == restored
    assert plan(update(target=PROBLEM), NOW).actions == restored
    assert plan(update(memory=Memory(uid=GOOD.uid, revision="r1"), lost=True), NOW).actions == restored


def test_an_update_under_way_comes_first_while_nothing_went_wrong() -> None:
    """Nothing serves because nobody asked: the new revision is loaded, not both."""
    seen = update(memory=Memory(uid=GOOD.uid, revision="r1"))
    assert [a.key for a in plan(seen, NOW).actions if isinstance(a, LoadCopy)] == [make_key()]


@pytest.mark.parametrize("state", [CopyState.DOWNLOADING, CopyState.LOADING])
def test_one_of_the_two_at_a_time(state: CopyState) -> None:
    """Of two loads of one name in a pod the later would win."""
    due = NOW + 1000
    for key in (GOOD, make_key()):
        assert plan(update(copies=(make_copy(state, key=key),), lost=True), due).actions == ()


def test_it_comes_back_while_the_change_is_on_its_way_in_another_pod() -> None:
    """A download may take long: nobody waits for it who could be answered."""
    comes = (make_copy(CopyState.DOWNLOADING),)
    seen = update(copies=comes, memory=Memory(uid=GOOD.uid, revision="r1"), lost=True)
    roomy, other = make_view("p1", total=500 * MIB), make_view("p2")
    assert plan(replace(seen, pods=(roomy, other)), NOW).actions == (LoadCopy("p2", GOOD, BEFORE, 0, False),)
    elsewhere = replace(BEFORE, runtime=make_runtime("triton-2.x"))
    moved = replace(seen, last_good=elsewhere, pods=(roomy, make_view("p2", runtime="triton-2.x")))
    assert plan(moved, NOW).actions == (LoadCopy("p2", GOOD, elsewhere, 0, False),)
    starts = replace(moved, pods=(roomy, make_view("p2", runtime="triton-2.x", server=ServerState.LOST)))
    assert waits_for(starts, plan(starts, NOW)) == "triton-2.x"
    alone = replace(seen, pods=(roomy,))
    assert plan(alone, NOW) == Plan(actions=(), requeue_after=POOL_RECHECK_S)
    # What has no room beside it is no standby: the next request would not load it.
    full = replace(seen.memory, last_good=Memory(uid=GOOD.uid, revision="r0", reserve=10))
    assert not plan(replace(seen, memory=full, pods=(roomy, make_view("p2", total=10, reserved=10))), NOW).stands_by


def test_the_failed_update_is_tried_again_beside_what_serves() -> None:
    """With its own back-off, in place of the copy that answers."""
    copies = (make_copy(key=GOOD), make_failed())
    seen = update(copies=copies, route=make_route(endpoint()))
    assert plan(seen, NOW).requeue_after is not None
    assert plan(seen, NOW).actions == ()
    assert [a.key for a in plan(seen, NOW + 1000).actions if isinstance(a, LoadCopy)] == [make_key()]


def test_what_answers_in_its_stead_is_looked_at_when_a_request_came_back_from_it() -> None:
    """A stale route to the former revision is as stale as any."""
    seen = update(copies=(make_copy(key=GOOD),), route=make_route(endpoint()), want=Want(load=True, stale=True))
    assert plan(seen, NOW).actions == (LoadCopy("p1", GOOD, BEFORE, make_copy().reserved, True, verify=True),)


def test_a_pool_of_another_runtime_is_where_it_came_from() -> None:
    """A change of framework that failed: it goes back to the other pool."""
    other = replace(BEFORE, runtime=make_runtime("triton-2.x"))
    seen = update(last_good=other, pods=(make_view("p1"), make_view("p2", runtime="triton-2.x")))
    assert plan(seen, NOW).actions == (LoadCopy("p2", GOOD, other, 0, False),)


def test_the_status_names_the_runtime_that_answers() -> None:
    """Not that of a change of framework which may never load; and that runtime is the one that is not to be stopped."""
    served = replace(STATUS, runtime="mlserver-0.x", active_runtime="triton-2.x")
    copies, pods = (make_copy(key=GOOD, pod="p2"),), (make_view("p1"), make_view("p2", runtime="triton-2.x"))
    seen = update(status=served, copies=copies, pods=pods, route=make_route(endpoint("p2")))
    for target in (make_target(), PROBLEM):
        status = status_of(replace(seen, target=target, last_good=None), "2026-01-01T00:00:00Z")
        assert status is not None
        assert status.runtime == "triton-2.x"
    assert needed_anywhere(make_model(status=served), PROBLEM, None) == {"triton-2.x"}
    away = replace(seen, copies=(), last_good=replace(BEFORE, runtime=make_runtime("triton-2.x")))
    status = status_of(away, "2026-01-01T00:00:00Z")
    assert status is not None
    assert status.runtime == "triton-2.x", "it stands by, which writes no status"
    updated = replace(seen, copies=(make_copy(),))
    status = status_of(updated, "2026-01-01T00:00:00Z")
    assert status is not None
    assert (status.runtime, status.active_runtime) == ("mlserver-0.x", "mlserver-0.x")


def test_while_the_update_has_no_pod_to_go_to_what_served_comes_back() -> None:
    """READY says that a request is answered. A pod that is silent might take the update: nothing is brought back then."""
    other = replace(BEFORE, runtime=make_runtime("triton-2.x"))
    stands_by = Memory(uid=GOOD.uid, revision="r1", last_good=Memory(uid=GOOD.uid, revision="r0", evicted=True))
    home = make_view("p2", runtime="triton-2.x")
    seen = update(last_good=other, pods=(home,), memory=stands_by)
    assert plan(seen, NOW) == Plan(actions=(), requeue_after=POOL_RECHECK_S)
    asked = replace(seen, want=Want(load=True))
    assert plan(asked, NOW).actions == (LoadCopy("p2", GOOD, other, 0, True),)
    assert plan(replace(asked, pods=(home, make_view(server=ServerState.LOST))), NOW) == plan(asked, NOW)
    assert plan(replace(asked, pods=(home, make_view(known=False))), NOW).actions == ()
    came = plan(replace(seen, pods=(home, make_view("p1"))), NOW).actions
    assert [(a.pod, a.key) for a in came if isinstance(a, LoadCopy)] == [("p1", make_key())]


def test_evicted_it_waits_for_demand() -> None:
    """As any model that stands by."""
    assert FAILED.last_good is not None
    memory = replace(FAILED, last_good=replace(FAILED.last_good, evicted=True))
    assert plan(update(memory=memory), NOW).actions == ()
    asked = update(memory=memory, want=Want(load=True))
    assert plan(asked, NOW).actions == (LoadCopy("p1", GOOD, BEFORE, 0, True),)
    assert answer(update(memory=memory, want=Want())) == OnDemand()
    assert ready_verdict(update(memory=memory)).status == "True"


def test_its_eviction_is_remembered_as_its_own() -> None:
    """Not as the failed update's, which never was there."""
    memory = remember(
        evicting(FAILED, make_copy(key=GOOD).ref),
        uid=GOOD.uid,
        target=make_target(),
        last_good=BEFORE,
        copies=(),
        now=NOW,
    )
    assert memory.last_good is not None
    assert (memory.last_good.evicted, memory.evicted, memory.evict) == (True, False, None)


def test_it_stands_by_if_it_does_not_fit() -> None:
    """Nobody asks for it: nothing leaves for its sake."""
    assert FAILED.last_good is not None
    memory = replace(FAILED, last_good=replace(FAILED.last_good, reserve=10))
    seen = update(memory=memory, pods=(make_view(total=20, reserved=15),))
    assert plan(seen, NOW).stands_by
    assert plan(replace(seen, memory=standing_by(memory)), NOW).actions == ()


def test_what_failed_does_not_stand_by_for_want_of_room() -> None:
    """It is not ready, so it comes back without being asked for, as soon as there is room."""
    memory = replace(FAILED, last_good=None, room=Failure(reason=NO_ROOM, message="full", needed=10))
    seen = update(status=make_status(make_condition(), active="r1"), last_good=None, memory=memory)
    full = replace(seen, pods=(make_view(total=20, reserved=15),))
    assert plan(full, NOW) == Plan(actions=(), requeue_after=POOL_RECHECK_S)
    room = replace(seen, pods=(make_view(total=20, reserved=5),))
    assert plan(room, NOW).actions == (LoadCopy("p1", make_key(), make_target(), 10, False),)


def test_ready_says_that_the_former_revision_answers_and_up_to_date_that_the_update_failed() -> None:
    """READY is about requests, UpToDate about the spec."""
    seen = update()
    assert ready_verdict(seen).status == "True"
    verdict = up_to_date_verdict(seen)
    assert (verdict.status, verdict.reason, verdict.message) == ("False", "ModelLoadFailed", "corrupt")


def test_lost_with_its_server_it_is_not_ready_until_it_is_back() -> None:
    """The server died: a request sent now waits, and READY says so."""
    seen = update(lost=True, want=Want(load=True))
    assert (ready_verdict(seen).status, ready_verdict(seen).reason) == ("False", "RuntimeUnavailable")
    told = answer(replace(seen, copies=(make_copy(CopyState.LOADING, key=GOOD),)))
    assert isinstance(told, WaitFor)


def test_if_it_fails_too_the_update_s_failure_is_told() -> None:
    """That is what a person can mend; both are tried again, each with its back-off."""
    assert FAILED.last_good is not None
    gone = replace(FAILED.last_good, failure=FAILURE, failed_at=NOW, loads=1, credentials=FAILED.credentials)
    seen = update(memory=replace(FAILED, last_good=gone), lost=True)
    assert (ready_verdict(seen).status, ready_verdict(seen).reason) == ("False", "ModelLoadFailed")
    assert isinstance(answer(seen), Refused)
    assert plan(seen, NOW).actions == ()
    first = plan(seen, NOW).requeue_after
    assert first is not None
    assert plan(seen, NOW + first).actions == (LoadCopy("p1", GOOD, BEFORE, 0, False),)


def test_what_cannot_be_made_again_is_not_tried() -> None:
    """Its key or its runtime is gone: the failure is told at once."""
    seen = update(last_good=None)
    assert plan(seen, NOW).actions == ()
    assert isinstance(answer(seen), Refused)


def test_a_copy_on_its_way_back_is_not_in_the_way() -> None:
    """It is another revision's than the spec's, and wanted all the same; so is the word of its failure."""
    for copy in (make_copy(CopyState.LOADING, key=GOOD), replace(make_failed(), key=GOOD)):
        seen = update(copies=(copy,), lost=True)
        assert not any(isinstance(a, UnloadCopy) for a in plan(seen, NOW).actions)


def test_what_takes_its_server_down_is_given_up() -> None:
    """Each try costs the others in that pod: until it changes there is none. The message says so."""
    memory = replace(FAILED, crashes=MAX_CRASHES)
    seen = update(memory=memory, copies=(make_copy(key=GOOD), make_failed()), route=make_route(endpoint()))
    decided = plan(seen, NOW + 1e6)
    assert (decided.actions, decided.requeue_after) == ((), None)
    assert "3 times in a row" in up_to_date_verdict(seen).message
    for changed in (
        replace(memory, credentials="another"),
        replace(memory, failure=replace(FAILURE, source_changed=True)),
        replace(memory, crashes=MAX_CRASHES - 1),
    ):
        again = plan(replace(seen, memory=changed), NOW + 1e6).actions
        assert [a.key for a in again if isinstance(a, LoadCopy)] == [make_key()]
    forgotten = plan(replace(seen, copies=(make_copy(key=GOOD),)), NOW + 1e6).actions
    assert [a.key for a in forgotten if isinstance(a, LoadCopy)] == [make_key()]


def test_a_request_is_not_refused_while_the_failed_update_is_tried_again() -> None:
    """READY is True: the last good revision stands by, and is what comes if the update fails once more."""
    seen = update(copies=(make_copy(CopyState.DOWNLOADING),), want=Want(load=True))
    assert ready_verdict(seen).status == "True"
    assert isinstance(answer(seen), WaitFor)


def test_the_failed_update_that_is_fetched_again_gives_way_to_a_request() -> None:
    """It may take long, and is likely to fail again: what answers is loaded in its place. Once fetched it is over soon."""
    seen = update(copies=(make_copy(CopyState.DOWNLOADING),), want=Want(load=True))
    assert plan(seen, NOW).actions == (UnloadCopy("p1", make_key()),)
    assert plan(replace(seen, copies=()), NOW).actions == (LoadCopy("p1", GOOD, BEFORE, 0, True),)
    waits = LoadCopy("p1", make_key(), make_target(), make_copy().reserved, True, hurry=True)
    for other in (
        replace(seen, copies=(make_copy(CopyState.LOADING),)),
        replace(seen, memory=Memory(uid=GOOD.uid, revision="r1")),
        replace(seen, memory=replace(FAILED, last_good=replace(FAILED, revision="r0", last_good=None))),
    ):
        assert plan(other, NOW).actions == (waits,)
    assert plan(replace(seen, want=None), NOW).actions == ()
    assert plan(replace(seen, pods=(make_view(draining=True),)), NOW).actions == ()


def test_a_failed_update_makes_no_room_for_itself_while_nobody_asks() -> None:
    """Its neighbours would leave for it at each retry, for ever."""
    memory = replace(FAILED, room=Failure(reason=NO_ROOM, message="full", needed=10))
    seen = update(memory=memory, pods=(make_view(total=20, reserved=15),), last_good=None)
    assert [type(a) for a in plan(seen, NOW).actions] == [MakeRoom]
    assert plan(replace(seen, last_good=BEFORE), NOW).actions == (LoadCopy("p1", GOOD, BEFORE, 0, False),)
    assert FAILED.last_good is not None
    evicted = replace(memory, last_good=replace(FAILED.last_good, evicted=True))
    assert plan(replace(seen, last_good=BEFORE, memory=evicted), NOW).actions == ()
    assert up_to_date_verdict(replace(seen, last_good=BEFORE)).reason == "ModelLoadFailed"


def test_what_broke_is_mended_by_its_adapter_though_nobody_could_fetch_it() -> None:
    """There is a mistake in the Secret, say; the adapter has the files that served."""
    seen = update(target=PROBLEM, last_good=None, route=make_route(endpoint()))
    mended = replace(seen, copies=(make_copy(CopyState.LOADING, key=GOOD),))
    assert not any(isinstance(a, UnloadCopy) for a in plan(mended, NOW + 1000).actions)
    for other in (make_key(), make_key("r0", uid="another")):
        copies = (make_copy(CopyState.LOADING, key=other),)
        assert UnloadCopy("p1", other) in plan(replace(seen, copies=copies), NOW + 1000).actions


def test_what_may_have_taken_its_server_down_takes_no_other_down() -> None:
    """It goes to the same pod again, and waits for it; to another only once that one is gone."""
    crash = replace(FAILURE, crashed=True)
    memory = replace(FAILED, failure=crash, crashes=1, pod="p1", last_good=None)
    seen = update(
        last_good=None,
        memory=memory,
        pods=(make_view("p1", server=ServerState.LOST, since=NOW), make_view("p2", total=500 * MIB)),
    )
    assert plan(seen, NOW) == Plan(requeue_after=POOL_RECHECK_S)
    gone = replace(seen, pods=(make_view("p1", known=False, boot="b1", since=NOW), seen.pods[1]))
    assert plan(gone, NOW).requeue_after is not None
    assert plan(gone, NOW + 60).requeue_after == POOL_RECHECK_S
    # A server that does not come back at all has reasons of its own.
    long = plan(seen, NOW + SERVER_PATIENCE_S).actions
    assert [a.pod for a in long if isinstance(a, LoadCopy)] == ["p2"]
    back = replace(seen, pods=(make_view("p1"), make_view("p2", total=500 * MIB)))
    assert [a.pod for a in plan(back, NOW).actions if isinstance(a, LoadCopy)] == ["p1"]
    gone = replace(seen, pods=(make_view("p2"),))
    assert [a.pod for a in plan(gone, NOW).actions if isinstance(a, LoadCopy)] == ["p2"]


def test_a_retry_whose_pool_is_down_comes_when_it_is_up() -> None:
    """Nobody wakes a model that stands by when a pod changes: it looks by itself."""
    assert FAILED.last_good is not None
    memory = replace(FAILED, last_good=replace(FAILED.last_good, evicted=True))
    seen = update(memory=memory, pods=(make_view(server=ServerState.LOST),))
    assert plan(seen, NOW + 1e6).requeue_after == POOL_RECHECK_S


def make_failing(picked: list[Picks]) -> World:
    """Any world in which an update of a model that has loaded cannot succeed, and every pod has an address and answers."""
    world = make_world(picked)
    general = picked[6]
    targets: tuple[Target | ModelProblem, ...] = (make_target(), PROBLEM)
    target = general.pick(*targets)
    runtime = make_runtime(general.pick("mlserver-0.x", "triton-2.x"))
    seen = replace(
        world.seen,
        model=make_model(status=STATUS),
        target=target,
        last_good=make_target("r0", runtime=runtime),
        pods=tuple(heard(p) for p in world.seen.pods),
        copies=tuple(c for c in world.seen.copies if (c.key, c.state) != (make_key(), CopyState.LOADED)),
    )
    return replace(world, seen=seen, broken=True)


def heard(view: PodView) -> PodView:
    """It answers where it always was."""
    pod = make_view(view.pod.uid).pod
    return replace(view, known=True, pod=replace(view.pod, adapter=pod.adapter, endpoint=pod.endpoint))


@examples(400)
@given(st.lists(numbers, min_size=9, max_size=9).map(make_failing))
def test_in_the_end_the_last_good_revision_answers(world: World) -> None:
    """
    Whatever was in memory and on its way: it serves, or stands by for want of demand or room, and READY is True.

    Unless it has failed as well, and there is no room to try it again.
    """
    world.settle()
    world.tell()
    seen = world.seen
    fallback = seen.fallback
    assert fallback is not None
    usable = [p for p in fallback.pool() if p.usable]
    if world.blocked or not usable or any(p.total < SIZE for p in usable):
        event("no room in any pod")
        return
    urgent = seen.want is not None and seen.want.load
    if fallback.memory.failed is not None and not seen.serving:
        event("failed itself, and waits for room")
        assert not urgent
        assert not any(p.free >= SIZE for p in usable)
        return
    event("serves" if seen.serving else "stands by")
    assert {c.key for c in seen.serving} <= {GOOD}
    assert seen.serving or (fallback.memory.evicted and not urgent)
    assert seen.model is not None
    assert seen.model.status.ready
    if seen.serving:
        assert seen.route is not None
        assert seen.route.route.endpoints == seen.endpoints
