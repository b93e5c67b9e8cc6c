"""
One held request, and how its wait can end.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request to the first of these that works. `serial` numbers the answer, for `stale`."""

    endpoints: tuple[str, ...]
    serial: int


@dataclass(frozen=True, slots=True)
class Reply:
    """End the request with this gRPC status."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Answer a readiness question."""

    ready: bool


Verdict = Forward | Reply | Readiness


@dataclass(slots=True, eq=False)
class Waiter:
    """One request at the gate. Changed by the gate only."""

    model: str
    #: False for a readiness question: it takes any answer, and loads nothing.
    load: bool
    since: float
    deadline: float
    #: Whether the client set the deadline: it decides how running out of time is called.
    own_deadline: bool
    verdict: Verdict | None = None
    #: Times it was sent where the model was not; the answer that said so, and when that may be tried again.
    stale: int = 0
    avoid: int = 0
    retry_at: float = 0.0
