"""
How many pods a runtime should have.

From zero: no pod without a model that needs one; the first model launches one.
More come only while models lack room, up to a limit; a pool whose last model
is gone stops after a grace time, so that replacing a model restarts nothing.

A pool that has more than it may have gives up one pod at a time, and the next
once that one is gone: a pod that ends hands its models over first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.fleet import PodView

#: For so long a model that lacks room waits for another pod before others leave for its sake; and for one that came, or
#: fell silent, so long ago it does not.
GROWTH_PATIENCE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """`replicas` to have now; look again in `requeue_after` seconds if not None."""

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
    `models` need the runtime, it has `current` pods, some model lacks room (`starved`).

    `spares`: it can do without one of them now, if there are more than there may be.

    `unheard`: nobody knows what one of the pods holds (law 9). `idle_s`: for how many seconds no model has needed it.
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


def growth_wait(pool: Iterable[PodView], *, limit: int, message: str, waited_s: float, now: float) -> float:
    """
    For how many seconds more a model that has lacked room for `waited_s` waits for another pod; 0: it does not.

    It waits for one that is on its way, or may be started. Either may come to nothing: so not for ever, and not each
    model anew. `message`: why the pool does not get its pods, if the platform says so.
    """
    pods = [p for p in pool if not p.pod.terminating]
    on_their_way = [p.since + GROWTH_PATIENCE_S - now for p in pods if p.coming]
    may_start = GROWTH_PATIENCE_S if len(pods) < limit and not on_their_way and not message else 0.0
    return max(0.0, min(GROWTH_PATIENCE_S - waited_s, max(on_their_way, default=may_start)))
