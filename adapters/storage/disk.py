"""
The local disk: blocking work in threads, trees of files.

The threads are the disk's own: those of the event loop resolve the names of
stores, and a name server that does not answer must not stop a file.

A thread cannot be cancelled. `in_thread` therefore waits for it even when its
caller is: what runs here never changes files after its task has ended, so that
whoever cancels a task may clean up behind it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import structlog

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_THREADS: Final = ThreadPoolExecutor(8, thread_name_prefix="disk")
#: Between two stamps: more than any file system rounds off.
_STEP_NS = 2_000_000


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run the blocking `function`; a cancellation is raised once it is done."""
    future = asyncio.get_running_loop().run_in_executor(_THREADS, partial(function, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()  # seen: it matters to nobody any more
        raise cancelled
    return future.result()


async def tidy(function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Have the blocking `function` remove what is not needed any more. What stays is no model's failure: the next one sweeps."""
    try:
        await in_thread(function, *args, **kwargs)
    except OSError as error:
        log.warning("files_not_removed", problem=error.strerror)


def remove(path: Path) -> None:
    """Remove a file or a whole tree; one that is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=False)
    else:
        path.unlink(missing_ok=True)


def empty(directory: Path) -> None:
    """Remove all that is in `directory`."""
    for path in directory.iterdir():
        remove(path)


def newest_ns(tree: Path) -> int:
    """The latest modification in `tree`, itself included; 0 if it is not there."""
    if not tree.exists():
        return 0
    stamps = [tree.stat().st_mtime_ns]
    for parent, names, files in os.walk(tree):
        stamps.extend(os.stat(os.path.join(parent, name)).st_mtime_ns for name in (*names, *files))
    return max(stamps)


def stamp(tree: Path, now_ns: int, after_ns: int) -> None:
    """
    Give all of `tree` one modification time that is later than `after_ns`.

    Triton reloads a version only if its newest time grew; clocks may not.
    """
    moment = max(now_ns, after_ns + _STEP_NS)
    for parent, names, files in os.walk(tree):
        for name in (*names, *files):
            os.utime(os.path.join(parent, name), ns=(moment, moment))
    os.utime(tree, ns=(moment, moment))


def free_bytes(path: Path) -> int:
    """What an ordinary user may still write below `path`."""
    return shutil.disk_usage(path).free
