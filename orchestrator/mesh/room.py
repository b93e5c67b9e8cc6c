"""
Limits how much Envoy buffers for requests that name the model only in the body.

Envoy has to collect such a message whole before it knows the model, and does not
know its size beforehand. So each message is given a room (an allotment of memory)
before it comes: room for the largest message while there is plenty, and smaller
rooms the less is left. A message that outgrows its room is refused with an
explanation. Without this, memory would run out and Envoy would reset the largest
requests, which their clients read as INTERNAL.

Envoy's workers share nothing: each gives rooms out of its own share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.mesh.upstream import WINDOW_BYTES

#: Envoy's worker threads: its --concurrency.
WORKERS: Final = 2
#: Percentage of the heap for rooms: the rest is for messages that are not collected, and for traffic with servers.
_SHARE: Final = 35


@dataclass(frozen=True, slots=True)
class Room:
    """Room for a message of `size` bytes, given while at least `free` bytes are left of a worker's share."""

    size: int
    free: int


@dataclass(frozen=True, slots=True)
class Rooms:
    """The share of one worker in bytes, and its rooms, the largest first; the last one is always given."""

    share: int
    rooms: tuple[Room, ...]


def rooms(*, max_heap_bytes: int, max_message_bytes: int) -> Rooms:
    """Four sizes of room: the largest message, a quarter and a sixteenth of it, and one window."""
    share = max(max_heap_bytes * _SHARE // 100 // WORKERS, 2 * max_message_bytes)
    least = min(WINDOW_BYTES, max_message_bytes)
    # The last quarter of the share is kept from the largest rooms, the last sixteenth from the next, and so on.
    sizes = ((max_message_bytes, 4), (max_message_bytes // 4, 16), (max_message_bytes // 16, 64))
    made = (Room(max(size, least), max(size, least) + share // part) for size, part in sizes)
    return Rooms(share, (*made, Room(least, 0)))
