"""
Requests to the API server: JSON in, JSON out, and an error that says which of two kinds it is.

This is a session of aiohttp and not the generated client of kubernetes_asyncio.
That one does not check the status of raw answers, loses Retry-After, sends
patches of custom resources with a content type that they refuse, retries a
watch after 410 with the version that is gone, leaves connections open where a
loop is left, and builds a model class an object. What would be left of it is
URLs and headers, which are this module. It costs 40 MiB and wants a home
directory to be imported at all, so that not even its configuration is, but
where there is a KUBECONFIG (see connect.py).

Nothing is retried here: only the caller knows whether its request may take
effect twice. An ApiUnreachable means that it may have taken effect once. (What
HTTP calls idempotent, aiohttp sends again when a connection that it had kept
turns out closed: a PUT of a version may find its own effect as a conflict.)

Not promised: that a watch notices a silent death within less than 75 s; the
server sends a bookmark about each minute.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableSequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, Self

import aiohttp
from yarl import URL

from orchestrator.platform.kube import names
from orchestrator.platform.kube.answers import (
    AnswerTooLarge,
    ApiError,
    ApiUnreachable,
    ListResult,
    Raw,
    error_of,
    event_of,
    object_of,
    page_of,
)
from orchestrator.platform.kube.lines import LineSplitter, LineTooLong
from orchestrator.settings import VERSION

__all__ = ["ApiError", "ApiUnreachable", "KubeApi", "ListResult", "Raw"]

REQUEST_TIMEOUT_S: Final = 10.0
#: Between two pieces of a watch: bookmarks come about each minute.
SILENCE_S: Final = 75.0
LINE_LIMIT: Final = 16 << 20
BODY_LIMIT: Final = 64 << 20
#: Objects a page; the smaller ones for those that are too large together.
PAGE_SIZES: Final = (500, 25, 1)
#: A list whose pages expire again and again is given up.
_RESTARTS: Final = 3
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
#: What aiohttp raises when a connection or an answer comes to nothing.
_BROKEN: Final = (aiohttp.ClientError, TimeoutError, OSError)

Authorize = Callable[[], Awaitable[str | None]]


async def anonymous() -> str | None:
    """No Authorization header: the certificate says who it is, or nobody asks."""
    return None


class KubeApi:
    """
    One API server. Paths are absolute; see paths.py.

    Law: every method raises ApiError or ApiUnreachable, or what ends it from
    outside, and each ends within its timeout. Made in the loop that uses it.
    """

    def __init__(
        self,
        server: str,
        *,
        tls: ssl.SSLContext | None = None,
        authorize: Authorize = anonymous,
        server_name: str | None = None,
        proxy: str | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        silence_s: float = SILENCE_S,
        trace: aiohttp.TraceConfig | None = None,
    ) -> None:
        """`authorize` gives the Authorization header's value, for each request anew. Raises OSError or ValueError."""
        self.server: Final = server.rstrip("/")
        self._authorize = authorize
        self._server_name = server_name
        self._proxy = proxy
        self._timeout_s = timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls if tls is not None else True, limit=100),
            headers={
                "Accept": "application/json",
                # Packing costs both sides more than the bytes of a cluster's own network.
                "Accept-Encoding": "identity",
                "User-Agent": f"{names.PRODUCT}/{VERSION}",
            },
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=silence_s),
            trust_env=False,
            trace_configs=None if trace is None else [trace],
        )
        #: Path → which of the sizes a page of it is asked for in, where it is not the first.
        self._sizes: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] = _NOTHING) -> Raw:
        return object_of(await self._request("GET", path, query))

    async def create(self, path: str, body: Raw) -> Raw:
        """POST to a collection, or to a subresource such as an eviction."""
        return object_of(await self._request("POST", path, _NOTHING, body, "application/json"))

    async def replace(self, path: str, body: Raw) -> Raw:
        """PUT; with a resourceVersion in the body it is a compare-and-swap."""
        return object_of(await self._request("PUT", path, _NOTHING, body, "application/json"))

    async def merge(self, path: str, body: Raw) -> Raw:
        """PATCH: what is null goes, lists are replaced."""
        return object_of(await self._request("PATCH", path, _NOTHING, body, "application/merge-patch+json"))

    async def apply(self, path: str, body: Raw, *, force: bool = True, dry_run: bool = False) -> Raw:
        """Server-side apply: these fields are ours, and those that we applied before and are not in it go."""
        query = {"fieldManager": names.FIELD_MANAGER, "force": str(force).lower()}
        if dry_run:
            query["dryRun"] = "All"
        # JSON is YAML.
        return object_of(await self._request("PATCH", path, query, body, "application/apply-patch+yaml"))

    async def delete(self, path: str, body: Raw | None = None) -> None:
        """`body`: DeleteOptions. What is not there raises an ApiError of 404, as elsewhere."""
        await self._request("DELETE", path, _NOTHING, body, "application/json" if body is not None else None)

    async def list(self, path: str, query: Mapping[str, str] = _NOTHING) -> ListResult:
        """
        All of it, page by page; from the beginning again when a page's version expires meanwhile.

        A page that is larger than an answer may be is not the end of it: an object alone fits. The size that does is
        kept for the next list, until its pages are seen to be small again.
        """
        own = "limit" not in query
        expired = 0
        while expired < _RESTARTS:
            size = self._sizes.get(path, 0)
            read: list[int] = []
            try:
                whole = await self._pages(path, {"limit": str(PAGE_SIZES[size]), **query}, read)
            except AnswerTooLarge:
                if not own or size + 1 == len(PAGE_SIZES):
                    raise
                self._sizes[path] = size + 1
                continue
            if whole is None:
                expired += 1
                continue
            # What the next larger pages have at most: all that there is, or so many times what the largest had.
            if own and size and min(sum(read), max(read) * PAGE_SIZES[size - 1] // PAGE_SIZES[size]) <= BODY_LIMIT:
                self._sizes[path] = size - 1
            return whole
        raise ApiUnreachable(f"a list of {path} that expires before it ends")

    async def _pages(self, path: str, query: Mapping[str, str], read: MutableSequence[int]) -> ListResult | None:
        """None: the token that continues it has expired. `read` gets the bytes of each page."""
        body = await self._request("GET", path, query)
        page = page_of(body)
        read.append(len(body))
        items, version = page.items, page.resource_version
        # The version is in the token; beside it the server refuses one.
        rest = {key: value for key, value in query.items() if not key.startswith("resourceVersion")}
        while page.more:
            try:
                body = await self._request("GET", path, {**rest, "continue": page.more})
            except ApiError as error:
                if error.status == HTTPStatus.GONE:
                    return None
                raise
            page = page_of(body)
            read.append(len(body))
            items.extend(page.items)
        return ListResult(items=items, resource_version=version)

    @asynccontextmanager
    async def watch(self, path: str, query: Mapping[str, str] = _NOTHING) -> AsyncIterator[AsyncIterator[Raw]]:
        """
        Events as they come, `{"type", "object"}`, until the server ends the watch.

        Leaving the context ends the connection. Entering raises ApiError or
        ApiUnreachable, so does the iterator; an event of type ERROR is an event.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._send("GET", path, {**query, "watch": "1"})
        except _BROKEN as error:
            raise _unreachable(error) from error
        try:
            yield _Events(response)
        finally:
            # Not release(): the answer has no end, and the connection ends with it.
            response.close()

    async def _request(
        self, method: str, path: str, query: Mapping[str, str], body: Raw | None = None, content: str | None = None
    ) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._send(method, path, query, body, content)
                try:
                    return await _read(response)
                finally:
                    # Read to its end it goes back to the pool, broken off it is closed.
                    response.release()
        except _BROKEN as error:
            raise _unreachable(error) from error

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Raw | None = None, content: str | None = None
    ) -> aiohttp.ClientResponse:
        """An answer of success whose body is still to be read."""
        headers = {} if content is None else {"Content-Type": content}
        authorization = await self._authorize()
        if authorization:
            headers["Authorization"] = authorization
        response = await self._session.request(
            method,
            URL(self.server + path),
            params=query,
            data=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy,
            server_hostname=self._server_name,
        )
        if response.status // 100 == 2:
            return response
        try:
            raise error_of(response.status, response.headers, await _read(response))
        finally:
            response.release()


class _Events:
    """The events of one watch. Not a generator: nothing is left suspended in it when its consumer leaves."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._splitter = LineSplitter(LINE_LIMIT)
        self._lines: deque[bytes] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Raw:
        while not self._lines:
            try:
                chunk = await self._response.content.readany()
            except _BROKEN as error:
                raise _unreachable(error) from error
            if not chunk:
                if self._splitter.rest:
                    raise ApiUnreachable("a watch that ended within an event")
                raise StopAsyncIteration
            try:
                self._lines.extend(self._splitter.feed(chunk))
            except LineTooLong as error:
                raise ApiUnreachable(str(error)) from error
        return event_of(self._lines.popleft())


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > BODY_LIMIT:
            raise AnswerTooLarge(f"an answer of more than {BODY_LIMIT} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _unreachable(error: Exception) -> ApiUnreachable:
    return ApiUnreachable(f"{type(error).__name__}: {error}".removesuffix(": "))
