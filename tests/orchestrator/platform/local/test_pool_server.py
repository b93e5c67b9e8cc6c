"""The supervisor's end of the socket, spoken to line by line."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.fleet import Pod
from orchestrator.platform.local.pod_set import PodSet
from orchestrator.platform.local.stack import Stack
from orchestrator.platform.local.wire import MAX_LINE_BYTES, End, Epoch, Scale, parse_pods
from tests.orchestrator.platform.local.support import TEMPLATE, serving
from tests.orchestrator.waiting import eventually


class Line:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def pods(self) -> tuple[Pod, ...]:
        """The next list."""
        async with asyncio.timeout(10):
            return parse_pods(await self.reader.readline())[0]

    async def pods_until(self, count: int) -> tuple[Pod, ...]:
        """The first list of so many pods, none of which ends."""
        while True:
            pods = await self.pods()
            if len(pods) == count and not any(pod.terminating for pod in pods):
                return pods

    async def epoch_until(self, number: int) -> None:
        """Read until this epoch is told."""
        async with asyncio.timeout(10):
            while Epoch.parse(await self.reader.readline()) != Epoch(number):
                pass

    async def ended(self) -> bool:
        """Wait for the other side to close."""
        async with asyncio.timeout(10):
            while await self.reader.read(4096):
                pass
        return True


async def dial(path: Path) -> Line:
    """A connection; a socket that nobody listens on yet is dialled again."""
    while True:
        try:
            return Line(*await asyncio.open_unix_connection(path))
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def dialled(path: Path) -> AsyncIterator[Line]:
    """A connection, as long as the context."""
    async with asyncio.timeout(10):
        line = await dial(path)
    try:
        yield line
    finally:
        line.writer.close()


@pytest.fixture
def path(stack: Stack) -> Path:
    return stack.socket("supervisor")


async def test_each_connection_gets_the_list_at_once_and_after_each_change(pods: PodSet, path: Path) -> None:
    """Whoever made the change; one that ends changes nothing."""
    async with serving(pods, path), dialled(path) as watcher:
        assert await watcher.pods() == ()
        async with dialled(path) as leader:
            leader.writer.write(Scale(TEMPLATE, 1).line())
            (pod,) = await watcher.pods_until(1)
            assert await leader.pods_until(1) == (pod,)
            leader.writer.write(Scale(TEMPLATE, 2).line())
            assert (await watcher.pods_until(2))[0] == pod
        async with dialled(path) as late:
            assert (await late.pods())[0] == pod
            late.writer.write(End("never-heard-of").line())
            late.writer.write(End("r").line())
            await watcher.pods_until(0)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"nonsense\n",
        b"{}\n",
        Scale(TEMPLATE, 65).line(),
        b"[" * 100_000 + b"\n",
        Scale(TEMPLATE, 1).line().replace(b":1}", b":1e999}"),
        b"x" * (MAX_LINE_BYTES + 1),
    ],
    ids=["no-json", "empty", "too-many", "deep", "infinite", "too-long"],
)
async def test_nonsense_ends_its_connection_and_nothing_else(pods: PodSet, path: Path, nonsense: bytes) -> None:
    """It is reported, without its words: they may be a secret's."""
    with capture_logs() as lines:
        async with serving(pods, path), dialled(path) as good, dialled(path) as bad:
            bad.writer.write(nonsense)
            await eventually(lambda: lines)
            assert await bad.ended()
            good.writer.write(Scale(TEMPLATE, 1).line())
            assert len(await good.pods_until(1)) == 1
    refused = [line for line in lines if line["event"] == "pool_request_refused"]
    assert len(refused) == 1
    assert len(refused[0]["reason"]) < 200


async def test_its_end_is_every_connections_end(pods: PodSet, path: Path) -> None:
    """And what an earlier supervisor left at its path is not in the way."""
    with socket.socket(socket.AF_UNIX) as earlier:
        earlier.bind(str(path))
    async with serving(pods, path) as server, dialled(path) as line:
        assert await line.pods() == ()
        server.cancel()
        assert await line.ended()


async def test_of_two_leaders_the_one_of_the_higher_epoch_is_obeyed(pods: PodSet, path: Path) -> None:
    """The other is told, and what it asks for is refused: wishes written before it froze, timers that it thaws with."""
    async with serving(pods, path), dialled(path) as old, dialled(path) as new:
        old.writer.write(Epoch(7).line() + Scale(TEMPLATE, 1).line())
        await old.epoch_until(7)
        (pod,) = await old.pods_until(1)
        new.writer.write(Epoch(8).line() + Scale(TEMPLATE, 1).line())
        await old.epoch_until(8)
        await new.epoch_until(8)
        with capture_logs() as lines:
            old.writer.write(Scale(TEMPLATE, 2).line() + End("r").line() + Epoch(7).line() + Scale(TEMPLATE, 0).line())
            await eventually(lambda: [line["event"] for line in lines].count("stale_leader_refused") == 3)
        assert pods.pods() == (pod,)
        new.writer.write(Scale(TEMPLATE, 2).line())
        assert (await new.pods_until(2))[0] == pod


async def test_the_epoch_never_falls(pods: PodSet, path: Path) -> None:
    """A connection that ends takes nothing of its leader's back; one that names no epoch leads nobody."""
    async with serving(pods, path):
        async with dialled(path) as first:
            first.writer.write(Epoch(8).line())
            await first.epoch_until(8)
        async with dialled(path) as late:
            await late.epoch_until(8)
            with capture_logs() as lines:
                late.writer.write(Scale(TEMPLATE, 1).line())
                await eventually(lambda: lines)
            assert pods.pods() == ()
