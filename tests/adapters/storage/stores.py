"""A real S3 server, and one that lies."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from adapters.domain.copies import Credentials, Source
from tests.web import answering

ACCESS, SECRET = "ACCESSKEYID1", "SECRETSECRET1"


def source(path: str, bucket: str = "bucket") -> Source:
    return Source(bucket=bucket, path=path, framework="onnx", uri=f"s3://{bucket}/{path}")


def credentials(endpoint: str, *, access: str = ACCESS, secret: str = SECRET, certificate: str = "") -> Credentials:
    return Credentials(access_key_id=access, secret_access_key=secret, endpoint_url=endpoint, certificate=certificate)


@contextmanager
def rclone(root: Path, *, etags: bool = True) -> Iterator[str]:
    """
    The real rclone as an S3 server over `root`, whose directories are buckets; its endpoint.

    Its ETags are hashes that it makes anew for each answer: for gigabytes better without.
    """
    hashes = () if etags else ("--etag-hash", "")
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("rclone"),
            *("serve", "s3", "--config", "", "--addr", "127.0.0.1:0", "--dir-cache-time", "1ms", *hashes, str(root)),
        ],
        env={**os.environ, "RCLONE_AUTH_KEY": f'"{ACCESS},{SECRET}"'},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "[http" in line:
                yield line.split("[", 1)[1].split("/]", 1)[0]
                return
        raise AssertionError("rclone did not start")
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


@dataclass
class LyingStore:
    """An S3 server that says what it is told to say."""

    objects: dict[str, bytes] = field(default_factory=dict)
    endpoint: str = ""
    #: Called with "HEAD", "GET" or "LIST" before each answer; may answer itself, or hang.
    before: Callable[[str], web.StreamResponse | None] = lambda _: None
    #: The ETag of an answer.
    etag: Callable[[str], str] = lambda _: "etag"
    #: Whatever the ETag that is asked for (If-Match), answer with what there is.
    careless: bool = False
    #: Send no more bytes of a body than this, and then break, or hang until released.
    cut: int | None = None
    #: Send a body this many bytes at once, with so many seconds between.
    drip: tuple[int, float] | None = None
    #: Kinds of requests, keys, or "BODY": what is not answered.
    hang: set[str] = field(default_factory=set)
    page: int = 1000
    #: What a listing says of a key's size; "" = nothing.
    sizes: dict[str, str] = field(default_factory=dict)
    #: Answer the whole object whatever range is asked for.
    deaf: bool = False
    #: Headers of answers with content that are not the truth; "" = without it.
    lies: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    #: The If-Match of each GET of an object; "" = without.
    conditions: list[str] = field(default_factory=list)
    #: The first byte that each GET of an object asked for.
    starts: list[int] = field(default_factory=list)
    #: Bytes of bodies that went out, and the most bodies that were on their way at once.
    sent: int = 0
    busiest: int = 0
    _busy: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """What hangs goes on."""
        self.released.set()

    def reset(self) -> None:
        """Honest again, and empty."""
        honest = LyingStore(endpoint=self.endpoint)
        for each in fields(self):
            setattr(self, each.name, getattr(honest, each.name))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        key = request.path.removeprefix("/bucket").removeprefix("/")
        kind = "LIST" if not key and request.method == "GET" else request.method
        self.requests.append(kind)
        if not self.hang.isdisjoint({kind, key}):
            await self.released.wait()
        answer = self.before(kind)
        if answer is not None:
            return answer
        if kind == "LIST":
            return self._list(request)
        content = self.objects.get(key)
        if content is None:
            return web.Response(status=404)
        return await self._content(request, key, content)

    def _list(self, request: web.Request) -> web.Response:
        prefix = request.query.get("prefix", "")
        start = int(request.query.get("continuation-token", "0"))
        keys = [key for key in self.objects if key.startswith(prefix) or key.startswith("!")]
        shown = keys[start : start + self.page]
        contents = "".join(
            f"<Contents><Key>{quote(key.removeprefix('!'))}</Key><ETag>&quot;{self.etag('LIST')}&quot;</ETag>"
            f"{self._size(key)}</Contents>"
            for key in shown
        )
        more = start + self.page < len(keys)
        token = f"<NextContinuationToken>{start + self.page}</NextContinuationToken>" if more else ""
        return web.Response(
            content_type="application/xml",
            text=f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{contents}</ListBucketResult>",
        )

    def _size(self, key: str) -> str:
        size = self.sizes.get(key, str(len(self.objects[key])))
        return f"<Size>{size}</Size>" if size else ""

    async def _content(self, request: web.Request, key: str, content: bytes) -> web.StreamResponse:
        status, headers = 200, {"ETag": f'"{self.etag(request.method)}"'}
        if request.method == "GET":
            self.conditions.append(request.headers.get("If-Match", ""))
            self.starts.append(request.http_range.start or 0)
            if not self.careless and self.conditions[-1] not in {"", headers["ETag"]}:
                return web.Response(status=412)
        if request.http_range.start is not None and not self.deaf:
            whole, content = len(content), content[request.http_range]
            first = request.http_range.start
            status, headers["Content-Range"] = 206, f"bytes {first}-{first + len(content) - 1}/{whole}"
        headers = {name: value for name, value in (headers | self.lies).items() if value}
        response = web.StreamResponse(status=status, headers=headers)
        if "Content-Length" not in self.lies:
            response.content_length = len(content)
        await response.prepare(request)
        if request.method != "HEAD":
            await self._send(request, response, content)
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, content: bytes) -> None:
        self._busy += 1
        self.busiest = max(self.busiest, self._busy)
        try:
            first, rest = (content, b"") if self.cut is None else (content[: self.cut], content[self.cut :])
            await self._pour(response, first)
            if "BODY" in self.hang:
                await self.released.wait()
                await self._pour(response, rest)
            elif rest:
                assert request.transport is not None
                request.transport.close()
        finally:
            self._busy -= 1

    async def _pour(self, response: web.StreamResponse, content: bytes) -> None:
        size, pause = self.drip or (256 * 1024, 0.0)
        for offset in range(0, len(content), size):
            await asyncio.sleep(pause)
            piece = content[offset : offset + size]
            await response.write(piece)
            self.sent += len(piece)


@asynccontextmanager
async def lying(tls: ssl.SSLContext | None = None) -> AsyncIterator[LyingStore]:
    """A lying store that listens."""
    store = LyingStore()
    async with answering(store.handle, tls) as store.endpoint:
        yield store
