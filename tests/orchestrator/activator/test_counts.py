"""What an activator holds and refused, as a scrape reads it."""

from __future__ import annotations

from orchestrator.activator.budget import Budget
from orchestrator.activator.counts import ActivatorCounts


def test_refusals_are_counted_by_status() -> None:
    """The one that says that a bound is too low is there from the start."""
    counts, budget = ActivatorCounts(), Budget.divide(1_600, largest=100, max_line=10)
    assert counts.figures(held=0, streams=0, connected=False, budget=budget)[0].samples == {("RESOURCE_EXHAUSTED",): 0}
    for code in ("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", "NOT_FOUND"):
        counts.ended(code)
    errors = counts.figures(held=0, streams=0, connected=False, budget=budget)[0]
    assert errors.samples == {("RESOURCE_EXHAUSTED",): 2, ("NOT_FOUND",): 1}


def test_what_is_held_is_shown_with_its_bounds() -> None:
    """By pool, since each is full by itself."""
    budget = Budget.divide(1_600, largest=100, max_line=10)
    assert budget.requests.ask(70, "m") is not None
    figures = ActivatorCounts().figures(held=3, streams=2, connected=True, budget=budget)
    samples = {figure.name: figure.samples for figure in figures}
    assert samples["wml_activator_held_requests"] == {(): 3}
    assert samples["wml_activator_streams"] == {(): 2}
    assert samples["wml_activator_leader_heard"] == {(): 1}
    assert samples["wml_activator_held_bytes"] == {("early",): 0, ("requests",): 70, ("responses",): 0}
    assert samples["wml_activator_held_bytes_limit"] == {("early",): 200, ("requests",): 350, ("responses",): 250}
