"""What is decided before the first byte, and what happens when the source changes under it."""

from __future__ import annotations

import pytest

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


async def test_a_prefix_that_changes_behind_the_reader_is_read_again(world: World) -> None:
    """Between the first listing and the last byte there was an upload: what is served is all of the new."""
    world.store.objects |= {"p/config.pbtxt": b"# old", "p/1/model.onnx": b"old model"}

    def upload() -> None:
        world.store.objects |= {"p/config.pbtxt": b"# new", "p/1/model.onnx": b"new model"}
        world.store.meanwhile = lambda: None

    world.store.meanwhile = upload
    world.load("p")
    await world.until_state(LOADED, "p")
    assert world.store.downloads == 2
    assert world.server.loaded == {"p": b"new model"}
    assert (world.places.model("p") / "config.pbtxt").read_bytes() == b"# new"


@pytest.mark.parametrize("change", ["more", "less", "other"])
async def test_a_prefix_that_does_not_stop_changing_is_given_up(world: World, change: str) -> None:
    """Objects that come, go or change: a mix of two uploads is never served."""
    world.store.objects |= {"p/1/model.onnx": b"model", "p/a": b"a", "p/b": b"b", "p/c": b"c"}
    names = iter("abc")

    def write() -> None:
        match change:
            case "more":
                world.store.objects[f"p/more-{next(names)}"] = b"more"
            case "less":
                del world.store.objects[f"p/{next(names)}"]
            case _:
                world.store.objects["p/a"] = next(names).encode() * 2

    listed = dict(world.store.objects)
    world.store.meanwhile = write
    world.load("p")
    failure = await failure_of(world, "p")
    assert failure.reason is Reason.STORAGE_UNAVAILABLE
    assert failure.message == "s3://b/p: objects came, went or changed while they were read, again and again"
    assert world.server.calls == []
    assert world.ledger.reserved == 0
    await until(lambda: world.files() == [])
    world.store.meanwhile = lambda: None
    world.store.objects = listed
    world.load("p")
    await world.until_state(LOADED, "p")


async def test_a_single_object_is_not_looked_at_twice(world: World) -> None:
    """Its store has vouched for each part; a request waits for it."""
    world.load("a")
    await world.until_state(LOADED, "a")
    assert world.store.lists == 1


async def test_a_download_has_the_patience_of_its_load(world: World) -> None:
    """The timeout of the Load command, or of the adapter where it has none."""
    world.load("a")
    world.load("b", timeout_s=7.0)
    for model in ("a", "b"):
        await world.until_state(LOADED, model)
    assert sorted(world.store.patience) == [7.0, 300.0]


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


async def test_a_disk_without_room_for_a_directory_is_no_bug(world: World) -> None:
    """It may fail before anything else; the model is tried again like any other."""
    world.places.scratch.joinpath("staging").rmdir()
    world.load("a")
    failure = await failure_of(world, "a")
    assert failure.reason is Reason.STORAGE_UNAVAILABLE
    assert failure.message == "s3://b/a: the adapter's disk fails (No such file or directory)"
    world.places.scratch.joinpath("staging").mkdir()
    world.load("a")
    await world.until_state(LOADED, "a")


async def test_an_error_of_the_disk_is_reported_as_one(world: World) -> None:
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
