"""
Counters of the responses pushed to Envoys, and of their answers.

ACK latency is the time from giving a response to the stream to the Envoy's
answer; refusals count, too.
"""

from __future__ import annotations

from orchestrator.machinery.figures import SHORT_S, Counter, Figure, Timing


class MeshCounts:
    """The counters of all Envoys together."""

    def __init__(self) -> None:
        self._pushes = Counter("wml_xds_pushes", "Responses sent to Envoys.")
        self._nacks = Counter("wml_xds_nacks", "Responses that an Envoy refused.")
        self._answers = Timing("wml_xds_ack_seconds", "How long Envoys took to answer a response.", bounds=SHORT_S)

    def pushed(self) -> None:
        """A response is about to be sent."""
        self._pushes.add()

    def answered(self, seconds: float, *, refused: bool) -> None:
        """The Envoy accepted a response, or refused it."""
        self._answers.observe(seconds)
        if refused:
            self._nacks.add()

    def figures(self) -> list[Figure]:
        """The counters as they stand."""
        return [self._pushes.read(), self._nacks.read(), self._answers.read()]
