"""
The local disk: blocking work in threads, trees of files.

The disk has threads of its own: the event loop's threads resolve the names of
stores, and a name server that does not answer must not block file work.

A thread cannot be cancelled. `in_thread` therefore waits for the thread even when
its caller is cancelled: no function changes files after its task has ended, so
the canceller may clean up behind the task.
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
#: Least difference of two modification times: more than any file system rounds off.
_STEP_NS = 2_000_000


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run the blocking `function` in a thread; a cancellation is raised once the function is done."""
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
    """Run the blocking `function`, which removes files. An error is only logged: a later sweep removes what is left."""
    try:
        await in_thread(function, *args, **kwargs)
    except OSError as error:
        log.warning("files_not_removed", problem=error.strerror)


def remove(path: Path) -> None:
    """Remove a file or a whole tree; a path that does not exist is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=False)
    else:
        path.unlink(missing_ok=True)


def empty(directory: Path) -> None:
    """Remove everything in `directory`."""
    for path in directory.iterdir():
        remove(path)


def newest_ns(tree: Path) -> int:
    """The latest modification time in `tree`, itself included; 0 if it does not exist."""
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
    """Bytes that an ordinary user may still write below `path`."""
    return shutil.disk_usage(path).free
