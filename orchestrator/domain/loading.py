"""
What to do towards a copy of one revision that serves: which pod loads it, and whether other models have to leave for it.

One that has loaded before can wait until a request asks for it: until then
nobody has to leave for it. One that has never loaded is loaded even if others
have to leave, and stand by, for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.action import LoadCopy, MakeRoom, Plan, look_again
from orchestrator.domain.fleet import NO_ROOM, PRESENT, Copy, CopyKey, CopyState, PodView
from orchestrator.domain.observation import Observation
from orchestrator.domain.placement import choose_pod
from orchestrator.domain.pool import patience_left
from orchestrator.domain.target import Target

#: When to look again at a model that is to be loaded, and that no pod can take.
POOL_RECHECK_S: Final = 30.0
#: First retry of a failed load, doubled each time up to the cap.
RETRY_BASE_S: Final = 2.0
RETRY_CAP_S: Final = 300.0
#: For how long a server that went down may be away for the load's sake: a kubelet waits up to 300 s between two starts.
SERVER_PATIENCE_S: Final = 600.0


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


def load(seen: Observation, now: float) -> Plan:
    """Have a copy of this observation's target in a pod that stays."""
    if seen.target_key is None or not isinstance(seen.target, Target):
        return Plan()
    wanted = _Wanted(seen.target_key, seen.target, seen.urgent)
    there = [c for c in seen.target_copies if c.state is not CopyState.FAILED]
    loaded = [c for c in there if c.state is CopyState.LOADED]
    if any(seen.counts(c) for c in loaded):
        return _verify(seen, loaded, wanted)
    under_way = [c for c in there if c.state is not CopyState.LOADED and not seen.given_up(c)]
    others = [c for c in seen.copies if c.key.uid != wanted.key.uid and not seen.given_up(c)]
    # A pod that is not known counts, with what it holds, until it is given up; and once all are, another is wanted.
    recheck = sum((look_again(patience_left(p, now)) for p in seen.pods if not p.known), Plan())
    if not loaded and any(seen.stays(c) or c.state is CopyState.UNLOADING for c in under_way):
        return recheck + _hurry(seen, under_way, wanted)
    if others or seen.memory.evict is not None:
        # Another model of this name, or this one's own eviction, has to leave first.
        return recheck
    if loaded or under_way:
        return recheck + _elsewhere(seen, wanted, now)
    return recheck + _anywhere(seen, wanted, now)


def _anywhere(seen: Observation, wanted: _Wanted, now: float) -> Plan:
    """Load what no pod has."""
    pool, memory = _pool(seen, now), seen.memory
    if memory.evicted and not _may_evict(seen):
        return Plan()
    if any(not p.known for p in pool) and not any(p.usable for p in pool):
        # A pod that is not known may become usable, and wakes this model then; it may also be away for too long.
        return look_again(POOL_RECHECK_S) if memory.crashes else Plan()
    failed = memory.failed is not None and memory.room is None
    if failed and (left := _until_retry(seen, wanted, now)) > 0:
        return look_again(left)
    # What failed is tried in any pod, full or not: if its source is still broken, nobody need have left for it.
    need = 0 if failed else memory.need
    held = {c.pod for c in seen.serving}
    pod = choose_pod((p for p in pool if p.pod.uid in held), need=need) or choose_pod(pool, need=need)
    if pod is not None:
        return wanted.load(pod, need)
    if _may_have_room(pool, now):
        return Plan()
    roomiest = _roomiest(seen, pool)
    if roomiest is None:
        # No pod is usable. A first load is woken by the next pod; the time of a retry has come already.
        return look_again(POOL_RECHECK_S) if failed or memory.crashes else Plan()
    return _in_anothers_place(seen, wanted, roomiest, need)


def _in_anothers_place(seen: Observation, wanted: _Wanted, pod: PodView, need: int) -> Plan:
    """No pod has room; `pod` is the one in which the most can be freed."""
    if not _may_evict(seen):
        # What failed does not stand by, which would make it READY: it is loaded once there is room.
        return Plan(stands_by=True) if seen.memory.failed is None else look_again(POOL_RECHECK_S)
    if pod.total < need:
        # It cannot fit, since pods are smaller than they were: the adapter refuses it, and tells both numbers.
        return wanted.load(pod, need)
    return Plan(actions=(MakeRoom(pod.pod.uid, need),))


def _may_evict(seen: Observation) -> bool:
    """
    Whether another model may be evicted for the target.

    Not if the target can wait until a request asks for it: if it has loaded before, or is an update that failed and
    whose model has a last good revision. But a request that waits, or another revision that serves, is reason enough.
    """
    came_before = seen.loaded_before or (seen.last_good is not None and seen.memory.failed is not None)
    return seen.urgent or not came_before or bool(seen.kept)


def _may_have_room(pool: Iterable[PodView], now: float) -> bool:
    """
    Whether a pod that is starting or silent may turn out to have room.

    Nobody is evicted while that may be (law 9: absence never deletes). The time is bounded: the pod may never come.
    """
    return any(p.coming and not p.known and patience_left(p, now) > 0 for p in pool)


def _roomiest(seen: Observation, pool: Iterable[PodView]) -> PodView | None:
    """The usable pod in which the most can be freed for the target: all but what this model's serving copy holds."""
    kept = {c.pod: c.reserved for c in seen.serving}
    usable = (p for p in pool if p.usable)
    return max(usable, key=lambda p: (p.total - kept.get(p.pod.uid, 0), p.free, p.pod.uid), default=None)


def _elsewhere(seen: Observation, wanted: _Wanted, now: float) -> Plan:
    """
    Hand over: all copies are in pods on their way out, or in silent pods from which a request came back.

    The copy is loaded in another pod that has room, once in each; nobody is evicted for that, since a pod may come
    before the old one ends. But a copy in silent pods only is of no use to a request that waits: others are evicted as
    if there were no copy.
    """
    copies, memory = seen.target_copies, seen.memory
    if any(c.state is not CopyState.FAILED and seen.counts(c) for c in copies):
        return Plan()
    need = max(memory.need, *(c.reserved for c in copies))
    failures = {c.pod: c.failure for c in copies if c.failure is not None}
    # A pod where it failed is not tried again: a drain is over soon. Silence may last, so that it is tried again then.
    left = _until_retry(seen, wanted, now) if memory.unanswered else math.inf
    pool = [p for p in _pool(seen, now) if (f := failures.get(p.pod.uid)) is None or f.reason == NO_ROOM or left <= 0]
    pod = choose_pod((p for p in pool if p.pod.uid not in failures or p.free >= failures[p.pod.uid].needed), need=need)
    if pod is not None:
        return wanted.load(pod, need) + look_again(left)
    if not (seen.urgent and memory.unanswered):
        return look_again(left)
    roomiest = _roomiest(seen, pool)
    if _may_have_room(pool, now) or roomiest is None or roomiest.total < need:
        return look_again(left)
    return Plan(actions=(MakeRoom(roomiest.pod.uid, need),)) + look_again(left)


def _hurry(seen: Observation, under_way: Iterable[Copy], wanted: _Wanted) -> Plan:
    """A request waits by now for a load that was commanded when none did: tell the adapter, once."""
    if not wanted.urgent or seen.memory.urgent:
        return Plan()
    on_its_way = (c for c in under_way if c.state in PRESENT and seen.stays(c) and seen.known(c))
    key, target = wanted.key, wanted.target
    return Plan(actions=tuple(LoadCopy(c.pod, key, target, c.reserved, True, hurry=True) for c in on_its_way))


def _pool(seen: Observation, now: float) -> tuple[PodView, ...]:
    """
    The pods that it may be loaded in: if its load may have crashed a server, only that one, to crash no other.

    But a server that does not come back at all has reasons of its own.
    """
    pool = tuple(p for p in seen.pool() if p.pod.uid not in seen.barred)
    failure = seen.memory.failure
    if failure is None or not failure.crashed:
        return pool
    same = (p for p in pool if p.pod.uid == seen.memory.pod)
    return tuple(p for p in same if p.usable or now - p.since < SERVER_PATIENCE_S) or pool


def _verify(seen: Observation, loaded: Iterable[Copy], wanted: _Wanted) -> Plan:
    """A request came back unserved from a loaded copy: have the adapters look whether their servers still have it."""
    if seen.want is None or not seen.want.stale:
        return Plan()
    known = [c for c in loaded if (p := seen.pod(c.pod)) is not None and p.usable]
    key, target = wanted.key, wanted.target
    return Plan(actions=tuple(LoadCopy(c.pod, key, target, c.reserved, True, verify=True) for c in known))


def _failed_where_nothing_stays(seen: Observation) -> bool:
    """Whether the pod where it failed goes or is gone. The reason may be, too: the ServingRuntime may be mended."""
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
        # Its adapter watches the source for changes. Once that adapter is gone nobody does: then it is tried again.
        return math.inf
    return max(0.0, memory.failed_at + retry_delay(max(1, memory.loads)) - now)
