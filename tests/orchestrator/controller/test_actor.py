"""The hands: each action, and whom it touches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.controller.actor import MIN_RESIDENCY_S, Actor
from orchestrator.controller.counts import ControllerCounts
from orchestrator.controller.desired import DesiredState
from orchestrator.controller.observer import Observer
from orchestrator.controller.residency import Residency
from orchestrator.domain.action import LoadCopy, MakeRoom, PublishRoute, RemoveRoute, UnloadCopy
from orchestrator.domain.demand import Want
from orchestrator.domain.errors import FleetError
from orchestrator.domain.fleet import NO_ROOM, CopyKey, CopyRef, CopyState, Failure
from orchestrator.domain.observation import Memory
from orchestrator.domain.routes import Route
from tests.orchestrator.builders import make_copy, make_key, make_pod, make_target
from tests.orchestrator.controller.fakes import FakeActivators, FakeFleet, FakeMesh, now

pytestmark = pytest.mark.looptime


class Hands:
    """An actor with one pod of room for three, and what it marked for a look."""

    def __init__(self) -> None:
        self.fleet = FakeFleet(capacity=30)
        self.mesh = FakeMesh()
        self.activators = FakeActivators()
        self.residency = Residency()
        self.marked: list[tuple[str, float]] = []
        self.clock = 100.0
        self.counts = ControllerCounts()
        view = self.fleet.observed
        self.observer = Observer(DesiredState(), view, self.mesh, self.activators, now)
        self.actor = Actor(
            observer=self.observer,
            fleet=self.fleet,
            view=view,
            mesh=self.mesh,
            activators=self.activators,
            residency=self.residency,
            enqueue=lambda name, delay: self.marked.append((name, delay)),
            counts=self.counts,
            clock=lambda: self.clock,
        )
        view.list_pods([make_pod("p1")])
        self.fleet.list_pods((make_pod("p1"),), {})

    def hold(self, model: str, *, since: float, state: CopyState = CopyState.LOADED) -> CopyKey:
        """The pod has a copy of what that model asks for."""
        key = make_key(model=model)
        copy = make_copy(state, key=key, reserved=10)
        self.fleet.servers["p1"].copies[key] = copy
        self.fleet.report("p1", full=True)
        self.residency.look((copy,), model, since)
        self.observer.remember(model, Memory(uid=key.uid, revision=key.revision))
        return key

    def leaving(self, *models: str) -> list[str]:
        return [m for m in models if self.observer.memory(m).evict is not None]


async def test_routes_are_published_and_removed() -> None:
    """The mesh has them at once."""
    hands = Hands()
    await hands.actor.act("digits", PublishRoute(Route("digits", ("h:1",))))
    view = hands.mesh.view("digits")
    assert view is not None
    assert view.route == Route("digits", ("h:1",))
    await hands.actor.act("digits", RemoveRoute("digits"))
    assert hands.mesh.view("digits") is None


async def test_a_load_is_remembered_and_a_look_is_not() -> None:
    """Counted, with its credentials and its pod; a refused one never happened."""
    hands = Hands()
    load = LoadCopy("p1", make_key(), make_target(), 0, False)
    await hands.actor.act("digits", load)
    memory = hands.observer.memory("digits")
    assert (memory.loads, memory.pod, memory.credentials) == (1, "p1", make_target().credentials.version)
    await hands.actor.act("digits", LoadCopy("p1", make_key(), make_target(), 0, True, verify=True))
    hands.fleet.servers["p1"].frozen = True
    with pytest.raises(FleetError):
        await hands.actor.act("digits", load)
    assert hands.observer.memory("digits") == memory


async def test_an_unload_is_commanded() -> None:
    """And seen as under way at once; of another try of what has failed before it is remembered when that ended."""
    hands = Hands()
    key = hands.hold("a", since=0.0)
    tried = Memory(uid=key.uid, revision=key.revision, failure=Failure(reason="ModelLoadFailed", message="corrupt"))
    hands.observer.remember("a", tried)
    await hands.actor.act("a", UnloadCopy("p1", key))
    assert hands.observer.memory("a") == replace(tried, failed_at=100.0)
    assert hands.fleet.observed.copies_in("p1")[key].state is CopyState.UNLOADING


async def test_room_is_made_by_the_least_recently_used() -> None:
    """It is marked for a look and leaves by its own reconcile; asked again, nobody more leaves."""
    hands = Hands()
    for model, since in (("a", 2.0), ("b", 1.0), ("c", 3.0)):
        hands.hold(model, since=since)
    hands.residency.used(make_key(model="b"), 50.0)
    for _ in range(2):
        await hands.actor.act("digits", MakeRoom("p1", 10))
        assert hands.leaving("a", "b", "c") == ["a"]
    assert hands.marked == [("a", 0.0)]
    assert hands.counts.evictions.read().samples == {("mlserver-0.x",): 1}


async def test_room_that_is_made_for_one_is_not_anothers() -> None:
    """Who lacks room at the same time has another copy leave; once loaded, a model claims nothing any more."""
    hands = Hands()
    for model, since in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        hands.hold(model, since=since)
    await hands.actor.act("digits", MakeRoom("p1", 10))
    await hands.actor.act("letters", MakeRoom("p1", 10))
    assert hands.leaving("a", "b", "c") == ["a", "b"]
    await hands.actor.act("letters", LoadCopy("p1", make_key(model="letters"), make_target(), 10, True))
    await hands.actor.act("digits", MakeRoom("p1", 20))
    assert hands.leaving("a", "b", "c") == ["a", "b"]


@pytest.mark.parametrize("state", [CopyState.LOADED, CopyState.UNLOADING])
async def test_what_is_leaving_makes_room(state: CopyState) -> None:
    """Whether it is commanded already or only decided; nobody else leaves."""
    hands = Hands()
    going = hands.hold("a", since=3.0, state=state)
    hands.observer.remember("a", Memory(uid=going.uid, revision=going.revision, evict=CopyRef("p1", going)))
    hands.hold("b", since=1.0)
    hands.hold("c", since=2.0)
    await hands.actor.act("digits", MakeRoom("p1", 10))
    assert hands.leaving("b", "c") == []
    await hands.actor.act("digits", MakeRoom("p1", 20))
    assert hands.leaving("b", "c") == ["b"]


async def test_what_leaves_one_pod_leaves_no_other() -> None:
    """One copy of a model at a time, or the first to go would answer again."""
    hands = Hands()
    key = hands.hold("a", since=1.0)
    hands.observer.remember("a", Memory(uid=key.uid, revision=key.revision, evict=CopyRef("p2", key)))
    hands.hold("b", since=2.0)
    hands.hold("c", since=3.0)
    await hands.actor.act("digits", MakeRoom("p1", 10))
    assert hands.observer.memory("a").evict == CopyRef("p2", key)
    assert hands.leaving("b", "c") == ["b"]


async def test_who_looks_for_room_asks_nothing_of_those_who_found_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold nothing, there may be thousands, and each of them looks."""
    hands = Hands()
    asked: list[str] = []
    memory = hands.observer.memory

    def noted(name: str) -> Memory:
        asked.append(name)
        return memory(name)

    monkeypatch.setattr(hands.observer, "memory", noted)
    hands.hold("a", since=1.0)
    for number in range(10):
        key = make_key(model=f"waits-{number}")
        hands.fleet.servers["p1"].copies[key] = make_copy(CopyState.FAILED, key=key, reserved=0)
    hands.fleet.report("p1", full=True)
    await hands.actor.act("digits", MakeRoom("p1", 30))
    assert hands.leaving("a") == ["a"]
    assert set(asked) == {"a"}


async def test_who_is_waited_for_or_cannot_come_back_stays() -> None:
    """A copy that its model does not ask for now is being replaced by what it asks for; or its spec or its Secret has a mistake."""
    hands = Hands()
    hands.hold("a", since=1.0)
    hands.hold("b", since=2.0)
    mistaken = hands.hold("c", since=3.0)
    hands.activators.wants["a"] = Want()
    hands.observer.remember("b", Memory(uid="uid-b", revision="r2"))
    memory = Memory(uid=mistaken.uid, revision=mistaken.revision, irreplaceable=True)
    hands.observer.remember("c", memory)
    await hands.actor.act("digits", MakeRoom("p1", 10))
    assert hands.leaving("a", "b", "c") == []
    hands.observer.remember("c", replace(memory, irreplaceable=False))
    await hands.actor.act("digits", MakeRoom("p1", 10))
    assert hands.leaving("a", "b", "c") == ["c"]


@pytest.mark.parametrize("why", ["failure", "room"])
async def test_the_revision_before_leaves_like_any_where_nothing_replaces_it(why: str) -> None:
    """What its model asks for has failed, or does not fit beside it: it would never leave otherwise."""
    hands = Hands()
    key = hands.hold("a", since=1.0)
    changed = Memory(uid=key.uid, revision="r2", last_good=Memory(uid=key.uid, revision=key.revision))
    problem: dict[str, Any] = {why: Failure(reason=NO_ROOM, message="full", needed=10)}
    hands.observer.remember("a", replace(changed, **problem))
    await hands.actor.act("digits", MakeRoom("p1", 25))
    assert hands.leaving("a") == ["a"]


async def test_if_nobody_can_leave_it_is_tried_again_soon() -> None:
    """All have just come, or do not make enough room: none leaves for nothing."""
    hands = Hands()
    hands.hold("a", since=99.5)
    hands.hold("b", since=1.0)
    await hands.actor.act("digits", MakeRoom("p1", 25))
    assert hands.leaving("a", "b") == []
    assert hands.marked == [("digits", MIN_RESIDENCY_S)]
    hands.clock = 100.6
    await hands.actor.act("digits", MakeRoom("p1", 25))
    assert hands.leaving("a", "b") == ["a", "b"]


async def test_room_in_a_pod_that_has_gone_is_nobodys() -> None:
    """The next look sees that it has gone."""
    hands = Hands()
    await hands.actor.act("digits", MakeRoom("p9", 10))
    assert hands.marked == []
