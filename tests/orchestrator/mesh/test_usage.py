"""Use of models, over all Envoys."""

from __future__ import annotations

from orchestrator.mesh.usage import Usage


def test_rates_add_up_and_the_last_report_counts() -> None:
    """Of each Envoy; one that is gone counts no more, and one that was never there is no error."""
    usage = Usage(lambda models: None)
    usage.report("one", {"m": 2.0, "other": 1.0})
    usage.report("two", {"m": 0.5})
    assert (usage.rate("m"), usage.rate("other"), usage.rate("unknown")) == (2.5, 1.0, 0.0)
    usage.report("one", {"other": 3.0})
    assert (usage.rate("m"), usage.rate("other")) == (0.5, 3.0)
    usage.gone("two")
    usage.gone("two")
    assert usage.rate("m") == 0.0


def test_each_report_says_who_was_used() -> None:
    """Also what is under way only; a report of nothing says nothing."""
    used: list[list[str]] = []
    usage = Usage(lambda models: used.append(list(models)))
    usage.report("one", {"m": 2.0, "held": 0.0})
    usage.report("one", {})
    assert used == [["m", "held"]]
