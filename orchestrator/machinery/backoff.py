"""
Exponential back-off with jitter, as a value machine: it says how long, the caller waits.

The ceiling doubles from `base_s` to `cap_s`, and each delay is drawn from its
upper half: enough spread that clients which lost the same server do not return
together, and never so little that a retry is no pause at all.
"""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """
    Delays between attempts at one thing.

    Law: `ceiling / 2 <= next() <= ceiling`, where the ceiling is `base_s` after
    a reset and doubles with each call up to `cap_s`.
    """

    __slots__ = ("_base_s", "_cap_s", "_ceiling_s", "_random")

    def __init__(self, base_s: float, cap_s: float, random: Callable[[], float]) -> None:
        """`random` returns numbers in [0, 1)."""
        if not 0 < base_s <= cap_s:
            raise ValueError(f"back-off from {base_s} s to {cap_s} s: expected 0 < base <= cap")
        self._base_s = base_s
        self._cap_s = cap_s
        self._random = random
        self._ceiling_s = base_s

    def next(self) -> float:
        """How many seconds to wait before the next attempt."""
        ceiling = self._ceiling_s
        self._ceiling_s = min(ceiling * 2, self._cap_s)
        return ceiling * (1 + self._random()) / 2

    def after(self, lasted_s: float, stable_s: float) -> float:
        """How long to wait before something that has to last is begun again; one that lasted `stable_s` had not failed."""
        if lasted_s >= stable_s:
            self.reset()
        return self.next()

    def reset(self) -> None:
        """The attempt succeeded: begin again at `base_s`."""
        self._ceiling_s = self._base_s
