"""
Models from S3: lists the objects at a path, and downloads them to the local disk.

Only this package imports the S3 libraries. A listing is bounded in pages,
objects, bytes and time, whatever the store answers; a broken listing is reported
as the store's fault, never taken for an empty model.

It promises no more than the store: the objects of one prefix are not uploaded in
one transaction, and a store that ignores `If-Match` is found out only by the ETag
of its answers.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from adapters.domain.copies import Credentials, Reason, Source
from adapters.domain.errors import LoadFailure
from adapters.domain.objects import Listing, RemoteFile, StoredObject, prefix_of
from adapters.storage.clients import Clients
from adapters.storage.disk import free_bytes, in_thread
from adapters.storage.download import Download
from adapters.storage.limits import StorageLimits
from adapters.storage.mishaps import disk_failure, etag_of, explain, not_found, status_of

#: Bytes left free on the disk for other writers.
_SPARE: Final = 16 * 1024 * 1024
#: Pages may be shorter than asked for; a store whose pages never end is cut off here.
_SPARE_PAGES: Final = 100

#: KeyError and ValueError: answers that lack a field that every store sends.
_LIBRARY_ERRORS: Final = (
    BotoCoreError,
    ClientError,
    ResponseParserError,
    aiohttp.ClientError,
    TimeoutError,
    KeyError,
    ValueError,
)


class S3Store:
    """Lists and downloads. Close it after its last use."""

    def __init__(self, limits: StorageLimits) -> None:
        self._limits = limits
        self._clients = Clients(limits)

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    async def list(self, source: Source, credentials: Credentials) -> Listing:
        """
        The object at the path, or all objects below it.

        Raises LoadFailure: ModelNotFound, StorageAccessDenied, StorageUnavailable,
        StorageConfigInvalid, InvalidModelLayout (more objects or bytes than is sane).
        """
        try:
            async with asyncio.timeout(self._limits.list_s), self._clients.client(credentials) as client:
                single = await self._head(client, source)
                # Some tools mark a directory by an empty object of that name.
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

    async def download(
        self,
        source: Source,
        credentials: Credentials,
        files: Sequence[RemoteFile],
        into: Path,
        patience_s: float,
    ) -> None:
        """
        Write `files` below the empty directory `into`. After an error the files there are of no use.

        Raises LoadFailure, also for a download that is too slow, or SourceChanged when an object differs from its
        listing.
        """
        try:
            await in_thread(_prepare, files, into)
            async with self._clients.client(credentials) as client:
                await Download(client, source, files, into, self._limits).run(patience_s)
        except (*_LIBRARY_ERRORS, LoadFailure) as error:
            raise explain(error, source, credentials) from None
        except OSError as error:
            raise disk_failure(source, error) from None

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
                # The answer to HEAD has no body; the answer to a list says why.
                await client.list_objects_v2(Bucket=source.bucket, Prefix=source.path, MaxKeys=1)
            raise
        return _stored(source.path, answer.get("ContentLength"), answer.get("ETag"))

    async def _list(self, client: Any, source: Source) -> tuple[StoredObject, ...]:
        limits = self._limits
        found: dict[str, StoredObject] = {}
        size = 0
        request: dict[str, Any] = {"Bucket": source.bucket, "Prefix": prefix_of(source.path)}
        for _ in range(limits.max_objects // 100 + _SPARE_PAGES):
            page = await client.list_objects_v2(**request)
            for each in page.get("Contents") or ():
                if each["Key"].endswith("/"):
                    continue  # a directory marker
                stored = _stored(each["Key"], each.get("Size"), each.get("ETag"))
                if stored.key in found:
                    raise LoadFailure.because(Reason.STORAGE_UNAVAILABLE, "the store's listing repeats itself")
                found[stored.key] = stored
                size += stored.size
            if len(found) > limits.max_objects or size > limits.max_bytes:
                raise LoadFailure.because(
                    Reason.INVALID_MODEL_LAYOUT,
                    f"more than {limits.max_objects} objects or {limits.max_bytes} bytes; "
                    "point storageUri at a single model",
                )
            if not page.get("IsTruncated"):
                return tuple(found.values())
            # KeyError if the token is missing: the rest cannot be asked for, and half a model is of no use.
            request["ContinuationToken"] = page["NextContinuationToken"]
        raise LoadFailure.because(Reason.STORAGE_UNAVAILABLE, "the store's listing does not end")


def _prepare(files: Sequence[RemoteFile], into: Path) -> None:
    """Create directories and empty files, if there is room for the files' bytes."""
    size = sum(file.stored.size for file in files)
    free = free_bytes(into)
    if free < size + _SPARE:
        raise OSError(errno.ENOSPC, f"{size} bytes needed beside {_SPARE} for others, {free} free")
    for file in files:
        path = into / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)


def _stored(key: str, size: Any, etag: Any) -> StoredObject:
    """An object of a listing. Raises ValueError without a valid size: 0 instead would make an empty file of a model."""
    if not isinstance(size, int) or size < 0:
        raise ValueError
    return StoredObject(key=key, size=size, etag=etag_of(etag))
