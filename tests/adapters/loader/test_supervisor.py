"""An adapter that is started again takes over what serves, and only that."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.domain.copies import CopyState
from adapters.loader.memory import render_copy
from tests.adapters.world import FakeServer, FakeStore, FullDisk, World, kept, key, running, until

LOADED = CopyState.LOADED
#: More refusals than a test waits for.
STUBBORN = 1000


async def first_life(tmp_path: Path, server: FakeServer, store: FakeStore, *models: str) -> str:
    """Load the models, end the adapter; the boot."""
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        world.ledger.hello(7)
        for model in models:
            world.load(model, path="a")
            await world.until_state(LOADED, model)
        await world.loader.remember()
        server.calls.clear()
        return world.ledger.boot


async def first_life_and_a_stray(tmp_path: Path, server: FakeServer, store: FakeStore) -> None:
    """As `first_life` of x; the next one cannot take over before the server lets go of what nobody remembers."""
    await first_life(tmp_path, server, store, "x")
    server.loaded["stray"] = b"?"
    server.unload_refusals = STUBBORN


def switch(world: World, note: str) -> Path:
    """As if the adapter ended while a successor came into the place of x, with that note on it; the model's file."""
    world.places.put_aside(key("x"), note)
    shutil.copytree(world.places.aside(key("x")), world.places.model("x"))
    return world.places.model("x") / "1" / "model.onnx"


async def test_copies_survive_the_adapter_without_a_reload(
    tmp_path: Path, server: FakeServer, store: FakeStore
) -> None:
    """Same boot, same epoch, same reservations; the server is not touched."""
    boot = await first_life(tmp_path, server, store, "x", "y")
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert world.ledger.boot == boot
        assert world.ledger.epoch == 7
        assert [copy.key for copy in kept(world.ledger)] == [key("x"), key("y")]
        assert world.ledger.reserved == 20
        assert server.calls == []
        world.unload("x")
        await world.until_state(None, "x")


async def test_nothing_is_said_of_copies_until_adapter_and_server_have_met(
    tmp_path: Path, server: FakeServer, store: FakeStore
) -> None:
    """Else a restart of the adapter would look like the loss of all that the server serves on."""
    await first_life(tmp_path, server, store, "x")
    server.alive.clear()
    async with running(World(tmp_path, server, store)) as world:
        meeting = asyncio.create_task(world.loader.met())
        await asyncio.sleep(0.05)
        assert not meeting.done()
        server.start()
        await meeting
        assert [copy.key for copy in kept(world.ledger)] == [key("x")]


async def test_a_server_that_is_not_met_in_time_is_not_there(
    tmp_path: Path, server: FakeServer, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both died: nothing serves. If it was only frozen it is met later, and what it serves is adopted."""
    await first_life(tmp_path, server, store, "x")
    server.alive.clear()
    monkeypatch.setattr("adapters.loader.supervisor.MEETING_S", 0.01)
    async with running(World(tmp_path, server, store)) as world:
        async with asyncio.timeout(10):
            await world.loader.met()
        assert kept(world.ledger) == ()
        server.start()
        await world.until_ready()
        assert [copy.key for copy in kept(world.ledger)] == [key("x")]


async def test_a_server_that_answers_is_taken_over_however_long_that_takes(
    tmp_path: Path, server: FakeServer, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switch was interrupted, and the load that decides it is slow: what serves meanwhile is not said to be gone."""
    await first_life(tmp_path, server, store, "x")
    monkeypatch.setattr("adapters.loader.supervisor.MEETING_S", 0.01)
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        (copy,) = kept(world.ledger)
        switch(world, render_copy(replace(copy, key=key("x", "2"))))
    server.may_load.clear()
    async with running(World(tmp_path, server, store)) as world:
        meeting = asyncio.create_task(world.loader.met())
        await until(lambda: "load x" in server.calls)
        await asyncio.sleep(0.1)
        assert not meeting.done()
        server.may_load.set()
        await meeting
        assert [copy.key for copy in kept(world.ledger)] == [key("x", "2")]


async def test_a_server_that_is_lost_before_it_is_taken_over_has_nothing(
    tmp_path: Path, server: FakeServer, store: FakeStore
) -> None:
    """That is known at once: nobody is left waiting for a word on copies."""
    await first_life_and_a_stray(tmp_path, server, store)
    async with running(World(tmp_path, server, store)) as world:
        meeting = asyncio.create_task(world.loader.met())
        await until(lambda: server.unload_refusals < STUBBORN)
        assert not meeting.done()
        server.die()
        async with asyncio.timeout(10):
            await meeting
        assert kept(world.ledger) == ()


async def test_another_server_is_another_boot(tmp_path: Path, server: FakeServer, store: FakeStore) -> None:
    """It has none of the copies, so that they are not claimed and their files go."""
    boot = await first_life(tmp_path, server, store, "x")
    server.loaded.clear()
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert world.ledger.boot != boot
        assert kept(world.ledger) == ()
        assert world.files() == []


async def test_what_nobody_remembers_is_unloaded_and_removed(
    tmp_path: Path, server: FakeServer, store: FakeStore
) -> None:
    """Bytes in the server that no reservation covers are a lie waiting for an out-of-memory kill."""
    await first_life(tmp_path, server, store, "x")
    server.loaded["stray"] = b"?"
    (tmp_path / "repository/stray").mkdir()
    (tmp_path / "repository/stray/file").touch()
    (tmp_path / "scratch/staging/5").mkdir()
    server.unload_refusals = 1  # tried again until it is done
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert set(server.loaded) == {"x"}
        assert {path.split("/")[1] for path in world.files()} == {"x"}
        assert list((tmp_path / "scratch/staging").iterdir()) == []


@pytest.mark.parametrize("loads", [True, False])
async def test_a_switch_that_a_crash_interrupted_goes_forward_if_the_server_takes_it(
    tmp_path: Path, server: FakeServer, store: FakeStore, loads: bool
) -> None:
    """
    The server may have finished the load by itself, and answers from the successor: the former must not come back.

    If it does not take the successor, the former is put back and loaded. Either is newer than what was loaded: Triton
    does nothing otherwise, and nobody would know which processes the model has.
    """
    boot = await first_life(tmp_path, server, store, "x")
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        before = world.ledger.copy(key("x"))
        assert before is not None
        successor = replace(before, key=key("x", "2"), reserved=7)
        content = b"the successor" if loads else b"a bad successor"
        file = switch(world, render_copy(successor))
        file.write_bytes(content)
        before_ns = file.stat().st_mtime_ns
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert world.ledger.boot == boot
        assert kept(world.ledger) == ((replace(successor, state=LOADED),) if loads else (before,))
        assert server.loaded == {"x": content if loads else b"model A"}
        assert file.stat().st_mtime_ns > before_ns
        await until(lambda: list((tmp_path / "scratch/aside").iterdir()) == [])
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert [copy.key.revision for copy in kept(world.ledger)] == ["2" if loads else "1"]


async def test_a_switch_that_went_forward_is_remembered_through_a_second_crash(
    tmp_path: Path, server: FakeServer, store: FakeStore
) -> None:
    """Before the adapter that found it out had written it down."""
    boot = await first_life(tmp_path, server, store, "x")
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        (copy,) = kept(world.ledger)
        successor = replace(copy, key=key("x", "2"))
        switch(world, render_copy(successor)).write_bytes(b"the successor")
    server.loaded["stray"] = b"?"
    server.unload_refusals = STUBBORN
    async with running(World(tmp_path, server, store)):
        await until(lambda: server.unload_refusals < STUBBORN)
        assert server.loaded["x"] == b"the successor"
    server.unload_refusals = 0
    for _ in range(2):
        async with running(World(tmp_path, server, store)) as world:
            await world.until_ready()
            assert (world.ledger.boot, kept(world.ledger)) == (boot, (successor,))
            assert server.loaded == {"x": b"the successor"}
            await until(lambda: list((tmp_path / "scratch/aside").iterdir()) == [])


async def test_an_update_that_could_not_be_written_down_is_found_out_by_the_next_adapter(
    tmp_path: Path, server: FakeServer, store: FakeStore, full: FullDisk
) -> None:
    """A disk that is full: what serves must not come back under the name of what is remembered, however often it ends."""
    boot = await first_life(tmp_path, server, store, "x")
    for life in range(3):
        async with running(World(tmp_path, server, store)) as world:
            await world.until_ready()
            if not life:
                server.may_load.clear()
                world.load("x", "2", path="b")
                await until(lambda: server.calls == ["load x"])
                full.now = True
                server.may_load.set()
                await world.until_state(LOADED, "x", "2")
            assert world.ledger.boot == boot
            assert [copy.key for copy in kept(world.ledger)] == [key("x", "2")]
            assert server.loaded == {"x": b"model B"}
            await world.loader.remember()
    full.now = False
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert [copy.key for copy in kept(world.ledger)] == [key("x", "2")]
        await until(lambda: list((tmp_path / "scratch/aside").iterdir()) == [])
        server.calls.clear()
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert [copy.key for copy in kept(world.ledger)] == [key("x", "2")]
        assert server.calls == []


@pytest.mark.parametrize("note", ["", "{", "{}", "[]", '{"model": "x"}'])
async def test_a_switch_of_which_nothing_is_noted_is_undone(
    tmp_path: Path, server: FakeServer, store: FakeStore, note: str
) -> None:
    """Nobody knows what the successor is: the one that the ledger has as loaded is put back and loaded."""
    boot = await first_life(tmp_path, server, store, "x")
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        file = switch(world, note)
        file.write_bytes(b"the successor")
        server.loaded["x"] = b"the successor"
        newest = file.stat().st_mtime_ns
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert world.ledger.boot == boot
        assert world.state("x") is LOADED
        assert server.loaded == {"x": b"model A"}
        assert file.stat().st_mtime_ns > newest
        assert not world.places.aside(key("x")).exists()


async def test_a_switch_that_was_interrupted_before_the_successor_was_there_is_undone(
    tmp_path: Path, server: FakeServer, store: FakeStore
) -> None:
    """Its files died with the adapter."""
    boot = await first_life(tmp_path, server, store, "x")
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        (copy,) = kept(world.ledger)
        world.places.put_aside(key("x"), render_copy(replace(copy, key=key("x", "2"))))
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert (world.ledger.boot, kept(world.ledger)) == (boot, (copy,))
        assert server.loaded == {"x": b"model A"}


@pytest.mark.parametrize("there", [True, False])
async def test_an_update_whose_undoing_a_crash_interrupted_is_undone(
    tmp_path: Path, server: FakeServer, store: FakeStore, there: bool
) -> None:
    """The former's files were back, and the server had the successor still: to be there is not to be the one remembered."""
    boot = await first_life(tmp_path, server, store, "x")
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        open_gate, first, second = server.may_load, asyncio.Event(), asyncio.Event()
        server.may_load = first
        world.load("x", "2", path="b")
        await until(lambda: server.calls == ["load x"])
        world.unload("x", "2")
        server.may_load = second
        first.set()
        await until(lambda: server.calls == ["load x", "load x"])
        assert server.loaded == {"x": b"model B"}
        assert [copy.key for copy in kept(world.ledger)] == [key("x")]
    server.may_load = open_gate
    if not there:
        shutil.rmtree(world.places.model("x"))
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert server.loaded == ({"x": b"model A"} if there else {})
        assert [copy.key for copy in kept(world.ledger)] == ([key("x")] if there else [])
        assert (world.ledger.boot == boot) is there
        assert list((tmp_path / "scratch/aside").iterdir()) == []
        server.calls.clear()
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert server.calls == []


async def test_what_breaks_while_it_is_taken_over_is_loaded_again(
    tmp_path: Path, server: FakeServer, store: FakeStore
) -> None:
    """The word on it comes before it is known whose it is."""
    await first_life_and_a_stray(tmp_path, server, store)
    async with running(World(tmp_path, server, store)) as world:
        await until(lambda: server.unload_refusals < STUBBORN)
        server.breaks("x")
        await until(server.suspected.empty)
        server.unload_refusals = 0
        await until(lambda: "load x" in server.calls)
        await world.until_state(LOADED, "x")
        assert not server.broken


async def test_a_copy_that_was_being_unloaded_is_not_adopted(
    tmp_path: Path, server: FakeServer, store: FakeStore
) -> None:
    """The decision outlives the adapter that took it."""
    await first_life(tmp_path, server, store, "x", "y")
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        server.unload_refusals = STUBBORN
        world.unload("x")
        await world.until(lambda: world.state("x") is CopyState.UNLOADING)
        while "unload x" not in server.calls:
            await world.loader.remember()
    server.unload_refusals = 0
    async with running(World(tmp_path, server, store)) as world:
        await world.until_ready()
        assert [copy.key for copy in kept(world.ledger)] == [key("y")]
        assert set(server.loaded) == {"y"}


async def test_a_smaller_capacity_adopts_only_what_fits(tmp_path: Path, server: FakeServer, store: FakeStore) -> None:
    """The sum of reservations never exceeds the capacity, not even at the start."""
    await first_life(tmp_path, server, store, "x", "y")
    async with running(World(tmp_path, server, store, capacity=15)) as world:
        await world.until_ready()
        assert world.ledger.reserved == 10
        assert len(server.loaded) == 1


async def test_a_server_that_dies_while_it_is_taken_over_is_waited_for(
    tmp_path: Path, server: FakeServer, store: FakeStore
) -> None:
    """What the former adapter left died with it."""
    await first_life_and_a_stray(tmp_path, server, store)
    async with running(World(tmp_path, server, store)) as world:
        while server.unload_refusals == STUBBORN:
            await world.loader.remember()
        server.die()
        server.unload_refusals = 0
        server.start()
        await world.until_ready()
        assert kept(world.ledger) == ()
        assert world.files() == []
