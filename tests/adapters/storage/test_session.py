"""Answers that the library reads whole are bounded; what breaks in them is what it expects of a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from adapters.domain.copies import Reason
from adapters.storage.s3 import S3Store
from tests.adapters.storage.conftest import limits
from tests.adapters.storage.fetching import failure
from tests.adapters.storage.stores import LyingStore, credentials, source

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
    impatient: S3Store, liar: LyingStore, tmp_path: Path, pause: bool, words: str
) -> None:
    """A page that stops in the middle, silent or cut: the library's tries are as many as for one that never begins."""

    async def half() -> AsyncIterator[bytes]:
        yield b"<ListBucketResult>"
        if pause:
            await asyncio.Event().wait()
        raise ConnectionResetError

    liar.before = lambda _: web.Response(content_type="application/xml", body=half())
    seen, message = await failure(impatient, source("p/"), credentials(liar.endpoint), tmp_path)
    assert seen is Reason.STORAGE_UNAVAILABLE
    assert words in message
    assert liar.requests == ["LIST", "LIST"]
