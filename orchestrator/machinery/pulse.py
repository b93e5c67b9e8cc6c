"""
Liveness check for a loop, for `/healthz`: fails if an iteration takes longer than `bound_s`.

The loop calls `beat` at each iteration, also after one that failed: an API server
that is down makes no process unhealthy, since a restart would mend nothing. The
check finds an iteration that never ends. Before the first `beat` it finds
nothing: the start-up may wait for other processes as long as it needs.
"""

from __future__ import annotations

from collections.abc import Callable


class Pulse:
    """The check of one loop. `clock` is monotonic; `bound_s` is longer than its longest normal iteration."""

    def __init__(self, clock: Callable[[], float], bound_s: float) -> None:
        self._clock = clock
        self._bound_s = bound_s
        self._last: float | None = None

    def beat(self) -> None:
        """Another iteration begins."""
        self._last = self._clock()

    def problem(self) -> str:
        """Why the loop counts as stuck; "" if it does not."""
        if self._last is None:
            return ""
        silent = self._clock() - self._last
        return f"nothing has moved for {silent:.0f} s" if silent > self._bound_s else ""
