"""
The limits of listings and downloads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLimits:
    """Numbers, sizes, times."""

    #: Parts of one download at once. There is no bound over all downloads: a slow store would hold up the others.
    parts: int = 8
    part_bytes: int = 8 * _MIB
    connect_s: float = 5.0
    read_s: float = 30.0
    #: Tries of one request, each with the timeouts above; also tries of a part in a row that bring no byte.
    attempts: int = 3
    #: Timeout of a whole listing, however many pages.
    list_s: float = 120.0
    #: Bytes a second below which a download is given up (see download.py).
    slowest: int = 256 * 1024
    #: Largest answer that is read into memory; a page of the longest keys has 4 MiB.
    answer_bytes: int = 16 * _MIB
    max_objects: int = 10_000
    max_bytes: int = 1024 * 1024 * _MIB
