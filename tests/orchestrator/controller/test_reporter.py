"""What is told of a model, and when: at once what matters, a step on the way only if it takes a moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from orchestrator.controller.desired import DesiredState
from orchestrator.controller.reporter import STEP_S, Reporter
from orchestrator.domain.fleet import CopyState, Failure
from orchestrator.domain.observation import Memory, Observation
from orchestrator.domain.trained_model import ModelStatus
from orchestrator.fleet.observed import ObservedFleet
from tests.orchestrator.builders import (
    endpoint,
    make_condition,
    make_copy,
    make_key,
    make_model,
    make_observation,
    make_route,
    make_status,
)

STARTING = make_observation(pods=())
DOWNLOADING = make_observation(copies=(make_copy(CopyState.DOWNLOADING),))
LOADING = make_observation(copies=(make_copy(CopyState.LOADING),))
LOADED = make_observation(copies=(make_copy(),), route=make_route(endpoint()))
FAILED = make_observation(
    memory=Memory(uid=make_key().uid, revision="r1", failure=Failure(reason="ModelNotFound", message="why"))
)


NAME = make_model().name


@dataclass
class Told:
    """Takes what is told, and writes at once; the model's status is the last one, as it would be in the world."""

    now: float = 100.0
    #: What writing a status raises, if anything; and what happens meanwhile.
    trouble: Exception | None = None
    meanwhile: Callable[[], None] = lambda: None
    #: Names to be written, and to be looked at again.
    queue: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    events: list[tuple[bool, str]] = field(default_factory=list)
    status: ModelStatus = field(default_factory=ModelStatus)

    def __post_init__(self) -> None:
        self.desired = DesiredState()
        self.reporter = Reporter(
            desired=self.desired,
            view=ObservedFleet(),
            statuses=self,
            recorder=self,
            enqueue=self.queue.append,
            reconcile=self.again.append,
            clock=lambda: self.now,
            wall=lambda: datetime(2026, 1, 1, 1, tzinfo=UTC),
        )

    async def write_status(self, name: str, uid: str, status: ModelStatus) -> None:
        self.meanwhile()
        if self.trouble:
            raise self.trouble
        self.status = status
        ready = status.condition("Ready")
        assert ready is not None
        self.written.append(ready.reason)

    def event(self, name: str, uid: str, *, warning: bool, reason: str, message: str) -> None:
        self.events.append((warning, reason))

    def tell(self, seen: Observation) -> float | None:
        """A reconcile that sees this comes to its end."""
        model = make_model(status=self.status)
        self.desired.change({NAME: model})
        return self.reporter.tell(replace(seen, model=model))

    async def look(self, seen: Observation) -> float | None:
        """The same, and what is due is written."""
        again = self.tell(seen)
        while self.queue:
            await self.reporter.write(self.queue.pop())
        return again


async def test_steps_that_are_over_in_a_moment_are_not_told() -> None:
    """One write and one event from nothing to READY."""
    told = Told()
    for seen in (STARTING, DOWNLOADING, LOADING, LOADED, LOADED):
        await told.look(seen)
        told.now += STEP_S / 10
    assert told.written == ["Loaded"]
    assert told.events == [(False, "Loaded")]


async def test_a_step_that_takes_long_is_told() -> None:
    """The one that it is by then; and the next that takes long as well."""
    told = Told()
    left = await told.look(STARTING)
    assert left == STEP_S
    told.now += STEP_S / 2
    assert await told.look(DOWNLOADING) == STEP_S / 2
    told.now += STEP_S / 2
    assert await told.look(DOWNLOADING) is None
    assert await told.look(LOADING) == STEP_S
    told.now += STEP_S
    assert await told.look(LOADING) is None
    assert told.written == ["Downloading", "Loading"]


async def test_a_failure_is_told_at_once_as_a_warning() -> None:
    """So is what comes of it; the step in between only if it takes long."""
    told = Told()
    await told.look(FAILED)
    await told.look(LOADING)
    await told.look(LOADED)
    assert told.written == ["ModelNotFound", "Loaded"]
    assert told.events == [(True, "ModelNotFound"), (False, "Loaded")]


async def test_that_it_is_not_ready_any_more_is_told_at_once() -> None:
    """READY is the truth, whatever it is that is on its way."""
    told = Told(status=make_status(make_condition(), active="r0"))
    assert await told.look(replace(DOWNLOADING, lost=True)) is None
    assert told.written == ["Downloading"]


async def test_a_model_that_went_before_its_step_was_told_leaves_nothing() -> None:
    """The next of that name has its own moment."""
    told = Told()
    await told.look(STARTING)
    assert told.reporter.tell(replace(STARTING, model=None, target=None)) is None
    told.now += STEP_S
    assert await told.look(STARTING) == STEP_S


async def test_what_was_due_and_is_not_true_any_more_is_not_written() -> None:
    """Whatever came while it waited for its turn: the state before, a step on the way, another model, or none."""
    for later in (STARTING, DOWNLOADING):
        told = Told()
        told.tell(LOADED)
        told.tell(later)
        await told.reporter.write(NAME)
        assert told.written == []
    told = Told(status=make_status(make_condition(), active="r1"))
    told.tell(replace(DOWNLOADING, lost=True))
    told.tell(LOADED)
    await told.reporter.write(NAME)
    assert told.status.ready
    for model in (make_model(uid="another"), None):
        told = Told()
        told.tell(LOADED)
        told.desired.change({NAME: model})
        await told.reporter.write(NAME)
        assert told.written == []


async def test_what_is_seen_while_a_status_is_written_is_decided_on_what_is_stored_then() -> None:
    """A look at it is owed when the write has ended, well or not."""
    for trouble in (None, ConnectionError()):
        told = Told(trouble=trouble)

        def seen(told: Told = told) -> None:
            assert told.tell(FAILED) is None
            assert told.again == []

        told.meanwhile = seen
        told.tell(LOADED)
        told.queue.clear()
        try:
            await told.reporter.write(NAME)
        except ConnectionError:
            assert trouble
        assert (told.queue, told.again) == ([], [NAME])
        assert told.written == ([] if trouble else ["Loaded"])


async def test_what_could_not_be_written_comes_again_as_what_is_true_then() -> None:
    """When the queue says so: whoever asked to be left alone is, whatever is seen meanwhile."""
    told = Told(trouble=ConnectionError())
    with pytest.raises(ConnectionError):
        await told.look(LOADED)
    told.trouble = None
    await told.look(FAILED)
    assert told.written == []
    await told.reporter.write(NAME)
    assert told.written == ["ModelNotFound"]
    assert [reason for _, reason in told.events] == ["ModelNotFound"]
    await told.look(LOADED)
    assert told.written == ["ModelNotFound", "Loaded"]
