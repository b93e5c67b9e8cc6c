"""The fleet protocol over a real socket: fences, refusals, reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest

from adapters import server as adapter_server
from adapters.loader import memory
from adapters.loader.memory import read
from adapters.server import AdapterService, Bells, listen
from protos import fleet_pb2, fleet_pb2_grpc
from tests.adapters.leader import FAILED, LOADED, LOST, READY, Leader
from tests.adapters.world import World, kept, key
from tests.orchestrator.waiting import eventually


@pytest.fixture
async def service(world: World) -> AdapterService:
    return AdapterService(world.ledger, world.loader, world.bells)


@pytest.fixture
async def stub(service: AdapterService, tmp_path: Path) -> AsyncIterator[fleet_pb2_grpc.AdapterAsyncStub]:
    address = f"unix:{tmp_path}/a.sock"
    server = await listen(address, service)
    async with grpc.aio.insecure_channel(address) as channel:
        made: fleet_pb2_grpc.AdapterAsyncStub = fleet_pb2_grpc.AdapterStub(channel)
        yield made
    await server.stop(None)


async def refused(call: Awaitable[None]) -> tuple[grpc.StatusCode, dict[str, str | bytes]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), dict(caught.value.trailing_metadata())


async def test_a_copy_from_load_to_gone(stub: fleet_pb2_grpc.AdapterAsyncStub, world: World) -> None:
    """The first report is full, the others say what changed, in order, with bytes and times."""
    leader = Leader(stub, 5)
    await leader.until(lambda: leader.last.server == READY)
    assert leader.reports[0].full
    assert leader.last.protocol == 1
    assert leader.last.capacity.total == 1000
    await leader.load("a")
    await leader.until_state(LOADED, "a")
    copy = leader.copies["a"]
    assert (copy.reserved, copy.measured) == (10, 7)
    assert copy.HasField("download")
    assert copy.HasField("load")
    assert not copy.HasField("failure")
    assert leader.last.capacity.reserved == 10
    await leader.load("bad")
    await leader.until(lambda: "bad" in leader.copies and leader.copies["bad"].state == FAILED)
    assert leader.copies["bad"].failure.reason == "ModelLoadFailed"
    await leader.unload("a")
    await leader.unload("unknown")
    await leader.until(lambda: leader.gone >= {"a", "unknown"})
    assert [report.seq for report in leader.reports] == list(range(1, len(leader.reports) + 1))
    assert not any(report.full for report in leader.reports[1:])


async def test_a_new_leader_fences_the_old_one_off(stub: fleet_pb2_grpc.AdapterAsyncStub, world: World) -> None:
    """By its Watch alone; the refusal carries what the old one needs to know. A standby fences nobody."""
    old = Leader(stub, 5)
    await old.until(lambda: old.last.server == READY)
    standby = Leader(stub, 0)
    await standby.until(lambda: standby.last.epoch == 5)
    await old.load("a")
    new = Leader(stub, 6)
    await new.until(lambda: new.last.epoch == 6)
    await old.until(lambda: old.last.epoch == 6)
    for call in (old.load("b"), old.unload("a"), standby.load("b")):
        code, trailing = await refused(call)
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert trailing["wml-epoch"] == "6"
        assert trailing["wml-boot"] == new.boot
    await new.until_state(LOADED, "a")
    assert "b" not in new.copies
    assert read(world.places.ledger).epoch == 6


@pytest.mark.parametrize("unloads", [False, True])
async def test_an_epoch_is_written_before_its_command_is_carried_out(
    stub: fleet_pb2_grpc.AdapterAsyncStub, world: World, monkeypatch: pytest.MonkeyPatch, unloads: bool
) -> None:
    """Else an adapter that dies between the two obeys an older leader afterwards. Of several at once, too."""
    leader = Leader(stub, 5)
    await leader.until(lambda: leader.last.server == READY)
    await leader.load("a")
    await leader.until_state(LOADED, "a")
    before = kept(world.ledger)
    found: list[bool] = []
    append = memory._append

    def slowly(path: Path, fence: tuple[int, str], *content: Any) -> None:
        if fence[0] > read(path).epoch:
            found.append(world.ledger.copies() == before)
        append(path, fence, *content)

    monkeypatch.setattr(memory, "_append", slowly)
    leader.epoch = 6
    if unloads:
        await asyncio.gather(leader.unload("a"), leader.unload("a"))
        await leader.until(lambda: "a" in leader.gone)
    else:
        await asyncio.gather(leader.load("b"), leader.load("dir"))
        await leader.until_state(LOADED, "b")
    assert found == [True]
    assert read(world.places.ledger).epoch == 6


async def test_a_command_that_waited_for_the_disk_is_checked_against_what_came_meanwhile(
    stub: fleet_pb2_grpc.AdapterAsyncStub, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later leader may have been heard, or the server be gone."""
    leader = Leader(stub, 5)
    await leader.until(lambda: leader.last.server == READY)
    loop, append = asyncio.get_running_loop(), memory._append

    def meanwhile(*content: Any) -> None:
        loop.call_soon_threadsafe(world.ledger.hello, 7)
        append(*content)

    monkeypatch.setattr(memory, "_append", meanwhile)
    leader.epoch = 6
    code, trailing = await refused(leader.load("b"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert trailing["wml-epoch"] == "7"
    assert kept(world.ledger) == ()


class Disk:
    """What commands of a new epoch wait for, until it `may` take it."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = 0
        self.may = asyncio.Event()
        self._remember = world.loader.remember
        monkeypatch.setattr(world.loader, "remember", self._remembers)

    async def _remembers(self) -> None:
        self.waiting += 1
        await self.may.wait()
        await self._remember()


async def held_up(
    stub: fleet_pb2_grpc.AdapterAsyncStub, world: World, monkeypatch: pytest.MonkeyPatch
) -> tuple[Leader, Disk, asyncio.Future[None]]:
    """A leader, a disk, and the leader's first command of a new epoch, a load of `a`, that waits for that disk."""
    leader = Leader(stub, 5)
    await leader.until(lambda: leader.last.server == READY)
    disk, leader.epoch = Disk(world, monkeypatch), 6
    command = asyncio.ensure_future(leader.load("a"))
    await eventually(lambda: disk.waiting == 1)
    return leader, disk, command


async def test_every_command_of_a_new_epoch_waits_for_the_disk(
    stub: fleet_pb2_grpc.AdapterAsyncStub, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second as well as the first, whose write has begun."""
    leader, disk, first = await held_up(stub, world, monkeypatch)
    second = asyncio.ensure_future(leader.load("b"))
    await eventually(lambda: disk.waiting == 2 or second.done())
    assert not second.done()
    assert world.ledger.copies() == ()
    disk.may.set()
    await asyncio.gather(first, second)
    await leader.until_state(LOADED, "b")


async def test_a_command_that_waited_for_the_disk_is_not_taken_by_one_who_stops(
    stub: fleet_pb2_grpc.AdapterAsyncStub, service: AdapterService, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came before, and would be begun after."""
    _, disk, command = await held_up(stub, world, monkeypatch)
    service.stop()
    disk.may.set()
    assert (await refused(command))[0] is grpc.StatusCode.UNAVAILABLE
    assert world.ledger.copies() == ()


async def test_a_command_for_another_boot_changes_nothing(stub: fleet_pb2_grpc.AdapterAsyncStub, world: World) -> None:
    """Nor does one while there is no server; the report of the loss comes first."""
    leader = Leader(stub, 5)
    await leader.until(lambda: leader.last.server == READY)
    await leader.load("a")
    await leader.until_state(LOADED, "a")
    first = leader.boot
    world.server.die()
    await leader.until(lambda: leader.last.server == LOST)
    assert leader.gone == {"a"}
    assert (await refused(leader.load("a")))[0] is grpc.StatusCode.UNAVAILABLE
    world.server.start()
    await leader.until(lambda: leader.last.server == READY)
    second, leader.boot = leader.boot, first
    code, trailing = await refused(leader.load("a"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert trailing["wml-boot"] == second != first
    assert world.ledger.changes(0).copies == ()


@pytest.mark.parametrize("model", ["", ".", "..", "../x", "a/b", "/etc", "a\0b", "-", ".hidden", "é", "x" * 254])
async def test_names_that_cannot_be_a_directory_are_refused(
    stub: fleet_pb2_grpc.AdapterAsyncStub, world: World, model: str
) -> None:
    """The name becomes one."""
    leader = Leader(stub, 5)
    await leader.until(lambda: leader.last.server == READY)
    assert (await refused(leader.load(model, path="a")))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_epoch_that_nobody_gets_over_is_refused(stub: fleet_pb2_grpc.AdapterAsyncStub, world: World) -> None:
    """It would be the last: no leader to come has a higher one."""
    before = world.ledger.epoch
    fence = fleet_pb2.Fence(epoch=2**53 + 1, boot=world.ledger.boot)
    key = fleet_pb2.Key(model="m", uid="u", revision="r")
    for call in (
        stub.Watch(fleet_pb2.Hello(epoch=2**53 + 1, protocol=1)).read(),
        stub.Unload(fleet_pb2.UnloadRequest(fence=fence, key=key)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert world.ledger.epoch == before


async def test_another_protocol_is_refused(stub: fleet_pb2_grpc.AdapterAsyncStub) -> None:
    """Our own and the one before are spoken."""
    call = stub.Watch(fleet_pb2.Hello(epoch=1, protocol=3))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_watchers_are_told_when_the_adapter_stops(
    stub: fleet_pb2_grpc.AdapterAsyncStub, service: AdapterService, world: World
) -> None:
    """The stream ends, and no command is taken. That is not to say that the pod ends, and its models with it."""
    leader = Leader(stub, 5)
    await leader.until(lambda: leader.last.server == READY)
    service.stop()
    await leader.end()
    assert not leader.last.draining
    assert (await refused(leader.load("a")))[0] is grpc.StatusCode.UNAVAILABLE


async def test_a_watch_that_fails_ends_with_a_status(
    stub: fleet_pb2_grpc.AdapterAsyncStub, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that cannot be made leaves no leader with a stream that is open and says nothing."""
    leader = Leader(stub, 5)
    await leader.until(lambda: leader.last.server == READY)
    with monkeypatch.context() as patch:
        patch.setattr(adapter_server, "_report", None)
        world.ledger.drain()
        assert (await refused(leader.end()))[0] is grpc.StatusCode.UNKNOWN
    again = Leader(stub, 5)
    await again.until(lambda: again.last.draining)


async def test_where_all_is_to_leave_nothing_is_loaded(stub: fleet_pb2_grpc.AdapterAsyncStub, world: World) -> None:
    """What is there stays until it is unloaded, or the server ends."""
    leader = Leader(stub, 5)
    await leader.until(lambda: leader.last.server == READY)
    await leader.load("a")
    await leader.until_state(LOADED, "a")
    world.ledger.drain()
    await leader.until(lambda: leader.last.draining)
    assert not leader.last.closing
    for model in ("a", "b"):
        assert (await refused(leader.load(model)))[0] is grpc.StatusCode.UNAVAILABLE
    assert leader.copies.keys() == {"a"}
    world.ledger.close()
    await leader.until(lambda: leader.last.closing)
    await leader.unload("a")
    await leader.until(lambda: "a" in leader.gone)


async def test_a_reader_that_sleeps_gets_the_latest_state_and_no_backlog(
    stub: fleet_pb2_grpc.AdapterAsyncStub, world: World
) -> None:
    """Thousands of changes are a few reports."""
    leader = Leader(stub, 5)
    await leader.until(lambda: leader.last.server == READY)
    for number in range(5000):
        world.ledger.unload(key(str(number)))
        if number % 50 == 0:
            await asyncio.sleep(0)
    world.load("a")
    await world.until(lambda: kept(world.ledger) != ())
    await leader.until(lambda: "a" in leader.copies and leader.copies["a"].state == LOADED)
    assert len(leader.reports) < 300


def test_a_bell_rings_for_everyone() -> None:
    """And for nobody that left."""
    bells = Bells()
    one, two = bells.add(), bells.add()
    bells.remove(two)
    bells.ring()
    assert one.is_set()
    assert not two.is_set()
