"""
SIGTERM and SIGINT as cancellation: what a process is doing ends the way any task ends.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any


async def until_signal(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """
    Run `work` until it returns or a signal cancels it; the exit code, 0 in both cases.

    A second signal cancels a second time: for work that takes it as "at once".
    What `work` raises is raised.
    """
    task = asyncio.create_task(work())
    signalled = False

    def cancel() -> None:
        nonlocal signalled
        signalled = True
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not signalled:
            raise
    return 0
