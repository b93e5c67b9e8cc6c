"""
What the runtime pods have now, added up by runtime when somebody looks.
"""

from __future__ import annotations

from collections import Counter as Bag
from collections.abc import Iterable

from orchestrator.domain.fleet import PodView
from orchestrator.machinery.figures import Figure, gauges


def stock(pods: Iterable[PodView]) -> list[Figure]:
    """Pods by state, and the bytes that they have for models. A pod that is silent counts with what it said last."""
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
    """One word, the first that holds."""
    if view.pod.terminating:
        return "terminating"
    if not view.known:
        # Without an address there is nobody yet who could say a word: it waits for a node, say.
        return "silent" if view.pod.adapter else "pending"
    if view.draining:
        return "draining"
    return view.server.value.lower()
