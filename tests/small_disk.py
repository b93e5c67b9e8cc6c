"""
A disk that is full in no time, without a disk: a file system of a few MiB, for one command and what it starts.

It is mounted in a namespace of the command's own: nobody else sees it, nobody
has to be root, and it goes with the last of its processes, whatever ends them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MOUNT: Final = 'mount -t tmpfs -o "size=$1" small "$2" && shift 2 && exec "$@"'


def on_small_disk(directory: Path, size: int, command: Sequence[str]) -> list[str]:
    """`command`, which finds `directory` on a file system of `size` bytes; it keeps its process id."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, "--mount", "sh", "-c", _MOUNT, "sh", str(size), str(directory), *command]


def seen_by(pid: int, path: Path) -> Path:
    """`path` as the process sees it."""
    return Path(f"/proc/{pid}/root{path}")


@contextmanager
def filled(directory: Path, *, leaving: int = 0) -> Iterator[None]:
    """Meanwhile there are no more than `leaving` bytes of room in the file system of `directory`."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass
        file.truncate(file.tell() - leaving)
    try:
        yield
    finally:
        ballast.unlink()
