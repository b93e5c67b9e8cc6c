"""
Models from S3: what there is at a path, and its bytes on the local disk.

The only door to the S3 libraries. Memory is bounded whatever the size: parts
of a few MiB, a fixed number of them at once over all models, written as they
arrive. An object that is not what its listing said ends the download with
`SourceChanged`, so that two uploads are never mixed in one copy.

It does not promise more than the store: objects of one prefix are not a
transaction, and a store that ignores `If-Match` is caught by the ETag of its
answers only.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from adapters.domain.copies import Credentials, Reason, Source
from adapters.domain.errors import LoadFailure, SourceChanged
from adapters.domain.objects import Listing, RemoteFile, StoredObject, prefix_of
from adapters.storage.clients import Clients
from adapters.storage.disk import free_bytes, in_thread
from adapters.storage.mishaps import explain, not_found, status_of, unavailable

_MIB: Final = 1024 * 1024
_CHUNK: Final = 256 * 1024
#: A write that is not worth a thread.
_SMALL: Final = 64 * 1024
#: Left free on the disk for others.
_SPARE: Final = 16 * _MIB
#: Pages may be shorter than asked for; a store whose pages never end is cut off here.
_SPARE_PAGES: Final = 100

#: KeyError and ValueError: answers that lack what every store sends.
_LIBRARY_ERRORS: Final = (
    BotoCoreError,
    ClientError,
    ResponseParserError,
    aiohttp.ClientError,
    TimeoutError,
    KeyError,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLimits:
    """What bounds a download."""

    parts: int = 8
    part_bytes: int = 8 * _MIB
    connect_s: float = 5.0
    read_s: float = 30.0
    #: Tries of one request, of which each may take the times above.
    attempts: int = 3
    max_objects: int = 10_000
    max_bytes: int = 1024 * 1024 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    file: RemoteFile
    offset: int
    length: int

    @property
    def whole(self) -> bool:
        return self.length == self.file.stored.size


class _BrokenOffError(Exception):
    """The answer had begun: from there on the library does not try again by itself."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class S3Store:
    """Lists and downloads. Close it when nobody uses it any more."""

    def __init__(self, limits: StorageLimits) -> None:
        self._limits = limits
        self._parts = asyncio.Semaphore(limits.parts)
        self._clients = Clients(
            connect_s=limits.connect_s,
            read_s=limits.read_s,
            attempts=limits.attempts,
            connections=limits.parts + 8,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    async def list(self, source: Source, credentials: Credentials) -> Listing:
        """
        The object at the path, or all below it.

        Raises LoadFailure: ModelNotFound, StorageAccessDenied, StorageUnavailable,
        StorageConfigInvalid, InvalidModelLayout (more objects or bytes than is sane).
        """
        try:
            async with self._clients.client(credentials) as client:
                single = await self._head(client, source)
                # An empty object above others is a directory marker of some tools.
                if single is not None and single.size > 0:
                    return Listing(objects=(single,), single=True)
                objects = await self._list(client, source)
        except (*_LIBRARY_ERRORS, LoadFailure) as error:
            raise explain(error, source, credentials) from None
        if objects:
            return Listing(objects=objects, single=False)
        if single is not None:
            return Listing(objects=(single,), single=True)
        raise not_found(source)

    async def download(self, source: Source, credentials: Credentials, files: Sequence[RemoteFile], into: Path) -> None:
        """
        Write `files` below the empty directory `into`. On an error what is there is of no use.

        Raises LoadFailure, or SourceChanged when an object is not what was listed.
        """
        try:
            await in_thread(_prepare, files, into)
            parts = self._split(files)
            async with self._clients.client(credentials) as client:
                try:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(min(self._limits.parts, len(files))):
                            group.create_task(self._work(client, source, parts, into))
                except ExceptionGroup as errors:
                    raise _first(errors) from None
        except (*_LIBRARY_ERRORS, LoadFailure) as error:
            raise explain(error, source, credentials) from None
        except OSError as error:
            raise unavailable(source, _disk_problem(error)) from None

    # Listing.

    async def _head(self, client: Any, source: Source) -> StoredObject | None:
        if not source.path or source.path.endswith("/"):
            return None
        try:
            answer = await client.head_object(Bucket=source.bucket, Key=source.path)
        except ClientError as error:
            if status_of(error) == 404:
                return None
            if status_of(error) == 403:
                # The answer to HEAD has no body; that to a list says why.
                await client.list_objects_v2(Bucket=source.bucket, Prefix=source.path, MaxKeys=1)
            raise
        return _stored(source.path, answer.get("ContentLength"), answer.get("ETag"))

    async def _list(self, client: Any, source: Source) -> tuple[StoredObject, ...]:
        limits = self._limits
        found: list[StoredObject] = []
        size = 0
        request: dict[str, Any] = {"Bucket": source.bucket, "Prefix": prefix_of(source.path)}
        for _ in range(limits.max_objects // 100 + _SPARE_PAGES):
            page = await client.list_objects_v2(**request)
            for each in page.get("Contents") or ():
                if each["Key"].endswith("/"):
                    continue  # a directory marker
                stored = _stored(each["Key"], each.get("Size"), each.get("ETag"))
                found.append(stored)
                size += stored.size
            if len(found) > limits.max_objects or size > limits.max_bytes:
                raise LoadFailure.because(
                    Reason.INVALID_MODEL_LAYOUT,
                    f"more than {limits.max_objects} objects or {limits.max_bytes} bytes; "
                    "point storageUri at a single model",
                )
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or not token or token == request.get("ContinuationToken"):
                return tuple(found)
            request["ContinuationToken"] = token
        raise LoadFailure.because(Reason.STORAGE_UNAVAILABLE, "the store's listing does not end")

    # Downloading.

    def _split(self, files: Sequence[RemoteFile]) -> Iterator[_Part]:
        for file in files:
            for offset in range(0, file.stored.size, self._limits.part_bytes):
                length = min(self._limits.part_bytes, file.stored.size - offset)
                yield _Part(file=file, offset=offset, length=length)

    async def _work(self, client: Any, source: Source, parts: Iterator[_Part], into: Path) -> None:
        for part in parts:
            for attempt in range(1, self._limits.attempts + 1):
                try:
                    async with self._parts:
                        await self._fetch(client, source, part, into)
                    break
                except _BrokenOffError as broken:
                    if attempt == self._limits.attempts:
                        raise broken.error from None
                await asyncio.sleep(random.uniform(0.1, 0.2) * 2**attempt)

    async def _fetch(self, client: Any, source: Source, part: _Part, into: Path) -> None:
        stored = part.file.stored
        request: dict[str, Any] = {"Bucket": source.bucket, "Key": stored.key}
        if stored.etag:
            request["IfMatch"] = f'"{stored.etag}"'
        if not part.whole:
            request["Range"] = f"bytes={part.offset}-{part.offset + part.length - 1}"
        try:
            # Bounds a store that drips: a part takes no longer than ten silences.
            async with asyncio.timeout(10 * self._limits.read_s):
                answer = await client.get_object(**request)
                async with answer["Body"] as body:
                    if _etag(answer.get("ETag")) != stored.etag or answer.get("ContentLength") != part.length:
                        raise SourceChanged(stored.key)
                    try:
                        await _write(body, into / part.file.path, part)
                    except aiohttp.ClientError as error:
                        raise _BrokenOffError(error) from None
        except ClientError as error:
            if status_of(error) in {404, 412, 416}:
                raise SourceChanged(stored.key) from None
            raise


async def _write(body: Any, path: Path, part: _Part) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        written = 0
        while chunk := await body.content.read(_CHUNK):
            if written + len(chunk) > part.length:
                raise SourceChanged(part.file.stored.key)
            if len(chunk) < _SMALL:
                _write_all(descriptor, chunk, part.offset + written)
            else:
                await in_thread(_write_all, descriptor, chunk, part.offset + written)
            written += len(chunk)
    finally:
        os.close(descriptor)
    if written != part.length:
        raise aiohttp.ClientPayloadError("the body ended early")


def _write_all(descriptor: int, chunk: bytes, offset: int) -> None:
    view = memoryview(chunk)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count


def _prepare(files: Sequence[RemoteFile], into: Path) -> None:
    """Directories and empty files, once it is known that there is room for them."""
    size = sum(file.stored.size for file in files)
    if free_bytes(into) < size + _SPARE:
        raise OSError(errno.ENOSPC, f"{size} bytes needed, {free_bytes(into)} free")
    for file in files:
        path = into / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)


def _disk_problem(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"the adapter's disk is full ({error.strerror}); give it more room or let other models go"
    return f"the adapter's disk fails ({error.strerror})"


def _stored(key: str, size: Any, etag: Any) -> StoredObject:
    return StoredObject(key=key, size=max(0, int(size or 0)), etag=_etag(etag))


def _etag(value: Any) -> str:
    """Some stores quote it, some only in some answers."""
    return str(value or "").strip('"')


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """The one to report: that the source changed explains the others."""
    changed = errors.subgroup(SourceChanged)
    error: BaseException = changed or errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else errors
