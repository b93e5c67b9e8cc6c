"""
The load reporting service: Envoys report how often each model is asked for.

Eviction has to know which copies are used, but the orchestrator does not see the
requests to loaded models. Each report names every cluster; a cluster without
requests comes without numbers.

Not promised: Envoy does not report the first interval of a new cluster, nor
requests that end on a cluster that was replaced meanwhile (envoy#12823). So a
report never proves that no request is under way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import structlog
from envoy.service.load_stats.v3 import lrs_pb2
from google.protobuf.duration_pb2 import Duration

from orchestrator.mesh.resources import model_of
from orchestrator.mesh.usage import Usage

SERVICE: Final = "envoy.service.load_stats.v3.LoadReportingService"
INTERVAL_S: Final = 10.0


class LoadReports:
    """Asks each Envoy that dials in for reports, and passes them on to `Usage`."""

    def __init__(self, usage: Usage, interval_s: float = INTERVAL_S) -> None:
        self._usage = usage
        self._interval_s = interval_s
        self._log = structlog.get_logger()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register on a server that is not started yet; the mesh's SERVER_OPTIONS suit it too."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=lrs_pb2.LoadStatsRequest.FromString,
            response_serializer=lrs_pb2.LoadStatsResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"StreamLoadStats": handler}),))

    async def _stream(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]) -> None:
        interval = Duration()
        interval.FromNanoseconds(round(self._interval_s * 1e9))
        await context.write(lrs_pb2.LoadStatsResponse(send_all_clusters=True, load_reporting_interval=interval))
        source = object()
        try:
            async for message in requests:
                self._usage.report(source, to_rates(message))
        finally:
            self._usage.gone(source)


def to_rates(message: Any) -> dict[str, float]:
    """Read a LoadStatsRequest: model → requests a second, for models that had a request or have one under way."""
    rates = {}
    for cluster in message.cluster_stats:
        # Checked first: most of thousands of clusters had no request.
        if not cluster.upstream_locality_stats or (model := model_of(cluster.cluster_name)) is None:
            continue
        asked = sum(each.total_issued_requests for each in cluster.upstream_locality_stats)
        if not asked and not any(each.total_requests_in_progress for each in cluster.upstream_locality_stats):
            continue
        seconds = cluster.load_report_interval.ToNanoseconds() / 1e9
        rates[model] = asked / seconds if seconds > 0 else 0.0
    return rates
