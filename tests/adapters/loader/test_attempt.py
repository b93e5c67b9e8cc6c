"""What is decided before the first byte, and what happens when the source changes under it."""

from __future__ import annotations

from adapters.domain.copies import CopyState, Failure, Reason
from tests.adapters.world import World, kept, until

LOADED, FAILED = CopyState.LOADED, CopyState.FAILED


async def failure_of(world: World, model: str) -> Failure:
    await world.until_state(FAILED, model)
    copy = world.copy(model)
    assert copy is not None
    assert copy.failure is not None
    return copy.failure


async def test_bytes_are_derived_from_the_disk_unless_stated(world: World) -> None:
    """A quarter more than the files, and never less than the least."""
    world.store.objects["large"] = b"x" * 100
    world.load("large")
    world.load("a")
    world.load("b", reserve=33)
    for model in ("large", "a", "b"):
        await world.until_state(LOADED, model)
    copies = [world.copy(model) for model in ("large", "a", "b")]
    assert [copy.reserved for copy in copies if copy] == [125, 10, 33]


async def test_a_model_larger_than_the_server_is_refused_with_both_numbers(world: World) -> None:
    """Before the download; the message names the runtime and what to do."""
    world.load("a", reserve=1001)
    failure = await failure_of(world, "a")
    assert failure.reason is Reason.MODEL_TOO_LARGE
    assert (failure.needed, failure.available) == (1001, 1000)
    assert failure.message == (
        "s3://b/a: needs 1001 bytes; the server's whole capacity is 1000; "
        "give the runtime triton-2.x more memory or bring a smaller model"
    )
    assert world.store.downloads == 0


async def test_a_source_that_changes_is_read_again(world: World) -> None:
    """Twice is bad luck."""
    world.store.changes = 2
    world.load("a")
    await world.until_state(LOADED, "a")
    assert world.store.downloads == 3


async def test_a_source_that_does_not_stop_changing_is_given_up(world: World) -> None:
    """Three times is a reason; the bytes are free."""
    world.store.changes = 3
    world.load("a")
    failure = await failure_of(world, "a")
    assert failure.reason is Reason.STORAGE_UNAVAILABLE
    assert failure.message == "s3://b/a: object 'a' changed while it was read, again and again"
    assert world.ledger.reserved == 0
    await until(lambda: world.files() == [])


async def test_hostile_keys_and_layouts_never_reach_the_disk_or_the_server(world: World) -> None:
    """Each failure is the copy's own."""
    world.store.objects |= {"evil/../../x": b"1", "two/a.onnx": b"1", "two/b.onnx": b"2"}
    world.load("evil")
    world.load("two")
    world.load("a")
    assert (await failure_of(world, "evil")).reason is Reason.INVALID_MODEL_LAYOUT
    assert "2 files could be the model" in (await failure_of(world, "two")).message
    await world.until_state(LOADED, "a")
    assert world.server.calls == ["load a"]


async def test_urgent_downloads_go_first(world: World) -> None:
    """Four are under way; of those that wait, the one with a waiter is next, also when hurried later."""
    first, later = [f"first{number}" for number in range(4)], [f"later{number}" for number in range(4)]
    world.store.objects = dict.fromkeys([*first, *later, "hurried", "urgent"], b"model")
    world.store.may_download.clear()
    for model in first:
        world.load(model)
    await until(lambda: world.store.downloads == 4)
    for model in [*later, "hurried"]:
        world.load(model)
    world.load("urgent", urgent=True)
    await until(lambda: world.ledger.reserved == 100)
    world.load("hurried", urgent=True)
    world.store.may_download.set()
    await world.until(lambda: len(kept(world.ledger)) == 10)
    assert set(world.store.began[:4]) == set(first)
    assert set(world.store.began[4:6]) == {"hurried", "urgent"}


async def test_a_full_disk_is_reported_as_one(world: World) -> None:
    """An error of the local file system is not the model's."""
    world.places.models.chmod(0o500)
    world.places.models.rename(world.places.models.with_name("moved"))
    try:
        world.load("a")
        failure = await failure_of(world, "a")
    finally:
        world.places.models.with_name("moved").rename(world.places.models)
        world.places.models.chmod(0o700)
    assert failure.reason is Reason.STORAGE_UNAVAILABLE
    assert "the adapter's disk fails" in failure.message
