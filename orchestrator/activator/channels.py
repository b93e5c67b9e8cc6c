"""
Connections to model servers: one channel for each address, opened when needed.

The cache is bounded; what no call uses goes first, the least recently used
before others. An idle channel closes its connection by itself. A channel that
cannot connect is dropped at once, so that the next request to its address does
not inherit its back-off.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import grpc

from orchestrator.transport.line import connected

#: How long a connection may take: beyond that the pod is gone, not slow.
_CONNECT_S: Final = 2.0

#: What every connection of the activator has in common.
CHANNEL_OPTIONS: Final = (
    # A proxy variable in the environment is not meant for neighbours.
    ("grpc.enable_http_proxy", 0),
    # Connections, and their back-off, are not shared with other channels of the process.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class Connection:
    """A channel with its calls, made once for each method."""

    __slots__ = ("_streams", "_unaries", "channel", "dropped", "endpoint", "users")

    def __init__(self, endpoint: str, channel: grpc.aio.Channel) -> None:
        self.endpoint = endpoint
        self.channel = channel
        self._unaries: dict[str, grpc.aio.UnaryStreamMultiCallable[bytes, bytes]] = {}
        self._streams: dict[str, grpc.aio.StreamStreamMultiCallable[bytes, bytes]] = {}
        #: Calls that use it.
        self.users = 0
        #: No longer in the cache: closed when the last call ends.
        self.dropped = False

    def unary(self, method: str) -> grpc.aio.UnaryStreamMultiCallable[bytes, bytes]:
        """A call with one request; its one response is read when there is room for it."""
        call = self._unaries.get(method)
        if call is None:
            call = self._unaries[method] = self.channel.unary_stream(method)
        return call

    def stream(self, method: str) -> grpc.aio.StreamStreamMultiCallable[bytes, bytes]:
        """A call with many requests and responses."""
        call = self._streams.get(method)
        if call is None:
            call = self._streams[method] = self.channel.stream_stream(method)
        return call


class Channels:
    """The cache."""

    __slots__ = ("_connections", "_max", "_options")

    def __init__(self, *, max_message_bytes: int, max_channels: int = 256) -> None:
        self._max = max_channels
        self._options = (
            *CHANNEL_OPTIONS,
            ("grpc.client_idle_timeout_ms", 60_000),
            # What is sent has passed the limit on its way in.
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", max_message_bytes),
            # An error is metadata; Envoy passes on as much.
            ("grpc.max_metadata_size", 64 << 10),
            ("grpc.absolute_max_metadata_size", 256 << 10),
            # With it the window grows with the bandwidth, and responses pile up before they are read.
            ("grpc.http2.bdp_probe", 0),
        )
        self._connections: OrderedDict[str, Connection] = OrderedDict()

    def __len__(self) -> int:
        return len(self._connections)

    async def acquire(self, endpoint: str) -> Connection | None:
        """A connection, to be released; None if there is none to be had."""
        connection = self._connections.get(endpoint)
        if connection is None:
            channel = grpc.aio.insecure_channel(endpoint, options=self._options)
            connection = self._connections[endpoint] = Connection(endpoint, channel)
        self._connections.move_to_end(endpoint)
        connection.users += 1
        ready = False
        try:
            ready = await connected(connection.channel, _CONNECT_S)
        finally:
            if not ready:
                self._drop(connection)
                await self.release(connection)
        return connection if ready else None

    async def release(self, connection: Connection) -> None:
        """The call is over."""
        connection.users -= 1
        if len(self._connections) > self._max:
            idle = next((other for other in self._connections.values() if other.users == 0), None)
            if idle is not None:
                self._drop(idle)
                await idle.channel.close()
        if connection.dropped and connection.users == 0:
            await connection.channel.close()

    async def close(self) -> None:
        """Close all; calls in them are cancelled."""
        connections = [*self._connections.values()]
        self._connections.clear()
        for connection in connections:
            await connection.channel.close()

    def _drop(self, connection: Connection) -> None:
        connection.dropped = True
        if self._connections.get(connection.endpoint) is connection:
            del self._connections[connection.endpoint]
