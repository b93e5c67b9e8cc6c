"""The controller's end of the socket, with a supervisor that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.fleet import Pod, Pool
from orchestrator.domain.serving_runtime import ServingRuntime, unreadable_runtime
from orchestrator.machinery.term import Term
from orchestrator.platform.local.launch import PodTemplate
from orchestrator.platform.local.pod_set import PodSet
from orchestrator.platform.local.pools import SupervisorPools
from orchestrator.platform.local.stack import Stack
from orchestrator.platform.local.wire import (
    MAX_LINE_BYTES,
    MAX_REPLICAS,
    End,
    Epoch,
    Scale,
    Wish,
    parse_wish,
    pods_line,
)
from tests.orchestrator.platform.local.support import half, running, serving
from tests.orchestrator.waiting import eventually

RUNTIME = ServingRuntime(name="r", uid="", generation=1, server_type="mlserver", frameworks=(), auto_select=frozenset())


class Lists:
    """What the controller was told: the uids of each list, and how many there are to be by now."""

    def __init__(self) -> None:
        self.all: list[tuple[str, ...]] = []
        self.pools: Mapping[str, Pool] = {}

    def __call__(self, pods: tuple[Pod, ...], pools: Mapping[str, Pool]) -> None:
        self.all.append(tuple(pod.uid for pod in pods))
        self.pools = pools

    @property
    def last(self) -> tuple[str, ...] | None:
        return self.all[-1] if self.all else None


@pytest.fixture
def path(stack: Stack) -> Path:
    return stack.socket("supervisor")


async def test_a_number_that_was_asked_for_too_early_is_sent_later(pods: PodSet, path: Path) -> None:
    """Nobody listens yet; that is said once, however often it is tried."""
    pools, lists = SupervisorPools(path, Term(7), half), Lists()
    await pools.scale(RUNTIME, 1)
    with capture_logs() as lines:
        async with running(pools.run(lists)):
            await eventually(lambda: lines)
            async with serving(pods, path):
                await eventually(lambda: lists.last and len(lists.last) == 1)
    assert [line["event"] for line in lines].count("supervisor_unreachable") == 1


async def test_a_controller_that_comes_and_goes(pods: PodSet, path: Path) -> None:
    """Going changes nothing; the next one sees the whole list, and how many there are to be. Its own wish counts at once."""
    async with serving(pods, path):
        first, seen = SupervisorPools(path, Term(7), half), Lists()
        async with running(first.run(seen)):
            await eventually(lambda: seen.all)
            await first.scale(RUNTIME, 1)
            assert seen.pools == {"r": Pool(1)}
            await eventually(lambda: seen.last and len(seen.last) == 1)
        second, again = SupervisorPools(path, Term(7), half), Lists()
        async with running(second.run(again)):
            await eventually(lambda: again.all)
            assert (again.all[0], again.pools) == (seen.last, {"r": Pool(1)})
            await second.end("r")
            assert again.pools == {"r": Pool(0)}


async def test_a_runtime_that_cannot_be_read_makes_no_pod_and_ends_those_that_nobody_needs(
    pods: PodSet, path: Path
) -> None:
    """What there is stays while it is needed: there is nothing to make it anew from."""
    bad, pools, lists = unreadable_runtime("r", "", "spec: required"), SupervisorPools(path, Term(7), half), Lists()
    async with serving(pods, path), running(pools.run(lists)):
        await eventually(lambda: lists.all)
        await pools.scale(bad, 1)
        assert lists.pools == {}
        await pools.scale(RUNTIME, 1)
        await eventually(lambda: lists.last and len(lists.last) == 1)
        await pools.scale(bad, 1)
        assert lists.pools == {"r": Pool(1)}
        await pools.scale(bad, 0)
        assert lists.pools == {"r": Pool(0)}


async def test_an_environment_that_no_line_has_room_for_is_its_runtimes_trouble_only(pods: PodSet, path: Path) -> None:
    """It is told, once; what there is of it stays, and the pods of others come and go."""
    pools, lists = SupervisorPools(path, Term(7), half), Lists()
    huge, other = replace(RUNTIME, env=(("A", "x" * MAX_LINE_BYTES),)), replace(RUNTIME, name="other")
    async with serving(pods, path), running(pools.run(lists)):
        await eventually(lambda: lists.all)
        await pools.scale(RUNTIME, 1)
        await eventually(lambda: lists.last and len(lists.last) == 1)
        with capture_logs() as lines:
            for _ in range(2):
                await pools.scale(huge, 2)
            await pools.scale(other, 1)
            await eventually(lambda: lists.last and len(lists.last) == 2)
        assert [line["event"] for line in lines].count("pool_refused") == 1
        assert lists.pools["r"].replicas == 2
        assert "larger than 4 MiB" in lists.pools["r"].said
        await pools.scale(RUNTIME, 1)
        assert lists.pools == {"r": Pool(1), "other": Pool(1)}
        await pools.scale(huge, 2)
        await pools.scale(huge, 0)
        assert lists.pools == {"r": Pool(0), "other": Pool(1)}
        await eventually(lambda: lists.last and len(lists.last) == 1)


async def test_a_supervisor_that_comes_and_goes(pods: PodSet, path: Path) -> None:
    """The list as it was stays the truth; what was asked for meanwhile is sent when it is back, and the pods lived on."""
    pools, lists = SupervisorPools(path, Term(7), half), Lists()
    async with running(pools.run(lists)):
        async with serving(pods, path):
            await pools.scale(RUNTIME, 1)
            await eventually(lambda: lists.last and len(lists.last) == 1)
        before = lists.last
        await pools.scale(RUNTIME, 2)
        assert (lists.last, lists.pools) == (before, {"r": Pool(2)})
        async with serving(pods, path):
            await eventually(lambda: lists.last and len(lists.last) == 2)
        assert before is not None
        assert lists.last is not None
        assert lists.last[0] == before[0]


async def test_a_supervisor_that_is_not_understood_is_dialled_again(path: Path) -> None:
    """What it said before stays the truth; each connection is told every number."""
    heard: list[Scale] = []
    answers = iter([b"nonsense\n", b"[" * 100_000 + b"\n", pods_line((), {})])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert parse_wish(await reader.readline()) == Epoch(7)
        heard.append(Scale.parse(await reader.readline()))
        writer.write(next(answers))
        await reader.read()
        writer.close()

    pools, lists = SupervisorPools(path, Term(7), half), Lists()
    await pools.scale(RUNTIME, 1)
    with capture_logs() as lines:
        async with await asyncio.start_unix_server(serve, path), running(pools.run(lists)):
            await eventually(lambda: lists.all)
    assert lists.all == [()]
    assert [wish.replicas for wish in heard] == [1, 1, 1]
    assert [line["event"] for line in lines] == ["supervisor_misunderstood"] * 2


async def test_a_number_is_said_once_and_in_bounds(path: Path) -> None:
    """The same wish again is no news; what the supervisor would refuse is never sent."""
    heard: asyncio.Queue[Wish | Epoch] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            heard.put_nowait(parse_wish(line))
        writer.close()

    pools = SupervisorPools(path, Term(7), half)
    async with await asyncio.start_unix_server(serve, path), running(pools.run(Lists())):
        async with asyncio.timeout(10):
            assert await heard.get() == Epoch(7)
        for asked, told in ((2, 2), (MAX_REPLICAS + 1, MAX_REPLICAS), (-1, 0)):
            await pools.scale(RUNTIME, asked)
            await pools.scale(RUNTIME, asked)
            async with asyncio.timeout(10):
                assert await heard.get() == Scale(PodTemplate.of(RUNTIME), told)
        await pools.end("r")
        await pools.end("r")
        async with asyncio.timeout(10):
            assert await heard.get() == End("r")
        assert heard.empty()


async def test_a_later_leader_ends_the_term_and_what_was_asked_for_is_not_sent(pods: PodSet, path: Path) -> None:
    """One that was frozen thaws with old wishes: the supervisor tells it, and its pods are the other's."""
    async with serving(pods, path):
        old, seen = SupervisorPools(path, Term(7), half), Lists()
        new, again = SupervisorPools(path, term := Term(8), half), Lists()
        async with running(old.run(seen)):
            await eventually(lambda: seen.all)
            async with running(new.run(again)):
                await new.scale(RUNTIME, 1)
                await eventually(lambda: again.last and len(again.last) == 1)
                await eventually(lambda: old._term.over)
                await old.end("r")
                await new.scale(RUNTIME, 2)
                await eventually(lambda: again.last and len(again.last) == 2)
        assert (old._term.successor, term.over) == (8, False)
        assert again.last is not None
        assert len(again.last) == 2
