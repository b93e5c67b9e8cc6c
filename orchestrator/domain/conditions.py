"""
The status of a model, derived from an observation: when each condition is True or False, and with which reason.

`ready_verdict` asks policies in order, and the first that has a verdict decides
(law 2: READY is the truth). The condition as it was before matters in three
places only, each so that READY does not flap: a route that changes while a copy
serves, Loaded ↔ Standby, and a failure that is being retried. What each reason
means for a user is in docs/operations.md, Troubleshooting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.domain import trained_model
from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import CopyState
from orchestrator.domain.observation import Observation
from orchestrator.domain.target import Target, as_active
from orchestrator.domain.trained_model import Condition, ModelStatus, TrainedModel

#: Longest message of a condition, in bytes of UTF-8: no object, store or server may fill etcd with its texts, nor the
#: header in which gRPC sends a message (gRPC makes three bytes of each that is not ASCII, and its clients take 8 KiB).
MESSAGE_LIMIT: Final = 2048


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition's new content."""

    status: str
    #: A Reason, kept as text: a status written by another version may hold a reason that this version does not know.
    reason: str
    #: Cut to MESSAGE_LIMIT.
    message: str

    def __post_init__(self) -> None:
        cut = self.message.encode(errors="replace")[:MESSAGE_LIMIT].decode(errors="ignore")
        object.__setattr__(self, "message", cut)


Policy = Callable[[Observation], Verdict | None]


def status_of(seen: Observation, timestamp: str) -> ModelStatus | None:
    """
    The status to show, with `timestamp` (RFC 3339) on conditions that changed; None for a model that is gone.

    When nothing needs to be written, it equals the status that the model has.
    """
    model = seen.model
    if model is None:
        return None
    old = model.status
    conditions = (
        _condition("Ready", ready_verdict(seen), old, timestamp),
        _condition("UpToDate", up_to_date_verdict(seen), old, timestamp),
    )
    target = seen.target
    loaded = target if seen.serves_target or seen.remembers_loading else seen.memory.loaded
    if isinstance(loaded, Target):
        # Also of a target that was changed again before its status could be stored.
        old = as_active(old, loaded)
    runtime = target.runtime.name if isinstance(target, Target) else old.runtime
    before = bool(seen.serving) or seen.fallback is not None
    if before and not seen.serves_target and old.active_runtime:
        # Where requests are answered, or will be, not where a change that may never load would be.
        runtime = old.active_runtime
    return replace(
        old,
        url=trained_model.url(model.name),
        observed_generation=model.generation,
        runtime=runtime,
        conditions=conditions,
    )


def held_status(model: TrainedModel, timestamp: str) -> ModelStatus:
    """The last status of a model that was deleted but whose object a finalizer of somebody else's keeps."""
    message = f"being deleted; finalizer {model.held_by} holds it"
    verdict = Verdict("False", Reason.RUNTIME_UNAVAILABLE, message)
    others = tuple(c for c in model.status.conditions if c.type != "Ready")
    conditions = (_condition("Ready", verdict, model.status, timestamp), *others)
    return replace(model.status, observed_generation=model.generation, conditions=conditions)


def ready_verdict(seen: Observation) -> Verdict:
    """Whether a request sent now is answered, and why not."""
    return next(verdict for policy in _READY if (verdict := policy(seen)) is not None)


def up_to_date_verdict(seen: Observation) -> Verdict:
    """Whether what serves is what the spec asks for."""
    assert seen.model is not None
    active = seen.model.status.active_revision
    if seen.serves_target or (seen.loaded_before and not seen.serving):
        return Verdict("True", Reason.LOADED, "")
    if not active:
        return Verdict("Unknown", ready_verdict(seen).reason, "no revision has loaded yet: see Ready")
    failure = _failed(seen)
    if failure is not None:
        return Verdict("False", failure.reason, failure.message)
    answers = ready_verdict(seen).status == "True"
    meanwhile = "the one before it serves until then" if answers else "nothing serves until then: see Ready"
    room = seen.memory.room
    # Once the server has died, what it had no room for is no news.
    far = "is on its way" if room is None or not seen.serving else f"waits for room: {room.message}"
    return Verdict("Unknown", Reason.LOADING, f"the changed model {far}; {meanwhile}")


def progress_verdict(seen: Observation) -> Verdict:
    """How far the target is on its way into memory, whatever READY says: what a waiting request is told."""
    return _comes(seen) or _runtime_starts(seen)


def _serves(seen: Observation) -> Verdict | None:
    if not seen.serving:
        return None
    assert seen.model is not None
    route = seen.route
    published = route is not None and route.route.endpoints == seen.endpoints
    if seen.memory.unanswered:
        return Verdict("False", Reason.RUNTIME_UNAVAILABLE, _unanswered_message(seen))
    if published and route is not None and route.acked:
        return Verdict("True", Reason.LOADED, _loaded_message(seen))
    if seen.model.status.ready and not seen.lost:
        return _as_before(seen)
    if (down := _was_lost(seen)) is not None:
        return down
    if route is not None and route.refused:
        return Verdict("False", Reason.LOADING, f"loaded, but the mesh refused its route: {route.refused}")
    return Verdict("False", Reason.LOADING, "loaded; waiting for the mesh to accept its route")


def _may_serve_unheard(seen: Observation) -> Verdict | None:
    """The spec cannot be served, but a copy of an earlier one may still serve, in a pod that is silent."""
    if not isinstance(seen.target, ModelProblem) or all(p.known for p in seen.pods):
        return None
    assert seen.model is not None
    return _as_before(seen) if seen.model.status.ready else None


def _last_good_comes(seen: Observation) -> Verdict | None:
    """Nothing serves, but the last good revision can: it is being brought back, or stands by."""
    fallback = seen.fallback
    if fallback is None or fallback.memory.failed is not None:
        return None
    return _was_lost(fallback) or _stands_by(fallback)


def _failed(seen: Observation) -> Verdict | None:
    if isinstance(seen.target, ModelProblem):
        return Verdict("False", seen.target.reason, seen.target.message)
    failure = seen.memory.failed
    if failure is None:
        return None
    message = failure.message
    if seen.memory.given_up:
        message += (
            f"; it did so {seen.memory.crashes} times in a row:"
            " not tried again until the model, its key or its objects change"
        )
    return Verdict("False", failure.reason, message)


def _was_lost(seen: Observation) -> Verdict | None:
    """The model's server died, or no pod is up to load it again. Holds until it is loaded and routed, or stands by."""
    if not seen.loaded_before or seen.memory.evicted:
        return None
    assert seen.model is not None
    ready = seen.model.status.condition("Ready")
    lost = seen.lost or (ready is not None and ready.reason == Reason.RUNTIME_UNAVAILABLE)
    pool = seen.pool()
    if not lost and any(p.usable for p in pool):
        return None
    if not lost and any(not p.known for p in pool) and seen.model.status.ready:
        # A pod's silence is no news: the condition stays.
        return _as_before(seen)
    what = "its server died" if seen.lost else "it went with its server"
    return Verdict("False", Reason.RUNTIME_UNAVAILABLE, _pool_message(seen, f"{what}; it is brought back"))


def _stands_by(seen: Observation) -> Verdict | None:
    if not seen.loaded_before:
        return None
    assert seen.model is not None
    if seen.model.status.ready:
        return _as_before(seen)
    return Verdict("True", Reason.STANDBY, "not in memory; the next request loads it")


def _comes(seen: Observation) -> Verdict | None:
    target = seen.target
    assert isinstance(target, Target)
    states = {c.state for c in seen.target_copies if not seen.given_up(c)}
    if CopyState.LOADING in states:
        return Verdict("False", Reason.LOADING, f"{target.runtime.name} loads {target.uri}")
    if CopyState.DOWNLOADING in states:
        return Verdict("False", Reason.DOWNLOADING, f"downloading {target.uri}")
    if CopyState.UNKNOWN in states:
        why = "its adapter is newer than this orchestrator, and says what is not known here"
        return Verdict("False", Reason.LOADING, f"{target.runtime.name}: {why}")
    pool = {p.pod.uid for p in seen.pool() if p.known}
    if any(c.state is CopyState.UNLOADING and c.pod in pool for c in seen.copies):
        what = "still unloads what had this name; requests to that have to end first"
        return Verdict("False", Reason.LOADING, f"{target.runtime.name} {what}")
    if any(p.usable for p in seen.pool()):
        if seen.memory.room is not None:
            said = [f"waiting for room in {target.runtime.name}", *_pool_says(seen)]
            return Verdict("False", Reason.LOADING, "; ".join(said))
        return Verdict("False", Reason.DOWNLOADING, f"about to download {target.uri}")
    return None


def _runtime_starts(seen: Observation) -> Verdict:
    what = "no pod of it answers" if seen.nobody_answers else "its server starts"
    return Verdict("False", Reason.RUNTIME_STARTING, _pool_message(seen, what))


_READY: Final[tuple[Policy, ...]] = (
    _serves,
    _may_serve_unheard,
    _last_good_comes,
    _failed,
    _was_lost,
    _stands_by,
    _comes,
    _runtime_starts,
)


def _loaded_message(seen: Observation) -> str:
    runtimes = sorted({p.pod.runtime for c in seen.serving if (p := seen.pod(c.pod)) is not None})
    return f"served by {', '.join(runtimes)}"


def _unanswered_message(seen: Observation) -> str:
    pods = (p for c in seen.serving if (p := seen.pod(c.pod)) is not None)
    said = [f"pod {p.pod.name}{f': {p.pod.message}' if p.pod.message else ''}" for p in pods]
    failure = seen.memory.failed
    then = f"where it is tried again: {failure.message}" if failure is not None else "if there is room"
    return f"neither requests nor its adapter are answered in {'; '.join(said)}: it is loaded elsewhere, {then}"


def _as_before(seen: Observation) -> Verdict:
    assert seen.model is not None
    before = seen.model.status.condition("Ready")
    assert before is not None
    return Verdict(before.status, before.reason, before.message)


def _pool_message(seen: Observation, what: str) -> str:
    assert isinstance(seen.target, Target)
    return "; ".join([f"runtime {seen.target.runtime.name}: {what}", *_pool_says(seen)])


def _pool_says(seen: Observation) -> list[str]:
    """The platform's messages about the target's pool and about each of its pods, and who has been silent for long."""
    assert isinstance(seen.target, Target)
    said = [message for runtime, message in seen.pools if runtime == seen.target.runtime.name and message]
    said += [f"pod {p.pod.name}: {p.pod.message}" for p in seen.pool() if p.pod.message]
    # Not of those that may answer in a moment: an adapter that comes and goes must not have statuses written.
    silent = (p for p in seen.pool() if p.given_up and p.silent and not p.leaving and not p.pod.message)
    return said + [f"pod {p.pod.name} does not answer" for p in silent]


def _condition(kind: str, verdict: Verdict, old: ModelStatus, timestamp: str) -> Condition:
    fresh = Condition(
        type=kind,
        status=verdict.status,
        reason=verdict.reason,
        message=verdict.message,
        last_transition_time=timestamp,
    )
    before = old.condition(kind)
    if before is None or before.status != fresh.status:
        return fresh
    return replace(fresh, last_transition_time=before.last_transition_time)
