"""
Which copies make room for another model: least recently used first.

A copy is not evicted while a request waits for its model, nor before it has
been loaded for a minimum time: without that, two models that do not fit together
would replace each other at every request. The model that needs the room waits
until that time is over. It does not take a more recently used copy instead:
models in steady use would leave for ones that are asked for now and then.
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
    #: A request waits for its model, or the copy is leaving already.
    pinned: bool = False


def choose_victims(
    residents: Iterable[Resident], *, need: int, free: int, now: float, min_residency_s: float
) -> tuple[CopyKey, ...] | None:
    """
    The fewest least recently used copies whose bytes, with `free`, make `need`.

    () when `need` bytes are free; None when all copies that may leave do not make room, or one was loaded just now.
    """
    missing = need - free
    if missing <= 0:
        return ()
    chosen: list[CopyKey] = []
    for resident in sorted(residents, key=lambda r: (r.last_used, r.key)):
        # Pinned copies, too: the requests that wait for a copy that was loaded just now are about to be answered.
        if now - resident.loaded_at < min_residency_s:
            return None
        if resident.pinned:
            continue
        chosen.append(resident.key)
        missing -= resident.reserved
        if missing <= 0:
            return tuple(chosen)
    return None
