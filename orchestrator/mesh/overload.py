"""
What an Envoy does when memory or connections run short, before the kernel does.
"""

from __future__ import annotations

from typing import Final

from orchestrator.mesh.upstream import Config

_HEAP: Final = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS: Final = "envoy.resource_monitors.global_downstream_max_connections"
_KINDS: Final = "type.googleapis.com/envoy.extensions.resource_monitors"
#: Streams that hold a mebibyte or more can be reset for memory.
_TRACKED_LOG2: Final = 20


def overload(*, max_heap_bytes: int, max_connections: int) -> Config:
    """The overload manager: near the heap's limit the largest requests are reset, above 95 % of it new ones refused."""
    return {
        # A fast client fills a tenth of the heap between two looks at it.
        "refresh_interval": "0.1s",
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _TRACKED_LOG2},
        "resource_monitors": [
            {
                "name": _HEAP,
                "typed_config": {
                    "@type": f"{_KINDS}.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": max_heap_bytes,
                },
            },
            {
                "name": _CONNECTIONS,
                "typed_config": {
                    "@type": f"{_KINDS}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": max_connections,
                },
            },
        ],
        "actions": [
            {"name": "envoy.overload_actions.shrink_heap", "triggers": _above(0.9)},
            {
                # Resets the largest requests and spares small ones; only if that is not enough are new ones refused.
                "name": "envoy.overload_actions.reset_high_memory_stream",
                "triggers": [{"name": _HEAP, "scaled": {"scaling_threshold": 0.75, "saturation_threshold": 0.9}}],
            },
            {"name": "envoy.overload_actions.stop_accepting_requests", "triggers": _above(0.95)},
        ],
    }


def _above(threshold: float) -> list[Config]:
    return [{"name": _HEAP, "threshold": {"value": threshold}}]
