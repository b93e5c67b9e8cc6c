"""
The activator's gRPC server: every method of the inference service, on raw bytes.

All methods are served as streams, unary ones too: on the wire they are the
same, and only a stream's handler may leave the message unread.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from orchestrator.activator.channels import Channels
from orchestrator.activator.counts import ActivatorCounts
from orchestrator.activator.hold import Hold
from orchestrator.activator.request import End, ServerCall
from orchestrator.activator.stream import Stream
from orchestrator.activator.unary import Unary
from orchestrator.machinery.figures import Figure
from protos import inference_pb2

_SERVICE: Final = "/inference.GRPCInferenceService/"

#: Calls that gRPC may keep until this process gets to them. It cancels what is beyond, and then no one has said why;
#: the mesh, which sends a thousand requests for one model at most, refuses a flood long before.
_MAX_UNSEEN: Final = 50_000
#: How long it may keep one: not less than anybody waits, or a process that was frozen would cancel what it finds.
_MAX_UNSEEN_S: Final = 3_600

Behaviour = Callable[[ServerCall], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """Bounds of the proxy."""

    max_message_bytes: int
    max_streams: int
    default_wait_s: float
    version: str


def server_options(max_message_bytes: int) -> tuple[tuple[str, int], ...]:
    """Options of the server that the proxy runs on."""
    return (
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # An unread message keeps no more of a stream here than this; with the bandwidth probe it would be megabytes.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 32 << 10),
        # The mesh pings every few seconds, so that it notices an activator that is frozen.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
        ("grpc.http2.max_ping_strikes", 0),
        # By default gRPC cancels at random from a thousand on: a refusal has a status and words.
        ("grpc.server.max_pending_requests", _MAX_UNSEEN),
        ("grpc.server.max_pending_requests_hard_limit", _MAX_UNSEEN),
        ("grpc.server_max_unrequested_time_in_server", _MAX_UNSEEN_S),
        # A taken port is an error, not a shared port.
        ("grpc.so_reuseport", 0),
    )


class Proxy(grpc.GenericRpcHandler):
    """Answers, holds and forwards."""

    def __init__(self, hold: Hold, channels: Channels, settings: ProxySettings) -> None:
        self._hold = hold
        self._channels = channels
        self._settings = settings
        self._streams = 0
        self._counts = ActivatorCounts()
        self._metadata = inference_pb2.ServerMetadataResponse(
            name="wml-serving", version=settings.version
        ).SerializeToString()
        self._live = inference_pb2.ServerLiveResponse(live=True).SerializeToString()
        self._handlers = {
            _SERVICE + "ModelInfer": self._handler(self._unary("ModelInfer", load=True)),
            _SERVICE + "ModelMetadata": self._handler(self._unary("ModelMetadata", load=True)),
            _SERVICE + "ModelReady": self._handler(self._unary("ModelReady", load=False)),
            _SERVICE + "ModelStreamInfer": self._handler(self._stream),
            _SERVICE + "ServerLive": self._handler(self._server_live),
            _SERVICE + "ServerReady": self._handler(self._server_ready),
            _SERVICE + "ServerMetadata": self._handler(self._server_metadata),
        }
        self._unimplemented = self._handler(_refuse)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a method."""
        return self._handlers.get(handler_call_details.method, self._unimplemented)

    def figures(self) -> list[Figure]:
        """What is held and was refused."""
        hold = self._hold
        return self._counts.figures(held=hold.waiting, streams=self._streams, connected=hold.heard, budget=hold.budget)

    def _handler(self, behave: Behaviour) -> grpc.RpcMethodHandler[Any, Any]:
        async def handle(_: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
            try:
                await behave(context)
            except End as end:
                self._counts.ended(end.code.name)
                context.set_code(end.code)
                context.set_details(end.details)

        return grpc.stream_stream_rpc_method_handler(handle)

    def _unary(self, method: str, *, load: bool) -> Behaviour:
        settings = self._settings

        async def behave(call: ServerCall) -> None:
            request = Unary(
                self._hold,
                self._channels,
                call,
                _SERVICE + method,
                max_message_bytes=settings.max_message_bytes,
                default_wait_s=settings.default_wait_s,
            )
            await request.run(load=load)

        return behave

    async def _stream(self, call: ServerCall) -> None:
        if self._streams >= self._settings.max_streams:
            raise End(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._streams} streams are open here already, at most {self._settings.max_streams} may be",
            )
        self._streams += 1
        try:
            stream = Stream(
                self._hold,
                self._channels,
                call,
                _SERVICE + "ModelStreamInfer",
                default_wait_s=self._settings.default_wait_s,
            )
            await stream.run()
        finally:
            self._streams -= 1

    async def _server_live(self, call: ServerCall) -> None:
        await call.write(self._live)

    async def _server_ready(self, call: ServerCall) -> None:
        await call.write(inference_pb2.ServerReadyResponse(ready=self._hold.heard).SerializeToString())

    async def _server_metadata(self, call: ServerCall) -> None:
        await call.write(self._metadata)


async def _refuse(_: ServerCall) -> None:
    raise End(
        grpc.StatusCode.UNIMPLEMENTED, "only the inference methods of inference.GRPCInferenceService are served here"
    )
