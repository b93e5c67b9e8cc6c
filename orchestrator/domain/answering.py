"""
Answers to activators, from the same verdicts as the conditions.

So a request that is refused is refused with the reason and message that the
model's status shows.
"""

from __future__ import annotations

from typing import Final

from orchestrator.domain.conditions import progress_verdict, ready_verdict
from orchestrator.domain.demand import Answer, OnDemand, ReadyAt, Refused, WaitFor
from orchestrator.domain.errors import ModelProblem
from orchestrator.domain.observation import Observation

_GRPC_NOT_FOUND: Final = 5
_GRPC_FAILED_PRECONDITION: Final = 9


def answer(seen: Observation) -> Answer:
    """What to tell an activator that asks for this model."""
    if seen.model is None:
        return Refused(_GRPC_NOT_FOUND, f"model {seen.name!r} not found: there is no TrainedModel of that name")
    if seen.serving:
        return ReadyAt(seen.endpoints)
    verdict = ready_verdict(seen)
    fallback = seen.fallback
    hopeless = isinstance(seen.goal.target, ModelProblem) or seen.goal.memory.failed is not None
    if hopeless and (fallback is None or fallback.memory.failed is not None):
        return Refused(
            _GRPC_FAILED_PRECONDITION, f"model {seen.name!r} is not ready: {verdict.reason}: {verdict.message}"
        )
    if verdict.status == "True":
        if not seen.urgent:
            return OnDemand()
        verdict = progress_verdict(seen.goal)
    return WaitFor(f"{verdict.reason}: {verdict.message}")
