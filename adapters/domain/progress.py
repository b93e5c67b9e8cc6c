"""
What the ledger answers: admissions, departures, tickets, changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from adapters.domain.copies import Copy, CopyKey, ServerState


class Admission(StrEnum):
    """What a Load command leads to."""

    #: A new attempt begins.
    START = "start"
    #: It is loaded, says the ledger: ask the server.
    VERIFY = "verify"
    #: An attempt is under way.
    JOINED = "joined"
    #: The key is being unloaded: begin when that is done.
    QUEUED = "queued"


class Departure(StrEnum):
    """What an Unload command leads to."""

    #: There is nothing to unload; the key is reported gone.
    ABSENT = "absent"
    BEGIN = "begin"
    #: It is being unloaded.
    JOINED = "joined"


@dataclass(frozen=True, slots=True)
class Ticket:
    """One attempt at a copy. What an attempt does with a ticket that is no longer valid does nothing."""

    key: CopyKey
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The state as of `version`, and what changed since the version that was asked for."""

    version: int
    full: bool
    boot: str
    epoch: int
    server: ServerState
    draining: bool
    closing: bool
    total: int
    reserved: int
    copies: tuple[Copy, ...]
    gone: tuple[CopyKey, ...]
