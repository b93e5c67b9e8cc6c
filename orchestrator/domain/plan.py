"""
One decision about one model: `plan(observation, now) -> Plan`.

Pure, so that the laws are properties of a function: applying a plan and
planning again gives an empty plan; turning a fact into "unknown" never adds a
destructive action. The order of actions in a plan is the order to do them in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.domain.conditions import progress_verdict, ready_verdict
from orchestrator.domain.demand import Answer, OnDemand, ReadyAt, Refused, WaitFor
from orchestrator.domain.errors import ModelProblem
from orchestrator.domain.fleet import NO_ROOM, Copy, CopyKey, CopyState, LoadOrder, PodView
from orchestrator.domain.observation import Observation
from orchestrator.domain.orphan import left_s
from orchestrator.domain.placement import choose_pod
from orchestrator.domain.routes import Route
from orchestrator.domain.target import Target

#: Law 5: how long a withdrawal waits for ACKs before it takes effect.
ACK_BOUND_S: Final = 5.0
#: An ACK says "accepted", the workers get it a moment later; requests on their way arrive within it.
WITHDRAW_GRACE_S: Final = 0.2
#: A withdrawn cluster stays, since a retry whose cluster vanished is an error.
LAZY_REMOVE_S: Final = 30.0
#: How often a route that nobody here published is looked at while some pod is silent.
STRANGER_RECHECK_S: Final = 30.0
#: How often a load whose time has come is looked at while no pod can take it.
POOL_RECHECK_S: Final = 30.0
#: First retry of a failed load, doubled each time up to the cap.
RETRY_BASE_S: Final = 2.0
RETRY_CAP_S: Final = 300.0

_PRESENT: Final = frozenset({CopyState.DOWNLOADING, CopyState.LOADING, CopyState.LOADED})

_GRPC_NOT_FOUND: Final = 5
_GRPC_FAILED_PRECONDITION: Final = 9


@dataclass(frozen=True, slots=True)
class PublishRoute:
    """Make this the model's route. With no endpoints: withdraw it."""

    route: Route


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Delete the model's cluster in every Envoy."""

    model: str


@dataclass(frozen=True, slots=True)
class LoadCopy:
    """Command a load. `verify`: it is believed loaded, and a request says otherwise."""

    pod: str
    key: CopyKey
    target: Target
    reserve: int
    urgent: bool
    verify: bool = False

    @property
    def order(self) -> LoadOrder:
        """What the pod is told."""
        return LoadOrder(
            key=self.key,
            source=self.target.source,
            uri=self.target.uri,
            framework=self.target.framework,
            credentials=self.target.credentials,
            reserve=self.reserve,
            urgent=self.urgent,
            timeout_s=self.target.runtime.load_timeout_s,
        )


@dataclass(frozen=True, slots=True)
class UnloadCopy:
    """Command an unload."""

    pod: str
    key: CopyKey


@dataclass(frozen=True, slots=True)
class MakeRoom:
    """Have less recently used copies leave the pod, so that `need` bytes fit."""

    pod: str
    need: int


Action = PublishRoute | RemoveRoute | LoadCopy | UnloadCopy | MakeRoom


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do now, and in how many seconds to look again though nothing happened (None: no need)."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    #: It would fit only in another's place, and nobody asks for it.
    stands_by: bool = False


def plan(seen: Observation, now: float) -> Plan:
    """`now` is on the clock of the observation's times: monotonic seconds."""
    due: list[float] = []
    if (since := seen.memory.orphaned_since) is not None and (left := left_s(since, now)) > 0:
        due.append(left)
    load = _next_load(seen, now, due)
    actions: list[Action] = [*_route(seen, now, due), *_unloads(seen, now, due), *(load or [])]
    return Plan(actions=tuple(actions), requeue_after=min(due) if due else None, stands_by=load is None)


def retry_delay(loads: int) -> float:
    """Seconds between the failure of the n-th load and the next, n ≥ 1."""
    return min(RETRY_CAP_S, RETRY_BASE_S * 2.0 ** min(loads - 1, 10))


def destructive(actions: tuple[Action, ...]) -> frozenset[Action]:
    """Those that take something away: law 9 is about them."""
    return frozenset(
        a
        for a in actions
        if isinstance(a, UnloadCopy | RemoveRoute | MakeRoom) or (isinstance(a, PublishRoute) and not a.route.endpoints)
    )


def answer(seen: Observation) -> Answer:
    """What to tell an activator that asks for this model."""
    if seen.model is None:
        return Refused(_GRPC_NOT_FOUND, f"model {seen.name!r} not found: there is no TrainedModel of that name")
    if seen.serving:
        return ReadyAt(seen.endpoints)
    verdict = ready_verdict(seen)
    before = seen.before
    hopeless = isinstance(seen.goal.target, ModelProblem) or seen.goal.memory.failed is not None
    if hopeless and (before is None or before.memory.failed is not None):
        return Refused(
            _GRPC_FAILED_PRECONDITION, f"model {seen.name!r} is not ready: {verdict.reason}: {verdict.message}"
        )
    if verdict.status == "True":
        if not (seen.want and seen.want.load):
            return OnDemand()
        verdict = progress_verdict(seen.goal)
    return WaitFor(f"{verdict.reason}: {verdict.message}")


def _route(seen: Observation, now: float, due: list[float]) -> list[Action]:
    wanted = Route(seen.name, seen.endpoints)
    if wanted.endpoints:
        if seen.route is None or seen.route.route != wanted:
            return [PublishRoute(wanted)]
        return []
    if seen.route is not None and seen.route.route.endpoints:
        return [PublishRoute(wanted)]
    held = any(c.state is not CopyState.FAILED for c in seen.copies)
    if seen.route is None:
        # What is loaded may be routed to by an Envoy that has not been heard since we lead.
        if not seen.stranger and not any(c.state is CopyState.LOADED for c in seen.copies):
            return []
        # Left by a leader before us. A pod that has not been heard may hold what it routes to.
        if seen.model is not None and not all(p.known for p in seen.pods):
            due.append(STRANGER_RECHECK_S)
            return []
        # Taken over and withdrawn first if copies have to leave, so that they leave as any other.
        return [PublishRoute(wanted) if held else RemoveRoute(seen.name)]
    if held:
        return []
    remaining = seen.route.since + LAZY_REMOVE_S - now
    if remaining <= 0:
        return [RemoveRoute(seen.name)]
    due.append(remaining)
    return []


def _unloads(seen: Observation, now: float, due: list[float]) -> list[Action]:
    serving = {(c.pod, c.key) for c in seen.serving}
    before = seen.before
    actions: list[Action] = []
    for copy in seen.copies:
        pod = seen.pod(copy.pod)
        if copy.state is CopyState.UNLOADING or (copy.pod, copy.key) in serving or pod is None or not pod.known:
            continue
        if copy.state is not CopyState.LOADED:
            if any(_wants(one, copy) for one in (seen, before) if one is not None):
                continue
            if not _may_have_replaced(seen, copy):
                actions.append(UnloadCopy(copy.pod, copy.key))
                continue
        wait = _until_withdrawn(seen, copy, pod.pod.endpoint, now)
        if wait <= 0:
            actions.append(UnloadCopy(copy.pod, copy.key))
        else:
            due.append(wait)
    return actions


def _wants(seen: Observation, copy: Copy) -> bool:
    """Whether what is on its way or failed is of use: not if a later load elsewhere has made up for it or repeated it."""
    if copy.key != seen.target_key:
        return False
    if copy.state is not CopyState.FAILED:
        return seen.stays(copy) or not _moved(seen, copy)
    # Of a hand-over: not tried there again.
    handed = seen.leaves and seen.stays(copy)
    # And what is silent makes up for nothing.
    served = any(c.key == copy.key and (pod := seen.pod(c.pod)) is not None and pod.known for c in seen.serving)
    return handed or (not served and seen.memory.pod in ("", copy.pod))


def _moved(seen: Observation, copy: Copy) -> bool:
    """Whether what is on its way in a pod that ends is so in another as well, or comes too late."""
    pod = seen.pod(copy.pod)
    if pod is not None and pod.ending:
        return True
    others = (c for c in seen.copies if c.key == copy.key and seen.stays(c) and c.state in _PRESENT)
    known = any((p := seen.pod(c.pod)) is not None and p.known for c in others)
    return known and not _may_have_replaced(seen, copy)


def _may_have_replaced(seen: Observation, copy: Copy) -> bool:
    """Whether it is on its way into the place of one that serves: it may be there, and not have been reported."""
    return copy.state is not CopyState.FAILED and any(
        other.pod == copy.pod and other.state is CopyState.LOADED for other in seen.copies
    )


def _until_withdrawn(seen: Observation, copy: Copy, endpoint: str, now: float) -> float:
    """Seconds until no Envoy sends requests for it to `endpoint` any more, as far as can be waited for."""
    if any(c.pod == copy.pod and c.key != copy.key for c in seen.answering):
        # The pod's other copy of this name answers there, be it evicted: an in-place replacement, which the adapter ends.
        return 0.0
    if seen.route is None or endpoint in seen.route.route.endpoints:
        # Nobody has withdrawn it yet: some Envoy may hold a route of the leader before.
        return ACK_BOUND_S
    bound = seen.route.since + ACK_BOUND_S - now
    if seen.route.acked_at is None:
        return bound
    return min(bound, seen.route.acked_at + WITHDRAW_GRACE_S - now)


def _next_load(seen: Observation, now: float, due: list[float]) -> list[Action] | None:
    """One load at a time, the last good revision's first if nothing serves. None: what is to load has to stand by."""
    before = seen.before
    if before is None:
        return _load(seen, now, due)
    if before.serves_target and before.leaves:
        # One of the two takes over, and nobody is evicted for an update meanwhile.
        update: list[Action] = [a for a in _load(seen, now, due) or [] if isinstance(a, LoadCopy)]
        on_its_way = any(c.state in _PRESENT and seen.stays(c) for c in seen.target_copies)
        return update if update or on_its_way else _load(before, now, due)
    if before.serves_target:
        # It answers in the target's stead: looked after like one.
        return [*(_load(before, now, due) or []), *(_load(seen, now, due) or [])]
    if not seen.falls_back:
        return _load(seen, now, due)
    if seen.homeless and isinstance(seen.target, Target):
        # It comes as soon as a pod does, whether or not one of the two waits for it.
        due.append(POOL_RECHECK_S)
    load = _load(before, now, due)
    if load or any(c.state is not CopyState.FAILED for c in before.target_copies):
        return load
    return _load(seen, now, due) or load


def _load(seen: Observation, now: float, due: list[float]) -> list[Action] | None:
    """None: it has to stand by."""
    target, key = seen.target, seen.target_key
    if not isinstance(target, Target) or key is None:
        return []
    urgent = seen.want is not None and seen.want.load
    copies = seen.target_copies
    loaded = [c for c in copies if c.state is CopyState.LOADED]
    if any(seen.stays(c) for c in loaded):
        return _verify(seen, loaded, key, target)
    if loaded:
        return _elsewhere(seen, key, target)
    under_way = [c for c in copies if c.state is not CopyState.FAILED]
    if any(seen.stays(c) or c.state is CopyState.UNLOADING for c in under_way):
        return []
    if under_way:
        return _elsewhere(seen, key, target)
    if any(c.key.uid != key.uid for c in seen.copies) or seen.memory.evict is not None:
        # Another model of this name, or this one's own eviction, has to leave first.
        return []
    pool = _pool(seen)
    if any(not p.known for p in pool) and not any(p.usable for p in pool):
        return []
    memory = seen.memory
    # What loaded once may wait for demand, and so may a failed update of such; unless another revision answers.
    came_before = seen.loaded_before or (seen.last_good is not None and memory.failed is not None)
    may_evict = urgent or not came_before or bool(seen.loaded)
    if memory.evicted and not may_evict:
        return []
    if memory.failed is not None and memory.room is None:
        if not _retry_due(seen, now, due):
            return []
        if not any(p.usable for p in pool):
            due.append(POOL_RECHECK_S)
        # Whether it can be had at all is asked before room is made for it, or it is left to stand by.
        need = 0
    else:
        need = max(memory.reserve, memory.room.needed if memory.room is not None else 0)
    held = {c.pod for c in seen.serving}
    pod = choose_pod((p for p in pool if p.pod.uid in held), need=need) or choose_pod(pool, need=need)
    if pod is not None:
        return [LoadCopy(pod.pod.uid, key, target, need, urgent)]
    if any(not p.known and p.coming for p in pool):
        # A silent pod may have room: knowing less evicts nothing.
        return []
    kept = {c.pod: c.reserved for c in seen.serving}
    roomiest = max(
        (p for p in pool if p.usable),
        key=lambda p: (p.total - kept.get(p.pod.uid, 0), p.free, p.pod.uid),
        default=None,
    )
    if roomiest is None:
        return []
    if not may_evict:
        if memory.failed is None:
            return None
        # What failed does not stand by: it comes once there is room. Until then it is not ready, and says so.
        due.append(POOL_RECHECK_S)
        return []
    if roomiest.total < need:
        # Pods are smaller than they were: the adapter refuses it with both numbers.
        return [LoadCopy(roomiest.pod.uid, key, target, need, urgent)]
    return [MakeRoom(roomiest.pod.uid, need)]


def _elsewhere(seen: Observation, key: CopyKey, target: Target) -> list[Action]:
    """
    Have what is in pods on their way out in another as well: once in each that has room, and in nobody's place.

    Where there is none, one may come until the pod ends.
    """
    copies = seen.target_copies
    if seen.memory.evict is not None or any(c.key.uid != key.uid for c in seen.copies):
        return []
    if any(c.state is not CopyState.FAILED and seen.stays(c) for c in copies):
        return []
    room = seen.memory.room
    need = max(seen.memory.reserve, room.needed if room is not None else 0, *(c.reserved for c in copies))
    failures = {c.pod: c.failure for c in copies if c.failure is not None}
    places = (
        p
        for p in _pool(seen)
        if (failure := failures.get(p.pod.uid)) is None or (failure.reason == NO_ROOM and p.free >= failure.needed)
    )
    pod = choose_pod(places, need=need)
    urgent = seen.want is not None and seen.want.load
    return [LoadCopy(pod.pod.uid, key, target, need, urgent)] if pod is not None else []


def _pool(seen: Observation) -> tuple[PodView, ...]:
    """Where it may be loaded: what may have taken its server down goes there again, and takes no other's down."""
    pool = seen.pool()
    failure = seen.memory.failure
    if failure is None or not failure.crashed:
        return pool
    return tuple(p for p in pool if p.pod.uid == seen.memory.pod) or pool


def _verify(seen: Observation, loaded: list[Copy], key: CopyKey, target: Target) -> list[Action]:
    """A request came back from where the copy should be: have the adapters look."""
    if seen.want is None or not seen.want.stale:
        return []
    known = [c for c in loaded if (p := seen.pod(c.pod)) is not None and p.usable]
    return [LoadCopy(c.pod, key, target, c.reserved, True, verify=True) for c in known]


def _retry_due(seen: Observation, now: float, due: list[float]) -> bool:
    memory, target = seen.memory, seen.target
    assert isinstance(target, Target)
    if memory.failed_at is None or memory.credentials != target.credentials.version:
        return True
    if memory.failure is not None and memory.failure.source_changed:
        return True
    if memory.given_up and seen.target_copies:
        # Its adapter looks at its source. Once it is gone nobody does: then it costs another try.
        return False
    remaining = memory.failed_at + retry_delay(max(1, memory.loads)) - now
    if remaining > 0:
        due.append(remaining)
    return remaining <= 0
