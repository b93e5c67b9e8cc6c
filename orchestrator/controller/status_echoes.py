"""
Which statuses of one object are ours: those that were sent from here, until the platform has shown them.

A platform echoes a status back some time after it was written, and a decision
must not be made on the older one. Nor on a status that somebody else has
stored: such a status is overwritten with ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.domain.trained_model import ModelStatus

#: How many statuses are remembered until their echo; the echo of an older one causes one more write.
MOST_ECHOES: Final = 8


@dataclass(slots=True)
class StatusEchoes:
    """Of the object with that uid."""

    uid: str
    #: The newest status that counts; None: the object's own, since none was stored from here.
    newest: ModelStatus | None = None
    #: Whether the platform may have stored another status than the newest.
    overwritten: bool = False
    #: Statuses whose echo may still come, oldest first.
    _sent: tuple[ModelStatus, ...] = ()

    def sent(self, status: ModelStatus) -> None:
        """It is about to be stored; the platform may echo it before it confirms the write."""
        self._sent = (*self._sent, status)[-MOST_ECHOES:]
        self.overwritten = False

    def written(self, status: ModelStatus) -> None:
        """It was stored."""
        self.newest = status

    def failed(self) -> None:
        """The write failed: the status that was sent may be stored or not."""
        self.overwritten = True

    def shown(self, status: ModelStatus, before: ModelStatus) -> bool:
        """The platform shows `status` where it showed `before`; returns whether somebody else stored it."""
        if status in self._sent:
            self._sent = self._sent[self._sent.index(status) + 1 :]
            return False
        self.newest = self.newest or before
        self.overwritten = status != self.newest
        return self.overwritten
