"""
How many pods a runtime should have.

From zero: no pod without a model that needs one; the first model launches one.
More come only while models lack room, up to a limit; a pool whose last model
is gone stops after a grace time, so that replacing a model restarts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """`replicas` to have now; look again in `requeue_after` seconds if not None."""

    replicas: int
    requeue_after: float | None = None


def plan_pool(*, models: int, current: int, starved: bool, limit: int, idle_s: float, grace_s: float) -> PoolPlan:
    """
    `models` need the runtime, it has `current` pods, some model lacks room (`starved`).

    `idle_s`: for how many seconds no model has needed it.
    """
    if models == 0:
        if current == 0 or idle_s >= grace_s:
            return PoolPlan(0)
        return PoolPlan(current, grace_s - idle_s)
    wanted = max(1, current)
    if starved and wanted < limit and current > 0:
        wanted += 1
    return PoolPlan(min(wanted, max(1, limit)))
