"""Hand-over: what a pod on its way out holds is served by another before it leaves, or leaves in order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from orchestrator.domain.action import Action, LoadCopy, MakeRoom, Plan, PublishRoute, UnloadCopy
from orchestrator.domain.conditions import ready_verdict
from orchestrator.domain.demand import Want
from orchestrator.domain.fleet import Copy, CopyState, PodView, ServerState
from orchestrator.domain.loading import POOL_RECHECK_S
from orchestrator.domain.observation import Memory, Observation
from orchestrator.domain.plan import plan
from orchestrator.domain.routes import Route, RouteView
from tests.orchestrator.builders import (
    MIB,
    endpoint,
    make_condition,
    make_copy,
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
READY = make_status(make_condition(), active="r1")


def make_served(*pods: PodView, **fields: Any) -> Observation:
    """Loaded in p1, routed there for long, and READY; as the fields say otherwise."""
    values: dict[str, Any] = {
        "status": READY,
        "route": make_route(endpoint("p1")),
        "pods": pods,
        "copies": (make_copy(),),
    }
    return make_observation(**values | fields)


@pytest.mark.parametrize("leaving", [make_view("p1", draining=True), make_view("p1", terminating=True)])
def test_another_pod_loads_it_first(leaving: PodView) -> None:
    """Nothing is taken from the pod on its way out until then, whatever the platform or the adapter calls that."""
    seen = make_served(leaving, make_view("p2"))
    (load,) = plan(seen, NOW).actions
    assert isinstance(load, LoadCopy)
    assert (load.pod, load.key, load.reserve) == ("p2", make_key(), 10 * MIB)
    under_way = replace(seen, copies=(*seen.copies, make_copy(CopyState.DOWNLOADING, pod="p2", reserved=0)))
    assert plan(under_way, NOW).actions == ()
    assert ready_verdict(under_way).status == "True"


def test_then_the_route_then_the_unload() -> None:
    """The route leads to the new copy alone, and the old one goes once Envoys have accepted that."""
    pods = make_view("p1", draining=True), make_view("p2")
    seen = make_served(*pods, copies=(make_copy(), make_copy(pod="p2")))
    assert plan(seen, NOW).actions == (PublishRoute(Route("digits", (endpoint("p2"),))),)
    assert ready_verdict(seen).status == "True"
    published = replace(seen, route=make_route(endpoint("p2"), since=NOW, acked=False))
    assert plan(published, NOW + 1).actions == ()
    assert ready_verdict(published).status == "True"
    accepted = replace(seen, route=make_route(endpoint("p2"), since=NOW))
    assert plan(accepted, NOW + 1).actions == (UnloadCopy("p1", make_key()),)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((), id="none"),
        pytest.param((make_view("p2", server=ServerState.STARTING),), id="one that starts"),
        pytest.param((make_view("p2", total=100 * MIB, reserved=95 * MIB),), id="one that is full"),
        pytest.param((make_view("p2", known=False),), id="one that is silent"),
        pytest.param((make_view("p2", draining=True),), id="one that drains as well"),
        pytest.param((make_view("p2", runtime="triton-2.x"),), id="one of another runtime"),
    ],
)
def test_without_a_place_it_serves_until_the_pod_ends(other: tuple[PodView, ...]) -> None:
    """Another may come. Nobody is evicted for it. In the end it is withdrawn and unloaded, and stands by."""
    seen = make_served(make_view("p1", draining=True), *other)
    waits = plan(seen, NOW)
    assert (waits.actions, waits.stands_by) == ((), False)
    assert ready_verdict(seen).status == "True"
    world = World(seen=replace(seen, pods=(make_view("p1", draining=True, closing=True), *other)), now=NOW)
    world.others = {p.pod.uid: p.reserved for p in other}
    for expected in (PublishRoute(Route("digits")), UnloadCopy("p1", make_key())):
        (action,) = world.look().actions
        assert action == expected
        assert ready_verdict(world.seen).status == "True"
        world.act(action)
        assert ready_verdict(world.seen).status == "True"
        world.now += 1
    world.seen = replace(world.seen, pods=other, copies=())
    assert world.look().actions == ()
    assert ready_verdict(world.seen).status == "True"


def test_a_silent_pod_is_not_taken_from() -> None:
    """Whatever it said last: nobody knows what it holds; but another takes over."""
    seen = make_served(make_view("p1", draining=True, closing=True, known=False), make_view("p2"))
    (load,) = plan(seen, NOW).actions
    assert isinstance(load, LoadCopy)
    both = replace(seen, copies=(make_copy(), make_copy(pod="p2")), route=make_route(endpoint("p2"), since=0.0))
    assert plan(both, NOW).actions == ()


def test_what_cannot_be_loaded_elsewhere_is_tried_once_in_each_pod() -> None:
    """The store may be down: it serves on where it is. A lack of room is tried again when there is some."""
    pods = make_view("p1", draining=True), make_view("p2"), make_view("p3", reserved=50 * MIB)
    seen = make_served(*pods, copies=(make_copy(), make_failed(pod="p2")))
    (load,) = plan(seen, NOW).actions
    assert isinstance(load, LoadCopy)
    assert load.pod == "p3"
    everywhere = replace(seen, copies=(*seen.copies, make_failed(pod="p3")))
    assert plan(everywhere, NOW).actions == ()
    full = make_failed("NoRoom", pod="p3", needed=60 * MIB)
    seen = replace(seen, copies=(make_copy(), make_failed(pod="p2"), full))
    assert plan(seen, NOW).actions == ()
    roomier = replace(seen, pods=(*pods[:2], make_view("p3", reserved=30 * MIB)))
    assert [a.pod for a in plan(roomier, NOW).actions if isinstance(a, LoadCopy)] == ["p3"]


@pytest.mark.parametrize("state", [CopyState.DOWNLOADING, CopyState.LOADING])
def test_what_is_on_its_way_there_is_placed_elsewhere(state: CopyState) -> None:
    """And given up once it is on its way there, or the pod ends."""
    on_its_way = make_copy(state)
    seen = make_served(make_view("p1", draining=True), make_view("p2"), copies=(on_its_way,), route=None)
    (load,) = plan(seen, NOW).actions
    assert isinstance(load, LoadCopy)
    assert load.pod == "p2"
    placed = replace(seen, copies=(on_its_way, make_copy(CopyState.DOWNLOADING, pod="p2", reserved=0)))
    assert plan(placed, NOW).actions == (UnloadCopy("p1", make_key()),)
    alone = replace(seen, pods=(make_view("p1", draining=True),))
    assert plan(alone, NOW).actions == ()
    ends = replace(seen, pods=(make_view("p1", draining=True, closing=True),))
    assert plan(ends, NOW).actions == (UnloadCopy("p1", make_key()),)


def test_an_update_takes_over_from_what_is_to_leave() -> None:
    """If it loads; if it has failed, the good version is handed over in its stead."""
    pods = make_view("p1", draining=True), make_view("p2")
    status = make_status(make_condition(), active="r0")
    good = make_copy(key=make_key("r0"))
    seen = make_served(*pods, status=status, last_good=make_target("r0"), copies=(good,))
    (load,) = plan(seen, NOW).actions
    assert isinstance(load, LoadCopy)
    assert (load.pod, load.key.revision) == ("p2", "r1")
    failed = make_failed(pod="p2")
    assert failed.failure is not None
    memory = Memory(uid="uid-digits", revision="r1", pod="p2", loads=3, failed_at=NOW, failure=failed.failure)
    memory = replace(memory, credentials=make_target().credentials.version)
    seen = replace(seen, copies=(good, failed), memory=memory)
    for moment in (NOW, NOW + 1000):
        # Also when it is time to try the failed one again.
        loads = [a for a in plan(seen, moment).actions if isinstance(a, LoadCopy)]
        assert [(a.pod, a.key.revision) for a in loads] == [("p2", "r0")]


def test_a_pod_does_not_wait_for_an_update_that_takes_long() -> None:
    """The good version is handed over beside it, in a third pod; as soon as there is one."""
    good, comes = make_copy(key=make_key("r0")), make_copy(CopyState.DOWNLOADING, pod="p2")
    leaves, busy = make_view("p1", draining=True), make_view("p2")
    status = make_status(make_condition(), active="r0")
    seen = make_served(leaves, busy, status=status, last_good=make_target("r0"), copies=(good, comes))
    alone = plan(seen, NOW)
    assert (alone.actions, alone.requeue_after) == ((), 2.0)
    loads = plan(replace(seen, pods=(leaves, busy, make_view("p3"))), NOW).actions
    assert [(a.pod, a.key.revision) for a in loads if isinstance(a, LoadCopy)] == [("p3", "r0")]
    handed = make_copy(CopyState.LOADING, pod="p3", key=make_key("r0"))
    assert plan(replace(seen, pods=(leaves, busy, make_view("p3")), copies=(good, comes, handed)), NOW) == Plan()


def test_once_the_update_serves_nothing_older_is_handed_over() -> None:
    """It would take the place of the update, as the later load."""
    pods = make_view("p1", draining=True), make_view("p2"), make_view("p3")
    status = make_status(make_condition(), active="r0")
    copies = (make_copy(key=make_key("r0")), make_copy(pod="p2"))
    seen = make_served(*pods, status=status, last_good=make_target("r0"), copies=copies)
    assert plan(seen, NOW).actions == (PublishRoute(Route("digits", (endpoint("p2"),))),)


def test_what_a_dead_node_holds_is_not_looked_at_every_other_second() -> None:
    """It may be dead for hours."""
    dead = make_view("p1", terminating=True, known=False, since=NOW)
    status = make_status(make_condition(), active="r0")
    seen = make_served(dead, status=status, last_good=make_target("r0"), copies=(make_copy(key=make_key("r0")),))
    assert plan(seen, NOW).requeue_after == POOL_RECHECK_S


def test_what_is_to_leave_is_handed_over_to_a_pod_of_its_own_runtime_that_comes_later() -> None:
    """The update, of another framework, has no pod; and it is only for those that it is woken."""
    before = replace(make_target("r0"), runtime=make_runtime("triton-2.x"))
    leaves = make_view("p1", runtime="triton-2.x", draining=True)
    status = make_status(make_condition(), active="r0")
    good = make_copy(key=make_key("r0"))
    seen = make_served(leaves, status=status, last_good=before, copies=(good,))
    assert (plan(seen, NOW).actions, plan(seen, NOW).requeue_after) == ((), 2.0)
    loads = plan(replace(seen, pods=(leaves, make_view("p3", runtime="triton-2.x"))), NOW).actions
    assert [(a.pod, a.key.revision) for a in loads if isinstance(a, LoadCopy)] == [("p3", "r0")]


def make_draining(picks: list[Picks]) -> World:
    """A model that serves, from pods of which any may be on their way out; READY and routed."""
    general, *of_pods = picks
    pods, copies, others = [], [], {}
    for uid, pick in zip(("p1", "p2", "p3"), of_pods, strict=True):
        holds = uid == "p1" or pick.pick(False, False, True)
        other = pick.pick(0, 5, 20)
        draining, closing = pick.pick((True, False), (True, True), (False, False), (False, False))
        reserved = other + (SIZE if holds else 0)
        view = make_view(
            uid,
            server=ServerState.READY if holds else pick.pick(ServerState.READY, ServerState.STARTING),
            draining=draining,
            closing=closing,
            terminating=draining and pick.pick(True, False),
            total=reserved + pick.pick(20, 0, 5),
            reserved=reserved,
        )
        pods.append(view)
        others[uid] = other
        if holds:
            copies.append(Copy(key=make_key(), pod=uid, state=CopyState.LOADED, reserved=SIZE))
    endpoints = tuple(sorted(endpoint(c.pod) for c in copies))
    seen = Observation(
        name="digits",
        model=make_model(status=READY),
        target=make_target(),
        pods=tuple(pods),
        copies=tuple(copies),
        route=RouteView(route=Route("digits", endpoints), acked=True, since=0.0, acked_at=0.0),
        want=general.pick(None, Want()),
        memory=Memory(uid=make_key().uid, revision="r1", reserve=SIZE),
    )
    return World(seen=seen, now=NOW, others=others)


class Watched(World):
    """Looks, after each step, at what a request and a reader of the status would find."""

    def act(self, action: Action) -> None:
        before = self.seen
        super().act(action)
        assert not isinstance(action, MakeRoom), "somebody is evicted for a hand-over"
        if isinstance(action, PublishRoute) and not action.route.endpoints:
            assert all(self.pod(c.pod).ending for c in before.kept)
        if isinstance(action, UnloadCopy):
            route = before.route
            assert route is not None
            assert self.pod(action.pod).pod.endpoint not in route.route.endpoints
        self.check()

    def tell(self) -> None:
        super().tell()
        self.check()
        assert self.seen.model is not None
        assert self.seen.model.status.ready

    def check(self) -> None:
        """Whoever is routed to has it."""
        assert self.seen.route is not None or not self.seen.kept
        routed = set(self.seen.route.route.endpoints) if self.seen.route is not None else set()
        loaded = {self.pod(c.pod).pod.endpoint for c in self.seen.copies if c.state is CopyState.LOADED}
        assert routed <= loaded
        assert ready_verdict(self.seen).status == "True"


@examples(300)
@given(st.lists(numbers, min_size=4, max_size=4).map(make_draining))
def test_no_step_of_a_hand_over_shows(world: World) -> None:
    """
    Every endpoint answers, at least one does while any pod lasts, READY is True, and nobody else is touched.

    In the end all pods on their way out are empty, but for those that last while there is no room elsewhere.
    """
    watched = Watched(seen=world.seen, now=world.now, others=world.others)
    held = {c.pod for c in world.seen.copies}
    places = [p for p in world.seen.pods if p.usable and (p.free >= SIZE or p.pod.uid in held)]
    decided = watched.settle()
    assert watched.look() == decided
    seen = watched.seen
    if places:
        event("handed over")
        assert seen.serving
        assert all(seen.stays(c) for c in seen.copies)
    elif any(not p.ending for c in world.seen.copies if (p := world.seen.pod(c.pod)) is not None):
        event("waits for a place")
        assert seen.serving
    else:
        event("stands by")
        assert seen.copies == ()
        assert seen.memory.evicted
