"""
How many of the models that serve may be taken away at once when nobody said so.

A list can be wrong: an API server that came back without half of its objects,
a watch that began anew on an older state. Acting on it is right in the end, so
nothing is refused for ever; but it is done in portions that leave time for a
better list. What was said explicitly is not asked here at all.

A portion is a fifth of what served when it began, one model at least. The next
begins a while after the last removal of the one before: in no time shorter
than that does more than one portion go, wherever one begins to count.
"""

from __future__ import annotations

from typing import Final

SHARE: Final = 5
#: Longer than a list takes to be read again.
WINDOW_S: Final = 60.0


class Brake:
    """The portion that is going. Times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        #: Those that may go, until they are gone or are back.
        self._passed: set[str] = set()
        self.limit = 0
        #: How many of the portion have been let through, and when the last was.
        self._count = 0
        self._last = 0.0

    def wait(self, model: str, *, serving: int, now: float) -> float:
        """In how many seconds to ask again whether the model may go; 0: now, and until `forget`. `serving` models do."""
        if model in self._passed:
            return 0.0
        if not self._count or now - self._last >= WINDOW_S:
            self._count, self.limit = 0, max(1, serving // SHARE)
        if self._count >= self.limit:
            return self._last + WINDOW_S - now
        self._passed.add(model)
        self._count, self._last = self._count + 1, now
        return 0.0

    def forget(self, model: str) -> None:
        """It is gone, or is not to go any more. What has been let through stays counted."""
        self._passed.discard(model)
