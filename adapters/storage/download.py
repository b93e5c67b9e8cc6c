"""
One download of a model: all its objects, in parts, several parts at once.

Memory is bounded whatever the size, since a part is written as it arrives. A part
whose connection breaks goes on where it stopped, as long as each try brings some
bytes: a proxy that cuts connections every few MiB costs round trips, not the
model. An object that differs from its listing ends the download with
`SourceChanged`, so that two uploads are never mixed in one copy.

Slowness is judged over the whole download, not for each connection: each period
of `patience_s` must bring at least `slowest` bytes a second on average, else the
download gives up its place to others. There is no total time limit: a large
download that is fast enough may take hours.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from botocore.exceptions import ClientError

from adapters.domain.copies import Source
from adapters.domain.errors import SourceChanged
from adapters.domain.objects import RemoteFile
from adapters.storage.disk import in_thread
from adapters.storage.limits import StorageLimits
from adapters.storage.mishaps import etag_of, no_ranges, status_of, too_slow

_CHUNK: Final = 256 * 1024
#: Smaller writes are done without a thread.
_SMALL: Final = 64 * 1024
#: Bytes that a part counts for at least when speed is judged: many small files are work, too.
_WORTH: Final = 64 * 1024
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(slots=True, kw_only=True)
class _Part:
    file: RemoteFile
    #: The first byte that is missing.
    offset: int
    end: int

    @property
    def whole(self) -> bool:
        return self.offset == 0 and self.end == self.file.stored.size


class Download:
    """Fetches files into a directory where each exists already, empty. Use once."""

    def __init__(self, client: Any, source: Source, files: Sequence[RemoteFile], into: Path, limits: StorageLimits):
        self._client = client
        self._source = source
        self._files = files
        self._into = into
        self._limits = limits
        self._parts = self._split()
        #: Bytes on the disk; none is counted twice.
        self._came = 0
        #: Parts that are complete.
        self._done = 0
        #: Object → ETag in its first answer, for objects whose listing had none.
        self._seen: dict[str, str] = {}

    async def run(self, patience_s: float) -> None:
        """
        Return when all files are complete.

        Raises LoadFailure when it is too slow, SourceChanged, OSError of the disk, and the libraries' own errors.
        """
        number = sum(-(-file.stored.size // self._limits.part_bytes) for file in self._files)
        if not number:
            return
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(patience_s))
                workers = [group.create_task(self._work()) for _ in range(min(number, self._limits.parts))]
                await asyncio.wait(workers)
                watch.cancel()
        except ExceptionGroup as errors:
            raise _first(errors) from None

    def _split(self) -> Iterator[_Part]:
        size = self._limits.part_bytes
        for file in self._files:
            for offset in range(0, file.stored.size, size):
                yield _Part(file=file, offset=offset, end=min(offset + size, file.stored.size))

    async def _watch(self, patience_s: float) -> None:
        total = sum(file.stored.size for file in self._files)
        while True:
            before, done = self._came, self._done
            await asyncio.sleep(patience_s)
            came = self._came - before
            if max(came, (self._done - done) * _WORTH) < self._limits.slowest * patience_s:
                raise too_slow(came, total, patience_s, self._limits.slowest)

    async def _work(self) -> None:
        for part in self._parts:
            failures = 0
            while part.offset < part.end:
                before = part.offset
                try:
                    await self._fetch(part)
                except (aiohttp.ClientError, ConnectionError, ClientError) as error:
                    if isinstance(error, ClientError) and status_of(error) < 500:
                        raise
                    # The library retries until an answer begins; after that it is up to this code.
                    failures = 1 if part.offset > before else failures + 1
                    if failures == self._limits.attempts:
                        raise
                    await asyncio.sleep(random.uniform(0.1, 0.2) * 2**failures)
            self._done += 1

    async def _fetch(self, part: _Part) -> None:
        stored = part.file.stored
        request: dict[str, Any] = {"Bucket": self._source.bucket, "Key": stored.key}
        known = stored.etag or self._seen.get(stored.key)
        if known:
            request["IfMatch"] = f'"{known}"'
        if not part.whole:
            request["Range"] = f"bytes={part.offset}-{part.end - 1}"
        try:
            answer = await self._client.get_object(**request)
        except ClientError as error:
            if status_of(error) in {404, 412, 416}:
                raise SourceChanged(stored.key) from None
            raise
        async with answer["Body"] as body:
            self._check(answer, part)
            await self._write(body, part)

    def _check(self, answer: dict[str, Any], part: _Part) -> None:
        """Raises unless the answer has the bytes that were asked for, of the object that was listed."""
        stored = part.file.stored
        etag = etag_of(answer.get("ETag"))
        if etag != (stored.etag or self._seen.setdefault(stored.key, etag)):
            raise SourceChanged(stored.key)
        length = answer["ContentLength"]
        if not part.whole:
            found = _RANGE.fullmatch(str(answer.get("ContentRange")))
            if found is None:
                raise no_ranges()
            first, last, size = map(int, found.groups())
            if (first, last, length) != (part.offset, part.end - 1, part.end - part.offset):
                raise no_ranges()
            length = size
        if length != stored.size:
            raise SourceChanged(stored.key)

    async def _write(self, body: Any, part: _Part) -> None:
        descriptor = os.open(self._into / part.file.path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            while chunk := await body.content.read(min(_CHUNK, part.end - part.offset)):
                if len(chunk) < _SMALL:
                    _write_all(descriptor, chunk, part.offset)
                else:
                    await in_thread(_write_all, descriptor, chunk, part.offset)
                part.offset += len(chunk)
                self._came += len(chunk)
        finally:
            os.close(descriptor)
        if part.offset < part.end:
            raise aiohttp.ClientPayloadError("the body ended early")


def _write_all(descriptor: int, chunk: bytes, offset: int) -> None:
    view = memoryview(chunk)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """The error to report: a changed source explains the others."""
    changed = errors.subgroup(SourceChanged)
    error: BaseException = changed or errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else errors
