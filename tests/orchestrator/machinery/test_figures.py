"""Counting, without anybody who looks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.machinery.figures import Counter, Spread, Timing, gauge, gauges


def test_a_counter_without_labels_is_there_from_the_start() -> None:
    """Its first event is a change, and not its first appearance."""
    counter = Counter("pushes", "Pushes.")
    assert counter.read().samples == {(): 0}
    counter.add()
    counter.add(by=2)
    assert counter.read().samples == {(): 3}


def test_a_counter_counts_for_each_combination_of_labels() -> None:
    """In the order in which the labels were named."""
    counter = Counter("failures", "Failures.", "runtime", "reason")
    counter.add("triton-2.x", "ModelNotFound")
    counter.add("triton-2.x", "ModelNotFound")
    counter.add("mlserver-0.x", "ModelNotFound")
    figure = counter.read()
    assert figure.labels == ("runtime", "reason")
    assert figure.samples == {("triton-2.x", "ModelNotFound"): 2, ("mlserver-0.x", "ModelNotFound"): 1}


def test_what_was_read_does_not_change() -> None:
    """A figure is of one moment."""
    counter = Counter("pushes", "Pushes.")
    timing = Timing("acks", "ACKs.", bounds=(1.0,))
    before = counter.read(), timing.read()
    counter.add()
    timing.observe(0.5)
    assert (before[0].samples, before[1].samples) == ({(): 0}, {(): Spread((1.0,), (0, 0), 0.0)})


@pytest.mark.parametrize("values", [(), ("a", "b")])
def test_labels_are_all_given(values: tuple[str, ...]) -> None:
    """A wrong number of them is a mistake of the programmer."""
    with pytest.raises(ValueError, match="has labels"):
        Counter("loads", "Loads.", "runtime").add(*values)
    with pytest.raises(ValueError, match="has labels"):
        Timing("loads", "Loads.", "runtime", bounds=(1.0,)).observe(1.0, *values)


@given(st.lists(st.floats(0, 10), max_size=30))
def test_a_timing_says_how_many_took_at_most_so_long(seconds: list[float]) -> None:
    """At each bound, and all of them at the end."""
    bounds = (0.5, 1.0, 5.0)
    timing = Timing("loads", "Loads.", "runtime", bounds=bounds)
    timing.observe(0.0, "other")
    timing.expect("triton-2.x")
    for each in seconds:
        timing.observe(each, "triton-2.x")
    spread = timing.read().samples["triton-2.x",]
    assert isinstance(spread, Spread)
    assert spread.cumulative == (*(sum(s <= bound for s in seconds) for bound in bounds), len(seconds))
    assert spread.total == pytest.approx(sum(seconds))


def test_gauges_are_values_of_the_moment() -> None:
    """With labels or without."""
    assert gauge("leader", "Leads.", 1).samples == {(): 1}
    pods = gauges("pods", "Pods.", ("runtime",), {("triton-2.x",): 2})
    assert (pods.kind, pods.labels, pods.samples) == ("gauge", ("runtime",), {("triton-2.x",): 2})
