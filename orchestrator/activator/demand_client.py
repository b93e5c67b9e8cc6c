"""
The conversation with the leader: one `Demand.Want` stream, opened again whenever it ends.

The first message says all that is wanted, later ones what changed; what changes
while a message is being written goes into the next. Between two leaders nothing
is lost: who waits goes on waiting, and the next leader is told all of it.

Pings find a leader that is frozen or powered off, which TCP alone would not.

When this process has another certificate, the stream moves to a connection with
it, as between two leaders.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Final

import grpc
import structlog

from orchestrator.activator.channels import CHANNEL_OPTIONS
from orchestrator.activator.hold import Hold
from orchestrator.domain.demand import Answer, OnDemand, ReadyAt, Refused, WaitFor, Want
from orchestrator.machinery.backoff import Backoff
from orchestrator.transport.identity import ORCHESTRATOR, Identities
from orchestrator.transport.line import Line, connected, renewed_alone
from protos import demand_pb2, demand_pb2_grpc

log = structlog.get_logger(__name__)

_CONNECT_S: Final = 2.0
#: A leader that took the stream and has nothing to say yet was heard all the same.
_SILENT_S: Final = 1.0

Call = grpc.aio.StreamStreamCall[demand_pb2.Wanted, demand_pb2.Answer]


class DemandClient:
    """Tells the leader what is wanted and brings its answers to the hold."""

    def __init__(
        self, hold: Hold, leaders: Sequence[str], *, ping_s: float = 4.0, identities: Identities | None = None
    ) -> None:
        """
        `leaders` are gRPC addresses; of several only one answers at a time.

        A leader that leaves a ping unanswered for half of `ping_s` is given up. With `identities`, leaders
        are dialled with mutual TLS.
        """
        if not leaders:
            raise ValueError("at least one address of a leader is needed")
        self._hold = hold
        self._leaders = tuple(leaders)
        self._identities = identities
        ping_ms = round(ping_s * 1000)
        self._options = (
            *CHANNEL_OPTIONS,
            ("grpc.keepalive_time_ms", ping_ms),
            ("grpc.keepalive_timeout_ms", ping_ms // 2),
            # Without it a ping, a keepalive's too, may stay unanswered for a minute.
            ("grpc.http2.ping_timeout_ms", ping_ms // 2),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        )
        #: Set while it cannot be reached, so that this is logged once.
        self._alone = False

    async def run(self) -> None:
        """Keep the stream until cancelled."""
        backoff = Backoff(0.05, 0.5, random.random)
        while True:
            for leader in self._leaders:
                if await self._converse(leader):
                    backoff.reset()
                    break
            await asyncio.sleep(backoff.next())

    async def _converse(self, leader: str) -> bool:
        """All that is said with one leader; whether it was heard."""
        line = Line(leader, options=self._options, identities=self._identities, role=ORCHESTRATOR)
        try:
            if not await connected(line.channel, _CONNECT_S):
                self._lost(leader, "no connection")
                return False
            while (heard := await self._stream(line, leader)) is None:
                log.info("demand_renewed", leader=leader)
            return heard
        finally:
            await line.close()

    async def _stream(self, line: Line, leader: str) -> bool | None:
        """One stream from its beginning to its end; whether there was one. None: there is a newer connection for it."""
        call: Call = demand_pb2_grpc.DemandStub(line.channel).Want()
        began = time.monotonic()
        heard = False
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write(call))
                renewal = group.create_task(self._renew(line, call))
                try:
                    heard = await self._begin(call, leader)
                    reason = await self._read(call)
                except asyncio.CancelledError:
                    if not renewed_alone(renewal):
                        raise
                    return None
                finally:
                    writer.cancel()
                    renewal.cancel()
        finally:
            call.cancel()
            self._hold.unheard()
        self._lost(leader, reason, duration_ms=round((time.monotonic() - began) * 1000), heard=heard)
        return heard

    async def _renew(self, line: Line, call: Call) -> None:
        await line.renewed()
        call.cancel()

    async def _begin(self, call: Call, leader: str) -> bool:
        """Wait until the stream is there; whether it is."""
        try:
            async with asyncio.timeout(_SILENT_S):
                await call.initial_metadata()
        except TimeoutError:
            pass
        if call.done():
            return False
        self._alone = False
        self._hold.heard = True
        log.info("demand_connected", leader=leader)
        return True

    async def _write(self, call: Call) -> None:
        try:
            await call.write(wanted(self._hold.everything(), full=True))
            while True:
                await self._hold.news.wait()
                # What arrives in the same turn of the loop goes into one message.
                await asyncio.sleep(0)
                changes = self._hold.changes()
                if changes.want or changes.release:
                    await call.write(wanted(changes.want, release=changes.release))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The stream has ended; why, the reader hears.
            return

    async def _read(self, call: Call) -> str:
        """Bring answers until the stream ends; why it did."""
        try:
            while isinstance(message := await call.read(), demand_pb2.Answer):
                answer = from_message(message)
                if answer is None:
                    log.warning("demand_answer_unknown", trained_model=message.model)
                else:
                    self._hold.answer(message.model, answer)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "ended by the leader"

    def _lost(self, leader: str, reason: str, *, duration_ms: int = 0, heard: bool = False) -> None:
        if heard or not self._alone:
            self._alone = True
            log.warning("demand_disconnected", leader=leader, reason=reason, duration_ms=duration_ms)


def wanted(wants: Mapping[str, Want], *, full: bool = False, release: Sequence[str] = ()) -> demand_pb2.Wanted:
    """What is wanted, as it is sent."""
    return demand_pb2.Wanted(
        full=full,
        want=[demand_pb2.Want(model=model, load=want.load, stale=want.stale) for model, want in wants.items()],
        release=release,
    )


def from_message(message: demand_pb2.Answer) -> Answer | None:
    """The answer that was sent; None if it is of a kind that this activator does not know."""
    match message.WhichOneof("state"):
        case "ready":
            return ReadyAt(tuple(message.ready.endpoints))
        case "failed":
            return Refused(message.failed.code, message.failed.message)
        case "waiting":
            return WaitFor(message.waiting.message)
        case "standby":
            return OnDemand()
        case None:
            return None
