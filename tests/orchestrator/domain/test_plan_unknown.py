"""Law 9, fact by fact: whatever becomes unknown, no plan takes away what it would not have taken away before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given

from orchestrator.domain.action import Action, MakeRoom, PublishRoute, RemoveRoute, UnloadCopy, destructive
from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import CopyState
from orchestrator.domain.observation import Memory, Observation
from orchestrator.domain.plan import plan
from orchestrator.domain.routes import Route
from tests.orchestrator.builders import endpoint, make_copy, make_key, make_observation, make_route
from tests.orchestrator.domain.test_plan_laws import NOW, observations
from tests.properties import examples

Forgets = Callable[[Observation], Observation]


def all_pods(seen: Observation) -> Observation:
    """No adapter answers."""
    return replace(seen, pods=tuple(replace(p, known=False, since=NOW) for p in seen.pods))


def acceptance(seen: Observation) -> Observation:
    """The Envoys that accepted the route are not there any more."""
    if seen.route is None:
        return seen
    return replace(seen, route=replace(seen.route, acked=False, acked_at=None))


def demand(seen: Observation) -> Observation:
    """The activators are not connected."""
    return replace(seen, want=None)


def memory(seen: Observation) -> Observation:
    """Another leads, and begins with what it sees."""
    return replace(seen, memory=Memory())


def route(seen: Observation) -> Observation:
    """Another leads: what was published is with the Envoys that it hears, or with others."""
    return replace(seen, route=None, stranger=seen.route is not None)


def unheard_route(seen: Observation) -> Observation:
    """Another leads, and no Envoy has dialled yet."""
    return replace(seen, route=None, stranger=False)


def states(seen: Observation) -> Observation:
    """Another leads, which is older than the adapters: what it knows of their copies is that they are there."""
    copies = tuple(replace(c, state=CopyState.UNKNOWN, failure=None) for c in seen.copies)
    return unheard_route(memory(replace(seen, copies=copies)))


def states_and_routes(seen: Observation) -> Observation:
    """The same, and the Envoys have dialled."""
    return route(states(seen) if seen.route is None else replace(states(seen), route=seen.route))


def secret(seen: Observation) -> Observation:
    """Neither the target nor what served before it can be resolved."""
    return without_target(seen, Reason.STORAGE_CONFIG_MISSING)


def runtimes(seen: Observation) -> Observation:
    """The same, of another cause."""
    return without_target(seen, Reason.RUNTIME_NOT_RECOGNIZED)


def without_target(seen: Observation, reason: Reason) -> Observation:
    if seen.model is None:
        return seen
    return replace(seen, target=ModelProblem(reason, "cannot be read"), last_good=None)


def taken(seen: Observation) -> frozenset[Action | str]:
    """What the plan takes away. A route that leads nowhere, or to nobody's knowledge, is no more gone when it goes."""
    actions = destructive(plan(seen, NOW).actions)
    routes = {a for a in actions if isinstance(a, PublishRoute | RemoveRoute)}
    return frozenset((actions - routes) | ({"route"} if routes else set()))


def ends(seen: Observation, uid: str) -> bool:
    pod = seen.pod(uid)
    return pod is not None and pod.ending


def has_route(seen: Observation) -> bool:
    return seen.route is not None and bool(seen.route.route.endpoints)


@pytest.mark.parametrize(
    "forget", [all_pods, acceptance, demand, memory, route, unheard_route, states, states_and_routes]
)
@examples(60)
@given(seen=observations)
def test_no_fact_that_becomes_unknown_takes_anything_away(seen: Observation, forget: Forgets) -> None:
    """No unload, no eviction for its sake, and no route that led somewhere."""
    before, after = taken(seen), taken(forget(seen))
    assert after - {"route"} <= before - {"route"}
    if has_route(seen):
        assert after <= before


def test_an_eviction_that_is_forgotten_takes_nothing_else_away() -> None:
    """What it came in place of is not the pod's answer again meanwhile: it goes, evicted or not; the evicted is withdrawn."""
    old, new = make_copy(key=make_key("r0")), make_copy()
    evicting = Memory(uid=new.key.uid, revision="r1", evict=new.ref)
    seen = make_observation(copies=(old, new), route=make_route(endpoint()), memory=evicting)
    withdrawn = PublishRoute(Route("digits"))
    assert plan(seen, NOW).actions == (withdrawn, UnloadCopy("p1", old.key))
    assert plan(memory(seen), NOW).actions == (UnloadCopy("p1", old.key),)


@pytest.mark.parametrize("forget", [secret, runtimes])
@examples(60)
@given(seen=observations)
def test_while_a_spec_cannot_be_resolved_what_serves_serves_on(seen: Observation, forget: Forgets) -> None:
    """What is on its way for it is given up, since nobody knows what for; a copy that serves goes only for another."""
    fewer = forget(seen)
    before, after = taken(seen), taken(fewer)
    loaded = {(c.pod, c.key) for c in seen.copies if c.state is CopyState.LOADED and not ends(seen, c.pod)}
    assert not any(isinstance(a, MakeRoom) for a in after)
    for action in after - before:
        if isinstance(action, UnloadCopy) and (action.pod, action.key) in loaded:
            assert fewer.serving
    if has_route(seen):
        assert "route" in before or "route" not in after
    assert bool(fewer.serving) >= bool(seen.serving)


@examples(60)
@given(seen=observations)
def test_a_copy_of_which_nothing_is_known_is_left_alone(seen: Observation) -> None:
    """Whatever becomes of its model: it may serve, or be what is wanted."""
    unknown = {(c.pod, c.key) for c in seen.copies if c.state is CopyState.UNKNOWN}
    actions = plan(seen, NOW).actions
    assert not [a for a in actions if isinstance(a, UnloadCopy) and (a.pod, a.key) in unknown]
