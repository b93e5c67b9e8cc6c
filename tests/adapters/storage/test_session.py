"""
Answers that the library reads whole are bounded; what breaks in them is what it expects of a session.

And a store is who its certificate says, behind a proxy, too.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from adapters.domain.copies import Reason
from adapters.storage.s3 import S3Store
from tests.adapters.storage.conftest import limits
from tests.adapters.storage.fetching import failure
from tests.adapters.storage.proxy import proxying
from tests.adapters.storage.stores import LyingStore, credentials, lying, source
from tests.identities import Authority

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTHORITY, STRANGER = Authority(), Authority()


@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "proxied"])
@pytest.mark.parametrize(
    ("name", "trusted", "believed"),
    [
        ("localhost", AUTHORITY, True),
        ("localhost", STRANGER, False),
        ("localhost", None, False),
        ("elsewhere", AUTHORITY, False),
    ],
    ids=["its own", "another authority's", "of nobody known", "another store's"],
)
async def test_a_store_is_believed_by_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxied: bool, name: str, trusted: Authority | None, believed: bool
) -> None:
    """One that anybody has would let anybody answer with a model of theirs, which is code. Nothing in between counts."""
    identity = AUTHORITY.identity(name)
    (tmp_path / "both.pem").write_bytes(identity.key + identity.certificate)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "both.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", "")
    async with lying(tls) as store, proxying() as (proxy, asked):
        if proxied:
            monkeypatch.setenv("https_proxy", proxy)
            monkeypatch.setenv("no_proxy", "")
        else:
            monkeypatch.setenv("no_proxy", "localhost")
        store.objects = {"a": b"model"}
        endpoint = store.endpoint.replace("127.0.0.1", "localhost")
        who = credentials(endpoint, certificate=trusted.certificate.decode() if trusted else "")
        s3 = S3Store(replace(limits(10.0), attempts=1))
        try:
            if believed:
                assert (await s3.list(source("a"), who)).single
            else:
                reason, message = await failure(s3, source("a"), who, tmp_path / "a")
                assert reason is Reason.STORAGE_CONFIG_INVALID
                assert "no trusted TLS connection" in message
        finally:
            await s3.close()
        assert store.requests == (["HEAD"] if believed else [])
        assert set(asked) == ({f"CONNECT {endpoint.removeprefix('https://')} HTTP/1.1"} if proxied else set())


@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_without_an_end_is_cut_off(liar: LyingStore, tmp_path: Path, status: int) -> None:
    """A page, or an error: what is read into memory is bounded."""
    poor = S3Store(replace(limits(10.0), answer_bytes=100_000))
    sent = 0

    async def flood() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b"<ListBucketResult>"
        while True:
            yield b"<Contents/>" * 1000
            sent += 11_000

    liar.before = lambda _: web.Response(status=status, content_type="application/xml", body=flood())
    seen, message = await failure(poor, source("p/"), credentials(liar.endpoint), tmp_path)
    await poor.close()
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert "more than 100000 bytes" in message
    assert liar.requests == ["LIST"]
    assert sent < 20_000_000


@pytest.mark.parametrize(("pause", "words"), [(True, "did not answer in time"), (False, "broke the connection")])
async def test_an_answer_that_breaks_off_is_asked_for_again(
    s3: S3Store, impatient: S3Store, liar: LyingStore, tmp_path: Path, pause: bool, words: str
) -> None:
    """A page that stops in the middle, silent or cut: the library's tries are as many as for one that never begins."""

    async def half() -> AsyncIterator[bytes]:
        yield b"<ListBucketResult>"
        if pause:
            await asyncio.Event().wait()
        raise ConnectionResetError

    liar.before = lambda _: web.Response(content_type="application/xml", body=half())
    seen, message = await failure(impatient if pause else s3, source("p/"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert words in message
    assert liar.requests == ["LIST", "LIST"]
