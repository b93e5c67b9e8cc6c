"""
What every request of the proxy has: its metadata, its deadline, its place at the gate.

gRPC's server context is used through the protocol below. Its own type promises
a deadline where there is none, and a message where the stream has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import grpc

from orchestrator.activator.hold import Hold
from orchestrator.activator.identity import BadIdentity, forwarded, is_retry, named_in_metadata, shown
from orchestrator.activator.waiter import Forward, Readiness, Reply, Waiter
from orchestrator.domain.names import is_subdomain

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

#: The answer to a deadline is sent so long before it, or a tenth of the time: later the client would not see it.
_EARLY_S: Final = 0.25


class ServerCall(Protocol):
    """gRPC's context of a call."""

    async def read(self) -> object:
        """The next message; what is not bytes is the stream's end."""

    async def write(self, message: bytes, /) -> None:
        """Send a message."""

    async def send_initial_metadata(self, initial_metadata: Sequence[tuple[str, str | bytes]], /) -> None:
        """Send headers now."""

    def invocation_metadata(self) -> grpc.aio.Metadata | None:
        """What came with the call."""

    def time_remaining(self) -> float | None:
        """Until the client's deadline; None if it has none."""

    def set_code(self, code: grpc.StatusCode, /) -> None:
        """The status to end with."""

    def set_details(self, details: str, /) -> None:
        """Its text."""

    def set_trailing_metadata(self, trailing_metadata: Sequence[tuple[str, str | bytes]], /) -> None:
        """What is sent with the status."""


class End(Exception):
    """The request ends with this status, made here."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details


class Request:
    """
    One request on its way through.

    `admit` takes a place at the gate, `leave` gives it back: at the latest when
    the request is over, whatever its end.
    """

    __slots__ = ("_waiter", "call", "deadline", "hold", "metadata", "model", "own_deadline", "since")

    def __init__(self, hold: Hold, call: ServerCall, *, default_wait_s: float) -> None:
        """Raises End if the metadata name no single model."""
        self.hold = hold
        self.call = call
        self.metadata = tuple(call.invocation_metadata() or ())
        self.since = asyncio.get_running_loop().time()
        remaining = call.time_remaining()
        self.own_deadline = remaining is not None
        if remaining is None:
            self.deadline = self.since + default_wait_s
        else:
            self.deadline = self.since + remaining - min(_EARLY_S, remaining / 10)
        self._waiter: Waiter | None = None
        try:
            #: '' until the message has told it.
            self.model = named_in_metadata(self.metadata)
        except BadIdentity as error:
            raise End(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None

    def admit(self, *, load: bool) -> None:
        """Take a place at the gate; raises End if there is none, or no such model can be."""
        if not is_subdomain(self.model):
            raise End(grpc.StatusCode.NOT_FOUND, f"model '{shown(self.model)}' not found: no model can have this name")
        admitted = self.hold.admit(
            self.model,
            load=load,
            stale=is_retry(self.metadata),
            since=self.since,
            deadline=self.deadline,
            own_deadline=self.own_deadline,
        )
        if isinstance(admitted, Reply):
            raise end(admitted)
        self._waiter = admitted

    async def direction(self) -> Forward | Readiness:
        """Wait until it is known where to; raises End if that is nowhere."""
        assert self._waiter is not None
        verdict = await self.hold.verdict(self._waiter)
        if isinstance(verdict, Reply):
            raise end(verdict)
        return verdict

    def stale(self, serial: int) -> int:
        """The answer with that number led nowhere; returns how often that has happened."""
        assert self._waiter is not None
        self.hold.stale(self._waiter, serial)
        return self._waiter.stale

    def leave(self) -> None:
        """Give the place back. Any number of times."""
        if self._waiter is not None:
            self.hold.leave(self._waiter)
            self._waiter = None

    def forwarded(self) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata that go on."""
        return forwarded(self.metadata)


def end(reply: Reply) -> End:
    """The gate's reply as gRPC says it."""
    return End(_CODES.get(reply.code, grpc.StatusCode.UNKNOWN), reply.message)
