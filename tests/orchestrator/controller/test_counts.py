"""What the controller did, and how its models are."""

from __future__ import annotations

import pytest

from orchestrator.controller.counts import ControllerCounts, CountedStatuses, census
from orchestrator.controller.desired import DesiredState
from orchestrator.domain.trained_model import ModelStatus
from tests.orchestrator.builders import make_condition, make_model, make_status


class Writer:
    """Refuses what it is told to."""

    def __init__(self) -> None:
        self.written: list[str] = []

    async def write_status(self, name: str, uid: str, status: ModelStatus) -> None:
        if name == "refused":
            raise ConnectionError("the API server is away")
        self.written.append(name)


async def test_writes_and_failed_writes_are_counted_apart() -> None:
    """A failure is counted and goes on to who has to deal with it."""
    writer, counts = Writer(), ControllerCounts()
    counted = CountedStatuses(writer, counts)
    await counted.write_status("digits", "uid", ModelStatus())
    with pytest.raises(ConnectionError):
        await counted.write_status("refused", "uid", ModelStatus())
    assert writer.written == ["digits"]
    assert counts.status_writes.read().samples == {(): 1}
    assert counts.status_write_failures.read().samples == {(): 1}


def test_models_are_counted_by_what_their_status_says() -> None:
    """Those of which nothing was said yet, those that are behind, and words of another version, which are one word."""
    ready = make_condition()
    failed = make_condition(status="False", reason="ModelNotFound")
    behind = make_condition("UpToDate", status="False", reason="StorageUnavailable")
    odd = make_condition(status="False", reason="FluxCompensatorMissing")
    statuses = [make_status(ready), make_status(ready, behind), make_status(failed), make_status(odd), ModelStatus()]
    models, late = census(statuses)
    assert models.labels == ("ready", "reason")
    assert models.samples == {
        ("True", "Loaded"): 2,
        ("False", "ModelNotFound"): 1,
        ("False", "Other"): 1,
        ("Unknown", ""): 1,
    }
    assert late.samples == {("StorageUnavailable",): 1}


def test_the_newest_status_counts() -> None:
    """One that was written just now and not echoed yet; not one of a model that was deleted and made again."""
    desired = DesiredState()
    models = {"a": make_model("a"), "b": make_model("b")}
    desired.replace(models=models, runtimes={}, storage=None, config={})
    desired.status_written("a", models["a"].uid, make_status(make_condition()))
    desired.status_written("b", "another", make_status(make_condition()))
    assert census(desired.statuses())[0].samples == {("True", "Loaded"): 1, ("Unknown", ""): 1}
