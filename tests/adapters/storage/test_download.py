"""Downloads are exact whatever breaks, and end with a reason where the store is too slow or not one."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from adapters.domain.copies import Reason
from adapters.domain.errors import SourceChanged
from adapters.domain.objects import files
from adapters.storage.limits import StorageLimits
from adapters.storage.s3 import S3Store
from tests.adapters.storage.conftest import limits
from tests.adapters.storage.fetching import PATIENCE_S, failure, fetch
from tests.adapters.storage.stores import LyingStore, credentials, rclone, source
from tests.adapters.world import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTENT = bytes(range(251)) * 10_000


async def test_connections_that_are_cut_midway_go_on_where_they_stopped(
    s3: S3Store, liar: LyingStore, tmp_path: Path
) -> None:
    """Each after 300 kB: the right bytes in the end, and not from the beginning each time."""
    liar.objects, liar.cut = {"a": CONTENT}, 300_000
    assert await fetch(s3, source("a"), credentials(liar.endpoint), tmp_path) == {"a": CONTENT}
    assert liar.sent < 2 * len(CONTENT)


async def test_a_store_that_sends_nothing_is_given_up(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """Half a file is never a file, and tries that bring nothing are counted."""
    liar.objects, liar.cut = {"a": b"x" * 1000}, 0
    seen, message = await failure(s3, source("a"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "broke the connection" in message
    assert liar.requests.count("GET") == 2


async def test_a_store_that_falls_silent_midway_is_asked_for_the_rest(
    stubborn: S3Store, liar: LyingStore, tmp_path: Path
) -> None:
    """A connection that hangs costs one silence, not the download: what came is not asked for again."""
    liar.objects, liar.cut, liar.hang = {"a": CONTENT[:1000]}, 400, {"BODY"}
    assert await fetch(stubborn, source("a"), credentials(liar.endpoint), tmp_path) == {"a": CONTENT[:1000]}
    assert sorted({*liar.starts}) == [0, 400, 800]
    assert liar.starts == sorted(liar.starts)


async def test_a_slow_store_that_goes_on_is_waited_for(stubborn: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """Within the patience any pace will do, also one that no silence interrupts."""
    liar.objects, liar.drip = {"a": CONTENT[:1000]}, (50, 0.02)
    assert await fetch(stubborn, source("a"), credentials(liar.endpoint), tmp_path) == {"a": CONTENT[:1000]}


async def test_a_store_that_drips_is_given_up(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """Once the patience is over; the message has the numbers and what to do."""
    liar.objects, liar.drip = {"a": CONTENT}, (20, 0.02)
    seen, message = await failure(s3, source("a"), credentials(liar.endpoint), tmp_path, patience_s=0.5)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert f"of {len(CONTENT)} bytes came in 0.5 s" in message
    assert "raise modelLoadingTimeoutMillis" in message


async def test_a_store_that_begins_well_and_then_drips_is_given_up(liar: LyingStore, tmp_path: Path) -> None:
    """Each patience has to bring something, not all of them on average."""
    s3 = S3Store(replace(limits(10.0), parts=1, part_bytes=100_000, slowest=2_000))
    liar.objects = {"a": CONTENT}

    def tire(_: str) -> None:
        if liar.requests.count("GET") == 20:
            liar.drip = (20, 0.02)

    liar.before = tire
    seen, message = await failure(s3, source("a"), credentials(liar.endpoint), tmp_path, patience_s=1.0)
    await s3.close()
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "too slow" in message
    assert liar.sent > 1_900_000


async def test_many_small_files_are_not_slow(liar: LyingStore, tmp_path: Path) -> None:
    """Few bytes a second, and yet as fast as it can be: for all that is known, one patience after the other."""
    s3 = S3Store(replace(limits(10.0), parts=1, slowest=1_000))
    liar.objects, liar.drip = {f"p/{n}": b"x" for n in range(20)}, (1, 0.1)
    fetched = await fetch(s3, source("p"), credentials(liar.endpoint), tmp_path, patience_s=1.0)
    await s3.close()
    assert len(fetched) == 20


async def test_a_model_that_hangs_does_not_hold_up_others_of_its_store(
    s3: S3Store, liar: LyingStore, tmp_path: Path
) -> None:
    """Not even with all the parts that a download may have under way."""
    liar.objects, liar.hang = {"slow": bytes(10_000_000), "other": CONTENT}, {"slow"}
    listed = await s3.list(source("other"), credentials(liar.endpoint))
    slow = replace(listed.objects[0], key="slow", size=10_000_000)
    (tmp_path / "slow").mkdir()
    (tmp_path / "other").mkdir()
    hanging = asyncio.create_task(
        s3.download(
            source("slow"),
            credentials(liar.endpoint),
            files(replace(listed, objects=(slow,)), "slow", "u"),
            tmp_path / "slow",
            PATIENCE_S,
        )
    )
    await until(lambda: liar.requests.count("GET") == StorageLimits().parts)
    begun = await fetch(s3, source("other"), credentials(liar.endpoint), tmp_path / "other")
    assert begun == {"other": CONTENT}
    assert not hanging.done()
    hanging.cancel()
    await asyncio.wait([hanging])


async def test_parts_come_at_once(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """As many as are allowed: a store far away answers each late."""
    liar.objects, liar.cut, liar.hang = {"a": bytes(10_000_000)}, 0, {"BODY"}
    fetching = asyncio.create_task(fetch(s3, source("a"), credentials(liar.endpoint), tmp_path))
    await until(lambda: liar.busiest == StorageLimits().parts)
    liar.release()
    assert await fetching == liar.objects
    assert liar.busiest == StorageLimits().parts


async def test_a_store_that_fails_by_turns_is_asked_again(liar: LyingStore, tmp_path: Path) -> None:
    """Two of three answers are errors, one of each kind: nobody hears of it."""
    s3 = S3Store(replace(limits(10.0), parts=1, attempts=3))
    liar.objects = {"a": CONTENT}
    turns = itertools.cycle((500, 503, 0))

    def fail(_: str) -> web.Response | None:
        status = next(turns)
        return web.Response(status=status) if status else None

    liar.before = fail
    assert await fetch(s3, source("a"), credentials(liar.endpoint), tmp_path) == {"a": CONTENT}
    await s3.close()


async def test_a_store_that_only_fails_is_given_up(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """The library's tries and ours are both bounded."""
    liar.objects = {"a": b"content"}
    liar.before = lambda kind: web.Response(status=503) if kind == "GET" else None
    seen, message = await failure(s3, source("a"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "HTTP 503" in message
    assert liar.requests.count("GET") == 4


@pytest.mark.parametrize("careless", [False, True])
async def test_a_changed_object_is_noticed_at_once(
    s3: S3Store, liar: LyingStore, tmp_path: Path, careless: bool
) -> None:
    """By If-Match, of which no byte comes, and by the ETag of the answer where the store ignores it."""
    liar.objects, liar.careless = {"a": b"content"}, careless
    listing = await s3.list(source("a"), credentials(liar.endpoint))
    liar.etag = lambda _: "another"
    with pytest.raises(SourceChanged):
        await s3.download(source("a"), credentials(liar.endpoint), files(listing, "a", "u"), tmp_path, PATIENCE_S)
    assert liar.conditions == ['"etag"']
    assert careless or not liar.sent
    assert (tmp_path / "a").read_bytes() == b""


@pytest.mark.parametrize("careless", [False, True])
async def test_parts_of_two_versions_are_never_mixed(
    s3: S3Store, liar: LyingStore, tmp_path: Path, careless: bool
) -> None:
    """The third part is of another upload, of which a second look has all."""
    old, new = bytes(5_000_000), b"n" * 5_000_000
    liar.objects, liar.careless = {"a": old}, careless
    listing = await s3.list(source("a"), credentials(liar.endpoint))
    answers = itertools.count()

    def replaced(kind: str) -> str:
        if kind == "GET" and next(answers) == 2:
            liar.objects, liar.etag = {"a": new}, lambda _: "another"
            return "another"
        return "etag"

    liar.etag = replaced
    with pytest.raises(SourceChanged):
        await s3.download(source("a"), credentials(liar.endpoint), files(listing, "a", "u"), tmp_path, PATIENCE_S)
    assert set(liar.conditions) == {'"etag"'}, "each part is asked for on condition"
    (tmp_path / "again").mkdir()
    liar.conditions.clear()
    assert await fetch(s3, source("a"), credentials(liar.endpoint), tmp_path / "again") == {"a": new}
    assert liar.conditions == ['"another"'] * 5


async def test_the_rest_of_an_object_that_changed_is_not_taken(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """It breaks off midway, and is another when it is asked for again."""
    liar.objects, liar.cut = {"a": b"content"}, 3
    listing = await s3.list(source("a"), credentials(liar.endpoint))
    liar.etag = lambda _: "etag" if len(liar.conditions) == 0 else "another"
    with pytest.raises(SourceChanged):
        await s3.download(source("a"), credentials(liar.endpoint), files(listing, "a", "u"), tmp_path, PATIENCE_S)
    assert liar.conditions == ['"etag"'] * 2
    assert liar.sent == 3


@pytest.mark.parametrize(("status", "content"), [(404, None), (412, None), (200, b"shorter")])
async def test_an_object_that_vanishes_or_shrinks_has_changed(
    s3: S3Store, liar: LyingStore, tmp_path: Path, status: int, content: bytes | None
) -> None:
    """Worth another listing, not a failure yet."""
    liar.objects = {"a": b"long content"}
    listing = await s3.list(source("a"), credentials(liar.endpoint))
    if content is None:
        liar.before = lambda _: web.Response(status=status)
    else:
        liar.objects["a"] = content
    with pytest.raises(SourceChanged):
        await s3.download(source("a"), credentials(liar.endpoint), files(listing, "a", "u"), tmp_path, PATIENCE_S)


@pytest.mark.parametrize(
    "lies",
    [
        {"Content-Range": ""},
        {"Content-Range": "bytes 5-1000004/2510000"},
        {"Content-Range": "bytes 0-9/2510000"},
        {"Content-Range": "nonsense"},
    ],
)
async def test_a_part_that_is_another_is_not_written(
    s3: S3Store, liar: LyingStore, tmp_path: Path, lies: dict[str, str]
) -> None:
    """Bytes of another place have the right number and are wrong."""
    liar.objects, liar.lies = {"a": CONTENT}, lies
    seen, message = await failure(s3, source("a"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "requests for a part" in message
    assert set((tmp_path / "a").read_bytes()) == set()


async def test_a_store_that_knows_no_parts_is_called_one(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """It answers the whole object: not a change of the object, and no use trying again."""
    liar.objects, liar.deaf = {"a": CONTENT}, True
    seen, message = await failure(s3, source("a"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "requests for a part" in message


async def test_a_part_of_a_larger_object_has_changed(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """The ETag lies, the size in the answer does not."""
    liar.objects = {"a": CONTENT}
    listing = await s3.list(source("a"), credentials(liar.endpoint))
    liar.objects = {"a": CONTENT + b"more"}
    with pytest.raises(SourceChanged):
        await s3.download(source("a"), credentials(liar.endpoint), files(listing, "a", "u"), tmp_path, PATIENCE_S)


async def test_an_answer_that_is_longer_than_its_header_is_cut(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """The file has the bytes that were listed, and none after them."""
    liar.objects = {"a": b"content"}
    listing = await s3.list(source("a"), credentials(liar.endpoint))
    liar.objects, liar.lies = {"a": b"content and more"}, {"Content-Length": "7"}
    await s3.download(source("a"), credentials(liar.endpoint), files(listing, "a", "u"), tmp_path, PATIENCE_S)
    assert (tmp_path / "a").read_bytes() == b"content"


async def test_a_listing_without_etags_is_held_against_the_first_answer(
    s3: S3Store, liar: LyingStore, tmp_path: Path
) -> None:
    """Such a store works, and its parts are not mixed either."""
    liar.objects = {"p/a": CONTENT}
    liar.etag = lambda kind: "" if kind == "LIST" else "one"
    (tmp_path / "first").mkdir()
    assert await fetch(s3, source("p"), credentials(liar.endpoint), tmp_path / "first") == {"a": CONTENT}
    answers = itertools.count()
    liar.etag = lambda kind: "" if kind == "LIST" else "one" if next(answers) < 2 else "two"
    (tmp_path / "second").mkdir()
    with pytest.raises(SourceChanged):
        await fetch(s3, source("p"), credentials(liar.endpoint), tmp_path / "second")


async def test_an_object_replaced_during_the_download_is_wholly_the_old_or_the_new(tmp_path: Path) -> None:
    """A real store, and a real upload between two parts."""
    old, new = b"o" * 8_000_000, b"n" * 8_000_000
    s3 = S3Store(replace(limits(10.0), parts=1))
    bucket = tmp_path / "s3" / "bucket"
    bucket.mkdir(parents=True)
    (bucket / "model").write_bytes(old)
    with rclone(bucket.parent) as endpoint:
        listing = await s3.list(source("model"), credentials(endpoint))
        remote = files(listing, "model", "u")
        (tmp_path / "first").mkdir()
        under_way = asyncio.create_task(
            s3.download(source("model"), credentials(endpoint), remote, tmp_path / "first", PATIENCE_S)
        )
        target = tmp_path / "first" / "model"
        await until(lambda: target.exists() and target.stat().st_size > 0)
        draft = tmp_path / "draft"
        draft.write_bytes(new)
        draft.rename(bucket / "model")
        await asyncio.wait([under_way])
        if under_way.exception() is None:
            assert target.read_bytes() == old
        else:
            assert isinstance(under_way.exception(), SourceChanged)
        (tmp_path / "second").mkdir()
        assert await fetch(s3, source("model"), credentials(endpoint), tmp_path / "second") == {"model": new}
    await s3.close()


async def test_five_thousand_objects(tmp_path: Path) -> None:
    """From a real store, with the limits that the product has: each of them, and nothing else."""
    bucket, into = tmp_path / "s3" / "bucket", tmp_path / "into"
    # Most are empty, which the store is not asked for: the others take a while.
    objects = {f"{n % 50}/{n}": b"" if n % 5 else str(n).encode() for n in range(5000)}
    for directory in {path.split("/", 1)[0] for path in objects}:
        (bucket / "many" / directory).mkdir(parents=True)
    for path, content in objects.items():
        (bucket / "many" / path).write_bytes(content)
    into.mkdir()
    s3 = S3Store(StorageLimits())
    with rclone(bucket.parent) as endpoint:
        assert await fetch(s3, source("many"), credentials(endpoint), into) == objects
    await s3.close()
