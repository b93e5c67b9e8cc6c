"""The leader's epoch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.machinery.epoch import HIGHEST, epoch_of, next_epoch


@given(st.lists(st.integers(0, HIGHEST // 2), min_size=1, max_size=10))
def test_epochs_grow_whatever_the_clock_does(clocks: list[int]) -> None:
    """As long as the record is there; the clock alone is enough where it is not."""
    epoch = 0
    for now in clocks:
        following = next_epoch(epoch, now)
        assert following > epoch
        assert following >= now
        epoch = following
    assert next_epoch(0, 7) == 7


def test_the_highest_is_followed_by_the_clocks() -> None:
    """Whoever wrote it there: what came after it would be nobody's epoch, and read as none."""
    assert next_epoch(HIGHEST - 1, 7) == HIGHEST
    assert next_epoch(HIGHEST, 7) == 7


@given(st.integers(0, HIGHEST))
def test_an_epoch_is_read_as_it_was_written(epoch: int) -> None:
    """Up to the highest that there is."""
    assert epoch_of(str(epoch)) == epoch


@pytest.mark.parametrize("text", ["", "-3", "+3", " 3", "3.0", "x", "\u0663", str(HIGHEST + 1), "9" * 5000])
def test_what_is_no_epoch_is_none(text: str) -> None:
    """However long: Python refuses to read a number of 5,000 digits, and whoever read it would end over it."""
    assert epoch_of(text) == 0
