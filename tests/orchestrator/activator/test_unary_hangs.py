"""Unary requests to a server that hangs: what it keeps, through a real gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tests.orchestrator.activator.conftest import Stack, Stacks
from tests.orchestrator.activator.fakes import WORDS_S, Behaviour, FakeRuntime, message, ready
from tests.orchestrator.activator.test_unary import ended
from tests.orchestrator.waiting import eventually

Context = grpc.aio.ServicerContext[bytes, bytes]

LARGE = 90_000


async def hang(method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    """Take what comes and say nothing."""
    await asyncio.Event().wait()
    yield b""


async def begin(method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    """Send headers and nothing else."""
    await context.send_initial_metadata((("x-initial", "1"),))
    await asyncio.Event().wait()
    yield b""


async def begin_and_answer(method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    """All but the end."""
    async for one in messages:
        yield one
    await asyncio.Event().wait()


@pytest.fixture
async def bounded(stacks: Stacks) -> Stack:
    """With room for three and a half of the largest requests, and for two and a half of their answers, as by default."""
    stack = await stacks.make(max_message_bytes=100_000, max_bytes=1_600_000)
    stack.serve("m")
    return stack


@pytest.fixture
async def hung(bounded: Stack) -> AsyncIterator[FakeRuntime]:
    """Another server, which has models "hung" and "hung-too"."""
    runtime = FakeRuntime(hang)
    await runtime.start()
    bounded.leader.script["hung"] = lambda _: ready("hung", runtime.endpoint)
    bounded.leader.script["hung-too"] = lambda _: ready("hung-too", runtime.endpoint)
    yield runtime
    await runtime.stop()


async def test_a_server_that_hangs_does_not_take_the_room_of_others(bounded: Stack, hung: FakeRuntime) -> None:
    """Requests without a deadline wait for it for ever; those of other models pass, at once."""
    calls = [bounded.infer("hung", message("hung", bytes(LARGE))) for _ in range(8)]
    await eventually(lambda: hung.calls > 0)
    for _ in range(3):
        assert await bounded.infer("m", message("m", bytes(LARGE)), timeout=20) == message("m", bytes(LARGE))
    two = 2 * len(message("hung", bytes(LARGE)))
    code, details = await ended(bounded.infer("hung", message("hung"), timeout=WORDS_S))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "model 'hung': waited for room for its message" in details
    assert f"{two} of 350000 bytes are in use ({two} of them by this model)" in details
    assert hung.calls == 2
    for call in calls:
        call.cancel()
    hung.behave = FakeRuntime().behave
    assert await bounded.infer("hung", message("hung")) == message("hung")


async def test_some_models_that_hang_do_not_either(bounded: Stack, hung: FakeRuntime) -> None:
    """A server has many models."""
    models = ("hung", "hung-too")
    calls = [bounded.infer(model, message(model, bytes(5_000))) for _ in range(60) for model in models]
    await eventually(lambda: hung.calls > 2)
    assert await bounded.infer("m", message("m", bytes(LARGE)), timeout=20) == message("m", bytes(LARGE))
    for call in calls:
        call.cancel()


@pytest.mark.parametrize("behave", [begin, begin_and_answer])
async def test_an_answer_that_does_not_end_is_not_waited_for(
    bounded: Stack, hung: FakeRuntime, monkeypatch: pytest.MonkeyPatch, behave: Behaviour
) -> None:
    """Once it has begun it has a place that others wait for; who asked is told."""
    monkeypatch.setattr("orchestrator.activator.exchange._ANSWER_S", 0.3)
    hung.behave = behave
    calls = [bounded.infer("hung", message("hung")) for _ in range(3)]
    said = (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "model 'hung': its server began an answer and did not end it within 0.3 s",
    )
    assert [await ended(call) for call in calls] == [said] * 3


async def test_an_answer_that_does_not_come_does_not_take_the_room_of_others(bounded: Stack, hung: FakeRuntime) -> None:
    """While its place is kept, other models are answered."""
    hung.behave = begin
    calls = [bounded.infer("hung", message("hung")) for _ in range(3)]
    await eventually(lambda: hung.calls == 3)
    # The third is told that it waits, and for whom.
    code, details = await ended(bounded.infer("hung", message("hung"), timeout=WORDS_S))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "100000 of 250000 bytes for responses are in use, 100000 of them by model 'hung'" in details
    assert await bounded.infer("m", message("m", bytes(LARGE)), timeout=20) == message("m", bytes(LARGE))
    for call in calls:
        call.cancel()
