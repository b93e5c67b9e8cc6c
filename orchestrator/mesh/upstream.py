"""
The parts that all clusters of the mesh share, in the JSON form of Envoy's configuration.

The bootstrap's static clusters and the model clusters that come over xDS are
built from these pieces, so that a limit is raised in one place. Everything here
is a plain dict: Envoy's own loader, or protobuf's JSON reader, checks it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, Final

from orchestrator.domain.addresses import ANYWHERE, split

Config = dict[str, Any]

HTTP_PROTOCOL_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

#: Size of the largest message, unless settings say otherwise.
DEFAULT_MESSAGE_BYTES: Final = 16 << 20
#: Requests that one model may have in flight or held in one Envoy; Envoy refuses more.
MAX_REQUESTS: Final = 1_000
#: Streams that one connection may carry at once.
MAX_STREAMS: Final = 4_096
#: How much of a message Envoy takes in while nobody reads it.
WINDOW_BYTES: Final = 256 << 10
#: Name and key of the metadata of a cluster that has no server, only the activator.
COLD: Final = "cold"
#: gRPC's prefix of a message: a compression flag and the length.
FRAME_BYTES: Final = 5
#: HTTP/2 flow control counts with 31 bits.
_MAX_WINDOW: Final = 2**31 - 1

_SOL_TCP: Final = 6
_TCP_USER_TIMEOUT: Final = 18


def buffer_bytes(max_message_bytes: int) -> int:
    """
    How much of one stream Envoy may hold: a whole message with room to spare, 64 MiB for 16 MiB messages.

    Less would stall a message that is read into memory whole. The value is both
    the per-connection buffer limit and the HTTP/2 stream window.
    """
    if max_message_bytes < 1:
        raise ValueError(f"max_message_bytes: {max_message_bytes} is not positive")
    size = max(64 << 20, 2 * (max_message_bytes + FRAME_BYTES))
    if 2 * size > _MAX_WINDOW:
        raise ValueError(f"max_message_bytes: {max_message_bytes} is more than HTTP/2 flow control allows")
    return size


def windows(max_message_bytes: int) -> Config:
    """HTTP/2 windows that let messages of that size through."""
    size = buffer_bytes(max_message_bytes)
    return {"initial_stream_window_size": size, "initial_connection_window_size": 2 * size}


def narrow_windows() -> Config:
    """
    HTTP/2 windows for messages that wait: Envoy holds little of each stream, and no stream blocks another.

    A stream's window is also the limit of its buffer, in both directions.
    """
    return {"initial_stream_window_size": WINDOW_BYTES, "initial_connection_window_size": MAX_STREAMS * WINDOW_BYTES}


def address(text: str) -> Config:
    """`host:port` or `unix:/path` as an Envoy address; raises ValueError for anything else."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"address {text!r}: a Unix socket needs an absolute path")
        return {"pipe": {"path": path}}
    host, port = split(text)
    if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"address {text!r}: expected host:port or unix:/path")
    where: Config = {"address": host, "port_value": int(port)}
    # Without ipv4_compat Envoy would listen at `::` for IPv6 only.
    return {"socket_address": where | ({"ipv4_compat": True} if host == ANYWHERE else {})}


def is_literal(text: str) -> bool:
    """Whether the address needs no name resolution."""
    where = address(text)
    if "pipe" in where:
        return True
    try:
        ipaddress.ip_address(where["socket_address"]["address"])
    except ValueError:
        return False
    return True


def endpoints(addresses: Iterable[str], *, priority: int = 0) -> Config:
    """One priority's endpoints."""
    hosts = [{"endpoint": {"address": address(text)}} for text in addresses]
    return {"priority": priority, "lb_endpoints": hosts} if priority else {"lb_endpoints": hosts}


def assignment(name: str, localities: Sequence[Config]) -> Config:
    """A cluster's endpoints."""
    return {
        "cluster_name": name,
        # A huge factor: priority 1 gets nothing while one host of priority 0 is there.
        "policy": {"overprovisioning_factor": 1_000_000},
        "endpoints": list(localities),
    }


def cluster(
    name: str,
    localities: Sequence[Config],
    *,
    static: bool,
    max_message_bytes: int,
    max_requests: int,
    keepalive: bool,
    cold: bool = False,
) -> Config:
    """
    A cluster of HTTP/2 servers.

    `cold` says that no endpoint is a model server: requests sent there wait, and
    Envoy reads no more of each than a window. `keepalive` sends HTTP/2 pings, which
    only our own servers permit. All clusters have TCP keepalive, and
    TCP_USER_TIMEOUT for a peer that is gone while data is on the way to it, where
    keepalive is not in effect.
    """
    http2 = narrow_windows() if cold else windows(max_message_bytes)
    if keepalive:
        http2["connection_keepalive"] = {"interval": "4s", "timeout": "2s"}
    made: Config = {
        "name": name,
        "type": "STATIC" if static else "STRICT_DNS",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "per_connection_buffer_limit_bytes": WINDOW_BYTES if cold else buffer_bytes(max_message_bytes),
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_requests": max_requests,
                    "max_pending_requests": max_requests,
                    # The default of 3 would turn a dead server into errors.
                    "max_retries": max_requests,
                }
            ]
        },
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 10, "keepalive_interval": 5}
        },
        "upstream_bind_config": {
            "socket_options": [
                {
                    "description": "TCP_USER_TIMEOUT",
                    "level": _SOL_TCP,
                    "name": _TCP_USER_TIMEOUT,
                    "int_value": 20_000,
                    "state": "STATE_PREBIND",
                    "type": {"stream": {}},
                }
            ]
        },
        "typed_extension_protocol_options": {
            HTTP_PROTOCOL_OPTIONS: {
                "@type": f"type.googleapis.com/{HTTP_PROTOCOL_OPTIONS}",
                # Connections are per cluster and worker: idle ones add up over thousands of models.
                "common_http_protocol_options": {"idle_timeout": "60s"},
                "explicit_http_config": {"http2_protocol_options": http2},
            }
        },
        "load_assignment": assignment(name, localities),
    }
    if cold:
        made["metadata"] = cold_metadata()
    return made


def cold_metadata() -> Config:
    """The metadata that marks a cluster without a server."""
    return {"filter_metadata": {COLD: {COLD: "1"}}}
