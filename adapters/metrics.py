"""
An adapter's metrics: its copies, its bytes, its server. The only importer of prometheus_client in adapters/.

The values are read from the ledger at a scrape: no separate counter could
disagree with it. The orchestrator counts loads and how long they took, for all
pods and over restarts of adapters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from adapters.domain.copies import CopyState, ServerState
from adapters.ledger import Ledger

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


def exposition(ledger: Ledger) -> bytes:
    """The page of /metrics."""
    registry = CollectorRegistry()
    registry.register(_LedgerCollector(ledger))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _LedgerCollector(Collector):
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[GaugeMetricFamily]:
        ledger = self._ledger.changes(0)
        states = Counter(copy.state for copy in ledger.copies)
        copies = GaugeMetricFamily("wml_adapter_copies", "Copies of models by state.", labels=["state"])
        for state in CopyState:
            copies.add_metric([state.value], states[state])
        yield copies
        yield GaugeMetricFamily("wml_adapter_capacity_bytes", "Memory that there is for models.", ledger.total)
        yield GaugeMetricFamily("wml_adapter_reserved_bytes", "Memory that models have reserved.", ledger.reserved)
        ready = ledger.server is ServerState.READY
        yield GaugeMetricFamily("wml_adapter_server_ready", "1 if the model server answers.", int(ready))
        yield GaugeMetricFamily("wml_adapter_draining", "1 if the pod is on its way out.", int(ledger.draining))
        yield GaugeMetricFamily("wml_adapter_epoch", "The highest epoch of a leader that was heard.", ledger.epoch)
