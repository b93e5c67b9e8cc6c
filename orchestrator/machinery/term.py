"""
One leader's term: its epoch, and whether it is over.

Whoever meets a higher epoch says so here: a watch, a refused command, the
platform. Losing the lead ends the process, for what it knows is of an age that
is over; whoever started it starts it again, and that is another term. Until
the process is gone nothing more is commanded. A lead that has to be renewed can also be
lost without a successor: when nobody confirmed it in time. Such a lead is looked at
whenever it is asked for: a process that was frozen is told so before its own timers are.

Not promised: that a leader which is frozen between the question and its act hears
of its successor first. That is what fences are for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Never

import structlog

from orchestrator.domain.errors import Deposed, LeadLost

log = structlog.get_logger(__name__)


class Term:
    """From the taking of an epoch to the news of a higher one. Not thread-safe."""

    def __init__(self, epoch: int, *, holds: Callable[[], bool] = lambda: True) -> None:
        """`holds`: whether a lead that has to be renewed is still believed in; once it is not, it never is again."""
        self.epoch: Final = epoch
        self._holds = holds
        #: The highest epoch of a later leader that was heard of; 0: none.
        self.successor = 0
        #: Why it is over where no successor was heard of.
        self._lost = ""
        self._over = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether another leads, or might."""
        return self._over.is_set() or not self._holds()

    def hear(self, epoch: int, told_by: str) -> None:
        """Somebody has seen this epoch; one that is not higher is no news."""
        if epoch <= max(self.epoch, self.successor):
            return
        if not self._over.is_set():
            log.error("deposed", epoch=self.epoch, successor=epoch, told_by=told_by)
        self.successor = epoch
        self._over.set()

    def lose(self, why: str) -> None:
        """Nothing holds it any more, whoever leads now."""
        if self._over.is_set():
            return
        log.error("lead_lost", epoch=self.epoch, why=why)
        self._lost = why
        self._over.set()

    async def run(self) -> Never:
        """Wait until it is over. Raises Deposed or LeadLost."""
        await self._over.wait()
        if self._lost:
            raise LeadLost(self.epoch, self._lost)
        raise Deposed(self.epoch, self.successor)
