"""Commands in any order come out right: one attempt a copy, nothing left behind."""

from __future__ import annotations

import asyncio

from adapters.domain.copies import CopyState, Reason, ServerState
from tests.adapters.world import World, kept, key, until

LOADED, LOADING, FAILED = CopyState.LOADED, CopyState.LOADING, CopyState.FAILED


async def test_a_copy_is_loaded_and_unloaded_with_all_its_files(world: World) -> None:
    """Reservation, server and disk agree before and after."""
    world.load("a")
    await world.until_state(LOADED, "a")
    copy = world.copy("a")
    assert copy is not None
    assert (copy.reserved, copy.measured) == (10, 7)
    assert copy.download_s is not None
    assert copy.load_s is not None
    assert world.server.loaded == {"a": b"model A"}
    assert world.files() == ["repository/a/1/model.onnx", "repository/a/config.pbtxt"]
    world.unload("a")
    await world.until_state(None, "a")
    assert world.server.loaded == {}
    assert world.ledger.reserved == 0
    assert world.files() == []
    assert world.ledger.changes(1).gone == (key("a"),)


async def test_many_loads_of_a_key_are_one_attempt(world: World) -> None:
    """Whatever the number of waiters."""
    world.store.may_download.clear()
    for _ in range(20):
        world.load("a", urgent=True)
    await until(lambda: world.store.downloads == 1)
    world.load("a")
    world.store.may_download.set()
    await world.until_state(LOADED, "a")
    world.load("a")
    await asyncio.sleep(0)
    assert world.store.downloads == 1
    assert world.server.calls.count("load a") == 1


async def test_an_unload_during_the_download_cancels_it(world: World) -> None:
    """The server never hears of it; no file and no byte stays."""
    world.store.may_download.clear()
    world.load("a")
    await until(lambda: world.store.downloads == 1)
    world.unload("a")
    await world.until_state(None, "a")
    assert world.server.calls == []
    assert world.files() == []
    assert world.ledger.reserved == 0


async def test_an_unload_while_the_server_loads_undoes_it(world: World) -> None:
    """The server is not interrupted; once it has loaded it unloads, and only then the bytes are free."""
    world.server.may_load.clear()
    world.load("a")
    await until(lambda: world.server.calls == ["load a"])
    world.unload("a")
    assert world.state("a") is CopyState.UNLOADING
    assert world.ledger.reserved == 10
    world.server.may_load.set()
    await world.until_state(None, "a")
    assert world.server.loaded == {}
    assert world.ledger.reserved == 0
    assert world.files() == []


async def test_a_load_during_the_unload_begins_when_that_is_done(world: World) -> None:
    """And an unload after it takes it back."""
    world.load("a")
    await world.until_state(LOADED, "a")
    world.server.unload_refusals = 1
    world.unload("a")
    world.load("a")
    await world.until_state(LOADED, "a")
    assert world.server.loaded == {"a": b"model A"}
    world.server.unload_refusals = 1
    world.unload("a")
    world.load("a")
    world.unload("a")
    await world.until_state(None, "a")
    await until(lambda: not world.server.loaded)


async def test_an_unload_that_fails_is_repeated_and_keeps_its_bytes(world: World) -> None:
    """Bytes are let go once the server confirmed, not before."""
    world.load("a")
    await world.until_state(LOADED, "a")
    world.server.unload_refusals = 1
    world.unload("a")
    await until(lambda: world.server.unload_refusals == 0)
    assert world.ledger.reserved == 10
    await world.until_state(None, "a")
    assert world.server.calls.count("unload a") == 2


async def test_an_unload_of_the_unknown_is_reported_gone(world: World) -> None:
    """Idempotent: proven absence is the answer."""
    since = world.ledger.version
    world.unload("never")
    assert world.ledger.changes(since).gone == (key("never"),)
    assert world.server.calls == []


async def test_a_loaded_copy_that_the_server_lost_is_loaded_again(world: World) -> None:
    """The server's word counts, not the ledger's."""
    world.load("a")
    await world.until_state(LOADED, "a")
    world.load("a")
    world.server.loaded.clear()
    world.load("a")
    await world.until(lambda: world.state("a") is not LOADED)
    await world.until_state(LOADED, "a")
    assert world.server.loaded == {"a": b"model A"}


async def test_a_failed_copy_starts_anew(world: World) -> None:
    """Also right after it failed."""
    world.load("late")
    await world.until_state(FAILED, "late")
    world.store.objects["late"] = b"model"
    world.load("late")
    await world.until_state(LOADED, "late")


async def test_the_death_of_the_server_ends_everything_at_once(world: World) -> None:
    """Copies, attempts, files and bytes; of what it was loading just then the report says that it may be to blame."""
    world.load("a")
    await world.until_state(LOADED, "a")
    world.server.may_load.clear()
    world.load("b")
    await until(lambda: "load b" in world.server.calls)
    boot, since = world.ledger.boot, world.ledger.version
    world.server.die()
    await world.until(lambda: world.ledger.server is ServerState.LOST)
    changes = world.ledger.changes(since)
    assert (changes.gone, changes.reserved, changes.boot) == ((key("a"),), 0, boot)
    assert [(c.key, c.state, c.failure is not None and c.failure.crashed) for c in changes.copies] == [
        (key("b"), FAILED, True)
    ]
    assert all(
        c.failure.message.endswith("; see its log (kubectl logs p) of that time") for c in changes.copies if c.failure
    )
    world.server.may_load.set()
    world.server.start()
    await world.until_ready()
    assert world.ledger.boot not in {"", boot}
    assert world.files() == []
    world.load("b")
    await world.until_state(LOADED, "b")


async def test_what_the_server_may_have_died_of_is_told_to_the_next_boot_s_leader_and_loaded_alone(
    world: World,
) -> None:
    """Of two that were being loaded one may be innocent: loaded alone, each shows what it is."""
    world.server.may_load.clear()
    for name in ("a", "b"):
        world.load(name)
    await until(lambda: {"load a", "load b"} <= set(world.server.calls))
    world.server.die()
    await world.until(lambda: world.ledger.server is ServerState.LOST)
    world.server.calls.clear()
    world.server.start()
    await world.until_ready()
    told = world.ledger.changes(0)
    assert {c.key for c in told.copies if c.failure is not None and c.failure.crashed} == {key("a"), key("b")}
    for name in ("a", "b"):
        world.load(name)
    await until(lambda: len(world.server.calls) == 1)
    first = world.server.calls[0].removeprefix("load ")
    other = "b" if first == "a" else "a"
    await world.until_state(LOADING, other)
    assert world.server.calls == [f"load {first}"]
    world.server.may_load.set()
    await world.until_state(LOADED, first)
    await world.until_state(LOADED, other)
    assert not world.ledger.suspect(key("a"))


async def test_forty_models_come_and_go(world: World) -> None:
    """Interleaved loads, updates and unloads leave exactly what was asked for last."""
    for number in range(40):
        world.load(f"m{number}", path="a", reserve=1)
    for number in range(0, 40, 2):
        world.load(f"m{number}", "2", path="b", reserve=1)
    for number in range(0, 40, 5):
        world.unload(f"m{number}", "2" if number % 2 == 0 else "1")
    for number in range(0, 40, 10):
        world.unload(f"m{number}")
    left = {f"m{n}": (b"model B" if n % 2 == 0 else b"model A") for n in range(40) if n % 5}
    await world.until(lambda: len(kept(world.ledger)) == len(left) == len(world.ledger.changes(0).copies))
    assert world.server.loaded == left
    assert world.ledger.reserved == len(left)
    await until(lambda: len(world.files()) == 2 * len(left))


async def test_a_bug_in_an_attempt_fails_that_copy_only(world: World) -> None:
    """The text of an unknown exception may hold anything, so that only its type is told."""
    world.store.objects["a"] = b"\xff"  # the fake store cannot decode it: not an error of ours
    world.load("a")
    world.load("b")
    await world.until_state(LOADED, "b")
    await world.until_state(FAILED, "a")
    copy = world.copy("a")
    assert copy is not None
    assert copy.failure is not None
    assert copy.failure.reason is Reason.MODEL_LOAD_FAILED
    assert copy.failure.message == "s3://b/a: internal error of the adapter (UnicodeDecodeError)"
