"""
Which copies are routed to and which are unloaded: no unload while an Envoy may still send requests there.

Laws 3 and 5 (make before break; ACKs are waited for up to a bound) as a
function: a copy that serves nobody any more is unloaded when every Envoy has
accepted a route without it, or `ACK_BOUND_S` later, whichever comes first.
Nothing is unloaded from a silent pod (law 9: absence never deletes).
"""

from __future__ import annotations

from typing import Final

from orchestrator.domain.action import Plan, PublishRoute, RemoveRoute, UnloadCopy, look_again
from orchestrator.domain.fleet import PRESENT, Copy, CopyState
from orchestrator.domain.observation import Observation
from orchestrator.domain.routes import Route
from orchestrator.domain.target import Target

#: How long a withdrawal waits for the Envoys' ACKs before it takes effect (law 5: later, a retry corrects the rest).
ACK_BOUND_S: Final = 5.0
#: Envoy acknowledges a moment before its worker threads have the route; requests on their way arrive within this time.
WITHDRAW_GRACE_S: Final = 0.2
#: A withdrawn cluster stays, since a retry whose cluster vanished is an error.
LAZY_REMOVE_S: Final = 30.0
#: How often a route that this leader did not publish is looked at while some pod is silent.
STRANGER_RECHECK_S: Final = 30.0
_LEFT_ALONE: Final = frozenset({CopyState.UNLOADING, CopyState.UNKNOWN})


def routing(seen: Observation, now: float) -> Plan:
    """What to do to the model's route."""
    wanted = Route(seen.name, seen.endpoints)
    if seen.route is None and not wanted.endpoints:
        return _strangers_route(seen)
    if seen.route is None or seen.route.route != wanted:
        return Plan(actions=(PublishRoute(wanted),))
    if wanted.endpoints or _holds(seen):
        return Plan()
    remaining = seen.route.since + LAZY_REMOVE_S - now
    return look_again(remaining) if remaining > 0 else Plan(actions=(RemoveRoute(seen.name),))


def _strangers_route(seen: Observation) -> Plan:
    """Nothing serves, and this leader has published no route: what to do to the route of an earlier leader."""
    # An Envoy that has not reported to this leader yet may route to a loaded copy.
    if not seen.stranger and not any(c.state is CopyState.LOADED for c in seen.copies):
        return Plan()
    # A silent pod may hold the copy that it leads to, and so may a pod that reports the copy in a state that is not
    # known here.
    unknown = any(c.state is CopyState.UNKNOWN for c in seen.copies) or not all(p.known for p in seen.pods)
    if seen.model is not None and unknown:
        return look_again(STRANGER_RECHECK_S)
    # If copies have to leave, the route is taken over as a withdrawn one first: they leave like any other then.
    return Plan(actions=(PublishRoute(Route(seen.name, ())) if _holds(seen) else RemoveRoute(seen.name),))


def _holds(seen: Observation) -> bool:
    """Whether some pod has or may have the model."""
    return any(c.state is not CopyState.FAILED for c in seen.copies)


def unloads(seen: Observation, now: float) -> Plan:
    """Which copies leave now."""
    return sum((_unload(seen, copy, now) for copy in seen.copies), Plan())


def _unload(seen: Observation, copy: Copy, now: float) -> Plan:
    """Whether this copy leaves, and if not yet, when to look again."""
    pod = seen.pod(copy.pod)
    if copy.state in _LEFT_ALONE or pod is None or not pod.known or copy.ref in {c.ref for c in seen.serving}:
        return Plan()
    leaves = Plan(actions=(UnloadCopy(copy.pod, copy.key),))
    if copy.state is not CopyState.LOADED:
        if any(_wants(one, copy) for one in (seen, seen.fallback) if one is not None) or _mends(seen, copy):
            return Plan()
        if not _may_have_replaced(seen, copy):
            return leaves
    wait = _until_withdrawn(seen, copy, pod.pod.endpoint, now)
    return leaves if wait <= 0 else look_again(wait)


def _wants(seen: Observation, copy: Copy) -> bool:
    """Whether a copy that is being loaded or has failed is to stay: not if a later load elsewhere has replaced it."""
    if copy.key != seen.target_key:
        return False
    if copy.state is not CopyState.FAILED:
        return seen.stays(copy) or not _moved(seen, copy)
    # Keep the failed copy as a marker: this pod already failed the hand-over.
    handed = seen.leaves and seen.stays(copy)
    # A copy in an unreachable pod is not a replacement.
    served = any(c.key == copy.key and seen.known(c) for c in seen.serving)
    return handed or (not served and seen.memory.pod in ("", copy.pod))


def _mends(seen: Observation, copy: Copy) -> bool:
    """Whether what served broke in its server, which loads it again from the files that it has: nobody else could."""
    active = seen.model.status.active_revision if seen.model is not None else ""
    own = seen.model is not None and (copy.key.uid, copy.key.revision) == (seen.model.uid, active)
    return own and copy.state is CopyState.LOADING and not isinstance(seen.target, Target)


def _moved(seen: Observation, copy: Copy) -> bool:
    """Whether a load in a pod on its way out is needless: another pod has or loads the copy, or this pod ends now."""
    pod = seen.pod(copy.pod)
    if pod is not None and pod.ending:
        return True
    others = (c for c in seen.copies if c.key == copy.key and seen.stays(c) and c.state in PRESENT)
    return any(map(seen.known, others)) and not _may_have_replaced(seen, copy)


def _may_have_replaced(seen: Observation, copy: Copy) -> bool:
    """Whether the load replaces a loaded copy in the same pod: it may have done so and not have reported it yet."""
    return copy.state is not CopyState.FAILED and any(
        other.pod == copy.pod and other.state is CopyState.LOADED for other in seen.copies
    )


def _until_withdrawn(seen: Observation, copy: Copy, endpoint: str, now: float) -> float:
    """Seconds until no Envoy sends requests for the copy to `endpoint` any more; bounded by ACK_BOUND_S."""
    if any(c.pod == copy.pod and c.key != copy.key for c in seen.loaded):
        # Another copy of this model answers in the pod, even if it is to be evicted: it replaces this one in place.
        return 0.0
    if seen.route is None or endpoint in seen.route.route.endpoints:
        # This leader has not withdrawn the route yet: some Envoy may hold one of an earlier leader.
        return ACK_BOUND_S
    bound = seen.route.since + ACK_BOUND_S - now
    if seen.route.acked_at is None:
        return bound
    return min(bound, seen.route.acked_at + WITHDRAW_GRACE_S - now)
