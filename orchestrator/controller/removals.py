"""
Which models may be removed: those that were deleted explicitly, and of the others a portion at a time.

A removal shows in an observation as a copy whose object is gone, or whose name
belongs to another object now. Copies that make room or are replaced belong to
the object that is there, and are not looked at here. The platform tells which
objects were deleted explicitly (`ports.DesiredSink`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog

from orchestrator.controller.residency import Residency
from orchestrator.domain.brake import WINDOW_S, Brake
from orchestrator.domain.errors import EventReason
from orchestrator.domain.fleet import CopyState
from orchestrator.domain.observation import Observation
from orchestrator.ports import Recorder

log = structlog.get_logger(__name__)


class Removals:
    """Asked before a plan's destructive actions are carried out."""

    def __init__(self, *, residency: Residency, recorder: Recorder, clock: Callable[[], float]) -> None:
        self._residency = residency
        self._recorder = recorder
        self._clock = clock
        self._brake = Brake()
        #: Whether every absence is an explicit deletion. If not, only these are: uids by name.
        self._explicit = True
        self._deleted: dict[str, set[str]] = {}
        self._held: set[str] = set()

    def listed(self, deleted: Collection[tuple[str, str]] | None) -> None:
        """As in `ports.DesiredSink.replace`."""
        self._explicit = deleted is None
        self.deleted(deleted or ())

    def deleted(self, models: Collection[tuple[str, str]]) -> None:
        """Record explicit deletions (such as a watch's DELETED events), by name and uid."""
        for name, uid in models:
            self._deleted.setdefault(name, set()).add(uid)

    def wait(self, seen: Observation) -> float:
        """For how many seconds nothing of the model may be removed; 0: it may be now."""
        name, uid = seen.name, seen.model.uid if seen.model is not None else ""
        leaving = {c.key.uid for c in seen.copies if c.state is CopyState.LOADED} - {uid}
        if self._explicit or not leaving - self._deleted.get(name, set()):
            if all(c.key.uid == uid for c in seen.copies):
                self._deleted.pop(name, None)
            self._forget(seen)
            return 0.0
        wait = self._brake.wait(name, serving=self._residency.models, now=self._clock())
        if wait > 0:
            self._hold(seen, min(leaving), wait)
        elif name in self._held:
            self._held.discard(name)
            log.info("removal_let_go", trained_model=name)
            self._recorder.event(
                name, min(leaving), warning=False, reason=EventReason.REMOVAL_LET_GO, message="it is removed now"
            )
        return wait

    def _hold(self, seen: Observation, uid: str, wait: float) -> None:
        if seen.name in self._held:
            return
        self._held.add(seen.name)
        others = self._brake.limit
        message = (
            f"it serves and is not listed any more, but nobody said that it was deleted; {others} of which the same is "
            f"true have just gone, a fifth of all that serve: the next go after {WINDOW_S:g} s"
        )
        log.warning("removal_held", trained_model=seen.name, gone=others, wait_s=round(wait, 1))
        self._recorder.event(seen.name, uid, warning=True, reason=EventReason.REMOVAL_HELD, message=message)

    def _forget(self, seen: Observation) -> None:
        self._brake.forget(seen.name)
        if seen.name in self._held:
            self._held.discard(seen.name)
            log.info("removal_called_off", trained_model=seen.name, listed=seen.model is not None)
            if seen.model is not None:
                self._recorder.event(
                    seen.name,
                    seen.model.uid,
                    warning=False,
                    reason=EventReason.REMOVAL_CALLED_OFF,
                    message="it is listed again",
                )
