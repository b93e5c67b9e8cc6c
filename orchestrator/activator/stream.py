"""
ModelStreamInfer: messages both ways for as long as both sides like.

A stream that came here cold stays here. Its messages cannot have a permit
before they are read, for the next may come in an hour; so they are charged when
they are here, and a stream whose message finds no room ends, as does one whose
client does not take its answers (delivery.py). What bounds the process is the
number of streams, each with at most one message a way.

Only what has not begun is sent elsewhere: a stream moves on when a server cannot
be connected, not when it says that it lacks the model.
"""

from __future__ import annotations

import asyncio

import grpc

from orchestrator.activator.budget import Permit, Pool
from orchestrator.activator.channels import Channels, Connection
from orchestrator.activator.delivery import deliver
from orchestrator.activator.exchange import Status, status_of
from orchestrator.activator.hold import Hold
from orchestrator.activator.identity import BadIdentity, agreed, forwarded
from orchestrator.activator.request import End, Request, ServerCall
from orchestrator.activator.waiter import Forward

Call = grpc.aio.StreamStreamCall[bytes, bytes]


class Stream(Request):
    """One stream."""

    __slots__ = ("_channels", "_method")

    def __init__(self, hold: Hold, channels: Channels, call: ServerCall, method: str, *, default_wait_s: float) -> None:
        super().__init__(hold, call, default_wait_s=default_wait_s)
        self._channels = channels
        self._method = method

    async def run(self) -> None:
        """Hold, connect, pass messages on until the server ends; raises End."""
        if not self.model:
            raise End(
                grpc.StatusCode.INVALID_ARGUMENT,
                "a stream names its model in metadata mm-vmodel-id: it is routed before its first message",
            )
        try:
            self.admit(load=True)
            connection = await self._connect()
            try:
                status = await self._converse(connection)
            finally:
                await self._channels.release(connection)
        finally:
            self.leave()
        self.call.set_code(status.code)
        self.call.set_details(status.details)
        self.call.set_trailing_metadata(status.trailing)

    async def _connect(self) -> Connection:
        while True:
            match await self.direction():
                case Forward(endpoints, serial):
                    for endpoint in endpoints:
                        connection = await self._channels.acquire(endpoint)
                        if connection is not None:
                            return connection
                    self.stale(serial)
                case _:
                    raise AssertionError("only a readiness question is answered with readiness")

    async def _converse(self, connection: Connection) -> Status:
        call = connection.stream(self._method)(metadata=self.forwarded(), timeout=self.call.time_remaining())
        ended: list[End] = []
        try:
            async with asyncio.TaskGroup() as group:
                uplink = group.create_task(self._pass_requests(call))
                status = await self._pass_responses(call)
                uplink.cancel()
                return status
        except* End as group_of_ends:
            ended.extend(end for end in group_of_ends.exceptions if isinstance(end, End))
        finally:
            if not call.done():
                call.cancel()
        raise ended[0]

    async def _pass_requests(self, call: Call) -> None:
        pool = self.hold.budget.requests
        while isinstance(message := await self.call.read(), bytes):
            permit = self._charge(pool, len(message))
            try:
                await call.write(agreed(message, self.model))
            except BadIdentity as error:
                raise End(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The server has ended the call; how, the other direction hears.
                return
            finally:
                self.hold.release(pool, permit)
        await call.done_writing()

    async def _pass_responses(self, call: Call) -> Status:
        pool = self.hold.budget.responses
        initial = forwarded(await call.initial_metadata())
        # The server has begun: the model need not be kept for this request.
        self.leave()
        await self.call.send_initial_metadata(initial)
        try:
            while isinstance(message := await call.read(), bytes):
                permit = self._charge(pool, len(message))
                try:
                    await deliver(self.call, message)
                finally:
                    self.hold.release(pool, permit)
        except grpc.aio.AioRpcError as error:
            return Status(error.code(), error.details() or "", forwarded(error.trailing_metadata() or ()))
        return await status_of(call)

    def _charge(self, pool: Pool, size: int) -> Permit:
        permit = self.hold.charge(pool, size, self.model)
        if permit is None:
            raise End(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"model '{self.model}': no room for a message of {size} bytes: {pool.used} of {pool.total} bytes"
                f" are in use, {pool.used_by(self.model)} of them by this model",
            )
        return permit
