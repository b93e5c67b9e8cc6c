"""
Addresses as text: a host with a port, of either family of IP.
"""

from __future__ import annotations

from typing import Final

#: As a host to listen at: all addresses of this machine, of both families as far as its kernel has them.
ANYWHERE: Final = "::"


def host_port(host: str, port: int | str) -> str:
    """The two as one text; an address of IPv6, whose own colons would be taken for the port's, in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(address: str) -> tuple[str, str]:
    """Host and port of such a text, as they are; each empty where it is not there."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), port


def http_host(host: str) -> str | None:
    """The same host for asyncio's servers, whose `::` is of IPv6 alone: for them all addresses have no name."""
    return None if host == ANYWHERE else host
