"""The laws of the plan, over observations of any kind: several pods, copies of others, routes, strangers, wants."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from hypothesis import event, given
from hypothesis import strategies as st

from orchestrator.domain.action import LoadCopy, PublishRoute, UnloadCopy, destructive
from orchestrator.domain.conditions import ready_verdict
from orchestrator.domain.demand import Want
from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import NO_ROOM, Copy, CopyKey, CopyRef, CopyState, Failure, PodView, ServerState
from orchestrator.domain.observation import Memory, Observation
from orchestrator.domain.plan import plan
from orchestrator.domain.pool import timed
from orchestrator.domain.routes import Route, RouteView
from orchestrator.domain.target import Target
from orchestrator.domain.trained_model import ModelStatus, TrainedModel
from orchestrator.domain.withdrawal import ACK_BOUND_S, WITHDRAW_GRACE_S
from tests.orchestrator.builders import (
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
from tests.orchestrator.domain.world import SIZE, World
from tests.picks import Picks, numbers
from tests.properties import examples

NOW = 1000.0
UNDER_WAY = {CopyState.DOWNLOADING, CopyState.LOADING}
UIDS = ("p1", "p2", "p3")
KEYS = (make_key("r1"), make_key("r0"), make_key("r1", uid="another"))
PROBLEM = ModelProblem(Reason.STORAGE_CONFIG_MISSING, "create it")
FAILURES = (
    Failure(reason="ModelLoadFailed", message="no"),
    Failure(reason="StorageUnavailable", message="no", source_changed=True),
    Failure(reason=NO_ROOM, message="full", needed=SIZE),
)


def make_copies(uid: str, picks: Picks, keys: tuple[CopyKey, ...]) -> list[Copy]:
    """Up to two copies in a pod, in any state."""
    copies: list[Copy] = []
    for key in keys[: picks.pick(1, 0, 2)]:
        state = picks.pick(CopyState.LOADED, CopyState.LOADED, *CopyState)
        if state is CopyState.LOADED and any(c.state is CopyState.LOADED for c in copies):
            # A server has one model of a name: the one takes the place of the other.
            state = CopyState.LOADING
        failure = picks.pick(*FAILURES)
        reserved = 0 if state in (CopyState.FAILED, CopyState.DOWNLOADING) else SIZE
        failure_shown = failure if state is CopyState.FAILED else None
        copies.append(Copy(key=key, pod=uid, state=state, reserved=reserved, failure=failure_shown))
    return copies


def make_any_pod(uid: str, picks: Picks, copied: Picks) -> tuple[PodView, list[Copy], int]:
    """A pod in any condition, what it holds of this model, and how much of others."""
    runtime = picks.pick("mlserver-0.x", "mlserver-0.x", "triton-2.x")
    server = picks.pick(*[ServerState.READY] * 4, ServerState.STARTING, ServerState.LOST)
    copies: list[Copy] = []
    if server is ServerState.READY:
        # The revision is of the runtime too: the target's is in no other's pods.
        keys = copied.pick(*permutations(KEYS)) if runtime == "mlserver-0.x" else (KEYS[1],)
        copies = make_copies(uid, copied, keys)
    others = picks.pick(0, 5, 20)
    reserved = sum(c.reserved for c in copies) + others
    draining, closing = picks.pick((False, False), (False, False), (False, False), (True, False), (True, True))
    view = make_view(
        uid,
        runtime=runtime,
        known=picks.pick(True, True, True, False),
        since=picks.pick(0.0, NOW),
        server=server,
        draining=draining,
        closing=closing,
        terminating=picks.pick(False, False, False, True),
        message=picks.pick("", "", "server exited with code 1"),
        total=reserved + picks.pick(20, 0, 5),
        reserved=reserved,
    )
    if picks.pick(False, False, False, False, True):
        view = without_address(view)
    return timed(view, NOW), copies, others


def without_address(view: PodView) -> PodView:
    """It has none any more, or not yet: its adapter is not heard either."""
    return replace(view, known=False, since=NOW, pod=replace(view.pod, adapter="", endpoint=""))


def make_any_route(picks: Picks) -> RouteView | None:
    """None, withdrawn, or to any of the pods; accepted, or not yet."""
    endpoints = {endpoint(uid) for uid in UIDS if picks.pick(True, False)}
    since = picks.pick(NOW - 40, NOW - 6, NOW - 1, NOW)
    acked = picks.pick(True, False)
    route = Route("digits", tuple(sorted(endpoints)))
    return picks.pick(RouteView(route=route, acked=acked, since=since, acked_at=since if acked else None), None)


def make_any_model(picks: Picks) -> tuple[TrainedModel | None, Target | ModelProblem | None]:
    """Gone, or with any status that a controller could have written."""
    active = picks.pick("r1", "r0", "")
    ready = picks.pick(
        ("True", "Loaded"), ("True", "Standby"), ("False", "Downloading"), ("False", "RuntimeUnavailable")
    )
    told = picks.pick(True, True, False)
    status = make_status(make_condition("Ready", *ready), active=active)
    if not told or (ready[0] == "True" and not active):
        status = ModelStatus()
    if picks.pick(False, False, False, True):
        return None, None
    targets: list[Target | ModelProblem] = [make_target()] * 3
    return make_model(status=status), picks.pick(*targets, PROBLEM)


def make_any_last_good(model: TrainedModel | None, picks: Picks) -> Target | None:
    """Of the revision before, on either runtime; or it cannot be made again."""
    runtime = make_runtime(picks.pick("mlserver-0.x", "triton-2.x"))
    if model is None or model.status.active_revision != KEYS[1].revision or picks.pick(False, False, True):
        return None
    return make_target(KEYS[1].revision, runtime=runtime)


def make_any_memory(picks: Picks) -> Memory:
    """As several looks at several worlds could have left it."""
    word = picks.pick(None, None, *FAILURES)
    failed = word is not None and word.reason != NO_ROOM
    return picks.pick(
        Memory(),
        Memory(
            uid=KEYS[0].uid,
            revision="r1",
            pod=picks.pick("", *UIDS),
            credentials=picks.pick("", make_credentials().version),
            loads=picks.pick(0, 1, 4),
            failed_at=picks.pick(None, NOW - 100, NOW),
            failure=word if failed else None,
            room=None if failed else word,
            reserve=picks.pick(0, SIZE),
            # What failed neither leaves nor stands by: it was not there, and is tried again.
            evict=None
            if failed
            else picks.pick(None, None, None, *(CopyRef(uid, key) for uid in UIDS for key in KEYS)),
            evicted=not failed and picks.pick(False, True),
        ),
    )


def make_world(numbers: list[Picks]) -> World:
    """Any observation, and what it is part of."""
    of_pods, (general, modelled, remembered) = numbers[:6], numbers[6:]
    model, target = make_any_model(modelled)
    last_good = make_any_last_good(model, modelled)
    pods, copies, others = [], [], {}
    for uid, picks, copied in zip(UIDS[: general.pick(1, 2, 3, 0)], of_pods[::2], of_pods[1::2], strict=False):
        view, held, other = make_any_pod(uid, picks, copied)
        pods.append(view)
        copies += held
        others[uid] = other
    route = make_any_route(general)
    seen = Observation(
        name="digits",
        model=model,
        target=target,
        last_good=last_good,
        pods=tuple(pods),
        copies=tuple(sorted(copies, key=lambda c: (c.pod, c.key))),
        route=route,
        stranger=route is None and general.pick(False, True),
        want=general.pick(None, Want(), Want(load=True), Want(load=True, stale=True)),
        lost=general.pick(False, True),
        memory=make_any_memory(remembered),
    )
    return World(seen=seen, now=NOW, broken=general.pick(False, False, True), others=others)


worlds = st.lists(numbers, min_size=9, max_size=9).map(make_world)
observations = worlds.map(lambda world: world.seen)


def silent(seen: Observation, uid: str) -> Observation:
    """The same, but for one pod that does not answer."""
    pods = tuple(replace(p, known=False, since=NOW) if p.pod.uid == uid and p.known else p for p in seen.pods)
    return replace(seen, pods=pods)


@examples(300)
@given(observations)
def test_knowing_less_never_destroys_more(seen: Observation) -> None:
    """Law 9: whichever pod falls silent, no destructive action is added."""
    actions = plan(seen, NOW).actions
    for pod in seen.pods:
        fewer = plan(silent(seen, pod.pod.uid), NOW).actions
        assert destructive(fewer) <= destructive(actions)


@examples(300)
@given(observations)
def test_a_pod_without_an_address_is_not_routed_to_and_nothing_else_changes(seen: Observation) -> None:
    """Nothing that is there is unloaded, and nobody has to make room for what may be there in a moment."""
    actions = plan(seen, NOW).actions
    failed = {(c.pod, c.key) for c in seen.copies if c.state is CopyState.FAILED}
    for pod in seen.pods:
        pods = tuple(without_address(p) if p is pod else p for p in seen.pods)
        fewer = replace(seen, pods=pods)
        assert not {"", pod.pod.endpoint} & set(fewer.endpoints)
        for action in plan(fewer, NOW).actions:
            if isinstance(action, PublishRoute):
                assert action.route.endpoints == fewer.endpoints
                assert all(action.route.endpoints)
            elif not (isinstance(action, UnloadCopy) and (action.pod, action.key) in failed):
                assert destructive((action,)) <= destructive(actions)


def test_a_pod_that_ends_and_falls_silent_has_no_failure_elsewhere_forgotten() -> None:
    """It may answer again, for all that is known: that makes up for nothing."""
    closing = make_view("p2", draining=True, closing=True)
    copies = (make_copy(pod="p2"), replace(make_failed(), pod="p3"))
    seen = make_observation(
        pods=(closing, make_view("p3", draining=True)), copies=copies, route=make_route(endpoint("p2"))
    )
    assert not any(isinstance(a, UnloadCopy) for a in plan(seen, NOW).actions)
    assert destructive(plan(silent(seen, "p2"), NOW).actions) == frozenset()


@examples(300)
@given(observations)
def test_nothing_is_unloaded_that_requests_are_still_sent_to(seen: Observation) -> None:
    """Law 3: a loaded copy goes when no route leads to it, as far as ACKs within their bound tell."""
    decided = plan(seen, NOW)
    loaded = {(c.pod, c.key) for c in seen.copies if c.state is CopyState.LOADED}
    serving = {(c.pod, c.key) for c in seen.serving}
    for action in decided.actions:
        if not isinstance(action, UnloadCopy):
            continue
        pod = seen.pod(action.pod)
        assert pod is not None
        assert pod.known
        assert (action.pod, action.key) not in serving
        replaced = any(c.pod == action.pod and c.key != action.key for c in seen.loaded)
        if (action.pod, action.key) not in loaded or replaced:
            # Never served; or another copy of the name answers there, and this one is replaced in place.
            continue
        assert seen.route is not None
        assert pod.pod.endpoint not in seen.route.route.endpoints
        over = seen.route.since + ACK_BOUND_S <= NOW
        acked = seen.route.acked_at is not None and seen.route.acked_at + WITHDRAW_GRACE_S <= NOW
        assert over or acked


@examples(300)
@given(observations)
def test_a_plan_loads_once_and_where_it_can(seen: Observation) -> None:
    """
    One load; the route goes first, the load last.

    Of two loads of one name in a pod the later wins, so that nothing is loaded where what is asked for is on its way.
    """
    actions = plan(seen, NOW).actions
    loads = [a for a in actions if isinstance(a, LoadCopy)]
    begun = [a for a in loads if not (a.verify or a.hurry)]
    assert len(begun) <= 1
    for load in begun:
        rivals = (c for c in seen.copies if c.pod == load.pod and c.key in (load.key, seen.target_key))
        assert not any(c.state in UNDER_WAY and seen.counts(c) for c in rivals)
    assert len(actions) == len(set(actions))
    for load in loads:
        pod = seen.pod(load.pod)
        assert pod is not None
        assert pod.usable
        asked = seen if load.key == seen.target_key else seen.fallback
        assert asked is not None
        assert load.key == asked.target_key
        if load in begun:
            assert pod in asked.pool()
            assert pod.free >= load.reserve or all(p.total < load.reserve for p in asked.pool() if p.usable)
    kinds = [0 if isinstance(a, PublishRoute) else 2 if isinstance(a, LoadCopy) else 1 for a in actions]
    assert kinds == sorted(kinds)


@examples(200)
@given(observations)
def test_what_serves_is_kept_while_the_spec_cannot_be_served(seen: Observation) -> None:
    """Law 4: a good version is never lost to a mistake in a file."""
    if seen.model is None or seen.memory.evict is not None:
        return
    mistaken = replace(seen, target=PROBLEM)
    actions = plan(mistaken, NOW).actions
    serving = {(c.pod, c.key) for c in mistaken.serving}
    assert not any(isinstance(a, UnloadCopy) and (a.pod, a.key) in serving for a in actions)
    if serving:
        assert PublishRoute(Route("digits")) not in actions


@examples(300)
@given(observations)
def test_ready_is_true_for_a_reason(seen: Observation) -> None:
    """Law 2: an accepted route to what serves, or Standby of what loaded, or it was true and nothing says otherwise."""
    if seen.model is None or ready_verdict(seen).status != "True":
        return
    routed = seen.route is not None and seen.route.acked and seen.route.route.endpoints == seen.endpoints
    good = seen.fallback
    stands_by = seen.loaded_before or (good is not None and good.memory.failed is None)
    assert (seen.serving and routed) or stands_by or seen.model.status.ready


def check_last_good(seen: Observation, *, urgent: bool) -> None:
    """Law 4: what fails or cannot be had at all does not keep the revision before from answering."""
    fallback = seen.fallback
    if fallback is None or (seen.memory.failed is None and isinstance(seen.target, Target)):
        return
    usable = [p for p in fallback.pool() if p.usable]
    if not usable or any(p.total < SIZE for p in usable):
        return
    event("the last good revision serves" if seen.serving else "the last good revision stands by")
    assert seen.serving or (fallback.memory.evicted and not urgent)
    assert seen.model is not None
    assert seen.model.status.ready


@examples(400)
@given(worlds)
def test_applying_a_plan_and_planning_again_comes_to_an_end_where_it_should(world: World) -> None:
    """
    The fixed point, and that it is the right one.

    Nothing is left to do, nothing was forgotten: a model that is gone leaves nothing behind, one that can be
    served is, or stands by and says so.
    """
    decided = world.settle()
    world.tell()
    assert world.look() == decided
    seen = world.seen
    kept = {c.pod: c.reserved for c in seen.serving}
    if world.blocked:
        event("its own copy is in the way")
        assert all(p.total - kept.get(p.pod.uid, 0) < SIZE for p in seen.pool() if p.usable)
        return
    all_known = all(p.known for p in seen.pods)
    usable = [p for p in seen.pool() if p.usable]
    if not all_known:
        event("a pod stays silent")
        return
    if seen.model is None:
        event("gone")
        assert seen.copies == ()
        assert seen.route is None
        assert not seen.stranger
        return
    assert {c.key for c in seen.copies if c.state is not CopyState.FAILED} == {c.key for c in seen.serving}
    routed = seen.route is not None and bool(seen.route.route.endpoints)
    assert routed == bool(seen.serving)
    assert not seen.stranger
    urgent = seen.want is not None and seen.want.load
    if not isinstance(seen.target, Target) or world.broken or not usable or any(p.total < SIZE for p in usable):
        event("cannot be served")
        check_last_good(seen, urgent=urgent)
        return
    if seen.memory.failed is not None and not seen.serving:
        event("has failed, and waits for room")
        assert not urgent
        assert not any(p.free >= SIZE for p in usable)
        check_last_good(seen, urgent=urgent)
        return
    event("served" if seen.serving else "stands by")
    assert seen.model.status.ready
    if seen.serving:
        assert seen.serving[0].key == seen.target_key
    else:
        assert not urgent
        assert seen.loaded_before
        assert seen.memory.evicted
