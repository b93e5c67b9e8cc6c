"""
Tells users in statuses and events what has become of a model.

A status is written when it differs from the stored one, and never because time
has passed. Steps on the way to a first load wait for a moment: a model that
loads in a quarter of a second costs the API server one write instead of four,
which counts when a thousand models come at once. What a user would miss is
written at once: that a model is ready, is not ready any more, or why it failed.

"At once" is when a status worker is free. Statuses have a queue and workers of
their own, since an API server whose webhook times out takes half a minute for
each write, and requests that wait for a model must not wait for that. A model
has at most one write under way; if something changes meanwhile, its status is
decided anew after that write.

A status that somebody else stored over ours is overwritten once. Another foreign
status is overwritten only REWRITE_S later: two writers do not chase each other.
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

#: How long a step on the way to READY may stay unwritten.
STEP_S: Final = 0.25
#: The least time between two overwrites of somebody else's status.
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
        """`enqueue` has `write` called for a model, `reconcile` has the model looked at again."""
        self._desired = desired
        self._view = view
        self._statuses = statuses
        self._recorder = recorder
        self._enqueue = enqueue
        self._reconcile = reconcile
        self._clock = clock
        self._wall = wall
        #: Model → since when a step has stayed unwritten.
        self._untold: dict[str, float] = {}
        #: Model → the status to write next.
        self._due: dict[str, _Due] = {}
        #: Models whose status is being written.
        self._writing: set[str] = set()
        #: Models that were looked at during that write.
        self._missed: set[str] = set()
        #: Models whose status could not be written: the queue tries them again after a back-off.
        self._failed: set[str] = set()
        #: Model → when somebody else's status was last overwritten.
        self._rewritten: dict[str, float] = {}

    def tell(self, seen: Observation) -> float | None:
        """Have a changed status written. Returns in how many seconds to call again for what waits (None: nothing)."""
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
                # A status that was due before is out of date.
                self._due.pop(name, None)
                return left
        self._owe(model, status)
        return None

    def _tell_again(self, model: TrainedModel) -> float | None:
        """The status as it was sent is still right, but the platform may have stored another one."""
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
        """Store the model's status if one is due; after an error it is still due."""
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
        """One event and one log line for each condition whose status or reason changed."""
        for kind in ("Ready", "UpToDate"):
            before, after = model.status.condition(kind), status.condition(kind)
            if after is None or (before and (before.status, before.reason) == (after.status, after.reason)):
                continue
            if kind == "UpToDate" and (after.status == "True" or not status.active_revision):
                # No news, or told by Ready: before a first revision has loaded nothing can be out of date.
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
