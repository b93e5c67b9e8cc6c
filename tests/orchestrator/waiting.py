"""
Waiting for conditions on the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(condition: Callable[[], T], *, within: float = 10.0) -> T:
    """The first true value of the condition."""
    deadline = time.monotonic() + within
    pauses = itertools.chain((0.001, 0.005), itertools.repeat(0.01))
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(next(pauses))
