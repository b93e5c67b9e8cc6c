"""
Which copies make room for another: least recently used first.

A copy is not evicted while somebody waits for its model, nor before it has
been there for a minimum time: without that, two models that do not fit together
would replace each other at every request. Whoever needs the room waits for that
time to be over; to take a copy instead that was used since would have what is
asked for all the time leave for what is asked for now and then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.domain.fleet import CopyKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A loaded copy as eviction sees it. Times are seconds on one monotonic clock."""

    key: CopyKey
    reserved: int
    loaded_at: float
    last_used: float
    #: Somebody waits for it, or it is already going.
    pinned: bool = False


def choose_victims(
    residents: Iterable[Resident], *, need: int, free: int, now: float, min_residency_s: float
) -> tuple[CopyKey, ...] | None:
    """
    The fewest least recently used copies whose bytes, with `free`, make `need`.

    () when it fits as it is; None when even all that may leave do not make room, or one of these has just come.
    """
    missing = need - free
    if missing <= 0:
        return ()
    chosen: list[CopyKey] = []
    for resident in sorted(residents, key=lambda r: (r.last_used, r.key)):
        # Also one that is pinned: whoever waits for what has just come is about to be answered.
        if now - resident.loaded_at < min_residency_s:
            return None
        if resident.pinned:
            continue
        chosen.append(resident.key)
        missing -= resident.reserved
        if missing <= 0:
            return tuple(chosen)
    return None
