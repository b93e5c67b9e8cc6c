"""
Witness and READY together: what clients got, held against what the product said, in the same seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from tests.standalone.models import Models
from tests.standalone.readiness import Readiness
from tests.standalone.stack import Stack
from tests.standalone.verdicts import Outcome, Window, lies
from tests.standalone.witness import DEADLINE_S, RATE, Testimony, Witness

#: Around a kill, beside the dying itself: what it had in its hands is lost, and nobody can have known.
MARGIN_S: Final = 0.1
#: When at the latest all of that has failed, on a busy machine, too. No server is back as soon as that: a request that
#: was held until there was one is told apart.
KNOWN_S: Final = 2.0
#: How long an Envoy may be away on a machine that does other things, too; what `make bench` measures is held to two seconds.
AWAY_S: Final = 10.0
#: Whoever was heard less often was not watched.
LEAST: Final = 20
#: Of the rate, how much has to have been sent: a busy machine sends late, and what is late is left out. That is one in ten
#: at most while other work fills it, and was a third with seven processes a core that do nothing but compute.
SHARE: Final = 0.45


class Watch:
    """What is seen of some models, and which losses the contract names."""

    def __init__(self, witness: Testimony, readiness: Readiness, names: tuple[str, ...], *, rate: float = RATE) -> None:
        self.witness = witness
        self.readiness = readiness
        self._names = names
        self._rate = rate
        self._windows: defaultdict[str, list[Window]] = defaultdict(list)

    def excuse(self, died: Window, *names: str) -> None:
        """The server of these models died then: what of theirs was in its hands is lost by contract, and no other's."""
        assert names
        window = Window(died.start - MARGIN_S, died.end + MARGIN_S, known=died.end + KNOWN_S)
        for name in names:
            self._windows[name].append(window)

    def excuse_away(self, killed: Window, *, within: float = AWAY_S) -> None:
        """Envoy was killed then: until it takes this client's connection again, nobody listens on its port."""
        back = self.witness.connected(killed.end)
        assert back - killed.start < within, f"Envoy was away for {back - killed.start:.1f} s"
        for name in self._names:
            self._windows[name].append(Window(killed.start - MARGIN_S, back))

    def judge(self) -> None:
        """Raises AssertionError for a lost request that is not excused, a wrong answer, an untrue READY, or too few answers."""
        # Before the losses, of which these are the worse ones.
        untrue = [o for o in lies(self.witness.outcomes, self.readiness.samples) if not self._excused(o)]
        assert not untrue, f"READY was True, and it failed: {untrue[0]}"
        self.witness.check(excused=self._excused)
        for name in self._names:
            answered = sum(o.code is grpc.StatusCode.OK for o in self.witness.of(name))
            assert answered >= LEAST, f"{name} answered {answered} requests only"
        sent, due = len(self.witness.outcomes), self._rate * self.witness.lasted
        assert sent >= SHARE * due, f"{sent} requests in {self.witness.lasted:.1f} s: nobody watched"

    def _excused(self, outcome: Outcome) -> bool:
        return outcome.code is grpc.StatusCode.UNAVAILABLE and any(
            window.excuses(outcome) for window in self._windows[outcome.model]
        )


@contextmanager
def watching(
    stack: Stack, models: Models, *names: str, rate: float = RATE, deadline: float = DEADLINE_S
) -> Iterator[Watch]:
    """Asks the models, probers all, throughout the context, and judges at its end."""
    with (
        Readiness(stack.admin) as readiness,
        Witness(stack.target, names, models.probes, models.probe_labels, rate=rate, deadline=deadline) as witness,
    ):
        watch = Watch(witness, readiness, names, rate=rate)
        yield watch
    watch.judge()
