"""What is remembered of a model between two looks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import NO_ROOM, Copy, CopyRef, CopyState, Failure
from orchestrator.domain.memory import commanded, evicting, hurried, interrupted, remember, resumed, standing_by
from orchestrator.domain.observation import MAX_CRASHES, Memory
from orchestrator.domain.target import Target
from orchestrator.domain.trained_model import Condition
from tests.orchestrator.builders import (
    MIB,
    make_condition,
    make_copy,
    make_credentials,
    make_failed,
    make_key,
    make_model,
    make_status,
    make_target,
)

UID = make_key().uid
FRESH = Memory(uid=UID, revision="r1")
FAILURE = Failure(reason="StorageUnavailable", message="the store does not answer")
FAILED = replace(FRESH, failure=FAILURE, failed_at=5.0, loads=3)
PROBLEM = ModelProblem(Reason.STORAGE_CONFIG_MISSING, "no Secret")


def look(
    memory: Memory, *copies: Copy, target: Target | ModelProblem | None = None, uid: str = UID, now: float = 100.0
) -> Memory:
    return remember(memory, uid=uid, target=target or make_target(), copies=copies, now=now)


def test_a_look_that_shows_nothing_new_changes_nothing() -> None:
    """Level-based: the second look gives what the first did."""
    for copies in ((), (make_copy(),), (make_failed(),), (make_failed(NO_ROOM, needed=5),)):
        once = look(FRESH, *copies)
        assert look(once, *copies, now=200.0) == once


def test_a_failure_is_dated_when_it_is_first_seen() -> None:
    """A load that this leader did not command counts as one."""
    memory = look(FRESH, make_failed())
    assert (memory.failure, memory.failed_at, memory.loads) == (FAILURE, 100.0, 1)


def test_a_failure_stays_on_show_while_it_is_tried_again() -> None:
    """Else the status would flap with every retry; the next failure is dated anew, and counts."""
    tried = commanded(FAILED, make_target(), "p1")
    assert (tried.failure, tried.failed_at, tried.loads) == (FAILURE, None, 4)
    assert tried.credentials == make_target().credentials.version
    under_way = look(tried, make_copy(CopyState.DOWNLOADING))
    assert under_way.failure == FAILURE
    again = look(under_way, make_failed(message="still"), now=130.0)
    assert (again.failed_at, again.loads) == (130.0, 4)
    assert again.failure is not None
    assert again.failure.message == "still"


def test_a_failure_of_other_credentials_is_not_shown_while_new_ones_are_tried() -> None:
    """Whoever has just mended the Secret is not told the reason of before; what the Secret cannot mend still holds."""
    target = make_target(credentials=make_credentials(secret_access_key="mended"))
    before = replace(FAILED, credentials=make_target().credentials.version)
    assert commanded(before, target, "p1").failure is None
    refused = replace(before, failure=Failure(reason="ModelTooLarge", message="of the model itself"))
    assert commanded(refused, target, "p1").failure == refused.failure
    # A new leader knows the failure from the status, and not with which credentials it was.
    assert commanded(FAILED, target, "p1").failure == FAILURE


def test_the_failure_of_the_last_load_is_the_models_failure() -> None:
    """What failed before in another pod says nothing any more, in whichever order the pods are seen."""
    old = make_failed(pod="p2", message="of yesterday", source_changed=True)
    tried = commanded(FAILED, make_target(), "p1")
    assert look(tried, old) == tried
    for copies in ((make_failed(pod="p1"), old), (old, make_failed(pod="p1"))):
        failure = look(tried, *copies).failure
        assert failure is not None
        assert (failure.message, failure.source_changed) == ("the store does not answer", False)
    first = look(FRESH, make_failed(pod="p1"), old)
    assert (first.pod, first.failure) == ("p1", FAILURE)


def test_want_of_room_is_nobodys_failure() -> None:
    """What it needs is remembered; a new load takes it off."""
    memory = look(FRESH, make_failed(NO_ROOM, needed=7 * MIB))
    assert memory.reserve == 7 * MIB
    assert commanded(memory, make_target(), "p1").failure is None


def test_a_loaded_copy_settles_all_whatever_failed_elsewhere() -> None:
    """Its size is remembered for the next time, in whichever order the pods are seen."""
    copies = (make_copy(pod="p1", reserved=3 * MIB), make_failed(pod="p2"))
    for order in (copies, copies[::-1]):
        memory = look(FAILED, *order)
        assert memory == replace(FRESH, reserve=3 * MIB, loaded=make_target())


@pytest.mark.parametrize(
    "memory",
    [
        look(FAILED, target=make_target("r2")),
        look(FAILED, uid="another"),
        look(standing_by(FAILED), target=make_target("r2")),
        look(standing_by(FAILED), uid="another"),
    ],
)
def test_another_revision_or_object_starts_anew(memory: Memory) -> None:
    """Delete and re-create is a new model: neither the failure nor the back-off of the old one is its."""
    assert (memory.failure, memory.failed_at, memory.loads, memory.evicted) == (None, None, 0, False)
    assert Memory() not in (FAILED, memory)


@pytest.mark.parametrize(
    "copy",
    [
        make_failed(),
        make_copy(CopyState.LOADED),
    ],
)
def test_copies_of_others_say_nothing(copy: Copy) -> None:
    """A copy of an earlier object of that name or of another revision is not about this one."""
    for key in (make_key(uid="another"), make_key("r0")):
        assert look(FAILED, replace(copy, key=key)) == FAILED


def test_loads_that_took_the_server_down_are_counted_in_a_row() -> None:
    """Once is no proof: it is as if nothing had been tried. Another failure, or a success, begins the row anew."""
    memory = FRESH
    for crashes in (1, 2, 3):
        memory = look(commanded(memory, make_target(), "p1"), make_failed(crashed=True))
        memory = look(memory, make_failed(crashed=True), now=200.0)
        assert (memory.crashes, memory.given_up) == (crashes, crashes >= MAX_CRASHES)
        assert (memory.failed is None) == (crashes == 1)
    tried = commanded(memory, make_target(), "p1")
    assert look(tried).given_up
    full = look(tried, make_failed(NO_ROOM, needed=5))
    assert (full.crashes, full.failure, full.room is not None) == (3, memory.failure, True)
    assert commanded(full, make_target(), "p1").room is None
    assert look(tried, make_failed()).crashes == 0
    assert look(tried, make_copy()).crashes == 0


def test_a_death_over_what_had_failed_before_is_one_more_failure() -> None:
    """A new controller finds the crash of an earlier term: what took the server down is not what comes first."""
    known = Memory(failure=FAILED.failure)
    for before in (known, commanded(look(known), make_target(), "p1")):
        memory = look(before, make_failed(crashed=True))
        assert (memory.failed, memory.crashes) == (make_failed(crashed=True).failure, 2)
        assert not look(memory, make_failed(crashed=True), now=200.0).given_up
    assert look(commanded(FAILED, make_target(), "p1"), make_failed(crashed=True)).crashes == 1


def test_a_try_that_was_ended_for_a_request_is_followed_by_its_back_off() -> None:
    """But for what has not failed before, for what ended by itself, and for what was another copy."""
    tried = commanded(FAILED, make_target(), "p1")
    assert interrupted(tried, make_key(), 200.0) == replace(tried, failed_at=200.0)
    for memory, key in ((FRESH, make_key()), (FAILED, make_key()), (tried, make_key("r0"))):
        assert interrupted(memory, key, 200.0) == memory


def test_the_last_good_revision_is_remembered_for_itself() -> None:
    """Its loads and failures are not the target's, nor the other way round."""
    good = make_target("r0")

    def both(memory: Memory, *copies: Copy) -> Memory:
        return remember(memory, uid=UID, target=make_target(), last_good=good, copies=copies, now=100.0)

    memory = both(FAILED)
    assert memory == replace(FAILED, last_good=Memory(uid=UID, revision="r0"))
    memory = both(commanded(memory, good, "p2"), replace(make_failed(pod="p2"), key=make_key("r0")))
    assert replace(memory, last_good=None) == FAILED
    assert memory.last_good is not None
    assert (memory.last_good.loads, memory.last_good.failure, memory.last_good.pod) == (1, FAILURE, "p2")
    assert look(memory) == FAILED


@pytest.mark.parametrize(
    ("condition", "generation", "failure"),
    [
        (
            make_condition("UpToDate", "False", "ModelNotFound", "why"),
            1,
            Failure(reason="ModelNotFound", message="why"),
        ),
        (make_condition("UpToDate", "False", "ModelNotFound", "why"), 2, None),
        (make_condition("UpToDate", "Unknown", "Loading", "on its way"), 1, None),
        (make_condition("Ready", "False", "RuntimeUnavailable", "why"), 1, None),
        (make_condition("UpToDate", "False", "StorageKeyNotFound", "why"), 1, None),
    ],
)
def test_a_new_controller_knows_from_the_status_that_an_update_failed(
    condition: Condition, generation: int, failure: Failure | None
) -> None:
    """Of this very spec. It is tried again at once, but what served before comes first."""
    model = make_model(generation=generation, status=make_status(condition, active="r0", observed_generation=1))
    assert resumed(model) == Memory(failure=failure)
    assert look(resumed(model)) == replace(FRESH, failure=failure)


def test_a_new_controller_does_not_call_ready_what_was_not() -> None:
    """It loaded once, and could not be had any more: neither the target nor, after an update, the last good revision."""
    failed = make_condition("Ready", "False", "ModelNotFound", "why")
    failure = Failure(reason="ModelNotFound", message="why")
    model = make_model(status=make_status(failed, active="r1", observed_generation=1))
    assert resumed(model).failure == failure
    memory = remember(resumed(model), uid=UID, target=make_target(), last_good=make_target("r0"), copies=(), now=100.0)
    assert memory.last_good is not None
    assert (memory.failure, memory.last_good.failure) == (failure, failure)


def test_that_it_loaded_is_remembered_of_that_revision() -> None:
    """So that it stands by though its status cannot be written."""
    memory = look(FRESH, make_copy())
    assert memory.loaded == make_target()
    assert look(memory).loaded == make_target()
    changed = look(memory, target=make_target("r2"))
    assert changed.loaded == make_target()
    assert look(changed, make_copy(key=make_key("r2")), target=make_target("r2")).loaded == make_target("r2")
    assert look(memory, uid="another", target=make_target("r2")).loaded is None


def test_what_is_only_in_silent_pods_need_not_leave() -> None:
    """Nobody can have it leave: its model would wait for that, and be neither routed to nor loaded elsewhere."""
    leaving = evicting(FRESH, make_copy().ref)
    here, there = make_copy(pod="p1"), make_copy(pod="p2")

    def evict(silent: str) -> CopyRef | None:
        copies = (here, there)
        return remember(leaving, uid=UID, target=make_target(), copies=copies, now=1.0, silent=(silent,)).evict

    assert evict("p1") is None
    assert evict("p2") == here.ref


def test_a_load_is_for_a_request_if_it_was_commanded_or_hurried_for_one() -> None:
    """Of the revision that it is of; the next load begins anew."""
    both = replace(FRESH, last_good=replace(FRESH, revision="r0"))
    assert hurried(both, make_target()) == replace(both, urgent=True)
    assert hurried(both, make_target("r0")) == replace(both, last_good=replace(FRESH, revision="r0", urgent=True))
    assert commanded(FRESH, make_target(), "p1", urgent=True).urgent
    assert not commanded(hurried(FRESH, make_target()), make_target(), "p1").urgent


def test_what_is_in_silent_pods_is_unanswered_once_a_request_came_back() -> None:
    """Until a pod that has it is heard, or none has it."""
    here, there = make_copy(pod="p1"), make_copy(pod="p2")

    def unanswered(before: bool, *copies: Copy, silent: tuple[str, ...] = (), stale: bool = False) -> bool:
        memory = replace(FRESH, unanswered=before)
        seen = remember(memory, uid=UID, target=make_target(), copies=copies, now=1.0, silent=silent, stale=stale)
        return seen.unanswered

    assert unanswered(False, here, silent=("p1",), stale=True)
    assert unanswered(True, here, silent=("p1",))
    assert not unanswered(False, here, silent=("p1",))
    assert not unanswered(False, here, stale=True)
    assert not unanswered(False, here, there, silent=("p1",), stale=True)
    assert not unanswered(True, here, there, silent=("p1",))
    assert not unanswered(True, silent=("p1",))


def test_a_problem_with_the_spec_forgets_nothing() -> None:
    """It may be mended in a moment; until then, what serves could not be loaded again, if not as the last good revision."""
    known = look(FAILED, make_failed(), target=PROBLEM)
    assert known == replace(FAILED, irreplaceable=True)
    assert not look(known, make_failed()).irreplaceable
    assert not remember(FAILED, uid=UID, target=PROBLEM, last_good=make_target(), copies=(), now=100.0).irreplaceable


def test_what_left_for_another_comes_back_on_demand_only() -> None:
    """While it leaves it is not looked at; when it is gone it is evicted, until a load is commanded."""
    leaving = evicting(FRESH, make_copy().ref)
    assert look(leaving, make_copy(CopyState.UNLOADING)) == leaving
    gone = look(leaving)
    assert (gone.evict, gone.evicted) == (None, True)
    assert look(gone) == gone
    assert not commanded(gone, make_target(), "p1").evicted
    assert look(leaving, target=PROBLEM).evicted


def test_what_failed_on_its_way_out_is_tried_again() -> None:
    """Else it would be leaving for ever, and nobody would load it even on demand."""
    failed = look(evicting(FRESH, make_copy().ref), make_failed())
    assert (failed.evict, failed.evicted, failed.failure) == (None, False, FAILURE)


@pytest.mark.parametrize(("key", "uid"), [(make_key("r0"), UID), (make_key(uid="another"), UID)])
def test_what_left_and_was_replaced_meanwhile_does_not_hold_back_its_successor(key: object, uid: str) -> None:
    """The new revision, or the new object of that name, has had no turn yet: it is not to wait for demand."""
    assert isinstance(key, type(make_key()))
    gone = look(evicting(FRESH, make_copy(key=key).ref), uid=uid)
    assert gone == FRESH


def test_what_ends_with_its_pod_stands_by_unless_it_is_elsewhere_too() -> None:
    """Loaded there or on its way: then it was handed over. If that failed it is tried again, as any other."""

    def ending(*copies: Copy, memory: Memory = FRESH) -> Memory:
        return remember(memory, uid=UID, target=make_target(), copies=copies, now=100.0, ending={"p1"})

    assert ending(make_copy()).evicted
    assert not ending(make_copy(), make_copy(CopyState.DOWNLOADING, pod="p2")).evicted
    assert not ending(make_copy(), make_copy(pod="p2")).evicted
    assert ending(make_copy(CopyState.UNLOADING), memory=ending(make_copy())).evicted
    failed = ending(make_failed(pod="p2"), memory=replace(ending(make_copy()), pod="p2"))
    assert not failed.evicted
    assert failed.failure == FAILURE
