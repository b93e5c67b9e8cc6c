"""
Tells in statuses and events what has become of a model.

A status is written when it differs from what is stored, and never because time
has passed. Steps on the way to a first load wait for a moment: a model that is
loaded in a quarter of a second costs one write and not four, which is what a
thousand models at once cost the API server. What a user would miss is written
at once: that a model is ready, that it is not any more, or why it failed.

At once is when one of those who write statuses is free: they have a queue of
their own, since an API server whose webhook times out takes half a minute for
each, and requests that wait for a model must not wait for that. Law: of one
model one status is written at a time, and what has changed meanwhile is
decided anew on what is stored then.

A status that somebody else has stored over ours is overwritten once, and again
only when another is seen, and not at once: two who write do not chase each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from orchestrator.controller.desired import DesiredState
from orchestrator.domain.conditions import held_status, status_of
from orchestrator.domain.observation import Observation
from orchestrator.domain.timestamp import timestamp
from orchestrator.domain.trained_model import ModelStatus, TrainedModel
from orchestrator.ports import FleetView, Recorder, StatusWriter

log = structlog.get_logger(__name__)

#: How long a step on the way may go untold.
STEP_S: Final = 0.25
#: How soon after a status was overwritten it is again.
REWRITE_S: Final = 30.0
_ON_THE_WAY: Final = frozenset({"RuntimeStarting", "Downloading", "Loading"})


@dataclass(frozen=True, slots=True)
class _Due:
    uid: str
    status: ModelStatus


class Reporter:
    """Writes statuses, events and log lines. `clock` is monotonic, `wall` is in UTC."""

    def __init__(
        self,
        *,
        desired: DesiredState,
        view: FleetView,
        statuses: StatusWriter,
        recorder: Recorder,
        enqueue: Callable[[str], None],
        reconcile: Callable[[str], None],
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        """`enqueue` has `write` called for a model, `reconcile` has it looked at again."""
        self._desired = desired
        self._view = view
        self._statuses = statuses
        self._recorder = recorder
        self._enqueue = enqueue
        self._reconcile = reconcile
        self._clock = clock
        self._wall = wall
        #: Since when a step has gone untold, by model.
        self._untold: dict[str, float] = {}
        #: What is to be written next of a model.
        self._due: dict[str, _Due] = {}
        #: Models of which a status is being written; those that were looked at meanwhile.
        self._writing: set[str] = set()
        self._missed: set[str] = set()
        #: Models whose status could not be written: they come again by themselves, when they may.
        self._failed: set[str] = set()
        #: When a status was last overwritten that somebody else had stored.
        self._rewritten: dict[str, float] = {}

    def tell(self, seen: Observation) -> float | None:
        """Have written what is new; in how many seconds to come again for what may wait (None: nothing does)."""
        name, model = seen.name, seen.model or self._desired.held(seen.name)
        if name in self._writing:
            self._missed.add(name)
            return None
        at = timestamp(self._wall())
        status = held_status(model, at) if model is not None and model.held_by else status_of(seen, at)
        if model is None or status is None or status == model.status:
            self._untold.pop(name, None)
        if model is None or status is None:
            self._due.pop(name, None)
            self._rewritten.pop(name, None)
            return None
        if seen.lost and status.ready and seen.serving:
            self._view.found(seen.name)
        if status == model.status:
            return self._tell_again(model)
        if not model.status.ready and _is_step(status):
            now = self._clock()
            if (left := self._untold.setdefault(name, now) + STEP_S - now) > 0:
                # What was due before is not true any more.
                self._due.pop(name, None)
                return left
        self._owe(model, status)
        return None

    def _tell_again(self, model: TrainedModel) -> float | None:
        """What was told is true still, but may not be what is stored."""
        name, now = model.name, self._clock()
        due = self._due.pop(name, None)
        if not self._desired.overwritten(name):
            return None
        again = due is not None and due.status == model.status
        if not again and name not in self._failed:
            if (left := self._rewritten.get(name, float("-inf")) + REWRITE_S - now) > 0:
                return left
            self._rewritten[name] = now
            log.info("status_overwritten", trained_model=name)
        self._owe(model, model.status)
        return None

    def _owe(self, model: TrainedModel, status: ModelStatus) -> None:
        self._due[model.name] = _Due(model.uid, status)
        if model.name not in self._failed:
            self._enqueue(model.name)

    async def write(self, name: str) -> None:
        """Store what is due of this model, if anything; it still is when that raises."""
        self._failed.discard(name)
        due, model = self._due.pop(name, None), self._desired.model(name) or self._desired.held(name)
        if due is None or model is None or model.uid != due.uid:
            return
        self._writing.add(name)
        self._desired.status_sent(name, due.uid, due.status)
        try:
            await self._statuses.write_status(name, due.uid, due.status)
        except Exception:
            self._due[name] = due
            self._failed.add(name)
            self._desired.status_failed(name, due.uid)
            raise
        else:
            self._untold.pop(name, None)
            self._desired.status_written(name, due.uid, due.status)
            self._announce(model, due.status)
        finally:
            self._writing.discard(name)
            if name in self._missed:
                self._missed.discard(name)
                self._reconcile(name)

    def _announce(self, model: TrainedModel, status: ModelStatus) -> None:
        """One event and one log line a change of what a condition says."""
        for kind in ("Ready", "UpToDate"):
            before, after = model.status.condition(kind), status.condition(kind)
            if after is None or (before and (before.status, before.reason) == (after.status, after.reason)):
                continue
            if kind == "UpToDate" and (after.status == "True" or not status.active_revision):
                # No news, or Ready's: nothing is behind before a first revision has loaded.
                continue
            warning = after.status == "False" and after.reason not in _ON_THE_WAY
            self._recorder.event(model.name, model.uid, warning=warning, reason=after.reason, message=after.message)
            (log.warning if warning else log.info)(
                "trained_model_changed",
                trained_model=model.name,
                condition=kind,
                status=after.status,
                reason=after.reason,
                message=after.message,
                runtime=status.runtime,
                revision=status.active_revision,
            )


def _is_step(status: ModelStatus) -> bool:
    ready = status.condition("Ready")
    return ready is not None and ready.status == "False" and ready.reason in _ON_THE_WAY
