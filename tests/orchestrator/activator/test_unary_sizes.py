"""Unary requests by size: limits, budgets and messages that come late, through a real gRPC server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from tests.orchestrator.activator.conftest import Stack, Stacks
from tests.orchestrator.activator.fakes import (
    SERVICE,
    message,
    ready,
)
from tests.orchestrator.activator.test_unary import ended

Context = grpc.aio.ServicerContext[bytes, bytes]


class TestSizes:
    """Messages of 16 MiB and what is above."""

    async def test_sixteen_mebibytes_both_ways(self, stack: Stack) -> None:
        """The largest message that is allowed passes, with its id in metadata or not."""
        stack.serve("m")
        largest = message("m", bytes((16 << 20) - 8))
        assert len(largest) == 16 << 20
        assert await stack.infer("m", largest) == largest
        assert await stack.call("ModelInfer", largest) == largest

    async def test_above_the_limit(self, stacks: Stacks) -> None:
        """RESOURCE_EXHAUSTED with both numbers, from the client and from the server."""
        stack = await stacks.make(max_message_bytes=1_000, max_bytes=12_800)
        stack.serve("m")
        code, details = await ended(stack.infer("m", message("m", bytes(2_000))))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "(2006 vs. 1000)" in details
        code, details = await ended(stack.call("ModelInfer", message("m", bytes(2_000))))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "(2006 vs. 1000)" in details

        async def behave(method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            yield bytes(3_000)

        stack.runtime.behave = behave
        code, details = await ended(stack.infer("m", message("m")))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "(3000 vs. 1000)" in details

    async def test_held_messages_without_metadata_have_their_own_bound(self, stacks: Stacks) -> None:
        """A message that had to be read is held in this process: over the bound it is refused with numbers."""
        stack = await stacks.make(max_message_bytes=1_000, max_bytes=16_000)
        held = [stack.call("ModelInfer", message("m", bytes(800))) for _ in range(2)]
        await stack.wants("m")
        later = stack.call("ModelInfer", message("m", bytes(800)))
        code, details = await ended(later)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "of 2000 bytes" in details
        stack.leader.say(ready("m", stack.runtime.endpoint))
        assert [len(await call) for call in held] == [806, 806]

    async def test_more_large_messages_than_the_budget_take_turns(self, stacks: Stacks) -> None:
        """Who finds no room waits for it: all pass in the end."""
        stack = await stacks.make(max_message_bytes=100_000, max_bytes=1_280_000)
        sent = message("m", bytes(90_000))
        calls = [stack.infer("m", sent) for _ in range(50)]
        await stack.wants("m")
        stack.leader.say(ready("m", stack.runtime.endpoint))
        assert [await call == sent for call in calls] == [True] * 50

    async def test_a_compressed_bomb_is_refused(self, stacks: Stacks) -> None:
        """The limit holds for what a compressed message becomes."""
        stack = await stacks.make(max_message_bytes=1 << 20)
        stack.serve("m")
        infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = stack.channel.unary_unary(SERVICE + "ModelInfer")
        call = infer(message("m", bytes(8 << 20)), metadata=(("mm-vmodel-id", "m"),), compression=grpc.Compression.Gzip)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    async def test_a_message_that_does_not_come_is_not_waited_for(
        self, stack: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is with its client until it is read; while it comes it has a place that others wait for."""
        monkeypatch.setattr("orchestrator.activator.unary._READ_S", 0.3)
        stack.serve("m")
        infer: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = stack.channel.stream_stream(SERVICE + "ModelInfer")
        silent = infer(metadata=(("mm-vmodel-id", "m"),))
        code, details = await ended(silent)
        assert (code, "did not arrive within 0.3 s" in details) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)
        assert await stack.infer("m", message("m")) == message("m")
