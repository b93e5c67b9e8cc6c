"""
Tells in statuses and events what has become of a model.

A status is written when it differs from what is stored, and never because time
has passed. Steps on the way to a first load wait for a moment: a model that is
loaded in a quarter of a second costs one write and not four, which is what a
thousand models at once cost the API server. What a user would miss is written
at once: that a model is ready, that it is not any more, or why it failed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from orchestrator.controller.desired import DesiredState
from orchestrator.domain.conditions import status_of
from orchestrator.domain.observation import Observation
from orchestrator.domain.timestamp import timestamp
from orchestrator.domain.trained_model import ModelStatus, TrainedModel
from orchestrator.ports import FleetView, Recorder, StatusWriter

log = structlog.get_logger(__name__)

#: How long a step on the way may go untold.
STEP_S: Final = 0.25
_ON_THE_WAY: Final = frozenset({"RuntimeStarting", "Downloading", "Loading"})


class Reporter:
    """Writes statuses, events and log lines. `clock` is monotonic, `wall` is in UTC."""

    def __init__(
        self,
        *,
        desired: DesiredState,
        view: FleetView,
        statuses: StatusWriter,
        recorder: Recorder,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self._desired = desired
        self._view = view
        self._statuses = statuses
        self._recorder = recorder
        self._clock = clock
        self._wall = wall
        #: Since when a step has gone untold, by model.
        self._untold: dict[str, float] = {}

    async def tell(self, seen: Observation) -> float | None:
        """Write what is new; in how many seconds to come again for what may wait (None: all is told)."""
        model = seen.model
        status = status_of(seen, timestamp(self._wall()))
        if model is None or status is None or status == model.status:
            self._untold.pop(seen.name, None)
        if model is None or status is None:
            return None
        if seen.lost and status.ready and seen.serving:
            self._view.found(seen.name)
        if status == model.status:
            return None
        if not model.status.ready and _is_step(status):
            now = self._clock()
            if (left := self._untold.setdefault(seen.name, now) + STEP_S - now) > 0:
                return left
        await self._statuses.write_status(model.name, model.uid, status)
        self._untold.pop(seen.name, None)
        self._desired.status_written(model.name, model.uid, status)
        self._announce(model, status)
        return None

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
