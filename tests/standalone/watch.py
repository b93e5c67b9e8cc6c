"""
Witness and READY together: what clients got, held against what the product said, in the same seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from tests.standalone.models import Models
from tests.standalone.readiness import Readiness
from tests.standalone.stack import Stack
from tests.standalone.verdicts import Outcome, Window, lies
from tests.standalone.witness import RATE, Witness

#: Around a kill, beside the dying itself: what it had in its hands is lost, and nobody can have known.
MARGIN_S: Final = 0.1


class Watch:
    """What is seen of some models, and which losses the contract names."""

    def __init__(self, witness: Witness, readiness: Readiness) -> None:
        self.witness = witness
        self.readiness = readiness
        self.windows: list[Window] = []

    def excuse(self, window: Window) -> None:
        """What is lost around that time is lost by contract."""
        self.windows.append(Window(window.start - MARGIN_S, window.end + MARGIN_S))

    def excuse_away(self, killed: Window) -> None:
        """Envoy was killed then: what is sent until the first answer since meets a port that nobody listens on."""
        answered = (o for o in self.witness.outcomes if o.sent > killed.end and o.code is grpc.StatusCode.OK)
        self.excuse(Window(killed.start, min(o.ended for o in answered)))

    def judge(self) -> None:
        """Raises AssertionError for a lost request that is not excused, a wrong answer, or an untrue READY."""
        self.witness.check(excused=self._excused)
        untrue = [o for o in lies(self.witness.outcomes, self.readiness.samples) if not self._excused(o)]
        assert not untrue, f"READY was True, and it failed: {untrue[0]}"

    def _excused(self, outcome: Outcome) -> bool:
        return outcome.code is grpc.StatusCode.UNAVAILABLE and any(w.excuses(outcome) for w in self.windows)


@contextmanager
def watching(stack: Stack, models: Models, *names: str, rate: float = RATE) -> Iterator[Watch]:
    """Asks the models, probers all, throughout the context, and judges at its end."""
    with (
        Readiness(stack.admin) as readiness,
        Witness(stack.target, names, models.probes, models.probe_labels, rate=rate) as witness,
    ):
        watch = Watch(witness, readiness)
        yield watch
    watch.judge()
