"""
Whether something that goes round still does: a check for `/healthz`.

It beats at each turn, also at one that failed: an API server that is down makes
no process unhealthy, and starting it again would mend nothing. What is found is
a turn that never ends. Before the first there is nothing to find: what comes
before it may wait for others as long as it likes.
"""

from __future__ import annotations

from collections.abc import Callable


class Pulse:
    """Of one loop. `clock` is monotonic; `bound_s` is more than its longest honest turn."""

    def __init__(self, clock: Callable[[], float], bound_s: float) -> None:
        self._clock = clock
        self._bound_s = bound_s
        self._last: float | None = None

    def beat(self) -> None:
        """Another turn begins."""
        self._last = self._clock()

    def problem(self) -> str:
        """What is wrong, "" if nothing is."""
        if self._last is None:
            return ""
        silent = self._clock() - self._last
        return f"nothing has moved for {silent:.0f} s" if silent > self._bound_s else ""
