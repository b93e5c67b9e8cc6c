"""
Addresses as text: a host with a port, of either family of IP.
"""

from __future__ import annotations

from typing import Final

#: The host that means: listen at all addresses of this machine, IPv4 and IPv6 as far as its kernel has them.
ANYWHERE: Final = "::"


def host_port(host: str, port: int | str) -> str:
    """`host:port`; an IPv6 address is put in brackets, since it has colons of its own."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(address: str) -> tuple[str, str]:
    """Host and port of a `host:port` text, unchecked; a part that is missing is empty."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), port


def http_host(host: str) -> str | None:
    """The host as asyncio's servers take it: for them `::` is IPv6 only, and None means all addresses."""
    return None if host == ANYWHERE else host
