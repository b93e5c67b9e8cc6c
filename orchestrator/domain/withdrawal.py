"""
Who is routed to, and what leaves: make before break, and no unload while an Envoy may still send.

Law 5 as a function: a copy that serves nobody any more is unloaded when every
Envoy has accepted a route without it, or `ACK_BOUND_S` later, whichever comes
first. A pod that has not been heard loses nothing (law 9).
"""

from __future__ import annotations

from typing import Final

from orchestrator.domain.action import Action, PublishRoute, RemoveRoute, UnloadCopy
from orchestrator.domain.fleet import PRESENT, Copy, CopyState
from orchestrator.domain.observation import Observation
from orchestrator.domain.routes import Route

#: Law 5: how long a withdrawal waits for ACKs before it takes effect.
ACK_BOUND_S: Final = 5.0
#: An ACK says "accepted", the workers get it a moment later; requests on their way arrive within it.
WITHDRAW_GRACE_S: Final = 0.2
#: A withdrawn cluster stays, since a retry whose cluster vanished is an error.
LAZY_REMOVE_S: Final = 30.0
#: How often a route that nobody here published is looked at while some pod is silent.
STRANGER_RECHECK_S: Final = 30.0
_LEFT_ALONE: Final = frozenset({CopyState.UNLOADING, CopyState.UNKNOWN})


def routing(seen: Observation, now: float, due: list[float]) -> list[Action]:
    """What to do to its route; `due` gets the seconds until there may be something else to do."""
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
        # Left by a leader before us. A pod that has not been heard may hold what it routes to, and so may one that
        # says of it what is not known here.
        unknown = any(c.state is CopyState.UNKNOWN for c in seen.copies) or not all(p.known for p in seen.pods)
        if seen.model is not None and unknown:
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


def unloads(seen: Observation, now: float, due: list[float]) -> list[Action]:
    """Which copies leave now; `due` gets the seconds until another may."""
    serving = {c.ref for c in seen.serving}
    before = seen.before
    actions: list[Action] = []
    for copy in seen.copies:
        pod = seen.pod(copy.pod)
        if copy.state in _LEFT_ALONE or copy.ref in serving or pod is None or not pod.known:
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
    served = any(c.key == copy.key and seen.heard(c) for c in seen.serving)
    return handed or (not served and seen.memory.pod in ("", copy.pod))


def _moved(seen: Observation, copy: Copy) -> bool:
    """Whether what is on its way in a pod that ends is so in another as well, or comes too late."""
    pod = seen.pod(copy.pod)
    if pod is not None and pod.ending:
        return True
    others = (c for c in seen.copies if c.key == copy.key and seen.stays(c) and c.state in PRESENT)
    return any(map(seen.heard, others)) and not _may_have_replaced(seen, copy)


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
