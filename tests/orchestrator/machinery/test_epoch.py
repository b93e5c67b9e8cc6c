"""The leader's epoch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.machinery.epoch import next_epoch


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=10))
def test_epochs_grow_whatever_the_clock_does(clocks: list[int]) -> None:
    """As long as the record is there; the clock alone is enough where it is not."""
    epoch = 0
    for now in clocks:
        following = next_epoch(epoch, now)
        assert following > epoch
        assert following >= now
        epoch = following
    assert next_epoch(0, 7) == 7
