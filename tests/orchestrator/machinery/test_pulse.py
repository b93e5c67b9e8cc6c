"""A loop that stands still is noticed, one that only fails is not."""

from __future__ import annotations

from orchestrator.machinery.pulse import Pulse


def test_a_turn_that_does_not_end_is_a_problem() -> None:
    """After the bound and not before, no more once it goes on; nor before the first turn."""
    now = 5.0
    pulse = Pulse(lambda: now, bound_s=60.0)
    now = 1000.0
    assert pulse.problem() == ""
    pulse.beat()
    now = 1060.0
    assert pulse.problem() == ""
    now = 1060.5
    assert pulse.problem() == "nothing has moved for 60 s"
    pulse.beat()
    assert pulse.problem() == ""
