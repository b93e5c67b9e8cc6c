"""
The loader's settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from adapters.storage.limits import StorageLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSettings:
    """Places, bounds, times."""

    #: The server's repository. The adapter owns all files in it.
    model_dir: Path
    #: A directory on the same file system. The adapter owns all files in it.
    scratch: Path
    capacity_bytes: int
    #: For messages and logs: the ServingRuntime's name and the server's.
    runtime: str
    server_type: str
    #: Where a person finds the server's log; empty if not known.
    server_log: str = ""
    #: Most models listed, downloaded, and loaded by the server at the same time.
    listings: int = 8
    downloads: int = 4
    loads: int = 2
    #: A copy whose size in memory is not known reserves its size on disk times `size_factor`, at least `least_reserve`.
    size_factor: float = 1.25
    least_reserve: int = 1_000_000
    #: Timeout of a Load that states none.
    load_s: float = 300.0
    unload_s: float = 60.0
    recheck_s: float = 60.0
    #: Tries of a download whose objects change during it.
    changes: int = 3
    storage: StorageLimits = field(default_factory=StorageLimits)
