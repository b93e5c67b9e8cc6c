"""
The results as Markdown: the part of docs/benchmarks.md that a run writes, and the sentence of README.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tests.bench.cold import Cold
from tests.bench.on_cluster import OnCluster
from tests.bench.ranges import Series, middle, number, quantile, spread
from tests.bench.results import Results
from tests.bench.scale import Scale
from tests.bench.targets import targets
from tests.bench.warm import PATHS, Warm

BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


class NoPlace(Exception):
    """The document has no place for what was measured."""


def inserted(document: str, text: str) -> str:
    """The document with this run's text in the place of the last one's. Raises NoPlace."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise NoPlace(f"no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def render(results: Results) -> str:
    """All tables that the run has numbers for."""
    sections = [
        _run(results),
        _targets(results),
        _warm(results.warm),
        _first(results),
        _ready(results),
        *([_scale(results.scale)] if results.scale else []),
        *([_cluster(results.cluster)] if results.cluster else []),
    ]
    return "\n".join(section for section in sections if section)


def summary(row: OnCluster) -> str:
    """What a user of a cluster waits for, in a sentence."""
    return (
        "On a Kubernetes node on the same machine, with MLServer: from `kubectl apply` to READY "
        f"{number(middle(row.warm))} s in a pool that runs and {number(middle(row.cold))} s in one whose pod is launched "
        f"for it, medians; {row.models:,} models of one `kubectl create` are READY after {number(row.models_s)} s, with an "
        f"orchestrator of {number(row.memory[0])} MiB; of a leader that is killed another takes the place within "
        f"{number(max(row.failover))} s.\n"
    )


def _run(results: Results) -> str:
    machine = results.machine
    return (
        f"`{results.command}` on {results.begun}, {results.minutes:.0f} minutes: {machine.processor}, "
        f"{machine.cores} cores, {machine.memory_gib:.0f} GiB, Linux {machine.kernel}, Python {machine.python}; "
        f"load average before it {machine.load_average:.1f}. "
        "Medians, and the least and the greatest of the rounds.\n"
    )


def _targets(results: Results) -> str:
    rows = [
        (each.what, each.wanted, each.measured, "yes" if each.reached else "**no**", each.modelmesh)
        for each in targets(results)
    ]
    return _section("Targets", ("", "target", "measured", "reached", "ModelMesh"), rows)


def _warm(rows: Sequence[Warm]) -> str:
    ordered = sorted(rows, key=lambda row: (row.server, row.callers, PATHS.index(row.path)))
    cells = [
        (
            row.server,
            f"{row.callers} on {row.connections}",
            row.path,
            spread(row.rate),
            spread(row.p50_ms),
            spread(row.p99_ms),
            spread(row.envoy_us),
        )
        for row in ordered
    ]
    head = ("server", "callers on connections", "path", "requests/s", "p50, ms", "p99, ms", "Envoy, CPU µs a request")
    return _section("Loaded models", head, cells)


def _first(results: Results) -> str:
    if results.first is None:
        return ""
    cells = [row for cold in results.first.cold for row in _cold(cold)]
    head = ("server", "", "p50, ms", "p90, ms", "longest, ms", "first 10", "last 10")
    crowds = [
        (
            crowd.server,
            f"{crowd.callers} callers, {crowd.models} models",
            *map(spread, (crowd.p50, crowd.p90, crowd.longest)),
        )
        for crowd in results.first.crowd
    ]
    return "\n".join(
        (
            _section("First requests to models that are not in memory", head, cells),
            _table(("server", "at once", "p50, ms", "p90, ms", "longest, ms"), crowds),
        )
    )


def _cold(cold: Cold) -> Iterator[tuple[str, ...]]:
    parts = {"whole": cold.total, "download": cold.download, "load": cold.load, "ours": cold.ours}
    for what, series in parts.items():
        numbers = (quantile(series, 0.5), quantile(series, 0.9), max(series), middle(series[:10]), middle(series[-10:]))
        yield (f"{cold.server}, {len(series)} models", what, *map(number, numbers))


def _ready(results: Results) -> str:
    cells = [(row.server, _most(row.file), spread(row.start), spread(row.away)) for row in results.ready]
    head = ("server", "file to READY, s", "start to first answer, s", "Envoy killed, to next answer, s")
    return _section("From a file, from nothing", head, cells)


def _most(series: Series) -> str:
    return f"{number(middle(series))}, at most {number(max(series))} (n = {len(series)})"


def _scale(scale: Scale) -> str:
    registered = [(f"{each.models:,}", spread(each.seconds)) for each in scale.registrations]
    sizes = sorted({each.models for each in scale.weights})
    processes = list(dict.fromkeys(each.process for each in scale.weights))
    found = {(each.process, each.models): f"{number(each.rss)} ({number(each.pss)})" for each in scale.weights}
    weights = [(process, *(found.get((process, size), "–") for size in sizes)) for process in processes]
    connections = scale.connections
    return "\n".join(
        (
            _section("Thousands of models", ("models registered at once", "until all are READY, s"), registered),
            _table(("memory, MiB: RSS (PSS)", *(f"{size:,} models" for size in sizes)), weights),
            f"Connections at a server of which {connections.models} models are in use by {connections.callers} callers: "
            f"{connections.connections}.\n",
        )
    )


def _cluster(row: OnCluster) -> str:
    cells = [
        ("`kubectl apply` to READY, a pod is launched for it", _most(row.cold)),
        ("`kubectl apply` to READY, the pool runs", _most(row.warm)),
        ("the leader is killed, until another leads", _most(row.failover)),
        ("the leader is killed, until a model applied at that moment is READY", _most(row.failover_ready)),
        (f"`kubectl create` of {row.models:,} models to READY of all", number(row.models_s)),
    ]
    leader, *standby = row.memory
    return (
        _section("On a Kubernetes node, MLServer", ("", "s"), cells)
        + f"\nMemory with {row.models:,} models, MiB RSS: the leader {number(leader)}, "
        + f"the standby {', '.join(map(number, standby))}.\n"
    )


def _section(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"### {title}\n\n{_table(head, rows)}" if rows else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
