"""Copies are counted as they change, and only those that were seen to change."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator.domain.fleet import Copy, CopyState, Failure, ServerState
from orchestrator.fleet.counts import FleetCounts
from orchestrator.fleet.observed import ObservedFleet, Report
from orchestrator.machinery.figures import Labels, Spread
from tests.orchestrator.builders import make_copy, make_key, make_pod

RUNTIME = "mlserver-0.x"
REFUSED = make_copy(CopyState.FAILED, failure=Failure(reason="ModelNotFound", message="no such bucket"))


def shown(counts: FleetCounts, name: str) -> Mapping[Labels, float | Spread]:
    return next(figure.samples for figure in counts.figures() if figure.name == name)


@pytest.mark.parametrize("before", [CopyState.DOWNLOADING, CopyState.LOADING])
def test_a_load_counts_with_its_times(before: CopyState) -> None:
    """Once, by runtime; a word that only repeats it is none."""
    counts = FleetCounts()
    loaded = make_copy(CopyState.LOADED, download_s=1.5, load_s=0.25)
    counts.changed(RUNTIME, make_copy(before), loaded)
    counts.changed(RUNTIME, loaded, make_copy(CopyState.LOADED, reserved=7))
    assert shown(counts, "wml_loads") == {(RUNTIME,): 1}
    for name, seconds in (("wml_download_seconds", 1.5), ("wml_load_seconds", 0.25)):
        spread = shown(counts, name)[RUNTIME,]
        assert isinstance(spread, Spread)
        assert (spread.cumulative[-1], spread.total) == (1, seconds)


@pytest.mark.parametrize("first", [make_copy(CopyState.LOADED), REFUSED])
def test_what_is_first_heard_of_is_history(first: Copy) -> None:
    """A new leader hears of a thousand copies that another had loaded."""
    counts = FleetCounts()
    counts.changed(RUNTIME, None, first)
    assert not any(figure.samples for figure in counts.figures())


def test_a_failure_counts_by_its_reason_and_each_time() -> None:
    """A copy that is tried again and fails again has failed twice."""
    counts = FleetCounts()
    for _ in range(2):
        counts.changed(RUNTIME, make_copy(CopyState.DOWNLOADING), REFUSED)
        counts.changed(RUNTIME, REFUSED, make_copy(CopyState.DOWNLOADING))
    assert shown(counts, "wml_load_failures") == {(RUNTIME, "ModelNotFound"): 2}


def test_an_unload_is_one_that_was_asked_for() -> None:
    """A copy that went with its server was not unloaded."""
    counts = FleetCounts()
    counts.changed(RUNTIME, make_copy(CopyState.UNLOADING), None)
    counts.changed(RUNTIME, make_copy(CopyState.LOADED), None)
    assert shown(counts, "wml_unloads") == {(RUNTIME,): 1}


def test_the_fleet_counts_what_adapters_report() -> None:
    """A load that was commanded, and then an unload, from the first to the last report."""
    fleet = ObservedFleet()
    fleet.list_pods([make_pod()])
    fleet.report("p1", Report(boot="b", full=True, server=ServerState.READY))
    fleet.sending_load("p1", make_key())
    fleet.report("p1", Report(boot="b", full=False, server=ServerState.READY, copies=(make_copy(load_s=0.5),)))
    fleet.sending_unload("p1", make_key())
    fleet.report("p1", Report(boot="b", full=False, server=ServerState.READY, gone=(make_key(),)))
    assert shown(fleet.counts, "wml_loads") == {(RUNTIME,): 1}
    assert shown(fleet.counts, "wml_unloads") == {(RUNTIME,): 1}
