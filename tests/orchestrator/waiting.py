"""
Waiting for conditions on the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any


async def eventually(condition: Callable[[], Any], *, within: float = 10.0) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + within
    for pause in itertools.chain((0.001, 0.005), itertools.repeat(0.01)):
        if condition():
            return
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(pause)
