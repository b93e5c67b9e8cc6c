"""
A model whose runtime is gone, and that still answers in pods on their way out.

A ServingRuntime that is deleted takes its pods along, and they drain: their
models are served until the pods end, and by nobody after that. For PATIENCE_S
the runtime may come back, as one that is replaced does. After that its models
are withdrawn while there is time to do so in order, and READY becomes False
before requests fail.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import Copy, CopyState, PodView
from orchestrator.domain.target import Target

#: How long a runtime that is gone may take to come back. Less than a drain has before it withdraws the models left.
PATIENCE_S: Final = 15.0

_GONE: Final = frozenset({Reason.RUNTIME_NOT_RECOGNIZED, Reason.NO_SUPPORTING_RUNTIME})


def orphaned_since(
    before: float | None,
    *,
    uid: str,
    target: Target | ModelProblem | None,
    last_good: Target | None,
    copies: Iterable[Copy],
    leaving: Collection[str],
    now: float,
) -> float | None:
    """
    Since when no runtime takes the model and all its loaded copies are in pods that leave; None: that is not the case.

    `before` is the answer of the last look.
    """
    if not isinstance(target, ModelProblem) or target.reason not in _GONE or last_good is not None:
        return None
    loaded = [c for c in copies if c.key.uid == uid and c.state is CopyState.LOADED]
    if not loaded or any(c.pod not in leaving for c in loaded):
        return None
    return now if before is None else before


def left_s(since: float, now: float) -> float:
    """For how many seconds more the model is served."""
    return max(0.0, since + PATIENCE_S - now)


def closed(pod: PodView, since: float | None, now: float) -> PodView:
    """The pod as an orphaned model sees it: once the patience is over, a pod that leaves counts as ending now."""
    over = since is not None and left_s(since, now) <= 0
    return replace(pod, closing=True) if over and pod.leaving else pod
