"""
The delta-CDS service: carries requests and responses between Envoys and the router.

Thin on purpose: the session knows which resources an Envoy holds. The service is
registered by hand, since the generated code of the xDS package has no types.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import structlog
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from orchestrator.mesh.duplex import converse
from orchestrator.mesh.resources import TYPE_URL
from orchestrator.mesh.router import Router
from orchestrator.mesh.session import Request, Response

SERVICE: Final = "envoy.service.cluster.v3.ClusterDiscoveryService"

#: For the grpc.aio server that this service is added to: permits Envoy's pings,
#: and detects an Envoy that has gone without closing its connection.
SERVER_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 4_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    # Without this option a ping may stay unanswered for a minute, keepalive pings included.
    ("grpc.http2.ping_timeout_ms", 2_000),
    # An Envoy that reconnects names every cluster that it holds.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", -1),
)


class MeshServer:
    """Serves delta CDS from a router."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._log = structlog.get_logger()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register on a server that was made with SERVER_OPTIONS and is not started yet."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"DeltaClusters": handler}),))

    async def _stream(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]) -> None:
        first = await anext(requests, None)
        if first is None:
            return
        node = first.node.id
        if first.type_url != TYPE_URL or not node:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"expected a node id and type {TYPE_URL}")
        began = time.monotonic()
        wake = asyncio.Event()
        connection = self._router.connect(node, to_request(first), wake.set)
        log = self._log.bind(pod=node)
        log.info(
            "mesh_node_connected",
            routes=len(first.initial_resource_versions),
            strangers=len(connection.session.strangers),
        )

        def take(request: Any) -> None:
            for model, words in self._router.receive(connection, to_request(request)):
                log.error("mesh_route_refused", trained_model=model, error=words)

        try:
            await converse(
                requests,
                context.write,
                take=take,
                pending=lambda: [to_message(response) for response in connection.responses()],
                wake=wake,
                closed=lambda: connection.closed,
            )
        finally:
            superseded = connection.closed
            self._router.disconnect(connection)
            log.info(
                "mesh_node_disconnected",
                superseded=superseded,
                duration_ms=round((time.monotonic() - began) * 1000),
            )


def to_request(message: Any) -> Request:
    """Read a DeltaDiscoveryRequest."""
    return Request(
        nonce=message.response_nonce,
        error=message.error_detail.message if message.HasField("error_detail") else None,
        initial_versions=dict(message.initial_resource_versions),
    )


def to_message(response: Response) -> Any:
    """Write a DeltaDiscoveryResponse."""
    return discovery_pb2.DeltaDiscoveryResponse(
        type_url=TYPE_URL,
        nonce=response.nonce,
        resources=[
            discovery_pb2.Resource(
                name=resource.name,
                version=resource.version,
                resource=AnyMessage(type_url=TYPE_URL, value=resource.body),
            )
            for resource in response.resources
        ],
        removed_resources=response.removed,
    )
