"""ModelStreamInfer through a real activator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from tests.orchestrator.activator.conftest import Stack, Stacks
from tests.orchestrator.activator.fakes import SERVICE, FakeRuntime, failing, message, ready
from tests.orchestrator.waiting import eventually

Context = grpc.aio.ServicerContext[bytes, bytes]
Call = grpc.aio.StreamStreamCall[bytes, bytes]


def open_stream(stack: Stack, model: str = "m") -> Call:
    """A stream as a client opens it."""
    metadata = (("mm-vmodel-id", model),) if model else ()
    return stack.channel.stream_stream(SERVICE + "ModelStreamInfer")(metadata=metadata)


async def test_messages_pass_both_ways(stack: Stack) -> None:
    """Each message is answered before the next is sent: nothing waits for the whole stream."""
    stack.serve("m")
    stream = open_stream(stack)
    for number in range(5):
        sent = message("m", b"%d" % number)
        await stream.write(sent)
        assert await stream.read() == sent
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_server_may_speak_first_and_last(stack: Stack) -> None:
    """Headers, messages nobody asked for, trailing metadata and a status of its own pass unchanged."""

    async def behave(method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await context.send_initial_metadata((("x-initial", "1"),))
        yield b"first"
        context.set_trailing_metadata((("x-trailing", "2"),))
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("it is gone")

    stack.runtime.behave = behave
    stack.serve("m")
    stream = open_stream(stack)
    assert tuple(await stream.initial_metadata()) == (("x-initial", "1"),)
    assert await stream.read() == b"first"
    assert await stream.code() is grpc.StatusCode.DATA_LOSS
    assert await stream.details() == "it is gone"
    assert tuple(await stream.trailing_metadata()) == (("x-trailing", "2"),)


async def test_a_stream_is_held_like_a_request(stack: Stack) -> None:
    """It wants its model loaded, waits for it, and goes past a server that is dead."""
    dead = FakeRuntime()
    await dead.start()
    await dead.stop()
    stream = open_stream(stack)
    await stream.write(message("m"))
    await stack.wants("m")
    stack.leader.script["m"] = lambda _: ready("m", stack.runtime.endpoint)
    stack.leader.say(ready("m", dead.endpoint))
    assert await stream.read() == message("m")
    stream.cancel()


async def test_a_stream_without_an_id_is_refused_at_once(stack: Stack) -> None:
    """Its first message may never come: the id has to be in the metadata."""
    stream = open_stream(stack, model="")
    assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "mm-vmodel-id" in await stream.details()


async def test_each_message_names_the_stream_s_model(stack: Stack) -> None:
    """A message without a name gets it, one with another ends the stream."""
    stack.serve("m")
    stream = open_stream(stack)
    await stream.write(message("", b"x"))
    assert await stream.read() == message("m", b"x")
    await stream.write(message("other"))
    assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'other'" in await stream.details()


async def test_a_client_that_leaves_ends_the_stream_at_the_server(stack: Stack) -> None:
    """Both directions end."""
    began, gone = asyncio.Event(), asyncio.Event()

    async def behave(method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        began.set()
        try:
            async for one in messages:
                yield one
        finally:
            gone.set()

    stack.runtime.behave = behave
    stack.serve("m")
    stream = open_stream(stack)
    await began.wait()
    stream.cancel()
    await gone.wait()


async def test_a_running_stream_does_not_keep_its_name_wanted(stack: Stack) -> None:
    """Once the server has begun, the wait is over, however long the stream."""
    stack.serve("m")
    stream = open_stream(stack)
    await stream.write(message("m"))
    assert await stream.read() == message("m")
    await eventually(lambda: "m" in stack.leader.released)
    await stream.write(message("m"))
    assert await stream.read() == message("m")
    stream.cancel()


async def test_streams_are_bounded(stacks: Stacks) -> None:
    """Over the bound RESOURCE_EXHAUSTED with numbers; a stream that ends makes room."""
    stack = await stacks.make(max_streams=1)
    stack.serve("m")
    first = open_stream(stack)
    await first.write(message("m"))
    assert await first.read() == message("m")
    second = open_stream(stack)
    assert await second.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "at most 1" in await second.details()
    await first.done_writing()
    assert await first.code() is grpc.StatusCode.OK
    third = open_stream(stack)
    await third.write(message("m"))
    assert await third.read() == message("m")
    third.cancel()


async def test_a_message_without_room_ends_its_stream(stacks: Stacks) -> None:
    """RESOURCE_EXHAUSTED with numbers, both ways; the largest message always finds room in an idle activator."""
    stack = await stacks.make(max_message_bytes=1_000, max_bytes=12_800)
    stack.serve("m")
    stream = open_stream(stack)
    await stream.write(message("m", bytes(900)))
    assert await stream.read() == message("m", bytes(900))
    await stream.write(message("m", bytes(1_100)))
    assert await stream.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "(1106 vs. 1000)" in await stream.details()


async def test_a_server_that_lacks_the_model_ends_the_stream_in_its_words(stack: Stack) -> None:
    """A stream may have begun: it is not sent elsewhere."""
    stack.runtime.behave = failing(grpc.StatusCode.INVALID_ARGUMENT, "Model m not found")
    stack.serve("m")
    stream = open_stream(stack)
    assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await stream.details() == "Model m not found"
