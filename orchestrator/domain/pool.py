"""
How many pods a runtime should have.

A pool has no pod until a model needs one; the first model launches one. More
pods come only while models lack room, up to a limit. A pool whose last model is
gone stops after a grace time, so that replacing a model restarts nothing.

A pool with more pods than its limit gives up one pod, and the next once that
one is gone: a pod that ends hands its models over first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.domain.fleet import PodView

#: How long a model short of memory waits for a new pod before it evicts others. A pod that has been starting or
#: unreachable for longer than this is not waited for.
GROWTH_PATIENCE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """Pods to ask for now; look again in `requeue_after` seconds if not None."""

    replicas: int
    requeue_after: float | None = None


def plan_pool(
    *,
    models: int,
    current: int,
    starved: bool,
    unheard: bool,
    limit: int,
    idle_s: float,
    grace_s: float,
    spares: bool = False,
) -> PoolPlan:
    """
    `models`: how many need the runtime; `current`: pods asked for so far; `starved`: some model lacks room.

    `spares`: the pool can do without one of its pods now, if it has more than `limit`.

    `unheard`: it is not known what one of the pods holds, so no pod may be ended (law 9: absence never deletes).
    `idle_s`: for how many seconds no model has needed the runtime.
    """
    if models == 0:
        if unheard:
            return PoolPlan(current)
        if current == 0 or idle_s >= grace_s:
            return PoolPlan(0)
        return PoolPlan(current, grace_s - idle_s)
    if starved and 0 < current < limit:
        return PoolPlan(current + 1)
    if spares and current > max(1, limit):
        return PoolPlan(current - 1)
    return PoolPlan(max(1, current))


def patience_left(pod: PodView, now: float) -> float:
    """For how many seconds more a pod that is not usable is waited for; not above 0: it has had its time."""
    return pod.since + GROWTH_PATIENCE_S - now


def timed(pod: PodView, now: float) -> PodView:
    """The pod as it is seen now: given up, if it has not been heard for too long."""
    return pod if pod.known or patience_left(pod, now) > 0 else replace(pod, given_up=True)


def on_its_way(pod: PodView, now: float) -> bool:
    """
    Whether the pod is waited for before another one is started.

    One that has been silent past its time may never answer again; one that was never heard may take long to start.
    """
    return pod.coming and not (pod.silent and patience_left(pod, now) <= 0)


def growth_wait(pool: Iterable[PodView], *, limit: int, message: str, waited_s: float, now: float) -> float:
    """
    For how many seconds more a model that has lacked room for `waited_s` waits for another pod; 0: it does not wait.

    It waits for a pod that is on its way, or that may be started. Such a pod may never come: so the wait is bounded,
    and a pod on its way is waited for once, not by each model anew. `message`: why the platform starts no pod, if it
    says so.
    """
    pods = [p for p in pool if not p.pod.terminating]
    on_their_way = [patience_left(p, now) for p in pods if on_its_way(p, now)]
    may_start = GROWTH_PATIENCE_S if len(pods) < limit and not on_their_way and not message else 0.0
    return max(0.0, min(GROWTH_PATIENCE_S - waited_s, max(on_their_way, default=may_start)))
