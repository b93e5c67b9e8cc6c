"""
What an adapter can be told, in one place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from adapters.storage.limits import StorageLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSettings:
    """Places, bounds, times."""

    #: The server's repository. All that is in it is the adapter's.
    model_dir: Path
    #: On the same file system; all that is in it is the adapter's.
    scratch: Path
    capacity_bytes: int
    #: For messages and logs: the ServingRuntime's name and the server's.
    runtime: str
    server_type: str
    #: Where a person finds the server's log; empty if nobody knows.
    server_log: str = ""
    #: Models listed, downloaded, and loaded by the server, at once.
    listings: int = 8
    downloads: int = 4
    loads: int = 2
    #: A copy whose bytes in memory nobody states reserves its bytes on disk times this, and no less than the least.
    size_factor: float = 1.25
    least_reserve: int = 1_000_000
    #: For a Load that states no timeout.
    load_s: float = 300.0
    unload_s: float = 60.0
    recheck_s: float = 60.0
    #: Tries of a download whose objects change meanwhile.
    changes: int = 3
    storage: StorageLimits = field(default_factory=StorageLimits)
