"""Signals as cancellation, with real signals."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from orchestrator.machinery.signals import until_signal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_cancels_what_runs_and_that_is_a_good_end(number: signal.Signals) -> None:
    """What has to be taken down is taken down first."""
    ended = False

    async def work() -> None:
        nonlocal ended
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True

    assert await until_signal(work) == 0
    assert ended


async def test_a_second_signal_cancels_again() -> None:
    """For work that takes it as "at once"."""
    cancelled = 0

    async def work() -> None:
        nonlocal cancelled
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
        raise asyncio.CancelledError

    assert await until_signal(work) == 0
    assert cancelled == 2


async def test_work_that_ends_by_itself_ends_well_and_trouble_is_trouble() -> None:
    """Only a signal's cancellation is swallowed."""

    async def good() -> None:
        await asyncio.sleep(0)

    async def bad() -> None:
        raise OSError("taken")

    async def cancelled() -> None:
        raise asyncio.CancelledError

    assert await until_signal(good) == 0
    with pytest.raises(OSError, match="taken"):
        await until_signal(bad)
    with pytest.raises(asyncio.CancelledError):
        await until_signal(cancelled)
