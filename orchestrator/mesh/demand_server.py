"""
The Demand service: activators dial in, say what they wait for, and are told what to do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final, assert_never

import grpc
import structlog

from orchestrator.domain.demand import Answer, OnDemand, ReadyAt, Refused, WaitFor, Want
from orchestrator.mesh.demand_book import DemandBook, TooManyWants
from orchestrator.mesh.duplex import converse
from protos import demand_pb2

SERVICE: Final = "wml.demand.v1.Demand"


class DemandServer:
    """Serves a demand book."""

    def __init__(self, book: DemandBook) -> None:
        self._book = book
        self._log = structlog.get_logger()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register on a server that is not started yet; the mesh's SERVER_OPTIONS suit it too."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=demand_pb2.Wanted.FromString,
            response_serializer=demand_pb2.Answer.SerializeToString,
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Want": handler}),))

    async def _stream(
        self,
        requests: AsyncIterator[demand_pb2.Wanted],
        context: grpc.aio.ServicerContext[demand_pb2.Wanted, demand_pb2.Answer],
    ) -> None:
        began = time.monotonic()
        wake = asyncio.Event()
        waiter = self._book.connect(wake.set)
        log = self._log.bind(pod=context.peer())
        log.info("activator_connected")

        def take(message: demand_pb2.Wanted) -> None:
            wants = {want.model: Want(load=want.load, stale=want.stale) for want in message.want}
            self._book.receive(waiter, full=message.full, wants=wants, release=message.release)

        refusal = ""
        try:
            # Answers may be long in coming; this tells the activator at once that it is connected.
            await context.send_initial_metadata(())
            await converse(
                requests,
                context.write,
                take=take,
                pending=lambda: [to_message(model, answer) for model, answer in waiter.answers()],
                wake=wake,
            )
        except* TooManyWants as group:
            refusal = str(group.exceptions[0])
        finally:
            self._book.disconnect(waiter)
            log.info("activator_disconnected", error=refusal, duration_ms=round((time.monotonic() - began) * 1000))
        if refusal:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)


def to_message(model: str, answer: Answer) -> demand_pb2.Answer:
    """The answer as it is sent."""
    match answer:
        case ReadyAt(endpoints):
            return demand_pb2.Answer(model=model, ready=demand_pb2.Ready(endpoints=endpoints))
        case Refused(code, message):
            return demand_pb2.Answer(model=model, failed=demand_pb2.Failed(code=code, message=message))
        case WaitFor(message):
            return demand_pb2.Answer(model=model, waiting=demand_pb2.Waiting(message=message))
        case OnDemand():
            return demand_pb2.Answer(model=model, standby=demand_pb2.Standby())
        case _:
            assert_never(answer)
