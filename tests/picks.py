"""
Many small choices from few draws: drawing is what takes hypothesis the time.
"""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Picks:
    """
    A number as a row of choices, the least significant first: one draw where there would be ten.

    Smaller numbers make simpler worlds, so that a failing one still shrinks.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def pick(self, *options: T) -> T:
        """One of them."""
        self.number, index = divmod(self.number, len(options))
        return options[index]


#: Below 2²⁴ hypothesis draws evenly.
numbers = st.integers(0, (1 << 24) - 1).map(Picks)
