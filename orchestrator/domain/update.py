"""
Which revision of a model to load: what it asks for, the last good one, or first one and then the other.

Of two loads of one name in a pod the later one wins, so that the last good
revision is not loaded where the target is on its way. In another pod it comes
back if it was lost, and is handed over if it is to leave, at the same time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from orchestrator.domain.action import LoadCopy, Plan, UnloadCopy, look_again
from orchestrator.domain.fleet import PRESENT, CopyState
from orchestrator.domain.loading import POOL_RECHECK_S, load
from orchestrator.domain.observation import Observation
from orchestrator.domain.target import Target

#: When to look again for a pod that what serves in a draining one can be handed over to.
_HAND_OVER_RECHECK_S: Final = 2.0
_UNDER_WAY: Final = frozenset({CopyState.DOWNLOADING, CopyState.LOADING})


def next_load(seen: Observation, now: float) -> Plan:
    """Load the target; if nothing serves and the target cannot be loaded, the last good revision first."""
    fallback = seen.fallback
    if fallback is None or seen.serves_target:
        return load(seen, now)
    if fallback.serves_target:
        return _update(seen, fallback, now)
    if not seen.falls_back:
        # The last good revision may wait for a pod in which the target is not on its way.
        recheck = look_again(POOL_RECHECK_S) if seen.lost and fallback.crowded_out else Plan()
        return recheck + (_give_way(seen, fallback) or load(seen, now))
    # A new pod wakes the models that wait for its runtime; this one may wait for that of its last good revision.
    homeless = seen.homeless and isinstance(seen.target, Target)
    recheck = look_again(POOL_RECHECK_S) if homeless else Plan()
    again = load(fallback, now)
    awaited = (c for c in fallback.target_copies if c.state is CopyState.LOADED or not fallback.given_up(c))
    if again.actions or any(c.state is not CopyState.FAILED for c in awaited):
        return recheck + again
    # The last good revision failed as well, or stands by: the target is tried again.
    instead = load(seen, now)
    # What lacks room beside a target on its way is no standby: where that is there may be room in a moment.
    stands_by = again.stands_by and not instead.actions and not fallback.barred
    return replace(recheck + again + instead, stands_by=stands_by)


def _give_way(seen: Observation, fallback: Observation) -> Plan | None:
    """
    End the download of a target that has failed before, for a request that waits.

    Where the last good revision could be loaded, only the target is on its way.
    """
    waits = seen.urgent and not seen.serving and fallback.crowded_out and fallback.memory.failed is None
    if not waits or seen.memory.failed is None:
        return None
    usable = {p.pod.uid for p in fallback.pool() if p.usable}
    fetched = [c for c in seen.target_copies if c.state is CopyState.DOWNLOADING and c.pod in usable]
    return Plan(actions=tuple(UnloadCopy(c.pod, c.key) for c in fetched)) if fetched else None


def _update(seen: Observation, fallback: Observation, now: float) -> Plan:
    """The last good revision serves, and is kept serving, while the target is loaded."""
    # A model of which something serves does not stand by.
    change, keep = replace(load(seen, now), stands_by=False), load(fallback, now)
    # One load at a time: of two loads of one name in a pod the later one would win.
    if any(c.state in _UNDER_WAY and fallback.counts(c) for c in fallback.target_copies):
        change = change.without(_begun(change), POOL_RECHECK_S)
    target_comes = bool(_begun(change)) or any(c.state in PRESENT and seen.counts(c) for c in seen.target_copies)
    if not fallback.leaves:
        keep = keep.without(_begun(keep), POOL_RECHECK_S) if target_comes else keep
        return replace(keep, stands_by=False) + change
    # What serves is in pods on their way out. The target takes over if a pod has room for it, and nobody is evicted for
    # that; the last good revision is handed over to another pod as well, at once if the target has failed before, since
    # a load may take longer than the drain.
    change = replace(change, actions=tuple(a for a in change.actions if isinstance(a, LoadCopy)))
    if _begun(keep) and seen.memory.failed is not None:
        return change.without(_begun(change), POOL_RECHECK_S) + keep
    if _begun(change):
        return change
    # Each waits for a pod, maybe of another runtime, and only the target is woken by one.
    handed = any(c.state is not CopyState.FAILED and fallback.counts(c) for c in fallback.target_copies)
    if handed or _begun(keep):
        return change + keep
    drains = any(fallback.known(c) for c in fallback.serving)
    return change + keep + look_again(_HAND_OVER_RECHECK_S if drains else POOL_RECHECK_S)


def _begun(plan: Plan) -> tuple[LoadCopy, ...]:
    """The loads that the plan begins: not those that it has looked at, or hurried."""
    return tuple(a for a in plan.actions if isinstance(a, LoadCopy) and not (a.verify or a.hurry))
