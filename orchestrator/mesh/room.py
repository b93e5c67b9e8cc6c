"""
How much of messages that name their model themselves an Envoy collects.

Such a message has to be here whole before it is known whom it is for, and how
large it is nobody says before. So each gets room for a message of some size
before it comes: of the largest while there is plenty, and of a smaller one the
less there is left. One that grows out of its room is refused, in words; without
that, memory would run out and Envoy reset the largest requests, which their
clients read as INTERNAL.

Workers share nothing, and each gives room of a share of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.mesh.upstream import WINDOW_BYTES

#: As Envoy's --concurrency says.
WORKERS: Final = 2
#: Of the heap, in parts of a hundred: the rest is for what is not collected, and for what servers are sent and answer.
_SHARE: Final = 35


@dataclass(frozen=True, slots=True)
class Room:
    """Room for a message of `size` bytes, given while at least `free` bytes are left of a worker's share."""

    size: int
    free: int


@dataclass(frozen=True, slots=True)
class Rooms:
    """The share of one worker, and the rooms that it gives, the largest first; the last one is given always."""

    share: int
    rooms: tuple[Room, ...]


def rooms(*, max_heap_bytes: int, max_message_bytes: int) -> Rooms:
    """Four sizes of room: for the largest message, a quarter and a sixteenth of it, and for a window's worth."""
    share = max(max_heap_bytes * _SHARE // 100 // WORKERS, 2 * max_message_bytes)
    least = min(WINDOW_BYTES, max_message_bytes)
    # Of what is left, the last quarter is not for the largest, nor the last sixteenth for the next.
    sizes = ((max_message_bytes, 4), (max_message_bytes // 4, 16), (max_message_bytes // 16, 64))
    made = (Room(max(size, least), max(size, least) + share // part) for size, part in sizes)
    return Rooms(share, (*made, Room(least, 0)))
