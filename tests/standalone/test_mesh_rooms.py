"""Room for messages that a real Envoy collects: taken, short, and given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from orchestrator.mesh.room import rooms
from tests.orchestrator.waiting import eventually
from tests.standalone.envoy_stack import FakeServer, Stack, free_address, model_message, publish, running

MIB = 1 << 20
#: As many of the largest as one worker has room for.
SHARE = rooms(max_heap_bytes=2048 * MIB, max_message_bytes=16 * MIB)
MOST = (SHARE.share - SHARE.rooms[0].free) // SHARE.rooms[0].size + 1


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """An Envoy with one worker, whose activator answers nothing for now."""
    async with running(tmp_path) as stack:
        stack.activator.hold.clear()
        yield stack
        stack.activator.hold.set()


async def test_large_messages_are_refused_when_there_is_no_room_and_small_ones_are_not(stack: Stack) -> None:
    """In words that say what helps: with metadata, they need no room. What has an answer gives its room back."""
    large = model_message("m", 16 * MIB)
    held = [asyncio.create_task(stack.call("ModelInfer", large)) for _ in range(MOST)]
    await eventually(lambda: len(stack.activator.calls) == MOST)
    code, details = await stack.error("ModelInfer", large)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "name the model in mm-vmodel-id, or try again later" in details
    others = [
        asyncio.create_task(stack.call("ModelInfer", model_message("m", 200_000))),
        asyncio.create_task(stack.call("ModelInfer", large, mm_vmodel_id="m")),
    ]
    await eventually(lambda: len(stack.activator.calls) == MOST + len(others))
    async with FakeServer("server").serve(free_address()) as server:
        await publish(stack, server.address, model="warm")
        assert await stack.call("ModelInfer", model_message("warm", 200_000)) == b"server"
    stack.activator.hold.set()
    assert set(await asyncio.gather(*held, *others)) == {b"activator"}
    assert await stack.call("ModelInfer", large) == b"activator"


async def test_who_leaves_gives_the_room_back(stack: Stack) -> None:
    """With a message that came, or one that is still on its way."""
    large = model_message("m", 16 * MIB)
    for _ in range(3):
        leaving = [asyncio.create_task(stack.call("ModelInfer", large)) for _ in range(MOST)]
        await asyncio.sleep(0)
        stack.activator.calls.clear()
        await eventually(lambda: bool(stack.activator.calls))
        for each in leaving:
            each.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
    stack.activator.hold.set()
    answers: list[bytes | BaseException] = []
    while b"activator" not in answers:
        assert len(answers) < 20, answers
        answers += await asyncio.gather(stack.call("ModelInfer", large), return_exceptions=True)
