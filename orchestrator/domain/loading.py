"""
What to load next, where, and in whose place: one load at a time of a model.

What loaded once may wait for demand, and takes nobody's place unless somebody
asks for it; what never did is loaded, if others have to stand by for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.domain.action import LoadCopy, MakeRoom, Plan, look_again
from orchestrator.domain.fleet import NO_ROOM, PRESENT, Copy, CopyKey, CopyState, PodView
from orchestrator.domain.observation import Observation
from orchestrator.domain.placement import choose_pod
from orchestrator.domain.pool import GROWTH_PATIENCE_S
from orchestrator.domain.target import Target

#: How often a load whose time has come is looked at while no pod can take it.
POOL_RECHECK_S: Final = 30.0
#: First retry of a failed load, doubled each time up to the cap.
RETRY_BASE_S: Final = 2.0
RETRY_CAP_S: Final = 300.0


def next_load(seen: Observation, now: float) -> Plan:
    """What to do towards a copy that serves: of the last good revision first, if nothing serves."""
    fallback = seen.fallback
    if fallback is None:
        return _load(seen, now)
    if fallback.serves_target:
        return _update(seen, fallback, now)
    if not seen.falls_back:
        return _load(seen, now)
    # The target comes as soon as a pod does, whether or not one of the two waits for it.
    homeless = seen.homeless and isinstance(seen.target, Target)
    recheck = look_again(POOL_RECHECK_S) if homeless else Plan()
    load = _load(fallback, now)
    if load.actions or any(c.state is not CopyState.FAILED for c in fallback.target_copies):
        return recheck + load
    instead = _load(seen, now)
    return replace(recheck + load + instead, stands_by=load.stands_by and not instead.actions)


def _update(seen: Observation, fallback: Observation, now: float) -> Plan:
    """The last good revision serves while the target is loaded; it is looked after like a target itself."""
    load = replace(_load(seen, now), stands_by=False)
    if not fallback.leaves:
        return replace(_load(fallback, now), stands_by=False) + load
    # One of the two takes over, and nobody is evicted for an update meanwhile.
    load = replace(load, actions=tuple(a for a in load.actions if isinstance(a, LoadCopy)))
    if load.actions or any(c.state in PRESENT and seen.stays(c) for c in seen.target_copies):
        return load
    return load + _load(fallback, now)


def retry_delay(loads: int) -> float:
    """Seconds between the failure of the n-th load and the next, n ≥ 1."""
    return min(RETRY_CAP_S, RETRY_BASE_S * 2.0 ** min(loads - 1, 10))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The copy that is to serve."""

    key: CopyKey
    target: Target
    #: Whether a request waits for it.
    urgent: bool

    def load(self, pod: PodView, need: int) -> Plan:
        return Plan(actions=(LoadCopy(pod.pod.uid, self.key, self.target, need, self.urgent),))


def _load(seen: Observation, now: float) -> Plan:
    """What to do towards a copy of this observation's target that serves, in a pod that stays."""
    if seen.target_key is None or not isinstance(seen.target, Target):
        return Plan()
    wanted = _Wanted(seen.target_key, seen.target, seen.urgent)
    there = [c for c in seen.target_copies if c.state is not CopyState.FAILED]
    loaded = [c for c in there if c.state is CopyState.LOADED]
    if any(seen.counts(c) for c in loaded):
        return _verify(seen, loaded, wanted)
    if not loaded and any(seen.stays(c) or c.state is CopyState.UNLOADING for c in there):
        return _hurry(seen, there, wanted)
    if seen.memory.evict is not None or any(c.key.uid != wanted.key.uid for c in seen.copies):
        # This model's own eviction, or another model of its name, has to leave first.
        return Plan()
    return _elsewhere(seen, wanted, now) if there else _anywhere(seen, wanted, now)


def _anywhere(seen: Observation, wanted: _Wanted, now: float) -> Plan:
    """A load of what no pod has."""
    pool, memory = _pool(seen), seen.memory
    if any(not p.known for p in pool) and not any(p.usable for p in pool):
        return Plan()
    if memory.evicted and not _may_evict(seen):
        return Plan()
    failed = memory.failed is not None and memory.room is None
    if failed and (left := _until_retry(seen, wanted, now)) > 0:
        return _in(left)
    # Whether what failed can be had at all is asked before room is made for it, or it is left to stand by.
    need = 0 if failed else max(memory.reserve, memory.room.needed if memory.room is not None else 0)
    held = {c.pod for c in seen.serving}
    pod = choose_pod((p for p in pool if p.pod.uid in held), need=need) or choose_pod(pool, need=need)
    if pod is not None:
        return wanted.load(pod, need)
    if (left := _silence_s(pool, now)) > 0:
        return look_again(left)
    roomiest = _roomiest(seen, pool)
    if roomiest is None:
        return look_again(POOL_RECHECK_S) if failed else Plan()
    return _in_anothers_place(seen, wanted, roomiest, need)


def _in_anothers_place(seen: Observation, wanted: _Wanted, pod: PodView, need: int) -> Plan:
    """No pod has room, and in this one the most can be freed."""
    if not _may_evict(seen):
        # What failed does not stand by: it comes once there is room. Until then it is not ready, and says so.
        return Plan(stands_by=True) if seen.memory.failed is None else look_again(POOL_RECHECK_S)
    if pod.total < need:
        # Pods are smaller than they were: the adapter refuses it with both numbers.
        return wanted.load(pod, need)
    return Plan(actions=(MakeRoom(pod.pod.uid, need),))


def _may_evict(seen: Observation) -> bool:
    """
    Whether others may have to leave for the target.

    What loaded before can wait for demand, so nothing is evicted for it, nor for an update that failed, unless a
    request waits or another revision is serving.
    """
    came_before = seen.loaded_before or (seen.last_good is not None and seen.memory.failed is not None)
    return seen.urgent or not came_before or bool(seen.kept)


def _silence_s(pool: Iterable[PodView], now: float) -> float:
    """
    For how many seconds more a pod that is not heard may have room: knowing less evicts nothing.

    But it does not keep the others for ever.
    """
    left = (p.since + GROWTH_PATIENCE_S - now for p in pool if p.coming and not p.known)
    return max(left, default=0.0)


def _roomiest(seen: Observation, pool: Iterable[PodView]) -> PodView | None:
    """The usable pod in which the most can be freed for it, beside what has to stay."""
    kept = {c.pod: c.reserved for c in seen.serving}
    usable = (p for p in pool if p.usable)
    return max(usable, key=lambda p: (p.total - kept.get(p.pod.uid, 0), p.free, p.pod.uid), default=None)


def _elsewhere(seen: Observation, wanted: _Wanted, now: float) -> Plan:
    """
    Have what is in pods on their way out in another as well: once in each that has room, and in nobody's place.

    Where there is none, one may come until the pod ends. But what cannot be had from silent pods while a request waits
    is no better off than what is not in memory, and takes the place of what is used less.
    """
    copies, memory = seen.target_copies, seen.memory
    if any(c.state is not CopyState.FAILED and seen.counts(c) for c in copies):
        return Plan()
    need = max(memory.reserve, memory.room.needed if memory.room is not None else 0, *(c.reserved for c in copies))
    failures = {c.pod: c.failure for c in copies if c.failure is not None}
    # Where it failed it is not tried again for as long as a drain lasts. Silence may last longer.
    left = _until_retry(seen, wanted, now) if memory.unanswered else math.inf
    pool = [p for p in _pool(seen) if (f := failures.get(p.pod.uid)) is None or f.reason == NO_ROOM or left <= 0]
    pod = choose_pod((p for p in pool if p.pod.uid not in failures or p.free >= failures[p.pod.uid].needed), need=need)
    if pod is not None:
        return _in(left) + wanted.load(pod, need)
    if not (seen.urgent and memory.unanswered):
        return _in(left)
    if (silence_s := _silence_s(pool, now)) > 0:
        return _in(left) + look_again(silence_s)
    roomiest = _roomiest(seen, pool)
    if roomiest is None or roomiest.total < need:
        return _in(left)
    return _in(left) + Plan(actions=(MakeRoom(roomiest.pod.uid, need),))


def _hurry(seen: Observation, under_way: Iterable[Copy], wanted: _Wanted) -> Plan:
    """A request waits for what was commanded when none did: once is enough."""
    if not wanted.urgent or seen.memory.urgent:
        return Plan()
    on_its_way = (c for c in under_way if c.state in PRESENT and seen.stays(c) and seen.known(c))
    key, target = wanted.key, wanted.target
    return Plan(actions=tuple(LoadCopy(c.pod, key, target, c.reserved, True, hurry=True) for c in on_its_way))


def _pool(seen: Observation) -> tuple[PodView, ...]:
    """Where it may be loaded: what may have taken its server down goes there again, and takes no other's down."""
    pool = seen.pool()
    failure = seen.memory.failure
    if failure is None or not failure.crashed:
        return pool
    return tuple(p for p in pool if p.pod.uid == seen.memory.pod) or pool


def _verify(seen: Observation, loaded: Iterable[Copy], wanted: _Wanted) -> Plan:
    """A request came back from where the copy should be: have the adapters look."""
    if seen.want is None or not seen.want.stale:
        return Plan()
    known = [c for c in loaded if (p := seen.pod(c.pod)) is not None and p.usable]
    key, target = wanted.key, wanted.target
    return Plan(actions=tuple(LoadCopy(c.pod, key, target, c.reserved, True, verify=True) for c in known))


def _failed_where_nothing_stays(seen: Observation) -> bool:
    """Whether the pod where it failed goes or is gone, and with it maybe the reason: a ServingRuntime that was mended."""
    pod, failure = seen.pod(seen.memory.pod), seen.memory.failure
    return bool(seen.memory.pod) and (pod is None or pod.leaving) and not (failure is not None and failure.crashed)


def _until_retry(seen: Observation, wanted: _Wanted, now: float) -> float:
    """Seconds until what failed may be tried again: 0 is now, infinite is not before something else changes."""
    memory, failure = seen.memory, seen.memory.failure
    if memory.failed_at is None or memory.credentials != wanted.target.credentials.version:
        return 0.0
    if (failure is not None and failure.source_changed) or _failed_where_nothing_stays(seen):
        return 0.0
    if memory.given_up and seen.target_copies:
        # Its adapter looks at its source. Once it is gone nobody does: then it costs another try.
        return math.inf
    return max(0.0, memory.failed_at + retry_delay(max(1, memory.loads)) - now)


def _in(seconds: float) -> Plan:
    """To look again then; where nothing is to be waited for, an empty plan."""
    return look_again(seconds) if 0 < seconds < math.inf else Plan()
