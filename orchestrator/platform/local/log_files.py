"""
The servers' own logs stay small and few.

Servers write to their log files themselves, so that nothing of ours stands in
between; the price is that a log is cut to nothing when it has grown too large.
"""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 16 << 20
#: Logs of pods that are no more.
KEPT: Final = 20


def trim(directory: Path, in_use: AbstractSet[str]) -> None:
    """Empty the logs that are too large, remove the oldest of those not `in_use`. Raises OSError."""
    ended: list[tuple[float, Path]] = []
    for path in directory.glob("*.log"):
        found = path.stat()
        if found.st_size > MAX_BYTES:
            os.truncate(path, 0)
        if path.name not in in_use:
            ended.append((found.st_mtime, path))
    for _, path in sorted(ended, reverse=True)[KEPT:]:
        path.unlink(missing_ok=True)
