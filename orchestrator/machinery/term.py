"""
One leader's term: its epoch, and whether it is over.

Whoever meets a higher epoch says so here: a watch, a refused command, the
platform. Of a lead that is renewed the record knows best: what others say of
epochs waits for its word (`confirmed`). Losing the lead ends the process, for
what it knows is of an age that is over; whoever started it starts it again, and
that is another term. Until the process is gone nothing more is commanded. A
lead that has to be renewed can also be lost without a successor: when nobody
confirmed it in time. Such a lead is looked at whenever it is asked for: a
process that was frozen is told so before its own timers are.

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

    def __init__(self, epoch: int, *, holds: Callable[[], bool] | None = None) -> None:
        """
        `holds`: of a lead that has to be renewed, whether it is still believed in; once it is not, it never is again.

        Who renews it says so to `confirm`.
        """
        self.epoch: Final = epoch
        #: Whether there is a record of this lead that is written again and again.
        self.renewed: Final = holds is not None
        self._holds = holds or (lambda: True)
        self._confirmation = asyncio.Event()
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

    def confirm(self) -> None:
        """The record is this term's: it was written again just now."""
        self._confirmation.set()
        self._confirmation = asyncio.Event()

    async def confirmed(self) -> None:
        """Wait for the next time that the record is found to be this term's. Where it is not, the term ends instead."""
        await self._confirmation.wait()

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
