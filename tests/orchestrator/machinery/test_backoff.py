"""Back-off: bounds, growth, reset."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.machinery.backoff import Backoff


@given(
    base=st.floats(0.001, 10),
    factor=st.floats(1, 1_000),
    seed=st.integers(),
    steps=st.lists(st.sampled_from(["next", "reset"]), max_size=40),
)
def test_delays_stay_in_the_upper_half_of_a_doubling_ceiling(
    base: float, factor: float, seed: int, steps: list[str]
) -> None:
    """Each delay lies in [ceiling / 2, ceiling]; the ceiling doubles up to the cap and a reset returns it to base."""
    cap = base * factor
    backoff = Backoff(base, cap, random.Random(seed).random)
    ceiling = base
    for step in steps:
        if step == "reset":
            backoff.reset()
            ceiling = base
        else:
            assert ceiling / 2 <= backoff.next() <= ceiling
            ceiling = min(ceiling * 2, cap)


def test_the_same_random_numbers_give_the_same_delays() -> None:
    """Randomness is an argument: nothing else decides."""
    backoff = Backoff(0.05, 1.0, lambda: 0.0)
    assert [backoff.next() for _ in range(7)] == [0.025, 0.05, 0.1, 0.2, 0.4, 0.5, 0.5]


def test_what_lasted_had_not_failed() -> None:
    """Delays grow while things end at once, and begin again after one that was stable."""
    backoff = Backoff(0.2, 20.0, lambda: 0.5)
    assert [backoff.after(lasted_s, 10.0) for lasted_s in (0.0, 0.1, 9.9, 10.0, 0.0)] == pytest.approx(
        [0.15, 0.3, 0.6, 0.15, 0.3]
    )


@pytest.mark.parametrize(("base", "cap"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_a_range_that_is_none_is_refused(base: float, cap: float) -> None:
    """A back-off without a pause would be a busy loop."""
    with pytest.raises(ValueError, match="back-off"):
        Backoff(base, cap, random.random)
