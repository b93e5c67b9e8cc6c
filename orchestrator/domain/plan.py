"""
One decision about one model: `plan(observation, now) -> Plan`.

Pure, so that the laws (docs/architecture.md) are properties of a function:
applying a plan and planning again gives an empty plan; turning a fact into
"unknown" never adds a destructive action. Actions are carried out in their order.
"""

from __future__ import annotations

from orchestrator.domain.action import Plan, look_again
from orchestrator.domain.observation import Observation
from orchestrator.domain.orphan import left_s
from orchestrator.domain.update import next_load
from orchestrator.domain.withdrawal import routing, unloads


def plan(seen: Observation, now: float) -> Plan:
    """`now` is on the clock of the observation's times: monotonic seconds."""
    return routing(seen, now) + unloads(seen, now) + next_load(seen, now) + _until_orphaned(seen, now)


def _until_orphaned(seen: Observation, now: float) -> Plan:
    """A model whose runtime is gone is served for a while only: that time's end is an event by itself."""
    since = seen.memory.orphaned_since
    return look_again(left_s(since, now)) if since is not None else Plan()
