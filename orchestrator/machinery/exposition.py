"""
Figures as Prometheus reads them. The one door to prometheus_client.

A collector over frozen figures, and not the library's own counters: those are
global, lock, and would bring the library into whatever counts. What it gives
for nothing is here too: the process's memory, CPU time and open files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.machinery.figures import Figure, Labels, Spread

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

#: process_resident_memory_bytes and kin, read from /proc at each scrape.
_PROCESS: Final = ProcessCollector(registry=CollectorRegistry())


def exposition(figures: Iterable[Figure]) -> bytes:
    """The page that /metrics shows: these figures and the process's own. Those of one name become one: two queues'."""
    merged: dict[str, Figure] = {}
    for figure in figures:
        merged[figure.name] = _merge(merged[figure.name], figure) if figure.name in merged else figure
    registry = CollectorRegistry()
    registry.register(_Once(list(merged.values())))
    registry.register(_PROCESS)
    return generate_latest(registry)


def _merge(one: Figure, other: Figure) -> Figure:
    if (one.kind, one.labels) != (other.kind, other.labels) or one.samples.keys() & other.samples.keys():
        # A scrape would take the second for the first.
        raise ValueError(f"two that do not go together are called {one.name}")
    return replace(one, samples={**one.samples, **other.samples})


class _Once(Collector):
    """Shows figures that were read already."""

    def __init__(self, figures: list[Figure]) -> None:
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        # A registry collects to learn the names, unless it is told them.
        return [Metric(figure.name, figure.help, figure.kind) for figure in self._figures]

    def collect(self) -> Iterator[Metric]:
        for figure in self._figures:
            family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
            match figure.kind:
                case "counter":
                    family = CounterMetricFamily(figure.name, figure.help, labels=figure.labels)
                case "gauge":
                    family = GaugeMetricFamily(figure.name, figure.help, labels=figure.labels)
                case "histogram":
                    family = HistogramMetricFamily(figure.name, figure.help, labels=figure.labels)
            for labels, value in sorted(figure.samples.items(), key=lambda item: item[0]):
                _add(family, labels, value)
            yield family


def _add(
    family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily, labels: Labels, value: float | Spread
) -> None:
    if isinstance(family, HistogramMetricFamily):
        if not isinstance(value, Spread):
            raise TypeError(f"{family.name} is a histogram, {value} is not")
        bounds = [*(str(float(bound)) for bound in value.bounds), "+Inf"]
        buckets = [(bound, float(count)) for bound, count in zip(bounds, value.cumulative, strict=True)]
        family.add_metric(labels, buckets=buckets, sum_value=value.total)
    elif isinstance(value, Spread):
        raise TypeError(f"{family.name} is a number, not a histogram")
    else:
        family.add_metric(labels, value)
