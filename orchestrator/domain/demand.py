"""
What activators want, and what they are told.

An answer is the latest word on a model, never a history of it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Want:
    """One activator's interest in one model; several activators' wants are merged with `|`."""

    load: bool = False
    stale: bool = False

    def __or__(self, other: Want) -> Want:
        return Want(self.load or other.load, self.stale or other.stale)


@dataclass(frozen=True, slots=True)
class ReadyAt:
    """Forward there. Endpoints are `host:port`."""

    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Answer the request with this gRPC status code (an int, as on the wire) and message."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Keep holding; the message says for what."""

    message: str


@dataclass(frozen=True, slots=True)
class OnDemand:
    """Standby: a want with `load` would bring it back."""


Answer = ReadyAt | Refused | WaitFor | OnDemand
