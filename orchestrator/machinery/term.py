"""
One leader's term: its epoch, and whether a later leader's has been heard of.

Whoever meets a higher epoch says so here: a watch, a refused command, the
platform. Losing the lead ends the process, for what it knows is of an age that
is over; whoever started it starts it again, and that is another term. Until
the process is gone nothing more is commanded.

Not promised: that a leader which was frozen hears of its successor before it
does anything else. That is what fences are for.
"""

from __future__ import annotations

import asyncio
from typing import Final, Never

import structlog

from orchestrator.domain.errors import Deposed

log = structlog.get_logger(__name__)


class Term:
    """From the taking of an epoch to the news of a higher one. Not thread-safe."""

    def __init__(self, epoch: int) -> None:
        self.epoch: Final = epoch
        #: The highest epoch of a later leader that was heard of; 0: none.
        self.successor = 0
        self._over = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether another leads."""
        return self._over.is_set()

    def hear(self, epoch: int, told_by: str) -> None:
        """Somebody has seen this epoch; one that is not higher is no news."""
        if epoch <= max(self.epoch, self.successor):
            return
        if not self.over:
            log.error("deposed", epoch=self.epoch, successor=epoch, told_by=told_by)
        self.successor = epoch
        self._over.set()

    async def run(self) -> Never:
        """Wait until it is over. Raises Deposed."""
        await self._over.wait()
        raise Deposed(self.epoch, self.successor)
