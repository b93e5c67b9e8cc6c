"""
What the adapters' fences say of who leads. Pure.

Where a lead has a record that is renewed, the record says who leads, and an
adapter that tells of a higher epoch is wrong while it stands: whoever holds an
adapter's key could depose every leader for good else. But the record may itself
be behind, made anew by a leader whose clock is: no adapter obeys that one, and
the next has to begin above what they tell. So they are believed once more of
them tell of a higher epoch than obey.
"""

from __future__ import annotations

from orchestrator.machinery.epoch import CREDIBLE


class Fences:
    """Of the pods that were heard in one term, by uid; what a pod said last counts."""

    def __init__(self) -> None:
        self._obey: set[str] = set()
        #: The epoch that each of the others has seen.
        self._ahead: dict[str, int] = {}

    def obeys(self, pod: str) -> None:
        """Its fence is at this term's epoch."""
        self._obey.add(pod)
        self._ahead.pop(pod, None)

    def ahead(self, pod: str, epoch: int) -> bool:
        """Its fence is higher. Whether that is news."""
        news = pod not in self._ahead
        self._obey.discard(pod)
        self._ahead[pod] = epoch
        return news

    def gone(self, pod: str) -> None:
        """It says nothing any more."""
        self._obey.discard(pod)
        self._ahead.pop(pod, None)

    @property
    def successor(self) -> int:
        """The epoch above which the next term has to begin for the adapters' sake; 0: this one will do."""
        told = [epoch for epoch in self._ahead.values() if epoch <= CREDIBLE]
        return max(told) if len(told) > len(self._obey) else 0
