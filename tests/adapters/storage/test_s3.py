"""Downloads from a real store are exact; from a lying one they fail with a reason a person can act on."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from aiohttp import web

from adapters.domain.copies import Credentials, Reason, Source
from adapters.domain.errors import LoadFailure, SourceChanged
from adapters.domain.objects import RemoteFile, StoredObject, files
from adapters.storage.s3 import S3Store
from tests.adapters.storage.conftest import LARGE, MANY
from tests.adapters.storage.stores import ACCESS, SECRET, LyingStore, credentials, source

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def fetch(s3: S3Store, where: Source, who: Credentials, into: Path) -> dict[str, bytes]:
    """List and download; the files by relative path."""
    listing = await s3.list(where, who)
    await s3.download(where, who, files(listing, where.path, where.uri), into)
    return {str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()}


async def failure(s3: S3Store, where: Source, who: Credentials, into: Path) -> tuple[Reason, str]:
    """The failure of list and download; its message names the URI and no secret."""
    with pytest.raises(LoadFailure) as caught:
        await fetch(s3, where, who, into)
    message = caught.value.failure.message
    assert message.startswith(f"{where.uri}: ")
    assert who.access_key_id not in message
    assert who.secret_access_key not in message
    assert len(message) <= 1024
    return caught.value.failure.reason, message


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.onnx", {"model.onnx": b"one object"}),
        ("empty.bin", {"empty.bin": b""}),
        ("dir", {"a/b/c": b"deep", "__init__.py": b"", "model.onnx": b"in a directory"}),
        ("dir/", {"a/b/c": b"deep", "__init__.py": b"", "model.onnx": b"in a directory"}),
        ("dir/a", {"b/c": b"deep"}),
        ("large", {"large": LARGE}),
        ("with space+plus%", {"ü.txt": b"odd name"}),
        ("with space+plus%/ü.txt", {"ü.txt": b"odd name"}),
    ],
)
async def test_objects_and_prefixes(
    s3: S3Store, real: str, tmp_path: Path, path: str, expected: dict[str, bytes]
) -> None:
    """Empty files too, parts put together, siblings left alone."""
    assert await fetch(s3, source(path), credentials(real), tmp_path) == expected


async def test_more_objects_than_a_page(s3: S3Store, real: str, tmp_path: Path) -> None:
    """1,100 of them, none forgotten, empty ones neither."""
    fetched = await fetch(s3, source("many"), credentials(real), tmp_path)
    assert fetched == MANY


@pytest.mark.parametrize(
    ("where", "who", "reason", "words"),
    [
        (source("nothing"), {}, Reason.MODEL_NOT_FOUND, "no object 'nothing' and none below it"),
        (source("dir/mod"), {}, Reason.MODEL_NOT_FOUND, "upload the model or correct storageUri"),
        (source("x", bucket="nobucket"), {}, Reason.MODEL_NOT_FOUND, "there is no bucket 'nobucket'"),
        (source("x", bucket="no bucket!"), {}, Reason.MODEL_NOT_FOUND, "is no bucket name"),
        (source("model.onnx"), {"secret": "WRONGWRONG"}, Reason.STORAGE_ACCESS_DENIED, "SignatureDoesNotMatch"),
        (source("dir/"), {"access": "NOBODYNOBODY"}, Reason.STORAGE_ACCESS_DENIED, "check access_key_id"),
        (source("x"), {"certificate": "nonsense"}, Reason.STORAGE_CONFIG_INVALID, "certificate is not a valid PEM"),
    ],
)
async def test_refusals_of_a_real_store(
    s3: S3Store, real: str, tmp_path: Path, where: Source, who: dict[str, str], reason: Reason, words: str
) -> None:
    """Each reason of the contract, with what to do."""
    seen, message = await failure(s3, where, credentials(real, **who), tmp_path)
    assert seen is reason
    assert words in message


@pytest.mark.parametrize(
    ("endpoint", "reason", "words"),
    [
        ("http://127.0.0.1:9", Reason.STORAGE_UNAVAILABLE, "http://127.0.0.1:9 cannot be reached"),
        ("http://user:pass@127.0.0.1:9", Reason.STORAGE_CONFIG_INVALID, "must not hold a user or password"),
        ("http://no.such.host.invalid", Reason.STORAGE_UNAVAILABLE, "cannot be reached"),
        ("not a url", Reason.STORAGE_CONFIG_INVALID, "endpoint_url"),
        ("", Reason.STORAGE_CONFIG_INVALID, "endpoint_url"),
    ],
)
async def test_endpoints_that_are_none(s3: S3Store, tmp_path: Path, endpoint: str, reason: Reason, words: str) -> None:
    """Nobody there is for later; nonsense is for the user."""
    seen, message = await failure(s3, source("x"), credentials(endpoint), tmp_path)
    assert seen is reason
    assert words in message


async def test_a_store_without_trusted_tls(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """https to a port that speaks http, as with a certificate of an unknown authority."""
    endpoint = liar.endpoint.replace("http:", "https:")
    seen, message = await failure(s3, source("x"), credentials(endpoint), tmp_path)
    assert seen is Reason.STORAGE_CONFIG_INVALID
    assert "check endpoint_url and certificate" in message


@pytest.mark.parametrize("moment", ["HEAD", "LIST", "GET", "BODY"])
async def test_a_silent_store_ends_in_time(impatient: S3Store, liar: LyingStore, tmp_path: Path, moment: str) -> None:
    """Wherever it falls silent; not before it was asked again."""
    liar.objects = {"a": b"x" * 1000, "d/b": b"y"}
    liar.hang, liar.cut = {moment}, 10 if moment == "BODY" else None
    where = source("d" if moment == "LIST" else "a")
    seen, message = await failure(impatient, where, credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "did not answer in time" in message
    assert liar.requests.count("GET" if moment == "BODY" else moment) == 2


async def test_a_store_that_stumbles_is_asked_again(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """Once; a person never hears of it."""
    liar.objects = {"a": b"content"}
    stumbles = {"HEAD": 1, "GET": 1}

    def stumble(kind: str) -> web.Response | None:
        stumbles[kind] -= 1
        return web.Response(status=503) if stumbles[kind] >= 0 else None

    liar.before = stumble
    assert await fetch(s3, source("a"), credentials(liar.endpoint), tmp_path) == {"a": b"content"}


async def test_a_store_that_fails_is_unavailable(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """With its status, and bounded tries."""
    liar.before = lambda _: web.Response(status=500, text="<Error><Code>InternalError</Code></Error>")
    seen, message = await failure(s3, source("a/"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "HTTP 500 (InternalError" in message
    assert len(liar.requests) == 2


async def test_a_body_that_ends_early_is_asked_for_again(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """Half a file is never a file."""
    liar.objects, liar.cut = {"a": b"x" * 1000}, 10
    seen, message = await failure(s3, source("a"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "broke the connection" in message
    assert liar.requests.count("GET") == 2


async def test_what_stores_say_is_scrubbed(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """Stores quote the key that they refuse."""
    text = (
        f"<Error><Code>InvalidAccessKeyId</Code><Message>{ACCESS} is unknown, {SECRET} {'x' * 9999}</Message></Error>"
    )
    liar.before = lambda _: web.Response(status=403, text=text)
    seen, message = await failure(s3, source("a"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_ACCESS_DENIED
    assert "InvalidAccessKeyId: *** is unknown, ***" in message


@pytest.mark.parametrize("text", ["<html>Welcome</html>", "<ListBucketResult><Contents/></ListBucketResult>", "&&&"])
async def test_answers_that_are_no_s3(s3: S3Store, liar: LyingStore, tmp_path: Path, text: str) -> None:
    """A proxy's welcome page is not an empty bucket's crash."""
    liar.before = lambda kind: web.Response(text=text, content_type="application/xml") if kind == "LIST" else None
    seen, message = await failure(s3, source("a/"), credentials(liar.endpoint), tmp_path)
    assert seen in {Reason.STORAGE_UNAVAILABLE, Reason.MODEL_NOT_FOUND}
    assert liar.endpoint in message or "none below it" in message


async def test_a_changed_object_is_noticed_at_once(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """By If-Match, and by the ETag of the answer where the store ignores it."""
    liar.objects = {"a": b"content"}
    listing = await s3.list(source("a"), credentials(liar.endpoint))
    liar.etag = lambda _: "another"
    with pytest.raises(SourceChanged):
        await s3.download(source("a"), credentials(liar.endpoint), files(listing, "a", "u"), tmp_path)


async def test_parts_of_two_versions_are_never_mixed(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """The third part is of another upload."""
    liar.objects = {"a": bytes(5_000_000)}
    listing = await s3.list(source("a"), credentials(liar.endpoint))
    answers = itertools.count()
    liar.etag = lambda kind: "another" if kind == "GET" and next(answers) == 2 else "etag"
    with pytest.raises(SourceChanged):
        await s3.download(source("a"), credentials(liar.endpoint), files(listing, "a", "u"), tmp_path)


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
        await s3.download(source("a"), credentials(liar.endpoint), files(listing, "a", "u"), tmp_path)


@pytest.mark.parametrize("key", ["p/../../etc/passwd", "p//x", "p/a\nb", "!/etc/passwd", "!", "p/a\0"])
async def test_hostile_keys_end_before_the_disk(s3: S3Store, liar: LyingStore, tmp_path: Path, key: str) -> None:
    """The store may list what it likes."""
    liar.objects = {"p/fine": b"1", key: b"2"}
    seen, message = await failure(s3, source("p/"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.INVALID_MODEL_LAYOUT
    assert "object key" in message
    assert list(tmp_path.iterdir()) == []


async def test_directory_markers_are_no_files(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """With a slash at the end, or empty and named as the prefix."""
    liar.objects = {"p": b"", "p/": b"", "p/d/": b"", "p/d/x": b"1"}
    assert await fetch(s3, source("p"), credentials(liar.endpoint), tmp_path) == {"d/x": b"1"}


@pytest.mark.parametrize(
    "objects", [{f"p/{n}": b"" for n in range(1300)}, {"p/a": b"x" * 6_000_000, "p/b": b"x" * 6_000_000}]
)
async def test_a_listing_that_is_no_model_is_cut(
    s3: S3Store, liar: LyingStore, tmp_path: Path, objects: dict[str, bytes]
) -> None:
    """Too many objects, too many bytes: said before anything is fetched."""
    liar.objects = objects
    seen, message = await failure(s3, source("p"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.INVALID_MODEL_LAYOUT
    assert "point storageUri at a single model" in message


async def test_a_listing_that_never_ends_does(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """Pages of nothing, each promising another."""
    tokens = itertools.count()

    def page(_: str) -> web.Response:
        return web.Response(
            content_type="application/xml",
            text="<ListBucketResult><IsTruncated>true</IsTruncated>"
            f"<NextContinuationToken>{next(tokens)}</NextContinuationToken></ListBucketResult>",
        )

    liar.before = page
    seen, message = await failure(s3, source("p/"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "does not end" in message


async def test_a_full_disk_is_said_before_the_download(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """A petabyte does not fit here; nothing is asked of the store."""
    huge = RemoteFile(path="a", stored=StoredObject(key="a", size=10**15, etag="etag"))
    with pytest.raises(LoadFailure) as caught:
        await s3.download(source("a"), credentials(liar.endpoint), [huge], tmp_path)
    assert caught.value.failure.reason is Reason.STORAGE_UNAVAILABLE
    assert "disk is full" in caught.value.failure.message
    assert liar.requests == []
