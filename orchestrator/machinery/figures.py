"""
Figures: what a component counts of itself, as plain numbers that a scrape reads.

Who counts knows nothing of the format in which it is shown: a component keeps
`Counter`s and `Timing`s, adds to them where things happen, and gives frozen
`Figure`s when asked. Counting costs a dictionary's access; nothing is computed
before somebody looks.

Labels are few by construction: runtimes, reasons, verbs. Never a model's name,
for there are thousands of them. Not thread-safe; counts begin at zero with the
process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Labels = tuple[str, ...]

#: Seconds: of work in this process, and of what goes over a network to a disk.
SHORT_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
LONG_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True, slots=True)
class Spread:
    """How many measurements fell where, and their sum."""

    bounds: tuple[float, ...]
    #: One more than bounds: how many were at most each bound and above the one before; the last, above all.
    counts: tuple[int, ...]
    total: float

    @property
    def cumulative(self) -> tuple[int, ...]:
        """How many were at most each bound; the last is how many there were."""
        sums: list[int] = []
        for count in self.counts:
            sums.append(count + (sums[-1] if sums else 0))
        return tuple(sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One metric at one moment. The name of a counter is without `_total`."""

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels = ()
    samples: Mapping[Labels, float | Spread] = field(default_factory=dict)


def gauge(name: str, help_: str, value: float) -> Figure:
    """A gauge without labels."""
    return Figure(name=name, help=help_, kind="gauge", samples={(): value})


def gauges(name: str, help_: str, labels: Labels, samples: Mapping[Labels, float]) -> Figure:
    """A gauge for each combination of labels."""
    return Figure(name=name, help=help_, kind="gauge", labels=labels, samples=dict(samples))


class Counter:
    """Counts up. One without labels is there from the start, so that its rate is known from the first event on."""

    def __init__(self, name: str, help_: str, *labels: str) -> None:
        self._name = name
        self._help = help_
        self._labels = labels
        self._counts: dict[Labels, float] = {} if labels else {(): 0}

    def expect(self, *values: str) -> None:
        """Labels that are sure to come: there from the start, too."""
        self.add(*values, by=0)

    def add(self, *values: str, by: float = 1) -> None:
        """Once more, or by so many."""
        _check(self._name, self._labels, values)
        self._counts[values] = self._counts.get(values, 0) + by

    def read(self) -> Figure:
        """As it stands."""
        return Figure(name=self._name, help=self._help, kind="counter", labels=self._labels, samples=dict(self._counts))


class Timing:
    """A histogram, of seconds."""

    def __init__(self, name: str, help_: str, *labels: str, bounds: tuple[float, ...]) -> None:
        self._name = name
        self._help = help_
        self._labels = labels
        self._bounds = bounds
        self._counts: dict[Labels, list[int]] = {} if labels else {(): [0] * (len(bounds) + 1)}
        self._totals: dict[Labels, float] = {} if labels else {(): 0.0}

    def expect(self, *values: str) -> None:
        """Labels that are sure to come: there from the start, too."""
        _check(self._name, self._labels, values)
        self._counts.setdefault(values, [0] * (len(self._bounds) + 1))
        self._totals.setdefault(values, 0.0)

    def observe(self, seconds: float, *values: str) -> None:
        """It took so long."""
        self.expect(*values)
        self._counts[values][bisect_left(self._bounds, seconds)] += 1
        self._totals[values] += seconds

    def read(self) -> Figure:
        """As it stands."""
        samples = {
            values: Spread(self._bounds, tuple(counts), self._totals[values]) for values, counts in self._counts.items()
        }
        return Figure(name=self._name, help=self._help, kind="histogram", labels=self._labels, samples=samples)


def _check(name: str, labels: Labels, values: Labels) -> None:
    if len(values) != len(labels):
        raise ValueError(f"{name} has labels {labels}, not {values}")
