"""
How many serving models may be removed at once when nobody deleted them explicitly.

A list can be wrong: an API server that came back without half of its objects,
a watch that began anew on an older state. Acting on the list is right in the
end, so no removal is refused for ever; but models go in portions, which leaves
time for a better list. Explicit deletions do not pass here at all.

A portion is a fifth of the models that served when it began, at least one. The
next portion begins WINDOW_S after the last removal of the one before, so that
no window of that length sees more than one portion go.
"""

from __future__ import annotations

from typing import Final

SHARE: Final = 5
#: Longer than a list takes to be read again.
WINDOW_S: Final = 60.0


class Brake:
    """The current portion. Times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        #: Models that were let through, until they are gone or are listed again.
        self._passed: set[str] = set()
        self.limit = 0
        #: How many models of the current portion were let through, and when the last one was.
        self._count = 0
        self._last = 0.0

    def wait(self, model: str, *, serving: int, now: float) -> float:
        """Seconds until the next try; 0: `model` may go, until `forget`. `serving`: how many models serve."""
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
        """The model is gone, or is not to go any more. It stays counted in its portion."""
        self._passed.discard(model)
