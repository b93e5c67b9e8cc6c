"""A failed source that is mended is noticed, once."""

from __future__ import annotations

import pytest

from adapters.domain.copies import CopyState, ServerState
from tests.adapters.world import World, until


def changed(world: World, model: str) -> bool:
    copy = world.copy(model)
    return copy is not None and copy.failure is not None and copy.failure.source_changed


@pytest.mark.parametrize("model", ["missing", "bad", "down"])
async def test_a_mended_source_is_reported(world: World, model: str) -> None:
    """An object that appears, an object that is replaced, a store that is back."""
    world.store.down = model == "down"
    world.load(model)
    await world.until_state(CopyState.FAILED, model)
    assert not changed(world, model)
    world.store.down = False
    world.store.objects[model] = b"model, mended"
    await world.until(lambda: changed(world, model))
    world.load(model)
    await world.until_state(CopyState.LOADED, model)


async def test_the_source_of_what_killed_the_server_is_watched_however_often_the_server_dies(world: World) -> None:
    """Else a model that was given up would stay so after it is mended, once the server dies of something else."""
    world.server.may_load.clear()
    world.load("a")
    await until(lambda: world.server.calls == ["load a"])
    for _ in range(2):
        world.server.die()
        await world.until(lambda: world.ledger.server is ServerState.LOST)
        world.server.start()
        await world.until_ready()
    world.store.objects["a"] = b"model, mended"
    await world.until(lambda: changed(world, "a"))


async def test_a_source_that_stays_as_it_was_is_left_alone(world: World) -> None:
    """And one that is no longer wanted is no longer looked at."""
    world.load("bad")
    world.load("missing")
    await world.until_state(CopyState.FAILED, "bad")
    await world.until_state(CopyState.FAILED, "missing")
    world.unload("missing")
    world.store.objects["missing"] = b"model"
    world.load("mark")
    await world.until_state(CopyState.FAILED, "mark")
    world.store.objects["mark"] = b"model"
    await world.until(lambda: changed(world, "mark"))
    assert not changed(world, "bad")
    assert world.copy("missing") is None


async def test_a_lack_of_room_is_not_the_sources_fault(world: World) -> None:
    """The leader evicts; nothing is looked at."""
    world.load("a", reserve=900)
    await world.until_state(CopyState.LOADED, "a")
    world.load("b", reserve=200)
    await world.until_state(CopyState.FAILED, "b")
    world.load("mark")
    await world.until_state(CopyState.FAILED, "mark")
    world.store.objects |= {"mark": b"model", "b": b"other"}
    await world.until(lambda: changed(world, "mark"))
    assert not changed(world, "b")


async def test_a_bug_while_looking_does_not_end_the_adapter(world: World) -> None:
    """The others are still looked at."""
    world.load("bad")
    world.load("mark")
    await world.until_state(CopyState.FAILED, "bad")
    await world.until_state(CopyState.FAILED, "mark")
    world.store.objects |= {"bad": b"\xff", "mark": b"model"}
    await world.until(lambda: changed(world, "mark"))
    await until(lambda: not changed(world, "bad"))
