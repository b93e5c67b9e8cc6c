"""
A small S3 server that lies: for keys and delays that no real server produces.

It checks no signature. A bucket is a dict of objects, listed whole whatever
prefix is asked for; `stalled` buckets answer a GET of an object only once
`release` was called, `dripping` ones with 1 kB a second until then. What other
buckets do is in `cutting`, `turning` and `changing`, for as long as it is there.

With the standard library alone, so that any Python runs it as a program, which
a POST of anything releases:

usage: liar.py HOST PORT BUCKETS.JSON (bucket → key → base64; all are stalled)
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape


class Liar:
    """Serves while its context is open."""

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {}
        self.stalled: set[str] = set()
        self.dripping: set[str] = set()
        #: The connection breaks after so many bytes of an object.
        self.cutting: dict[str, int] = {}
        #: Every request is answered with the next of these, 200 being the truth.
        self.turning: dict[str, Iterator[int]] = {}
        #: Halfway through an object the bucket becomes the next of these, and the connection breaks.
        self.changing: dict[str, Iterator[dict[str, bytes]]] = {}
        #: How often an object was not had any more as it was asked for (If-Match).
        self.refused: Counter[str] = Counter()
        #: How often an object of the bucket was asked for.
        self.fetched: Counter[str] = Counter()
        self._released = threading.Event()
        self._server = _Server(address, _Handler)
        self._server.liar = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def entry(self) -> dict[str, str]:
        """An entry of Secret storage-config for it."""
        return {
            "type": "s3",
            "access_key_id": "AKIALIESANDLIES",
            "secret_access_key": "whatever-it-does-not-look",
            "endpoint_url": f"http://127.0.0.1:{self._server.server_address[1]}",
            "region": "us-east-1",
        }

    def release(self) -> None:
        """Let all GETs that stall, and those to come, go on."""
        self._released.set()

    def hold(self) -> None:
        """From now on GETs stall again."""
        self._released.clear()

    def stall(self, seconds: float | None = None) -> bool:
        """Block until released, or for so long; whether released."""
        return self._released.wait(seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    liar: Liar


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        self._liar.release()
        self._send(200, b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what matters is what the product says."""

    @property
    def _liar(self) -> Liar:
        assert isinstance(self.server, _Server)
        return self.server.liar

    def _answer(self, *, body: bool) -> None:
        liar = self._liar
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        objects = liar.buckets.get(bucket)
        status = next(liar.turning[bucket], 200) if bucket in liar.turning else 200
        if status != 200:
            self._send(status, b"")
        elif objects is None:
            self._send(404, _error("NoSuchBucket") if body else b"")
        elif not key:
            asked = parse_qs(parts.query)
            self._send(200, _listing(bucket, asked.get("prefix", [""])[0], objects, "encoding-type" in asked))
        elif key not in objects:
            self._send(404, _error("NoSuchKey") if body else b"")
        elif self.headers.get("If-Match", _etag(objects[key])) != _etag(objects[key]):
            liar.refused[bucket] += 1
            self._send(412, _error("PreconditionFailed") if body else b"")
        elif body:
            self._object(bucket, objects[key])
        else:
            self._send(200, b"", of=objects[key])

    def _object(self, bucket: str, content: bytes) -> None:
        liar = self._liar
        liar.fetched[bucket] += 1
        if bucket in liar.stalled:
            liar.stall()
        changed = next(liar.changing.get(bucket, iter(())), None)
        if changed is not None:
            liar.buckets[bucket] = changed
            cut: int | None = len(content) // 2
        else:
            cut = liar.cutting.get(bucket)
        # "bytes=FIRST-LAST", the only one that anybody asks for.
        part = self.headers.get("Range", "").removeprefix("bytes=").split("-")
        first, last = map(int, part) if len(part) == 2 else (0, len(content) - 1)
        self._send(
            206 if len(part) == 2 else 200,
            content[first : last + 1],
            of=content,
            part=f"bytes {first}-{last}/{len(content)}" if len(part) == 2 else "",
            drip=bucket in liar.dripping,
            cut=cut,
        )

    def _send(
        self,
        status: int,
        content: bytes,
        *,
        of: bytes | None = None,
        part: str = "",
        drip: bool = False,
        cut: int | None = None,
    ) -> None:
        about = content if of is None else of
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content if part else about)))
            if part:
                self.send_header("Content-Range", part)
            self.send_header("ETag", _etag(about))
            # One request a connection: closing the server does not wait for an idle client.
            self.send_header("Connection", "close")
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.end_headers()
            while drip and content and not self._liar.stall(0.1):
                self.wfile.write(content[:100])
                content = content[100:]
            self.wfile.write(content[:cut])
        except ConnectionError:
            # The client gave up on a stalled answer.
            self.close_connection = True


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


def _listing(bucket: str, prefix: str, objects: dict[str, bytes], encoded: bool) -> bytes:
    # XML has no NUL: keys are encoded where that is asked for, as real stores do it.
    def shown(text: str) -> str:
        return quote(text) if encoded else escape(text)

    contents = "".join(
        f"<Contents><Key>{shown(key)}</Key><Size>{len(content)}</Size><ETag>{escape(_etag(content))}</ETag>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
        for key, content in objects.items()
    )
    return (
        "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
        f"<Name>{bucket}</Name><Prefix>{shown(prefix)}</Prefix><KeyCount>{len(objects)}</KeyCount>"
        f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>"
        f"{'<EncodingType>url</EncodingType>' if encoded else ''}{contents}</ListBucketResult>"
    ).encode()


def main(host: str, port: str, path: str) -> None:
    """See above."""
    said: dict[str, dict[str, str]] = json.loads(Path(path).read_text(encoding="utf-8"))
    with Liar((host, int(port))) as liar:
        for bucket, objects in said.items():
            liar.buckets[bucket] = {key: base64.b64decode(content) for key, content in objects.items()}
            liar.stalled.add(bucket)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
