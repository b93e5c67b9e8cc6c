"""
What the product is meant to reach, beside what it reached.

The figures of ModelMesh are of kserve/modelmesh ea13cdc with its MLServer
adapter and etcd, measured once on two shared cores, with an instant server and
a load generator like the ones here. They are of another run than all else: a
factor of two between the two says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.bench.cold import Cold
from tests.bench.ranges import middle, number
from tests.bench.results import Results
from tests.bench.warm import CROWDED, DIRECT, EACH, NAMED, ONE, Warm

#: First requests at both ends, for how the time grows.
_END: Final = 10
#: The last ones may take this much more than the first before that is growth and not noise.
_FLAT: Final = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One of them. `value` and `bound` are in `unit`."""

    what: str
    value: float
    bound: float
    #: Whether the bound is the least that is meant, or the most.
    least: bool
    unit: str
    modelmesh: str

    @property
    def reached(self) -> bool:
        """Whether it was."""
        return self.value >= self.bound if self.least else self.value <= self.bound

    @property
    def wanted(self) -> str:
        """The bound, to be read."""
        return f"{'≥' if self.least else '≤'} {number(self.bound)} {self.unit}".rstrip()

    @property
    def measured(self) -> str:
        """The value, to be read."""
        return f"{number(self.value)} {self.unit}".rstrip()


def targets(results: Results) -> tuple[Target, ...]:
    """Those of which the run says something."""
    return (*_warm(results.warm), *_first(results), *_ready(results), *_scale(results), *_cluster(results))


def _warm(rows: Iterable[Warm]) -> Iterator[Target]:
    seen = {((row.callers, row.connections), row.path): row for row in rows if row.server == "instant"}
    if not seen:
        return
    added = middle(seen[ONE, NAMED].p50_ms) - middle(seen[ONE, DIRECT].p50_ms)
    share = 100 * middle(seen[EACH, NAMED].rate) / middle(seen[EACH, DIRECT].rate)
    yield _most("what the mesh adds to the median, 1 caller, instant server", added, 0.2, "ms", "0.40 ms")
    yield _least("of the direct requests/s, 16 callers, instant server", share, 60, "%", "21 %")
    yield _least(
        "requests per second of Envoy's processor time, 64 callers on 4 connections",
        1e6 / middle(seen[CROWDED, NAMED].envoy_us),
        20_000,
        "",
        "4,300 – 7,100",
    )


def _first(results: Results) -> Iterator[Target]:
    if results.first is None:
        return
    for cold in results.first.cold:
        if cold.server == "mlserver":
            what = f"first request to an unloaded model, MLServer, median of {len(cold.total)}"
            yield _most(what, middle(cold.total), 30, "ms", "59 ms")
            yield _most(f"the last {_END} of them to the first {_END}", growth(cold), _FLAT, "×", "2.7 ×")
    for crowd in results.first.crowd:
        if crowd.server == "mlserver":
            what = f"{crowd.callers} callers, {crowd.models} unloaded models, MLServer, 9 of 10 within"
            yield _most(what, middle(crowd.p90), 800, "ms", "2,100 ms")


def growth(cold: Cold) -> float:
    """How much longer the last first requests took than the first ones."""
    return middle(cold.total[-_END:]) / middle(cold.total[:_END])


def _ready(results: Results) -> Iterator[Target]:
    for row in results.ready:
        if row.server == "mlserver":
            yield _most("file to READY, MLServer running, median", middle(row.file), 0.3, "s", "–")
            yield _most("start of everything to the first answer, MLServer", middle(row.start), 4, "s", "4.9 s")
    if aways := [away for row in results.ready for away in row.away]:
        # Promised each time, and not half of the times.
        yield _most(f"Envoy killed, to the next answer, longest of {len(aways)}", max(aways), 2, "s", "–")


def _scale(results: Results) -> Iterator[Target]:
    if results.scale is None:
        return
    thousand = next((r for r in results.scale.registrations if r.models == 1_000), None)
    if thousand is not None:
        yield _most(
            "1,000 models registered and loaded, instant server", middle(thousand.seconds), 5, "s", "5.4 – 10.9 s"
        )
    for weight in results.scale.weights:
        if (weight.models, weight.process) == (5_000, "controller"):
            yield _most("controller with 5,000 models", weight.rss, 200, "MiB", "276 MiB")


def _cluster(results: Results) -> Iterator[Target]:
    if results.cluster is not None:
        ends = results.cluster.failover
        # Promised each time, too.
        yield _most(f"leader killed, until another leads, longest of {len(ends)}", max(ends), 20, "s", "–")


def _most(what: str, value: float, bound: float, unit: str, modelmesh: str) -> Target:
    return Target(what=what, value=value, bound=bound, least=False, unit=unit, modelmesh=modelmesh)


def _least(what: str, value: float, bound: float, unit: str, modelmesh: str) -> Target:
    return Target(what=what, value=value, bound=bound, least=True, unit=unit, modelmesh=modelmesh)
