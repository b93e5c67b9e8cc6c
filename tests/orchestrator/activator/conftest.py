"""A running activator between a fake leader and a fake model server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from orchestrator.activator.budget import Budget
from orchestrator.activator.gate import Gate
from orchestrator.activator.hold import Hold
from orchestrator.activator.run import run
from orchestrator.activator.settings import ActivatorSettings
from protos import inference_pb2
from tests.orchestrator.activator.fakes import LIMITS, SERVICE, FakeLeader, FakeRuntime, ready
from tests.orchestrator.waiting import eventually

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass
class Stack:
    """The activator under test, its neighbours, and a client's channel to it."""

    leader: FakeLeader
    runtime: FakeRuntime
    channel: grpc.aio.Channel
    task: asyncio.Task[None]

    def call(
        self, method: str, message: bytes = b"", *, metadata: Metadata = (), timeout: float | None = None
    ) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        """A unary call as a client makes it."""
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(SERVICE + method)
        return ask(message, metadata=metadata, timeout=timeout)

    def infer(
        self, model: str, message: bytes = b"", *, timeout: float | None = None, metadata: Metadata = ()
    ) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        """ModelInfer with the model in the metadata."""
        return self.call("ModelInfer", message, metadata=(("mm-vmodel-id", model), *metadata), timeout=timeout)

    def serve(self, model: str) -> None:
        """From now on the leader says that the runtime has the model."""
        self.leader.script[model] = lambda _: ready(model, self.runtime.endpoint)

    async def server_ready(self) -> bool:
        """Whether the activator has heard a leader."""
        return inference_pb2.ServerReadyResponse.FromString(await self.call("ServerReady")).ready

    async def wants(self, model: str) -> None:
        """Wait until the leader knows that someone wants the model."""
        await eventually(lambda: model in self.leader.wanted)


class Stacks:
    """Makes stacks and takes them down."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: list[Stack] = []

    async def make(
        self,
        *,
        max_waiting: int = 1_000,
        max_waiting_per_model: int = 800,
        max_message_bytes: int = 16 << 20,
        max_bytes: int = 256 << 20,
        max_streams: int = 64,
        default_wait_s: float = 120.0,
        leaders: tuple[str, ...] = (),
        start_leader: bool = True,
        wait_for_leader: bool = True,
    ) -> Stack:
        """A stack with these bounds."""
        number = len(self._made)
        leader = FakeLeader(f"unix:{self._directory}/leader{number}")
        if start_leader:
            await leader.start()
        runtime = FakeRuntime()
        await runtime.start()
        listen = f"unix:{self._directory}/activator{number}"
        settings = ActivatorSettings(
            listen=listen,
            leader=(*leaders, leader.address),
            max_waiting=max_waiting,
            max_waiting_per_model=max_waiting_per_model,
            max_message_bytes=max_message_bytes,
            max_bytes=max_bytes,
            max_streams=max_streams,
            default_wait_s=default_wait_s,
            version="1.2.3",
        )
        task = asyncio.create_task(run(settings))
        # A channel that finds no socket would wait a second before it looks again.
        await eventually((self._directory / f"activator{number}").exists)
        channel = grpc.aio.insecure_channel(listen, options=(*LIMITS, ("grpc.use_local_subchannel_pool", 1)))
        stack = Stack(leader, runtime, channel, task)
        self._made.append(stack)
        async with asyncio.timeout(10):
            await channel.channel_ready()
        if start_leader and wait_for_leader:
            await eventually(lambda: leader.streams == 1)
        return stack

    async def close(self) -> None:
        """Take all down: clients first, so that nothing is held."""
        for stack in self._made:
            await stack.channel.close()
            stack.task.cancel()
            await asyncio.wait([stack.task])
            await stack.leader.stop()
            await stack.runtime.stop()
            if not stack.task.cancelled():
                stack.task.result()


@pytest.fixture
async def hold() -> AsyncIterator[Hold]:
    """A hold without a process around it."""
    made = Hold(Gate(max_waiting=10, max_per_model=10), Budget.divide(1_280, largest=100, max_line=2))
    yield made
    made.stop_timer()


@pytest.fixture
async def stacks(tmp_path: Path) -> AsyncIterator[Stacks]:
    """For tests with bounds of their own."""
    made = Stacks(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def stack(stacks: Stacks) -> Stack:
    """The default stack."""
    return await stacks.make()
