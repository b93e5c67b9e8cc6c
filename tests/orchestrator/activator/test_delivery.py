"""A message on its way to a client that does not read it, through a real activator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.orchestrator.activator.conftest import Stack, Stacks
from tests.orchestrator.activator.fakes import SERVICE, WORDS_S, message

Context = grpc.aio.ServicerContext[bytes, bytes]
Call = grpc.aio.StreamStreamCall[bytes, bytes]

#: More than a client's transport takes of a message that nobody reads.
LARGE = 900_000
SMALL = message("large", b"little")


async def answer(method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    """Who sends no more than the model's name is given much; the others get an echo."""
    async for one in messages:
        yield bytes(LARGE) if one == message("large") else one


@pytest.fixture
async def narrow(stacks: Stacks) -> Stack:
    """With no room for another answer of the model while a large one is on its way to its client."""
    stack = await stacks.make(max_message_bytes=1_000_000, max_bytes=12_800_000)
    stack.runtime.behave = answer
    stack.serve("large")
    return stack


@pytest.fixture
async def channel(narrow: Stack, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A client's whose transport takes little of what nobody reads."""
    options = (
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 64 << 10),
    )
    made = grpc.aio.insecure_channel(f"unix:{tmp_path}/activator0", options=options)
    yield made
    await made.close()


async def unread(channel: grpc.aio.Channel, method: str) -> Call:
    """A call that has asked for much, and does not read it."""
    call: Call = channel.stream_stream(SERVICE + method)(metadata=(("mm-vmodel-id", "large"),))
    await call.write(message("large"))
    await call.done_writing()
    await call.initial_metadata()
    return call


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
async def test_who_does_not_read_is_cut_off(
    narrow: Stack,
    channel: grpc.aio.Channel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
) -> None:
    """Others that wait for room are answered, the client is told, and gRPC has nothing to complain of."""
    monkeypatch.setattr("orchestrator.activator.delivery._WRITE_S", 0.3)
    monkeypatch.setattr("orchestrator.activator.delivery._LEAST_BYTES_PER_S", LARGE)
    call = await unread(channel, method)
    assert await narrow.infer("large", SMALL, timeout=20) == SMALL
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.details() == f"the client did not take an answer of {LARGE} bytes within 1.3 s"
    assert not caplog.records


async def test_who_waits_for_room_is_told_before_its_deadline(narrow: Stack, channel: grpc.aio.Channel) -> None:
    """With the pool's numbers, while another client's answer is in the way."""
    call = await unread(channel, "ModelInfer")
    waits = narrow.infer("large", SMALL, timeout=WORDS_S)
    assert await waits.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert f"{LARGE} of 2000000 bytes for responses are in use" in await waits.details()
    call.cancel()
    assert await narrow.infer("large", SMALL, timeout=20) == SMALL


async def test_who_reads_slowly_has_its_time(
    narrow: Stack, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large message has longer than a small one, at a least rate."""
    monkeypatch.setattr("orchestrator.activator.delivery._WRITE_S", 0.0)
    # Far more time than the wait below takes.
    monkeypatch.setattr("orchestrator.activator.delivery._LEAST_BYTES_PER_S", LARGE / 20)
    call = await unread(channel, "ModelInfer")
    # Another client that waits its deadline out is the clock.
    assert await narrow.infer("large", SMALL, timeout=1).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await call.read() == bytes(LARGE)
    assert await call.code() is grpc.StatusCode.OK
