"""
The drain before a pod ends: its models are moved before its server dies.

The process that is about to end the server asks for a drain and waits (a kubelet
by the preStop hook, or the supervisor). The adapter tells the leader, which moves
the models; the drain returns when none is left or the time is up. In the last
third of the time the leader is told that the pod is closing: models without
another place are then withdrawn from the mesh, so that no request is sent to a
dying server.

All callers share one drain. A drain ends the use of the server, not of the pod: a
kubelet asks for one also before it ends a server that has hung, and starts the
next server in the same pod, which is used again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from adapters.domain.copies import Copy, CopyState
from adapters.ledger import Ledger
from adapters.server import Bells

log = structlog.get_logger(__name__)

#: Part of the time for withdrawing models that could not be moved: Envoys' ACKs and the last answers take seconds.
CLOSING: Final = 1 / 3


class Drain:
    """One adapter's drain."""

    def __init__(
        self, ledger: Ledger, bells: Bells, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._bells = bells
        self._seconds = seconds
        self._clock = clock
        self._ends_at: float | None = None

    async def wait(self) -> str:
        """Begin the drain, or join it; return when no copy is left or the time is up, with one line on what is left."""
        if self._ends_at is None or not self._ledger.draining:
            self._ends_at = self._clock() + self._seconds
            self._ledger.drain()
            log.info("drain_began", seconds=self._seconds, left=_told(self._left()))
        ends_at = self._ends_at
        bell = self._bells.add()
        try:
            while (left := self._left()) and self._ledger.draining and (now := self._clock()) < ends_at:
                bell.clear()
                closes_at = ends_at - CLOSING * self._seconds
                if now >= closes_at:
                    self._ledger.close()
                await _rung(bell, (closes_at if now < closes_at else ends_at) - now)
        finally:
            self._bells.remove(bell)
        word = _told(left)
        (log.warning if left else log.info)("drain_ended", left=word)
        return word

    def _left(self) -> tuple[Copy, ...]:
        return tuple(copy for copy in self._ledger.copies() if copy.state is not CopyState.FAILED)


async def _rung(bell: asyncio.Event, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await bell.wait()
    except TimeoutError:
        return


def _told(left: tuple[Copy, ...]) -> str:
    counts = Counter(copy.state for copy in left)
    return ", ".join(f"{counts[state]} {state.value}" for state in CopyState if counts[state]) or "nothing"
