"""
What to load next, where, and in whose place: one load at a time of a model.

What loaded once may wait for demand, and takes nobody's place unless somebody
asks for it; what never did is loaded, if others have to stand by for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from orchestrator.domain.action import Action, LoadCopy, MakeRoom
from orchestrator.domain.fleet import NO_ROOM, PRESENT, Copy, CopyKey, CopyState, PodView
from orchestrator.domain.observation import Observation
from orchestrator.domain.placement import choose_pod
from orchestrator.domain.pool import patience_left
from orchestrator.domain.target import Target

#: How often a load whose time has come is looked at while no pod can take it.
POOL_RECHECK_S: Final = 30.0
#: First retry of a failed load, doubled each time up to the cap.
RETRY_BASE_S: Final = 2.0
RETRY_CAP_S: Final = 300.0


def next_load(seen: Observation, now: float, due: list[float]) -> list[Action] | None:
    """
    One load at a time, the last good revision's first if nothing serves. None: what is to load has to stand by.

    `due` gets the seconds until there may be something else to do.
    """
    before = seen.before
    if before is None:
        return _load(seen, now, due)
    if before.serves_target and before.leaves:
        # One of the two takes over, and nobody is evicted for an update meanwhile.
        update: list[Action] = [a for a in _load(seen, now, due) or [] if isinstance(a, LoadCopy)]
        on_its_way = any(c.state in PRESENT and seen.counts(c) for c in seen.target_copies)
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


def retry_delay(loads: int) -> float:
    """Seconds between the failure of the n-th load and the next, n ≥ 1."""
    return min(RETRY_CAP_S, RETRY_BASE_S * 2.0 ** min(loads - 1, 10))


def _load(seen: Observation, now: float, due: list[float]) -> list[Action] | None:
    """None: it has to stand by."""
    target, key = seen.target, seen.target_key
    if not isinstance(target, Target) or key is None:
        return []
    copies = seen.target_copies
    loaded = [c for c in copies if c.state is CopyState.LOADED]
    if any(seen.counts(c) for c in loaded):
        return _verify(seen, loaded, key, target)
    if loaded:
        return _elsewhere(seen, now, due, key, target)
    others = [c for c in seen.copies if c.key.uid != key.uid and not seen.given_up(c)]
    under_way = [c for c in copies if c.state is not CopyState.FAILED and not seen.given_up(c)]
    pods = (seen.pod(c.pod) for c in (*others, *under_way))
    due.extend(patience_left(p, now) for p in pods if p is not None and not p.known)
    if any(seen.stays(c) or c.state is CopyState.UNLOADING for c in under_way):
        return _hurry(seen, under_way, key, target)
    if under_way:
        return _elsewhere(seen, now, due, key, target)
    if others or seen.memory.evict is not None:
        # Another model of this name, or this one's own eviction, has to leave first.
        return []
    pool, memory = _pool(seen), seen.memory
    # Models that loaded before can wait for demand, so nothing is evicted for them, nor for an update that failed,
    # unless a request waits or another revision is serving.
    came_before = seen.loaded_before or (seen.last_good is not None and memory.failed is not None)
    may_evict = seen.urgent or not came_before or bool(seen.loaded)
    if memory.evicted and not may_evict:
        return []
    if any(not p.known for p in pool) and not any(p.usable for p in pool):
        _silence(pool, now, due)
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
        return [LoadCopy(pod.pod.uid, key, target, need, seen.urgent)]
    if _silence(pool, now, due):
        return []
    roomiest = _roomiest(seen, pool)
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
        return [LoadCopy(roomiest.pod.uid, key, target, need, seen.urgent)]
    return [MakeRoom(roomiest.pod.uid, need)]


def _silence(pool: Iterable[PodView], now: float, due: list[float]) -> bool:
    """
    Whether a pod that is not heard may have room: knowing less evicts nothing.

    But it does not keep the others for ever: `due` gets the seconds until it counts no more.
    """
    left = max((patience_left(p, now) for p in pool if p.coming and not p.known), default=0.0)
    if left > 0:
        due.append(left)
    return left > 0


def _roomiest(seen: Observation, pool: Iterable[PodView]) -> PodView | None:
    """The usable pod in which the most can be freed for it, beside what has to stay."""
    kept = {c.pod: c.reserved for c in seen.serving}
    usable = (p for p in pool if p.usable)
    return max(usable, key=lambda p: (p.total - kept.get(p.pod.uid, 0), p.free, p.pod.uid), default=None)


def _elsewhere(seen: Observation, now: float, due: list[float], key: CopyKey, target: Target) -> list[Action]:
    """
    Have what is in pods on their way out in another as well: once in each that has room, and in nobody's place.

    Where there is none, one may come until the pod ends. But what cannot be had from silent pods while a request waits
    is no better off than what is not in memory, and takes the place of what is used less.
    """
    copies = seen.target_copies
    if seen.memory.evict is not None or any(c.key.uid != key.uid for c in seen.copies):
        return []
    if any(c.state is not CopyState.FAILED and seen.counts(c) for c in copies):
        return []
    room = seen.memory.room
    need = max(seen.memory.reserve, room.needed if room is not None else 0, *(c.reserved for c in copies))
    failures = {c.pod: c.failure for c in copies if c.failure is not None}
    # Where it failed it is not tried again for as long as a drain lasts. Silence may last longer.
    again = seen.memory.unanswered and _retry_due(seen, now, due)
    pool = [p for p in _pool(seen) if (f := failures.get(p.pod.uid)) is None or f.reason == NO_ROOM or again]
    pod = choose_pod((p for p in pool if p.pod.uid not in failures or p.free >= failures[p.pod.uid].needed), need=need)
    if pod is not None:
        return [LoadCopy(pod.pod.uid, key, target, need, seen.urgent)]
    if not (seen.urgent and seen.memory.unanswered):
        return []
    if _silence(pool, now, due):
        return []
    roomiest = _roomiest(seen, pool)
    return [MakeRoom(roomiest.pod.uid, need)] if roomiest is not None and roomiest.total >= need else []


def _hurry(seen: Observation, under_way: Iterable[Copy], key: CopyKey, target: Target) -> list[Action]:
    """A request waits for what was commanded when none did: once is enough."""
    if not seen.urgent or seen.memory.urgent:
        return []
    on_its_way = (c for c in under_way if c.state in PRESENT and seen.stays(c) and seen.heard(c))
    return [LoadCopy(c.pod, key, target, c.reserved, True, hurry=True) for c in on_its_way]


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


def _failed_where_nothing_stays(seen: Observation) -> bool:
    """Whether the pod where it failed goes or is gone, and with it maybe the reason: a ServingRuntime that was mended."""
    pod, failure = seen.pod(seen.memory.pod), seen.memory.failure
    return bool(seen.memory.pod) and (pod is None or pod.leaving) and not (failure is not None and failure.crashed)


def _retry_due(seen: Observation, now: float, due: list[float]) -> bool:
    memory, target = seen.memory, seen.target
    assert isinstance(target, Target)
    if memory.failed_at is None or memory.credentials != target.credentials.version:
        return True
    if memory.failure is not None and memory.failure.source_changed:
        return True
    if _failed_where_nothing_stays(seen):
        return True
    if memory.given_up and seen.target_copies:
        # Its adapter looks at its source. Once it is gone nobody does: then it costs another try.
        return False
    remaining = memory.failed_at + retry_delay(max(1, memory.loads)) - now
    if remaining > 0:
        due.append(remaining)
    return remaining <= 0
