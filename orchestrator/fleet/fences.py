"""
What the epochs that adapters report say about who leads. Pure.

An adapter that reports a higher epoch is ignored while our lease is valid:
otherwise the holder of one adapter's key could depose every leader for good. But
if more adapters report one than accept ours, the lease is outdated (made anew by
a leader whose clock was behind), and we step down: the next term begins above
the epochs that they report.
"""

from __future__ import annotations

from orchestrator.machinery.epoch import CREDIBLE


class Fences:
    """The epochs that pods (by uid) reported in one term; each pod's last report counts."""

    def __init__(self) -> None:
        self._obey: set[str] = set()
        #: Pod → the epoch that it reports, higher than ours.
        self._ahead: dict[str, int] = {}

    def obeys(self, pod: str) -> None:
        """The pod accepts this term's epoch."""
        self._obey.add(pod)
        self._ahead.pop(pod, None)

    def ahead(self, pod: str, epoch: int) -> bool:
        """The pod reports a higher epoch. Returns whether it did not before."""
        news = pod not in self._ahead
        self._obey.discard(pod)
        self._ahead[pod] = epoch
        return news

    def gone(self, pod: str) -> None:
        """The pod is gone, and its report with it."""
        self._obey.discard(pod)
        self._ahead.pop(pod, None)

    @property
    def successor(self) -> int:
        """The epoch above which the next term has to begin, so that adapters accept it; 0: this term may go on."""
        told = [epoch for epoch in self._ahead.values() if epoch <= CREDIBLE]
        return max(told) if len(told) > len(self._obey) else 0
