"""
How long a copy that breaks again and again waits before it is mended once more.

The first time it does not wait. A copy that has run well for a minute, or was not
asked about for as long, counts as one that never broke: nothing here grows.
"""

from __future__ import annotations

from typing import Final

from adapters.domain.copies import CopyKey

#: The first wait and the longest; each is twice the one before.
WAITS_S: Final = (1.0, 60.0)
_WELL_S: Final = 60.0


class Relapses:
    """The copies that were mended lately. Times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        #: Copy → the wait before it was mended, and when it was.
        self._mended: dict[CopyKey, tuple[float, float]] = {}

    def wait_s(self, key: CopyKey, now: float) -> float:
        """The copy broke: how long to wait before mending it."""
        self._mended = {each: (wait, at) for each, (wait, at) in self._mended.items() if now - at < _WELL_S}
        if key not in self._mended:
            return 0.0
        first, longest = WAITS_S
        return min(max(first, 2 * self._mended[key][0]), longest)

    def mended(self, key: CopyKey, waited_s: float, now: float) -> None:
        """The copy works again, after this wait."""
        self._mended[key] = waited_s, now
