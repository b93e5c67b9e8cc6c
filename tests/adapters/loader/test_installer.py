"""A good version is never lost to a bad one."""

from __future__ import annotations

import asyncio
import errno
import os
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from adapters.domain.copies import CopyState, Failure, Reason
from adapters.loader.memory import read
from adapters.storage.disk import remove
from tests.adapters.world import FullDisk, World, key, until

LOADED, FAILED = CopyState.LOADED, CopyState.FAILED


async def loaded(world: World, model: str = "m", revision: str = "1", path: str = "a") -> None:
    world.load(model, revision, path=path)
    await world.until_state(LOADED, model, revision)


async def updating(world: World, path: str = "b") -> None:
    """The server loads the second revision of m, and has not said yet what becomes of it."""
    world.server.may_load.clear()
    world.load("m", "2", path=path)
    await until(lambda: world.server.calls.count("load m") == 2)


def failure_of(world: World, model: str, revision: str = "1") -> Failure:
    copy = world.copy(model, revision)
    assert copy is not None
    assert copy.failure is not None
    return copy.failure


async def test_a_new_revision_takes_the_place_of_the_old(world: World) -> None:
    """The old is served until the new is, then its files and bytes are gone."""
    await loaded(world)
    await updating(world)
    assert world.server.loaded == {"m": b"model A"}
    assert world.state("m") is LOADED
    assert world.ledger.reserved == 20
    world.server.may_load.set()
    await world.until_state(LOADED, "m", "2")
    assert world.server.loaded == {"m": b"model B"}
    assert world.state("m") is None
    assert world.ledger.reserved == 10
    await until(lambda: len(world.files()) == 2)


async def test_each_load_finds_files_that_are_newer_than_all_before(world: World) -> None:
    """Triton reloads only then, and clocks stand still or go back."""
    seen: list[int] = []
    for revision, path in enumerate("abab"):
        await loaded(world, revision=str(revision), path=path)
        seen.append((world.places.model("m") / "1" / "model.onnx").stat().st_mtime_ns)
    assert seen == sorted(set(seen))
    world.load("m", "9", path="bad")
    await world.until(lambda: world.state("m", "9") is FAILED and world.ledger.reserved == 10)
    assert (world.places.model("m") / "1" / "model.onnx").stat().st_mtime_ns > seen[-1]


async def test_a_failed_update_leaves_the_old_revision_serving(world: World) -> None:
    """Files, server and ledger as before; the failure says who could not load what, in the server's words."""
    await loaded(world)
    world.load("m", "2", path="bad")
    await world.until(lambda: world.state("m", "2") is FAILED and world.ledger.reserved == 10)
    assert world.state("m") is LOADED
    assert world.server.loaded == {"m": b"model A"}
    assert world.server.calls == ["load m", "load m", "load m"]
    failure = failure_of(world, "m", "2")
    assert failure.reason is Reason.MODEL_LOAD_FAILED
    assert failure.message == (
        "triton-2.x (triton) could not load this onnx model from s3://b/bad: 1/model.onnx: bad model ***; more in its log (kubectl logs p)"
    )
    await until(lambda: len(world.files()) == 2)
    assert (world.places.model("m") / "1" / "model.onnx").read_bytes() == b"model A"
    await loaded(world, revision="3", path="b")
    assert world.server.loaded == {"m": b"model B"}


async def test_the_former_revision_stays_until_it_is_written_down_what_took_its_place(
    world: World, full: FullDisk
) -> None:
    """Nobody takes that one's place before; and what is aside goes as soon as it is written."""
    await loaded(world)
    await updating(world)
    full.now = True
    world.server.may_load.set()
    await world.until_state(LOADED, "m", "2")
    assert world.places.aside(key("m")).exists()
    world.load("m", "3", path="a")
    await world.until(lambda: world.state("m", "3") is FAILED)
    assert "disk is full" in failure_of(world, "m", "3").message
    assert world.server.loaded == {"m": b"model B"}
    assert world.state("m", "2") is LOADED
    full.now = False
    await world.loader.remember()
    await until(lambda: len(world.files()) == 2)
    assert [copy.key for copy in read(world.places.ledger).copies] == [key("m", "2")]
    await loaded(world, revision="4")
    assert world.server.loaded == {"m": b"model A"}


async def test_an_unload_is_not_held_up_by_what_could_not_be_written_down(world: World, full: FullDisk) -> None:
    """It may be what gives the disk room again. A load that follows waits for it to be written."""
    await loaded(world)
    await updating(world)
    full.now = True
    world.server.may_load.set()
    await world.until_state(LOADED, "m", "2")
    world.unload("m", "2")
    await world.until_state(None, "m", "2")
    assert world.server.loaded == {}
    world.load("m", "3", path="a")
    await world.until(lambda: world.state("m", "3") is FAILED)
    full.now = False
    await loaded(world, revision="4")
    assert world.server.loaded == {"m": b"model A"}
    await until(lambda: len(world.files()) == 2)


async def test_a_server_that_says_next_to_nothing_is_quoted_as_that(world: World) -> None:
    """MLServer tells the text of its exception: of a pickle that is none, it is a number."""
    world.store.objects["mute"] = b"mute model"
    world.load("m", path="mute")
    await world.until(lambda: world.state("m") is FAILED)
    assert failure_of(world, "m").message.endswith("from s3://b/mute: it says '8'; more in its log (kubectl logs p)")


async def test_a_server_that_gives_no_reason_has_a_log(world: World) -> None:
    """Which the platform names."""
    world.store.objects["silent"] = b"silent model"
    world.load("m", path="silent")
    await world.until(lambda: world.state("m") is FAILED)
    assert failure_of(world, "m").message.endswith("from s3://b/silent: no reason given; see its log (kubectl logs p)")


async def test_an_update_of_which_no_file_could_be_moved_does_not_reach_the_server(world: World) -> None:
    """A disk that is full: nothing is to be restored, and a load that Triton need not perform hides a model's processes."""
    await loaded(world)
    world.places.successor(key("m")).mkdir()
    world.load("m", "2", path="b")
    await world.until(lambda: world.state("m", "2") is FAILED and world.ledger.reserved == 10)
    assert world.state("m") is LOADED
    assert world.server.calls == ["load m"]
    assert not world.places.successor(key("m")).exists()
    await loaded(world, revision="3", path="b")


@pytest.mark.parametrize("unloaded", [False, True])
async def test_files_that_cannot_be_removed_are_no_failure_of_an_update(
    world: World, monkeypatch: pytest.MonkeyPatch, unloaded: bool
) -> None:
    """As those that the process of the old revision writes until it ends; what is left of them is not its files."""
    await loaded(world)

    def busy(path: Path) -> None:
        if path.is_dir():
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        remove(path)

    await updating(world, "bad" if unloaded else "b")
    monkeypatch.setattr("adapters.loader.places.remove", busy)
    if unloaded:
        world.unload("m")
    with capture_logs() as logs:
        world.server.may_load.set()
        await world.until(lambda: world.state("m") is None and world.ledger.reserved == (0 if unloaded else 10))
        await until(lambda: "files_not_removed" in [entry["event"] for entry in logs])
    assert world.server.loaded == ({} if unloaded else {"m": b"model B"})
    assert world.state("m", "2") is (FAILED if unloaded else LOADED)
    if unloaded:
        assert failure_of(world, "m", "2").reason is Reason.MODEL_LOAD_FAILED
    assert list((world.places.scratch / "aside").iterdir()) == []


async def test_a_failed_first_load_leaves_nothing(world: World) -> None:
    """Not in the server, not on the disk, not in the reservations."""
    world.load("bad")
    await world.until(lambda: world.state("bad") is FAILED and world.ledger.reserved == 0)
    await until(lambda: world.files() == [])
    assert world.server.calls == ["load bad", "unload bad"]


async def test_an_update_that_does_not_fit_beside_the_old_moves_nothing(world: World) -> None:
    """NoRoom is decided before the download."""
    world.load("m", path="a", reserve=600)
    await world.until_state(LOADED, "m")
    world.load("m", "2", path="b", reserve=500)
    await world.until_state(FAILED, "m", "2")
    failure = failure_of(world, "m", "2")
    assert (failure.reason, failure.needed, failure.available) == (Reason.NO_ROOM, 500, 400)
    assert world.store.downloads == 1
    assert world.server.loaded == {"m": b"model A"}


async def test_an_update_revoked_while_the_server_loads_is_undone(world: World) -> None:
    """The old revision serves on."""
    await loaded(world)
    await updating(world)
    world.unload("m", "2")
    world.server.may_load.set()
    await world.until_state(None, "m", "2")
    assert world.server.loaded == {"m": b"model A"}
    assert world.state("m") is LOADED
    assert world.ledger.reserved == 10
    await until(lambda: len(world.files()) == 2)


async def test_an_update_revoked_that_cannot_be_undone_does_not_serve_as_the_old(world: World) -> None:
    """The server took it, and does not take the old again: what it answers from is not what the ledger would say."""
    await loaded(world)
    await updating(world)
    world.unload("m", "2")
    (world.places.aside(key("m")) / "1" / "model.onnx").write_bytes(b"bad disk")
    world.server.may_load.set()
    await world.until(lambda: world.state("m") is FAILED and world.ledger.reserved == 0)
    assert world.server.loaded == {}
    await until(lambda: world.files() == [])


async def test_an_update_of_a_copy_on_its_way_out_does_not_bring_it_back(world: World) -> None:
    """Both were taken back: the name is free."""
    await loaded(world)
    await updating(world, "bad")
    world.unload("m")
    world.server.may_load.set()
    await world.until(lambda: world.state("m") is None and world.ledger.reserved == 0)
    assert world.server.loaded == {}
    await until(lambda: world.files() == [])


async def test_an_overtaken_attempt_gives_way(world: World) -> None:
    """Revision 1 was asked for before revision 2: it does not come back by being slow."""
    world.store.may_download.clear()
    world.load("m", "1", path="a")
    await until(lambda: world.store.downloads == 1)
    gate, world.store.may_download = world.store.may_download, asyncio.Event()
    world.store.may_download.set()
    await loaded(world, revision="2", path="b")
    gate.set()
    await world.until_state(None, "m", "1")
    assert world.server.loaded == {"m": b"model B"}
    assert world.ledger.changes(1).gone == (key("m", "1"),)


async def test_an_old_revision_that_cannot_come_back_is_reported(world: World) -> None:
    """
    What the ledger says serves, serves; nor does a restarted adapter adopt it.

    Its bytes are held until the server says that they are free; a Load meanwhile begins then.
    """
    await loaded(world)
    await updating(world, "bad")
    aside = world.places.aside(key("m"))
    (aside / "1" / "model.onnx").write_bytes(b"bad disk")
    world.server.loaded.clear()
    world.server.unload_refusals = 1000
    world.server.may_load.set()
    await world.until_state(FAILED, "m")
    assert failure_of(world, "m").reason is Reason.MODEL_LOAD_FAILED
    await until(lambda: "unload m" in world.server.calls)
    assert read(world.places.ledger).copies == ()
    assert world.ledger.reserved == 21
    world.load("m", path="a")
    world.server.unload_refusals = 0
    await world.until_state(LOADED, "m")
    await world.until(lambda: world.ledger.reserved == 10)
    assert world.server.loaded == {"m": b"model A"}


async def test_what_broke_in_the_server_is_loaded_again(world: World) -> None:
    """From the files that are there, without the store; meanwhile it is not said to be loaded. A false alarm does nothing."""
    await loaded(world)
    world.server.suspected.put_nowait("m")
    world.server.suspected.put_nowait("unknown")
    await until(world.server.suspected.empty)
    world.store.down = True
    world.server.may_load.clear()
    before = (world.places.model("m") / "1" / "model.onnx").stat().st_mtime_ns
    world.server.breaks("m")
    await world.until_state(CopyState.LOADING, "m")
    await until(lambda: world.server.calls.count("load m") == 2)
    assert read(world.places.ledger).copies == ()  # an adapter that is started now must not adopt it
    assert (world.places.model("m") / "1" / "model.onnx").stat().st_mtime_ns > before
    world.server.may_load.set()
    await world.until_state(LOADED, "m")
    assert not world.server.broken
    assert (world.server.calls, world.store.downloads, world.ledger.reserved) == (["load m"] * 2, 1, 10)


async def test_what_cannot_be_loaded_again_is_reported(world: World) -> None:
    """Nothing of it is left, and the leader tries again as after any failed load."""
    await loaded(world)
    (world.places.model("m") / "1" / "model.onnx").write_bytes(b"bad disk")
    world.server.breaks("m")
    await world.until(lambda: world.state("m") is FAILED and world.ledger.reserved == 0)
    failure = failure_of(world, "m")
    assert failure.reason is Reason.MODEL_LOAD_FAILED
    assert failure.message.startswith("it broke in the server, which could not load it again: ")
    await until(lambda: world.files() == [])
    assert world.server.loaded == {}


async def test_what_broke_can_be_unloaded_and_replaced_all_the_same(world: World) -> None:
    """An unload while it is loaded again takes it away; an update waits for it and takes its place."""
    for model in ("m", "n"):
        world.load(model, path="a")
        await world.until_state(LOADED, model)
    world.server.may_load.clear()
    for model in ("m", "n"):
        world.server.breaks(model)
        await world.until_state(CopyState.LOADING, model)
    world.unload("m")
    world.load("n", "2", path="b")
    await world.until_state(CopyState.LOADING, "n", "2")
    world.server.may_load.set()
    await world.until_state(None, "m")
    await world.until_state(LOADED, "n", "2")
    assert world.server.loaded == {"n": b"model B"}
    assert world.ledger.reserved == 10


def loaded_twice(world: World, model: str) -> bool:
    return world.server.calls.count(f"load {model}") == 2


async def broken_again(world: World, *models: str) -> None:
    """They were mended, and broke again."""
    for model in models:
        await loaded(world, model)
        world.server.breaks(model)
        await until(partial(loaded_twice, world, model))
        await world.until_state(LOADED, model)
        world.server.breaks(model)
        await world.until_state(CopyState.LOADING, model)


async def test_what_breaks_again_is_loaded_again_after_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time; until then it is not said to be loaded."""
    monkeypatch.setattr("adapters.domain.relapses.WAITS_S", (0.01, 0.01))
    await broken_again(world, "m")
    await world.until_state(LOADED, "m")
    assert world.server.calls == ["load m"] * 3


async def test_what_waits_to_be_loaded_again_can_be_unloaded_and_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once; an update that fails leaves what was there, to be loaded again in its time."""
    monkeypatch.setattr("adapters.domain.relapses.WAITS_S", (3600.0, 3600.0))
    await broken_again(world, "m", "n", "o")
    world.unload("m")
    await world.until_state(None, "m")
    await loaded(world, "n", "2", "b")
    world.load("o", "2", path="bad")
    await world.until(lambda: world.state("o", "2") is FAILED and world.ledger.reserved == 20)
    assert world.state("o") is CopyState.LOADING
    assert world.server.loaded == {"n": b"model B", "o": b"model A"}
    assert world.server.calls.count("load m") == 2


async def test_a_server_that_dies_is_not_mended(world: World) -> None:
    """What ended with it is not loaded again by the adapter: the next boot is empty, and a leader decides."""
    await loaded(world)
    world.server.suspected.put_nowait("m")
    world.server.die()
    await world.until_state(None, "m")
    await until(lambda: world.files() == [])
    assert world.server.calls == ["load m"]
