"""
A message's way to its client, which has an end whether the client reads or not.

While it goes out it has a place that others wait for, so it must move: a client
has a while, and longer for a large message, and then its call ends.

gRPC's asyncio server cannot end a call that has a message on its way: a status
would wait behind that message, and both would stay in memory for as long as the
client likes. The core can, and `_cut` gets at it through a method that hands
the core's call to a function of the module, which is replaced for that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import Any, Final, cast

import grpc

from orchestrator.activator.request import End, ServerCall

#: What any client has, and what it has to take in a second beyond that: 16 MiB may take 84 s.
_WRITE_S: Final = 20.0
_LEAST_BYTES_PER_S: Final = 256 << 10
#: By then gRPC has noticed that the call is over.
_CUT_S: Final = 1.0

_CORE: Final[Any] = importlib.import_module("grpc._cython.cygrpc")


async def deliver(call: ServerCall, message: bytes) -> None:
    """Send a message; raises End if its client does not take it."""
    bound_s = _WRITE_S + len(message) / _LEAST_BYTES_PER_S
    try:
        async with asyncio.timeout(bound_s):
            await call.write(message)
    except TimeoutError:
        end = End(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"the client did not take an answer of {len(message)} bytes within {bound_s:.3g} s",
        )
        _cut(call, end)
        # As when a client leaves, gRPC now cancels the task that serves the call, which is this one.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(_CUT_S)
        raise end from None


def _cut(call: ServerCall, end: End) -> None:
    """End the call now: the status overtakes the message, and gRPC lets go of both."""

    def cancel(core_call: Any) -> None:
        # Nothing may be raised here: the method that calls this would free a call that is not its own.
        core_call.cancel(end.code.value[0], end.details)

    own = _CORE.peer_identity_key
    _CORE.peer_identity_key = cancel
    try:
        cast("grpc.aio.ServicerContext[bytes, bytes]", call).peer_identity_key()
    finally:
        _CORE.peer_identity_key = own
