"""
Watches whether the server is there, by its connection and not by its speed.

A server that answers once is there; it is lost when its connection drops. A
frozen or busy server answers late and is not lost: its models are in memory, and
declaring them gone would throw them away. An answer "not ready" does not count
as lost: both servers say that while any one model is not ready.

A probe has a long timeout: a busy server answers it between two predictions, and
would miss a short timeout each time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from adapters.runtimes.client import CHANNEL_OPTIONS

_POLL_S: Final = 1.0
#: Timeout of a probe, of a server that is there.
_ANSWER_S: Final = 60.0
#: The same, of a server that has not appeared yet.
_APPEAR_S: Final = 1.0
_RETRY_S: Final = 0.05


class _Pulse(Enum):
    ANSWERED = "answered"
    #: No answer in time on a connection that stands: busy or frozen.
    LATE = "late"
    BROKEN = "broken"


class Monitor:
    """Watches one server through one connection after another."""

    def __init__(self, target: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._target = target
        self._clock = clock
        self._channel: grpc.aio.Channel | None = None
        #: When the server answered last; None while no server is there.
        self._answered_at: float | None = None

    @property
    def silent_s(self) -> float:
        """
        For how many seconds the server has not answered on a connection that stands; 0 while there is none.

        The caller (health.py) judges when that is too long. A server that is not there is being started or has ended,
        which the process that keeps it running sees itself.
        """
        return 0.0 if self._answered_at is None else self._clock() - self._answered_at

    async def appeared(self) -> None:
        """Return when the server answers on a new connection."""
        await self.close()
        self._channel = grpc.aio.insecure_channel(self._target, options=CHANNEL_OPTIONS)
        while True:
            if await _probe(self._channel, _APPEAR_S) is _Pulse.ANSWERED:
                self._answered_at = self._clock()
                return
            await asyncio.sleep(_RETRY_S)

    async def lost(self) -> None:
        """Return when the connection of the last `appeared` drops."""
        channel = self._channel
        if channel is None:
            return
        watch = asyncio.create_task(_until_dropped(channel))
        poll = asyncio.create_task(self._until_broken(channel))
        try:
            await asyncio.wait({watch, poll}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            poll.cancel()
            await asyncio.wait({watch, poll})
            self._answered_at = None

    async def close(self) -> None:
        """Drop the connection."""
        self._answered_at = None
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _until_broken(self, channel: grpc.aio.Channel) -> None:
        while (pulse := await _probe(channel, _ANSWER_S)) is not _Pulse.BROKEN:
            if pulse is _Pulse.ANSWERED:
                self._answered_at = self._clock()
            await asyncio.sleep(_POLL_S)


async def _probe(channel: grpc.aio.Channel, within_s: float) -> _Pulse:
    stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    try:
        await stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=within_s)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            connected = channel.get_state() is grpc.ChannelConnectivity.READY
            return _Pulse.LATE if connected else _Pulse.BROKEN
        failed = error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        return _Pulse.BROKEN if failed else _Pulse.ANSWERED
    return _Pulse.ANSWERED


async def _until_dropped(channel: grpc.aio.Channel) -> None:
    while channel.get_state() is grpc.ChannelConnectivity.READY:
        await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
