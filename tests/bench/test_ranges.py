"""Numbers are told as they are: the median, what it lay between, and no more digits than mean something."""

from __future__ import annotations

import pytest

from tests.bench.ranges import middle, number, quantile, spread


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.1416, "0.142"),
        (2.231, "2.23"),
        (59.06, "59.1"),
        (476.2, "476"),
        (28_385.4, "28,385"),
        (-1.5, "-1.50"),
    ],
)
def test_three_digits_count(value: float, text: str) -> None:
    """Whatever the size of the number."""
    assert number(value) == text


def test_a_spread_has_its_ends() -> None:
    """The median stands first; one round has no ends, none has no text."""
    assert spread((495.0, 428.0, 476.0)) == "476 (428 – 495)"
    assert spread((1.25,)) == "1.25"
    assert spread(()) == ""


def test_a_quantile_is_one_of_the_values() -> None:
    """The smallest that at least that share does not exceed: p50 of two is the smaller, p90 of ten is the ninth."""
    ten = [float(n) for n in range(10, 0, -1)]
    assert quantile(ten, 0.5) == 5
    assert quantile(ten, 0.9) == 9
    assert quantile(ten, 1.0) == 10
    assert quantile([7.0, 3.0], 0.5) == 3
    assert quantile([7.0], 0.01) == 7


def test_nothing_has_no_middle() -> None:
    """No figure is made of no measurement."""
    with pytest.raises(ValueError):
        quantile([], 0.5)
    with pytest.raises(ValueError):
        middle([])
