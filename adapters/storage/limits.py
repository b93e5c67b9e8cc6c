"""
What bounds listings and downloads, in one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLimits:
    """Numbers, sizes, times."""

    #: Of one download at once. Not of all together, or a slow store would hold up the others'.
    parts: int = 8
    part_bytes: int = 8 * _MIB
    connect_s: float = 5.0
    read_s: float = 30.0
    #: Tries of one request, of which each may take the times above; and tries in a row that bring no byte.
    attempts: int = 3
    #: A whole listing, however many pages.
    list_s: float = 120.0
    #: Bytes a second, below which a download is given up once its patience is over.
    slowest: int = 256 * 1024
    #: Of an answer that is read into memory; a page of the longest keys has four MiB.
    answer_bytes: int = 16 * _MIB
    max_objects: int = 10_000
    max_bytes: int = 1024 * 1024 * _MIB
