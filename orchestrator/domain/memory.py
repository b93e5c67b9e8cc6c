"""
What the controller remembers of a model after a look at it: pure transitions of `Memory`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import NO_ROOM, PRESENT, Copy, CopyKey, CopyRef, CopyState, Failure
from orchestrator.domain.observation import Memory
from orchestrator.domain.orphan import orphaned_since
from orchestrator.domain.target import Target
from orchestrator.domain.trained_model import Condition, TrainedModel

#: Reasons that other credentials may mend.
_OF_STORES: Final = frozenset({Reason.MODEL_NOT_FOUND, Reason.STORAGE_ACCESS_DENIED, Reason.STORAGE_UNAVAILABLE})
#: Reasons that come from a load, in an adapter. The others come from the spec, and are worked out anew each time.
_OF_LOADS: Final = frozenset(
    {
        Reason.INVALID_MODEL_LAYOUT,
        Reason.MODEL_LOAD_FAILED,
        Reason.MODEL_TOO_LARGE,
        *_OF_STORES,
    }
)


def remember(
    memory: Memory,
    *,
    uid: str,
    target: Target | ModelProblem | None,
    copies: Iterable[Copy],
    now: float,
    last_good: Target | None = None,
    ending: Collection[str] = (),
    leaving: Collection[str] = (),
    silent: Collection[str] = (),
    stale: bool = False,
) -> Memory:
    """
    The memory after a look at the copies of the model with that uid.

    `now`: monotonic seconds; `leaving`: pods on their way out; `ending`: those of them that end now; `silent`: pods
    that do not answer; `stale`: a request has come back from where the model should be loaded.
    """
    copies = tuple(copies)
    if memory.evict is not None and memory.evict.pod in silent:
        # Nobody can unload a copy in a silent pod, so its eviction would make no room.
        memory = replace(memory, evict=None)
    orphaned = orphaned_since(
        memory.orphaned_since, uid=uid, target=target, last_good=last_good, copies=copies, leaving=leaving, now=now
    )
    holders = [c.pod for c in copies if c.key.uid == uid and c.state is CopyState.LOADED]
    unheard = bool(holders) and all(pod in silent for pod in holders)
    memory = replace(memory, unanswered=unheard and (stale or memory.unanswered))
    before = None
    if last_good is not None:
        before = replace(memory.last_good or Memory(), evict=memory.evict, unanswered=memory.unanswered)
        before = replace(_look(before, uid, last_good, copies, now, ending), evict=None, unanswered=False)
    return replace(
        _look(memory, uid, target, copies, now, ending),
        last_good=before,
        irreplaceable=isinstance(target, ModelProblem) and last_good is None,
        orphaned_since=orphaned,
    )


def resumed(model: TrainedModel) -> Memory:
    """
    What a new controller knows of a model from its status: which loads have failed.

    Without that it would call a model ready that is not, and would try a failed update before the revision that served.
    """
    if model.status.observed_generation != model.generation:
        return Memory()
    update, ready = (_failure_said(model.status.condition(kind)) for kind in ("UpToDate", "Ready"))
    return Memory(failure=update or ready, last_good=Memory(failure=ready) if ready is not None else None)


def _failure_said(said: Condition | None) -> Failure | None:
    if said is None or said.status != "False" or said.reason not in _OF_LOADS:
        return None
    return Failure(reason=said.reason, message=said.message)


def _look(
    memory: Memory,
    uid: str,
    target: Target | ModelProblem | None,
    copies: tuple[Copy, ...],
    now: float,
    ending: Collection[str],
) -> Memory:
    if isinstance(target, Target) and (memory.uid, memory.revision) != (uid, target.revision):
        failure = memory.failure if not memory.uid else None
        memory = Memory(
            uid=uid,
            revision=target.revision,
            evict=memory.evict,
            failure=failure,
            unanswered=memory.unanswered,
            loaded=memory.loaded if memory.uid == uid else None,
        )
    leaving = [c for c in copies if c.ref == memory.evict]
    if memory.evict is not None and all(c.state is CopyState.FAILED for c in leaving):
        # A copy that was evicted waits for demand. A revision that took its place meanwhile was not evicted itself, and
        # a copy that failed on its way out is tried again like any failure.
        own = (memory.evict.key.uid, memory.evict.key.revision) == (memory.uid, memory.revision)
        memory = replace(memory, evict=None, evicted=memory.evicted or (own and not leaving))
    if not isinstance(target, Target):
        return memory
    own_copies = [c for c in copies if (c.key.uid, c.key.revision) == (uid, target.revision) and c.ref != memory.evict]
    loaded = [c for c in own_copies if c.state is CopyState.LOADED]
    # A copy in silent pods that answers no requests does not settle the load that is tried in another pod.
    if loaded and not memory.unanswered:
        # A loaded copy makes failures in other pods irrelevant.
        return replace(
            memory,
            loads=0,
            failed_at=None,
            failure=None,
            room=None,
            crashes=0,
            reserve=loaded[0].reserved,
            loaded=target,
            evicted=not any(c.pod not in ending and c.state in PRESENT for c in own_copies),
        )
    for copy in own_copies:
        if copy.state is CopyState.FAILED and copy.failure is not None and memory.pod in ("", copy.pod):
            memory = _failed(memory, copy, copy.failure, now)
    return memory


def _failed(memory: Memory, copy: Copy, failure: Failure, now: float) -> Memory:
    fresh = memory.failed_at is None
    memory = replace(memory, pod=copy.pod, failed_at=now if fresh else memory.failed_at, loads=max(1, memory.loads))
    if failure.reason == NO_ROOM:
        # The load did not begin: the outcome of the loads before stands.
        return replace(memory, room=failure, reserve=failure.needed)
    crashes = (memory.crashes + fresh) if failure.crashed else 0
    if crashes and memory.failed is not None and memory.loads <= 1:
        # It had failed before this controller's first look at it: this death is no reason to forget that.
        crashes = max(crashes, 2)
    # A copy whose hand-over failed does not stand by: it is tried again.
    return replace(memory, failure=failure, room=None, crashes=crashes, evicted=False)


def commanded(memory: Memory, target: Target, pod: str, *, urgent: bool = False) -> Memory:
    """
    After a load was accepted. An earlier failure stays until the outcome is known, except a want of room.

    Nor does one of the store stay that other credentials were refused with: somebody has just mended its cause.
    """
    if memory.last_good is not None and memory.last_good.revision == target.revision:
        return replace(memory, last_good=commanded(memory.last_good, target, pod, urgent=urgent))
    mended = memory.credentials not in ("", target.credentials.version)
    of_store = memory.failure is not None and memory.failure.reason in _OF_STORES
    return replace(
        memory,
        failure=None if mended and of_store else memory.failure,
        pod=pod,
        loads=memory.loads + 1,
        failed_at=None,
        room=None,
        credentials=target.credentials.version,
        evicted=False,
        urgent=urgent,
    )


def hurried(memory: Memory, target: Target) -> Memory:
    """After the adapter was told that a request waits for the copy that it is loading."""
    if memory.last_good is not None and memory.last_good.revision == target.revision:
        return replace(memory, last_good=hurried(memory.last_good, target))
    return replace(memory, urgent=True)


def interrupted(memory: Memory, key: CopyKey, now: float) -> Memory:
    """After the copy was unloaded: if that ended another try of what has failed before, the next has its back-off."""
    tried = (memory.uid, memory.revision) == (key.uid, key.revision) and memory.failed_at is None
    return replace(memory, failed_at=now) if tried and memory.failed is not None else memory


def evicting(memory: Memory, copy: CopyRef) -> Memory:
    """This copy has to make room for another model's."""
    return replace(memory, evict=copy)


def standing_by(memory: Memory) -> Memory:
    """The model does not fit beside the others, and nobody asks for it: it waits for demand."""
    before = replace(memory.last_good, evicted=True) if memory.last_good is not None else None
    return replace(memory, evicted=True, last_good=before)
