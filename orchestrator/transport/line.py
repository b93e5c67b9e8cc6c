"""
The client's side of mutual TLS: a channel to one peer that outlives certificates.

A gRPC channel keeps the certificate that it was made with, and connects with it
again when that has long expired. So a line makes another channel when the
identity has changed: the new one connects first, then takes the place of the
old one, which ends after what is under way on it.

Without an identity a line is one plaintext channel, as on one machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import grpc

from orchestrator.transport.identity import Identities, Identity

T = TypeVar("T")

Options = Sequence[tuple[str, Any]]

_CONNECT_S: Final = 5.0
#: Between attempts to reach a peer with a new identity, while the connection with the old one goes on.
_AGAIN_S: Final = 5.0
#: How long calls on a channel that was replaced may take to end.
_GRACE_S: Final = 30.0


async def connected(channel: grpc.aio.Channel, within_s: float) -> bool:
    """Whether the channel is connected, now or soon. False as soon as an attempt fails."""
    state = channel.get_state(try_to_connect=True)
    if state is grpc.ChannelConnectivity.READY:
        return True
    try:
        async with asyncio.timeout(within_s):
            while state is not grpc.ChannelConnectivity.READY:
                if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                    return False
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except TimeoutError:
        return False
    return True


class Line:
    """The way to one peer, of which the role is known and nothing else that a certificate could say."""

    def __init__(
        self, address: str, *, options: Options = (), identities: Identities | None = None, role: str = ""
    ) -> None:
        self._address = address
        self._options = tuple(options)
        self._identities = identities
        self._role = role
        self._retired: set[asyncio.Task[None]] = set()
        self._identity = identities.current() if identities is not None else None
        #: For the next call; no call may hold on to it for longer.
        self.channel = self._dial(self._identity)

    def refresh(self) -> None:
        """Before a new attempt at a peer that is not connected: with the identity of now."""
        identity = self._identities.current() if self._identities is not None else None
        if identity != self._identity:
            self._replace(identity, self._dial(identity))

    async def renewed(self) -> None:
        """Return once `channel` is another, which is connected. Without an identity: never."""
        if self._identities is None or self._identity is None:
            await asyncio.get_running_loop().create_future()
            return
        while True:
            await self._identities.changed(self._identity)
            identity = self._identities.current()
            channel = self._dial(identity)
            if await _usable(channel):
                self._replace(identity, channel)
                return
            await asyncio.sleep(_AGAIN_S)

    async def follow(
        self, begin: Callable[[grpc.aio.Channel], grpc.aio.UnaryStreamCall[Any, T]]
    ) -> AsyncGenerator[T, None]:
        """The messages of a stream until it ends; it is begun again, without a word, when the line was renewed."""
        while True:
            call = begin(self.channel)
            renewal = asyncio.create_task(self.renewed())
            renewal.add_done_callback(partial(_cancel, call))
            try:
                async for message in call:
                    yield message
                return
            except asyncio.CancelledError:
                if not renewed_alone(renewal):
                    raise
            finally:
                renewal.cancel()
                call.cancel()

    async def close(self) -> None:
        """End all calls."""
        for task in self._retired:
            task.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        await self.channel.close()

    def _dial(self, identity: Identity | None) -> grpc.aio.Channel:
        if identity is None:
            return grpc.aio.insecure_channel(self._address, options=self._options)
        credentials = grpc.ssl_channel_credentials(
            root_certificates=identity.authorities,
            private_key=identity.key,
            certificate_chain=identity.certificate,
        )
        options = (
            *self._options,
            # Pods are dialled by address; what is in the certificate is the role.
            ("grpc.ssl_target_name_override", self._role),
            # A connection of the channel before, with its certificate, is not this one's.
            ("grpc.use_local_subchannel_pool", 1),
        )
        return grpc.aio.secure_channel(self._address, credentials, options=options)

    def _replace(self, identity: Identity | None, channel: grpc.aio.Channel) -> None:
        old, self.channel, self._identity = self.channel, channel, identity
        task = asyncio.create_task(_retire(old))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)


def renewed_alone(renewal: asyncio.Task[None]) -> bool:
    """Of a cancelled call: whether that was for a newer connection, and not the end of who awaits it."""
    task = asyncio.current_task()
    if not renewal.done() or renewal.cancelled() or (task is not None and task.cancelling()):
        return False
    renewal.result()
    return True


def _cancel(call: grpc.aio.UnaryStreamCall[Any, T], _: asyncio.Task[None]) -> None:
    call.cancel()


async def _usable(channel: grpc.aio.Channel) -> bool:
    """Whether it connects; else it is closed."""
    usable = False
    try:
        usable = await connected(channel, _CONNECT_S)
    finally:
        if not usable:
            await channel.close()
    return usable


async def _retire(channel: grpc.aio.Channel) -> None:
    try:
        await channel.close(_GRACE_S)
    finally:
        await channel.close()
