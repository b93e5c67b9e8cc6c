"""
One decision about one model: `plan(observation, now) -> Plan`.

Pure, so that the laws (docs/architecture.md) are properties of a function:
applying a plan and planning again gives an empty plan; turning a fact into
"unknown" never adds a destructive action. Actions are carried out in their order.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.action import Action
from orchestrator.domain.loading import next_load
from orchestrator.domain.observation import Observation
from orchestrator.domain.orphan import left_s
from orchestrator.domain.withdrawal import routing, unloads


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do now, and in how many seconds to look again even if nothing happens (None: no need)."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    #: The model would fit only in another's place, and nobody asks for it.
    stands_by: bool = False


def plan(seen: Observation, now: float) -> Plan:
    """`now` is on the clock of the observation's times: monotonic seconds."""
    due: list[float] = []
    if (since := seen.memory.orphaned_since) is not None and (left := left_s(since, now)) > 0:
        due.append(left)
    load = next_load(seen, now, due)
    actions: list[Action] = [*routing(seen, now, due), *unloads(seen, now, due), *(load or [])]
    return Plan(actions=tuple(actions), requeue_after=min(due) if due else None, stands_by=load is None)
