"""
What may be said of requests that overlap in time: pure functions on their outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import grpc


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it was sent and when it ended (monotonic), and how."""

    model: str
    sent: float
    ended: float
    code: grpc.StatusCode
    #: The prober that answered; None if none did.
    number: int | None
    words: str


@dataclass(frozen=True, slots=True)
class Said:
    """What the product said of one model's READY, and in which words."""

    ready: bool
    words: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the product said of READY, between asking and hearing."""

    asked: float
    heard: float
    said: Mapping[str, Said]

    def ready(self, model: str) -> bool:
        """Whether READY was True; not of a model that was not listed."""
        return self.of(model).ready

    def of(self, model: str) -> Said:
        """What was said of the model."""
        return self.said.get(model, _NOT_LISTED)


_NOT_LISTED: Final = Said(False, "not listed")


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which requests may be lost."""

    start: float
    end: float
    #: When what is lost by it has ended: what is held for longer than that was in nobody's hands.
    known: float = math.inf

    def excuses(self, outcome: Outcome) -> bool:
        """Whether the request was under way in it, and not for long after it."""
        return outcome.sent <= self.end and self.start <= outcome.ended <= self.known


def phases(outcomes: Iterable[Outcome]) -> list[int]:
    """
    The shortest sequence of probers that explains the answers of one model.

    Of two requests that were under way at one time either may have been answered first. A version that answers a
    request which was sent after another version had answered is a new phase: [1, 2, 1] went back.
    """
    found: list[int] = []
    #: Until when each that is over was in force, as late as possible.
    ended: dict[int, float] = {}
    for outcome in sorted(outcomes, key=lambda o: o.ended):
        if outcome.number is None:
            continue
        if found and outcome.number == found[-1]:
            continue
        if outcome.number in ended and outcome.sent <= ended[outcome.number]:
            # It may have been answered while that one was in force.
            continue
        if found:
            ended[found[-1]] = outcome.ended
        found.append(outcome.number)
    return found


def lies(outcomes: Iterable[Outcome], samples: Sequence[Sample]) -> list[Outcome]:
    """The requests that failed although READY was True at the last look before each, and at every look until after it."""
    found = []
    for outcome in outcomes:
        if outcome.code is grpc.StatusCode.OK:
            continue
        before = [s for s in samples if s.heard <= outcome.sent][-1:]
        during = [s for s in samples if s.heard > outcome.sent and s.asked < outcome.ended]
        after = [s for s in samples if s.asked >= outcome.ended][:1]
        if before and after and all(s.ready(outcome.model) for s in (*before, *during, *after)):
            found.append(outcome)
    return found


def said_instead(samples: Sequence[Sample], models: Iterable[str], *, since: float | None = None) -> list[str]:
    """
    What was said of READY other than True: a line for each model, words and time, which is that of the samples.

    Seconds count from `since`, else from the first sample; so that a failure explains itself.
    """
    start = since if since is not None else samples[0].asked if samples else 0.0
    found = []
    for model in models:
        for said, run in groupby(samples, key=lambda s: s.of(model)):
            if not said.ready:
                seen = list(run)
                found.append(f"{model} {seen[0].asked - start:+.2f} to {seen[-1].heard - start:+.2f} s: {said.words}")
    return found
