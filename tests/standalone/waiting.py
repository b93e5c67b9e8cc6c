"""
Waiting for what has to become true, with a deadline and with words for when it does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.05


def wait_until(
    condition: Callable[[], T], what: str | Callable[[], str], *, within: float = 30.0, poll: float = POLL_S
) -> T:
    """The first true value of `condition`. Raises AssertionError saying `what` did not come about."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(poll)


def holds_for(condition: Callable[[], bool], what: str, *, seconds: float) -> None:
    """Raises AssertionError as soon as `condition` is false; for what must not happen there is no event to wait for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), what
        time.sleep(POLL_S)
