"""
The ledger's answers: admissions, departures, tickets, changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from adapters.domain.copies import Copy, CopyKey, ServerState


class Admission(StrEnum):
    """What a Load command leads to."""

    #: A new attempt begins.
    START = "start"
    #: The ledger has the copy as loaded: ask the server.
    VERIFY = "verify"
    #: An attempt is under way already.
    JOINED = "joined"
    #: The copy is being unloaded: the attempt begins when that is done.
    QUEUED = "queued"


class Departure(StrEnum):
    """What an Unload command leads to."""

    #: There is nothing to unload; the key is reported gone.
    ABSENT = "absent"
    BEGIN = "begin"
    #: The copy is being unloaded already.
    JOINED = "joined"


@dataclass(frozen=True, slots=True)
class Ticket:
    """One attempt at a copy. Ledger calls with a ticket that is no longer valid change nothing."""

    key: CopyKey
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The ledger's state as of `version`, and the copies that changed since the version that was asked for."""

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
