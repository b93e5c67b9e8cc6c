"""
A leader and a model server for the activator to talk to: real gRPC servers with scripted minds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from orchestrator.domain.demand import Want
from protos import demand_pb2, inference_pb2

SERVICE = "/inference.GRPCInferenceService/"
LIMITS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
#: The least deadline of a client at which the activator's answer to it comes as long before it as to any.
WORDS_S = 2.5


def message(model: str, payload: bytes = b"") -> bytes:
    """A ModelInferRequest: the model's name, and raw contents in field 7."""
    size = len(payload)
    varint = bytearray()
    while size > 127:
        varint.append(size & 127 | 128)
        size >>= 7
    varint.append(size)
    raw = b"\x3a" + bytes(varint) + payload if payload else b""
    return inference_pb2.ModelName(name=model).SerializeToString() + raw


def ready(model: str, *endpoints: str) -> demand_pb2.Answer:
    """Answer: forward there."""
    return demand_pb2.Answer(model=model, ready=demand_pb2.Ready(endpoints=endpoints))


def failed(model: str, code: grpc.StatusCode, text: str) -> demand_pb2.Answer:
    """Answer: end with this status."""
    return demand_pb2.Answer(model=model, failed=demand_pb2.Failed(code=code.value[0], message=text))


def waiting(model: str, text: str) -> demand_pb2.Answer:
    """Answer: hold on."""
    return demand_pb2.Answer(model=model, waiting=demand_pb2.Waiting(message=text))


def standby(model: str) -> demand_pb2.Answer:
    """Answer: it would load on demand."""
    return demand_pb2.Answer(model=model, standby=demand_pb2.Standby())


class FakeLeader:
    """Keeps what is wanted; answers what `script` says whenever a want arrives, and what `say` is told."""

    def __init__(self, address: str) -> None:
        self.address = address
        #: What stands, by the protocol's rules; and every want and release that arrived.
        self.wanted: dict[str, Want] = {}
        self.wants: list[tuple[str, Want]] = []
        self.released: list[str] = []
        self.streams = 0
        self.opened = 0
        #: Answers to give when a want for the model arrives.
        self.script: dict[str, Callable[[Want], demand_pb2.Answer | None]] = {}
        self._outbox: set[asyncio.Queue[demand_pb2.Answer]] = set()
        self._server: grpc.aio.Server | None = None

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        """Serve at the address."""
        self._server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(
            self._want,
            request_deserializer=demand_pb2.Wanted.FromString,
            response_serializer=demand_pb2.Answer.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("wml.demand.v1.Demand", {"Want": handler}),)
        )
        if credentials is None:
            self._server.add_insecure_port(self.address)
        else:
            self._server.add_secure_port(self.address, credentials)
        await self._server.start()

    async def stop(self) -> None:
        """Be gone, with all that was known."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
        self.wanted.clear()

    def say(self, answer: demand_pb2.Answer) -> None:
        """Tell every activator."""
        for outbox in self._outbox:
            outbox.put_nowait(answer)

    async def _want(
        self, request_iterator: AsyncIterator[demand_pb2.Wanted], context: Any
    ) -> AsyncIterator[demand_pb2.Answer]:
        """The protocol's one method."""
        outbox: asyncio.Queue[demand_pb2.Answer] = asyncio.Queue()
        self._outbox.add(outbox)
        self.streams += 1
        self.opened += 1
        reader = asyncio.create_task(self._read(request_iterator, outbox))
        try:
            while True:
                yield await outbox.get()
        finally:
            reader.cancel()
            self.streams -= 1
            self._outbox.discard(outbox)

    async def _read(self, requests: AsyncIterator[demand_pb2.Wanted], outbox: asyncio.Queue[demand_pb2.Answer]) -> None:
        async for request in requests:
            if request.full:
                self.wanted.clear()
            for model in request.release:
                self.wanted.pop(model, None)
                self.released.append(model)
            for want in request.want:
                value = Want(load=want.load, stale=want.stale)
                self.wanted[want.model] = value
                self.wants.append((want.model, value))
                script = self.script.get(want.model)
                answer = script(value) if script is not None else None
                if answer is not None:
                    outbox.put_nowait(answer)


Behaviour = Callable[[str, AsyncIterator[bytes], grpc.aio.ServicerContext[bytes, bytes]], AsyncIterator[bytes]]


async def echo(
    method: str, messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
) -> AsyncIterator[bytes]:
    """Answer each message with itself."""
    async for one in messages:
        yield one


class FakeRuntime(grpc.GenericRpcHandler):
    """A model server that behaves as it is told; keeps the metadata and deadlines that reached it."""

    def __init__(self, behave: Behaviour = echo) -> None:
        self.behave = behave
        self.calls = 0
        self.metadata: list[dict[str, str | bytes]] = []
        self.deadlines: list[float | None] = []
        self.endpoint = ""
        self._server: grpc.aio.Server | None = None

    async def start(self, endpoint: str = "127.0.0.1:0", *, options: tuple[tuple[str, int], ...] = ()) -> None:
        """Serve; a port of 0 is any."""
        self._server = grpc.aio.server(options=(*LIMITS, ("grpc.so_reuseport", 0), *options))
        self._server.add_generic_rpc_handlers((self,))
        port = self._server.add_insecure_port(endpoint)
        self.endpoint = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """Be gone; calls in flight are cut off."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """One handler for all methods."""
        method = handler_call_details.method.removeprefix(SERVICE)

        async def handle(
            messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
        ) -> AsyncIterator[bytes]:
            self.calls += 1
            self.metadata.append(dict(context.invocation_metadata() or ()))
            self.deadlines.append(context.time_remaining())
            async for answer in self.behave(method, messages, context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(handle)


def failing(code: grpc.StatusCode, text: str, *, trailing: tuple[tuple[str, str | bytes], ...] = ()) -> Behaviour:
    """A server that answers every call with a status."""

    async def behave(
        method: str, messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        context.set_trailing_metadata(trailing)
        context.set_code(code)
        context.set_details(text)
        nothing: tuple[bytes, ...] = ()
        for one in nothing:
            yield one

    return behave
