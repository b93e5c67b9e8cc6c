"""
What activators want, and what the leader answers.

An answer is the latest state of a model, never a history.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Want:
    """
    One activator's interest in one model; several activators' wants are merged with `|`.

    `load`: a request waits for it to be loaded. `stale`: a request came back from where it should be loaded.
    """

    load: bool = False
    stale: bool = False

    def __or__(self, other: Want) -> Want:
        return Want(self.load or other.load, self.stale or other.stale)


@dataclass(frozen=True, slots=True)
class ReadyAt:
    """Forward the request to one of these `host:port`."""

    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Answer the request with this gRPC status code (an int, as on the wire) and message."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Keep holding the request; the message says what it waits for."""

    message: str


@dataclass(frozen=True, slots=True)
class OnDemand:
    """The model stands by: a want with `load` would have it loaded."""


Answer = ReadyAt | Refused | WaitFor | OnDemand
