"""
How long what breaks again and again waits before it is mended once more.

The first time it does not wait. It is as if it had never broken once it ran
well for a while, or nobody asked about it for as long: nothing grows.
"""

from __future__ import annotations

from typing import Final

from adapters.domain.copies import CopyKey

#: The first wait and the longest; each is twice the one before.
WAITS_S: Final = (1.0, 60.0)
_WELL_S: Final = 60.0


class Relapses:
    """Of copies that were mended lately. Times are of any clock that does not go back."""

    def __init__(self) -> None:
        #: The wait before it was mended, and when that was.
        self._mended: dict[CopyKey, tuple[float, float]] = {}

    def wait_s(self, key: CopyKey, now: float) -> float:
        """It broke: how long to wait."""
        self._mended = {each: (wait, at) for each, (wait, at) in self._mended.items() if now - at < _WELL_S}
        if key not in self._mended:
            return 0.0
        first, longest = WAITS_S
        return min(max(first, 2 * self._mended[key][0]), longest)

    def mended(self, key: CopyKey, waited_s: float, now: float) -> None:
        """It works again, after this wait."""
        self._mended[key] = waited_s, now
