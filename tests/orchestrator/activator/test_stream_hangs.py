"""Streams to a server that does not read: what it keeps, through a real activator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from tests.orchestrator.activator.conftest import Stack, Stacks
from tests.orchestrator.activator.fakes import FakeRuntime, message, ready
from tests.orchestrator.activator.test_stream import Context, open_stream
from tests.orchestrator.waiting import eventually

#: A server whose transport takes little of what nobody reads.
NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 32 << 10))


class Reader:
    """A server that begins to read when it is told to."""

    def __init__(self) -> None:
        self.may_read = asyncio.Event()
        self.read = 0
        self.runtime = FakeRuntime(self._behave)

    async def _behave(self, method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await self.may_read.wait()
        async for _ in messages:
            self.read += 1
        yield b"done"


async def reader_of(stack: Stack, model: str) -> Reader:
    """Such a server, which has the model."""
    reader = Reader()
    await reader.runtime.start(options=NARROW)
    stack.leader.script[model] = lambda _: ready(model, reader.runtime.endpoint)
    return reader


async def test_who_sends_waits_for_the_server_to_read(stack: Stack) -> None:
    """Nothing piles up on the way, and nothing is lost."""
    reader = await reader_of(stack, "slow")
    stream = open_stream(stack, "slow")
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(100):
            await stream.write(message("slow", bytes(64 << 10)))
            written += 1
        await stream.done_writing()

    writing = asyncio.create_task(write())
    await eventually(lambda: reader.runtime.calls == 1)
    # Another request that waits its deadline out is the clock.
    assert await stack.infer("absent", timeout=1).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert written < 10
    reader.may_read.set()
    await writing
    assert await stream.read() == b"done"
    assert reader.read == 100
    await reader.runtime.stop()


async def test_streams_that_do_not_move_do_not_take_the_room_of_others(stacks: Stacks) -> None:
    """They have their model's share: another of them ends in words, others' requests and streams go on."""
    stack = await stacks.make(max_message_bytes=100_000, max_bytes=1_600_000)
    stack.serve("m")
    reader = await reader_of(stack, "hung")
    large = message("hung", bytes(90_000))
    streams = [open_stream(stack, "hung") for _ in range(5)]
    writing = [asyncio.create_task(stream.write(large)) for stream in streams]
    await eventually(lambda: any(stream.done() for stream in streams))
    refused = next(stream for stream in streams if stream.done())
    assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    two = 2 * len(large)
    assert await refused.details() == (
        f"model 'hung': no room for a message of {len(large)} bytes: {two} of 350000 bytes are in use, {two} of them by this model"
    )
    assert await stack.infer("m", message("m", bytes(90_000)), timeout=20) == message("m", bytes(90_000))
    other = open_stream(stack)
    await other.write(message("m", bytes(90_000)))
    assert await other.read() == message("m", bytes(90_000))
    for stream in (*streams, other):
        stream.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    await reader.runtime.stop()
