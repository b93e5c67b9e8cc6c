"""
Requests of one message: ModelInfer, ModelMetadata and ModelReady.

The message is read when the model is there, not before: until then it stays with
its client. Without an id in the metadata it has to be read first to know which
model to ask for; such messages have a small share of the budget, and over it
are refused rather than kept waiting behind one another. The answer is not held
for longer than a client may take over it (delivery.py).
"""

from __future__ import annotations

import asyncio
from typing import Final

import grpc

from orchestrator.activator.budget import Permit, Pool
from orchestrator.activator.channels import Channels
from orchestrator.activator.delivery import deliver
from orchestrator.activator.exchange import NotThere, Response, exchange, may_be_the_callers
from orchestrator.activator.hold import Hold
from orchestrator.activator.identity import BadIdentity, agreed, named_in_message
from orchestrator.activator.request import End, Request, ServerCall
from orchestrator.activator.waiter import Forward, Readiness
from protos import inference_pb2

READY: Final = inference_pb2.ModelReadyResponse(ready=True).SerializeToString()
#: False is the default, which protobuf would leave out: the same message, but not an empty one to a reader of dumps.
NOT_READY: Final = inference_pb2.ModelReadyResponse(ready=False).SerializeToString()

#: How long a message may take once it is read. Most of it is still with its client then, however far that is; while it
#: comes it has a place that others wait for.
_READ_S: Final = 30.0
#: After so many attempts a server that says it does not have a version is believed, and its words are passed on.
_BELIEVED_AFTER: Final = 6


class Unary(Request):
    """One request with one message."""

    __slots__ = ("_channels", "_max", "_message", "_method", "_permit", "_pool")

    def __init__(
        self,
        hold: Hold,
        channels: Channels,
        call: ServerCall,
        method: str,
        *,
        max_message_bytes: int,
        default_wait_s: float,
    ) -> None:
        super().__init__(hold, call, default_wait_s=default_wait_s)
        self._channels = channels
        self._method = method
        self._max = max_message_bytes
        self._message: bytes | None = None
        self._permit: Permit | None = None
        self._pool: Pool = hold.budget.requests

    async def run(self, *, load: bool) -> None:
        """Hold, forward, answer; raises End. A readiness question (`load` False) is answered here unless ready."""
        try:
            if not self.model:
                await self._read_first()
            elif not load:
                await self._read(self._pool)
            self.admit(load=load)
            while True:
                match await self.direction():
                    case Readiness(ready):
                        await self.call.write(READY if ready else NOT_READY)
                        return
                    case Forward(endpoints, serial):
                        if self._message is None:
                            await self._read(self._pool)
                        response = await self._first_that_works(endpoints, serial)
                        if response is not None:
                            await self._answer(response)
                            return
                        if not load:
                            await self.call.write(NOT_READY)
                            return
        finally:
            self._drop_message()
            self.leave()

    async def _first_that_works(self, endpoints: tuple[str, ...], serial: int) -> Response | None:
        """A server's answer; None if no one had the model, which is then asked for again."""
        said: Response | None = None
        for endpoint in endpoints:
            try:
                return await self._attempt(endpoint)
            except NotThere as error:
                # That it does not have the model at all is never the caller's doing, and not for ever.
                said = error.said if error.said is not None and may_be_the_callers(error.said.status) else None
        return said if self.stale(serial) >= _BELIEVED_AFTER else None

    async def _attempt(self, endpoint: str) -> Response:
        assert self._message is not None
        connection = await self._channels.acquire(endpoint)
        if connection is None:
            raise NotThere(f"no connection to {endpoint}")
        try:
            return await exchange(
                self.hold,
                connection,
                self._method,
                self._message,
                model=self.model,
                metadata=self.forwarded(),
                timeout=self.call.time_remaining(),
                deadline=self.deadline if self.own_deadline else None,
                max_message_bytes=self._max,
            )
        finally:
            await self._channels.release(connection)

    async def _answer(self, response: Response) -> None:
        # The server has answered: the model need not be kept for this request, nor its message.
        self._drop_message()
        self.leave()
        try:
            if response.initial or response.message is None:
                # Headers of its own keep an error from looking like one that the mesh should retry.
                await self.call.send_initial_metadata(response.initial)
            if response.message is not None:
                await deliver(self.call, response.message)
        finally:
            if response.permit is not None:
                self.hold.release(self.hold.budget.responses, response.permit)
        status = response.status
        self.call.set_code(status.code)
        self.call.set_details(status.details)
        self.call.set_trailing_metadata(status.trailing)

    async def _read_first(self) -> None:
        """Read the message before anything is known of the model, and learn its name."""
        pool = self.hold.budget.early
        if pool.settled + self._max > pool.total:
            raise End(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{pool.settled} of {pool.total} bytes for messages without metadata mm-vmodel-id are held:"
                " try again later, or name the model in metadata",
            )
        self._pool = pool
        await self._read(pool)

    async def _read(self, pool: Pool) -> None:
        permit = await self.hold.permit(pool, self._max, self.deadline, model=self.model)
        if permit is None:
            if asyncio.get_running_loop().time() >= self.deadline:
                code = grpc.StatusCode.DEADLINE_EXCEEDED if self.own_deadline else grpc.StatusCode.UNAVAILABLE
                raise End(code, f"model '{self.model}': waited for room for its message, {self._use(pool)}")
            raise End(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"no room for the message, {self._use(pool)}: try again later"
            )
        self._permit = permit
        try:
            async with asyncio.timeout(_READ_S):
                message = await self.call.read()
        except TimeoutError:
            raise End(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"the message did not arrive within {_READ_S:g} s of being read"
            ) from None
        if not isinstance(message, bytes):
            # Either there is none, or it was too large and gRPC has said so already.
            raise End(grpc.StatusCode.INVALID_ARGUMENT, "the request has no message")
        self.hold.settle(pool, permit, len(message))
        try:
            if self.model:
                message = agreed(message, self.model)
            else:
                self.model = named_in_message(message)
        except BadIdentity as error:
            raise End(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        if not self.model:
            raise End(
                grpc.StatusCode.INVALID_ARGUMENT,
                "no model is named, neither in metadata mm-vmodel-id nor in the message",
            )
        self._message = message

    def _drop_message(self) -> None:
        self._message = None
        if self._permit is not None:
            self.hold.release(self._pool, self._permit)
            self._permit = None

    def _use(self, pool: Pool) -> str:
        of_it = f" ({pool.used_by(self.model)} of them by this model)" if self.model else ""
        return f"{pool.used} of {pool.total} bytes are in use{of_it} and {pool.line} requests wait"
