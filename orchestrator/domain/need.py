"""
Which runtimes a model needs, and which it waits for: what their pools are scaled by.
"""

from __future__ import annotations

from orchestrator.domain.action import MakeRoom, Plan
from orchestrator.domain.errors import ModelProblem
from orchestrator.domain.fleet import Copy, CopyState
from orchestrator.domain.observation import Observation
from orchestrator.domain.target import Target
from orchestrator.domain.trained_model import TrainedModel


def needed_anywhere(
    model: TrainedModel | None, target: Target | ModelProblem | None, last_good: Target | None
) -> frozenset[str]:
    """The runtimes that a model needs wherever its copies are."""
    needed = frozenset(each.runtime.name for each in (target, last_good) if isinstance(each, Target))
    if needed:
        return needed
    if model is not None and model.status.active_revision:
        # The spec cannot be served, but the runtime that served it before is not to be stopped: a silent pod may serve.
        return frozenset({model.status.active_runtime or model.status.runtime})
    return frozenset()


def needed(seen: Observation) -> frozenset[str]:
    """The runtimes that a model needs, those of the pods among them that hold it."""
    holders = (pod.pod.runtime for c in seen.copies if (pod := seen.pod(c.pod)) is not None and _needs_its_pod(seen, c))
    return needed_anywhere(seen.model, seen.target, seen.last_good) | frozenset(holders)


def waits_for(seen: Observation, decided: Plan) -> str | None:
    """
    The runtime for whose pods the model waits; None: for none.

    A model that stands by waits for demand and not for pods: a pod's change is no reason to look at thousands of them.
    But its update does, for which there is no pod yet.
    """
    goal = _awaited(seen)
    if not isinstance(goal.target, Target):
        return None
    # A model whose copies are all in pods on their way out waits for another pod.
    under_way = any(c.state is not CopyState.FAILED and seen.counts(c) for c in goal.target_copies)
    stood_by = goal.memory.evicted and goal.loaded_before and not seen.urgent and not seen.serving
    return None if under_way or stood_by or decided.stands_by else goal.target.runtime.name


def lacks_room(seen: Observation, decided: Plan) -> bool:
    """Whether the model wants another pod beside those that there are: others would have to leave, or none answers."""
    return _awaited(seen).nobody_answers or any(isinstance(a, MakeRoom) for a in decided.actions)


def _awaited(seen: Observation) -> Observation:
    return seen if seen.homeless and seen.goal.memory.evicted else seen.goal


def _needs_its_pod(seen: Observation, copy: Copy) -> bool:
    """A serving copy needs its pod; one that is loaded, or may be, has to leave in order before its pod ends."""
    loaded = copy.state in (CopyState.LOADED, CopyState.UNKNOWN) and seen.known(copy)
    return loaded or copy in seen.serving
