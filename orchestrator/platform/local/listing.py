"""
What lies in the directory, told without reading it, and how a file is read.

Blocking; the shell calls it from a thread. A signature says whether a file
must be read again; one whose last change is too fresh to be told from the next
is never trusted.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SUFFIXES: Final = (".yaml", ".yml", ".json")
#: File systems stamp changes with a clock that ticks every few milliseconds.
_FRESH_NS: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Signature:
    """Equal signatures that are not fresh: equal content."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    def fresh(self, now_ns: int) -> bool:
        """Whether a write right now might leave the signature as it is."""
        return abs(now_ns - self.changed_ns) < _FRESH_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One successful look at the directory."""

    #: Which directory it was, whatever its path.
    identity: tuple[int, int]
    #: Signature by name, or why the file cannot be looked at.
    files: Mapping[str, Signature | str]
    #: The wall clock when it was made.
    at_ns: int


def look(directory: Path) -> Listing:
    """Raises OSError when the directory cannot be listed: then nothing is known."""
    files: dict[str, Signature | str] = {}
    with os.scandir(directory) as entries:
        names = [e for e in entries if not e.name.startswith(".") and e.name.endswith(SUFFIXES)]
    for entry in names:
        try:
            # Links are followed: a mounted ConfigMap is a directory of links.
            found = os.stat(entry.path)
        except FileNotFoundError:
            if entry.is_symlink():
                files[entry.name] = "a link to a file that is not there"
            continue
        except OSError as error:
            files[entry.name] = error.strerror or type(error).__name__
            continue
        if stat.S_ISREG(found.st_mode):
            files[entry.name] = Signature(
                found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
            )
        elif stat.S_ISDIR(found.st_mode):
            files[entry.name] = "a directory; what is below is not read"
        else:
            files[entry.name] = "not a file"
    itself = os.stat(directory)
    return Listing(identity=(itself.st_dev, itself.st_ino), files=files, at_ns=time.time_ns())


def read(path: Path, limit: int) -> bytes:
    """At most `limit` + 1 bytes, so that the caller sees when it is more. Raises OSError."""
    # Never waits: what was a file a moment ago may be a pipe now.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        return file.read(limit + 1)
