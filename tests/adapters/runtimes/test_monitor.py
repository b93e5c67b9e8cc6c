"""A connection that stands is a server that lives, however slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from adapters.runtimes import monitor as module
from adapters.runtimes.monitor import Monitor
from tests.adapters.runtimes.inference_server import InferenceServer
from tests.adapters.world import until


@pytest.fixture
async def monitor(inference: InferenceServer) -> AsyncIterator[Monitor]:
    made = Monitor(inference.target)
    yield made
    await made.close()


async def test_a_death_is_noticed_at_once_and_the_next_life_too(
    monitor: Monitor, inference: InferenceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a poll: there is none after the first."""
    monkeypatch.setattr(module, "_POLL_S", 1000.0)
    async with asyncio.timeout(30):
        await monitor.appeared()
    lost = asyncio.create_task(monitor.lost())
    appeared_at = monitor._answered_at
    await until(lambda: monitor._answered_at != appeared_at)
    assert not lost.done()
    await inference.stop()
    async with asyncio.timeout(30):
        await lost
    appeared = asyncio.create_task(monitor.appeared())
    await asyncio.sleep(0)
    await inference.start(inference.target)
    async with asyncio.timeout(30):
        await appeared


async def test_a_server_that_does_not_answer_in_time_is_not_lost(
    monitor: Monitor, inference: InferenceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen or busy: its models are in memory."""
    monkeypatch.setattr(module, "_POLL_S", 0.02)
    monkeypatch.setattr(module, "_ANSWER_S", 0.02)
    await monitor.appeared()
    inference.answers.clear()
    lost = asyncio.create_task(monitor.lost())
    asked = len(inference.calls)
    await until(lambda: len(inference.calls) > asked + 3)
    assert not lost.done()
    inference.answers.set()
    inference.ready = False  # as both servers say while any one model is not
    asked = len(inference.calls)
    await until(lambda: len(inference.calls) > asked + 3)
    assert not lost.done()
    lost.cancel()
    await asyncio.wait([lost])


async def test_a_server_that_never_answered_has_not_appeared(
    monitor: Monitor, inference: InferenceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open port is not a server."""
    monkeypatch.setattr(module, "_APPEAR_S", 0.02)
    inference.answers.clear()
    appeared = asyncio.create_task(monitor.appeared())
    await until(lambda: len(inference.calls) > 2)
    assert not appeared.done()
    inference.answers.set()
    async with asyncio.timeout(30):
        await appeared


async def test_lost_without_a_connection_is_lost(monitor: Monitor) -> None:
    """There is nothing to wait for."""
    await monitor.lost()


async def test_silence_is_counted_while_the_connection_stands(
    monitor: Monitor, inference: InferenceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the last answer to the next; a server that is not there is not silent."""
    monkeypatch.setattr(module, "_POLL_S", 0.02)
    assert monitor.silent_s == 0
    await monitor.appeared()
    lost = asyncio.create_task(monitor.lost())
    inference.answers.clear()
    await until(lambda: monitor.silent_s > 0.5)
    assert not lost.done()
    inference.answers.set()
    await until(lambda: monitor.silent_s < 0.5)
    await inference.stop()
    await lost
    assert monitor.silent_s == 0


async def test_a_server_that_is_always_late_answers_all_the_same(
    monitor: Monitor, inference: InferenceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later than questions are apart: none is given up for that, and silence does not grow."""
    monkeypatch.setattr(module, "_POLL_S", 0.01)
    await monitor.appeared()
    inference.delay_s = 0.1
    lost = asyncio.create_task(monitor.lost())
    asked = len(inference.calls)
    await until(lambda: len(inference.calls) > asked + 10)
    assert monitor.silent_s < 0.5
    lost.cancel()
    await asyncio.wait([lost])
