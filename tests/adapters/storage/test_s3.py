"""What a real store has is found; what a lying one says ends with a reason a person can act on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from adapters.domain.copies import Reason, Source
from adapters.domain.errors import LoadFailure
from adapters.domain.objects import RemoteFile, StoredObject, files
from adapters.storage.s3 import S3Store
from tests.adapters.storage.conftest import LARGE, MANY, limits
from tests.adapters.storage.fetching import PATIENCE_S, failure, fetch
from tests.adapters.storage.stores import ACCESS, SECRET, LyingStore, credentials, source

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
        ("http://[fd00::5:9000", Reason.STORAGE_CONFIG_INVALID, "endpoint_url or region is not usable"),
    ],
)
async def test_endpoints_that_are_none(s3: S3Store, tmp_path: Path, endpoint: str, reason: Reason, words: str) -> None:
    """Nobody there is for later; nonsense is for the user."""
    seen, message = await failure(s3, source("x"), credentials(endpoint), tmp_path)
    assert seen is reason
    assert words in message


async def test_a_store_without_tls_is_called_that(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """https to a port that speaks http, the likeliest slip in an endpoint_url: no certificate mends it."""
    endpoint = liar.endpoint.replace("http:", "https:")
    seen, message = await failure(s3, source("x"), credentials(endpoint), tmp_path)
    assert seen is Reason.STORAGE_CONFIG_INVALID
    assert message.endswith(f"{endpoint} does not speak TLS there; is endpoint_url {liar.endpoint}?")


@pytest.mark.parametrize("moment", ["HEAD", "LIST", "GET", "BODY"])
async def test_a_silent_store_ends_in_time(
    s3: S3Store, impatient: S3Store, liar: LyingStore, tmp_path: Path, moment: str
) -> None:
    """Wherever it falls silent; not before it was asked again."""
    liar.objects = {"a": b"x" * 1000, "d/b": b"y"}
    where, who = source("d" if moment == "LIST" else "a"), credentials(liar.endpoint)
    listing = await s3.list(where, who)
    liar.hang, liar.cut = {moment}, 0 if moment == "BODY" else None
    liar.requests.clear()
    with pytest.raises(LoadFailure) as caught:
        if moment in {"HEAD", "LIST"}:
            await impatient.list(where, who)
        else:
            await impatient.download(where, who, files(listing, where.path, where.uri), tmp_path, PATIENCE_S)
    assert caught.value.failure.reason is Reason.STORAGE_UNAVAILABLE
    assert "did not answer in time" in caught.value.failure.message
    assert liar.requests.count("GET" if moment == "BODY" else moment) >= 2


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


def page(token: str, *keys: str) -> web.Response:
    """A page of a listing that promises more."""
    contents = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    text = f"<ListBucketResult><IsTruncated>true</IsTruncated>{token}{contents}</ListBucketResult>"
    return web.Response(content_type="application/xml", text=text)


async def test_a_listing_that_never_ends_does(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """Pages of nothing, each promising another."""
    tokens = itertools.count()
    liar.before = lambda _: page(f"<NextContinuationToken>{next(tokens)}</NextContinuationToken>")
    seen, message = await failure(s3, source("p/"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "does not end" in message


async def test_a_listing_that_repeats_itself_is_no_model(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """Each page is the first one again: said at the second."""
    tokens = itertools.count()
    liar.before = lambda _: page(f"<NextContinuationToken>{next(tokens)}</NextContinuationToken>", "p/a")
    seen, message = await failure(s3, source("p/"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "repeats itself" in message
    assert len(liar.requests) == 2


async def test_a_listing_whose_rest_cannot_be_asked_for_is_no_model(
    s3: S3Store, liar: LyingStore, tmp_path: Path
) -> None:
    """More is promised, and no word how to get it: half a model is none."""
    liar.before = lambda _: page("", "p/a")
    seen, message = await failure(s3, source("p/"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "did not answer as an S3 store does" in message


async def test_a_slow_listing_ends_in_time(liar: LyingStore, tmp_path: Path) -> None:
    """All its pages together, however patient each request is."""
    hasty = S3Store(replace(limits(10.0), list_s=0.3))
    tokens = itertools.count()

    def slow(_: str) -> web.Response:
        async def body() -> AsyncIterator[bytes]:
            await asyncio.sleep(0.1)
            token = f"<NextContinuationToken>{next(tokens)}</NextContinuationToken>"
            yield f"<ListBucketResult><IsTruncated>true</IsTruncated>{token}</ListBucketResult>".encode()

        return web.Response(content_type="application/xml", body=body())

    liar.before = slow
    seen, message = await failure(hasty, source("p/"), credentials(liar.endpoint), tmp_path)
    await hasty.close()
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "did not answer in time" in message


@pytest.mark.parametrize("size", ["-5", "", "many", "1e3"])
async def test_a_size_that_is_none_is_the_stores_fault(
    s3: S3Store, liar: LyingStore, tmp_path: Path, size: str
) -> None:
    """Not an empty file in place of the model."""
    liar.objects = {"p/a": b"content"}
    liar.sizes = {"p/a": size}
    seen, message = await failure(s3, source("p/"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "did not answer as an S3 store does" in message


async def test_an_object_whose_size_is_not_said_is_not_empty(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """The same for the answer to HEAD."""
    liar.objects, liar.lies = {"a": b"content"}, {"Content-Length": ""}
    seen, message = await failure(s3, source("a"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "did not answer as an S3 store does" in message


async def test_a_full_disk_is_said_before_the_download(s3: S3Store, liar: LyingStore, tmp_path: Path) -> None:
    """A petabyte does not fit here; nothing is asked of the store."""
    huge = RemoteFile(path="a", stored=StoredObject(key="a", size=10**15, etag="etag"))
    with pytest.raises(LoadFailure) as caught:
        await s3.download(source("a"), credentials(liar.endpoint), [huge], tmp_path, PATIENCE_S)
    assert caught.value.failure.reason is Reason.STORAGE_UNAVAILABLE
    assert "disk is full" in caught.value.failure.message
    assert liar.requests == []
