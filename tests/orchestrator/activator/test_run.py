"""The activator's beginning and end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from orchestrator.activator.run import run
from orchestrator.activator.settings import ActivatorSettings
from tests.orchestrator.activator.conftest import Stack
from tests.orchestrator.activator.fakes import message, ready


async def test_a_stopping_activator_finishes_what_it_holds(stack: Stack) -> None:
    """Cancelled, it still hears the leader and forwards; then it ends."""
    held = stack.infer("m", message("m"))
    await stack.wants("m")
    stack.task.cancel()
    await asyncio.sleep(0)
    stack.leader.say(ready("m", stack.runtime.endpoint))
    assert await held == message("m")
    await asyncio.wait([stack.task])
    assert stack.task.cancelled()


async def test_what_is_still_held_after_the_grace_is_told_why(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """UNAVAILABLE with a text, within the grace."""
    monkeypatch.setattr("orchestrator.activator.run._GRACE_S", 0.7)
    held = stack.infer("m", message("m"))
    await stack.wants("m")
    stack.task.cancel()
    async with asyncio.timeout(6):
        await asyncio.wait([stack.task])
    assert await held.code() is grpc.StatusCode.UNAVAILABLE
    assert "stopping" in await held.details()


async def test_a_taken_port_is_an_error(stack: Stack, tmp_path: Path) -> None:
    """Two activators do not share a port unnoticed."""
    host_port = stack.runtime.endpoint
    with pytest.raises(RuntimeError, match="bind"):
        await run(ActivatorSettings(listen=host_port, leader=(f"unix:{tmp_path}/l",)))


async def test_settings_that_contradict_each_other_are_an_error(tmp_path: Path) -> None:
    """A budget that cannot take the largest message in each of its parts."""
    settings = ActivatorSettings(
        listen=f"unix:{tmp_path}/a", leader=("unix:/l",), max_message_bytes=16 << 20, max_bytes=32 << 20
    )
    with pytest.raises(ValueError, match="budget"):
        await run(settings)
