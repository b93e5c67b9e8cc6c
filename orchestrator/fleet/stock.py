"""
The runtime pods' states and memory, added up by runtime at a scrape.
"""

from __future__ import annotations

from collections import Counter as Bag
from collections.abc import Iterable

from orchestrator.domain.fleet import PodView
from orchestrator.machinery.figures import Figure, gauges


def stock(pods: Iterable[PodView]) -> list[Figure]:
    """Pods by state, and their bytes for models. A silent pod counts with its last report."""
    states: Bag[tuple[str, ...]] = Bag()
    capacity: Bag[tuple[str, ...]] = Bag()
    reserved: Bag[tuple[str, ...]] = Bag()
    for view in pods:
        runtime = view.pod.runtime
        states[runtime, _state(view)] += 1
        capacity[runtime,] += view.total
        reserved[runtime,] += view.reserved
    by_runtime = ("runtime",)
    return [
        gauges("wml_runtime_pods", "Runtime pods by state.", ("runtime", "state"), states),
        gauges("wml_model_memory_capacity_bytes", "Memory that runtime pods have for models.", by_runtime, capacity),
        gauges("wml_model_memory_reserved_bytes", "Memory that models have reserved.", by_runtime, reserved),
    ]


def _state(view: PodView) -> str:
    """The pod's state for the metric: the first that applies."""
    if view.pod.terminating:
        return "terminating"
    if not view.known:
        # A pod without an address has no adapter that could answer: it waits for a node, for example.
        return "silent" if view.pod.adapter else "pending"
    if view.draining:
        return "draining"
    return view.server.value.lower()
