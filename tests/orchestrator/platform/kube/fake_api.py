"""
An API server for tests on a loopback port, which does what a real one does, and what goes wrong with one on request.

    async with fake_api() as fake, KubeApi(fake.url) as api: ...

What it keeps is `fake.store` (set the scene with `fake.store.put(path, raw)`),
what it was asked is `fake.calls`. What goes wrong is said by `fake.meet`, a
function of the call, or `fake.once(fault, verb)` for the next call of a kind.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.orchestrator.platform.kube.fake_store import Change, Place, Raw, Refused, Store, concerns
from tests.orchestrator.platform.kube.selectors import selects
from tests.web import answering

#: How often a watch looks for news.
_TICK_S = 0.005


@dataclass(frozen=True)
class Call:
    """A request, as it arrived."""

    #: get, list, watch, create, replace, merge, apply, delete; or what the method is called.
    verb: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    """Instead of the real answer. Nothing is done."""

    status: int
    body: str | Raw
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Silence:
    """No answer until the event, or never; what was asked for is done before the silence if `done`, else after it."""

    until: asyncio.Event | None = None
    done: bool = False


@dataclass(frozen=True)
class Lost:
    """What was asked for is done, and the connection ends without the answer; or in the middle of it."""

    done: bool = True
    after: int | None = None


Fault = Answer | Silence | Lost


@dataclass
class FakeApi:
    """One server, and its faults."""

    store: Store = field(default_factory=Store)
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    #: Asked at each call, in the order of arrival.
    meet: Callable[[Call], Fault | None] = lambda _: None
    bookmark_s: float = 0.05
    #: A watch of a version that is gone: True: an ERROR event of an answer of 200; False: an answer of 410.
    gone_as_event: bool = True
    #: Nothing is sent on any watch while it is set: no events, no bookmarks.
    mute: bool = False
    #: Named API groups beside those of `store`, which says nothing of them.
    groups: set[str] = field(default_factory=set)
    _watches: list[tuple[web.Request, web.StreamResponse]] = field(default_factory=list)
    _once: list[tuple[str, Fault]] = field(default_factory=list)
    _closed: asyncio.Event = field(default_factory=asyncio.Event)

    def once(self, fault: Fault, verb: str = "") -> None:
        """For the next call of that kind; each fault is for one call."""
        self._once.append((verb, fault))

    @property
    def watches(self) -> int:
        """How many are open."""
        return len(self._watches)

    def verbs(self) -> list[str]:
        return [call.verb for call in self.calls]

    def cut(self) -> None:
        """End all watches as a network does: in the middle of it."""
        for request, _ in list(self._watches):
            if request.transport is not None:
                request.transport.abort()

    async def say(self, text: bytes) -> None:
        """On all watches, as it is."""
        for _, response in list(self._watches):
            await response.write(text)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        call = await _call(request)
        self.calls.append(call)
        fault = self._fault(call)
        if isinstance(fault, Answer):
            body = fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
            return web.Response(status=fault.status, text=body, content_type=fault.content_type, headers=fault.headers)
        if isinstance(fault, Silence) and not fault.done:
            await self._until(fault.until)
        try:
            if call.verb == "watch":
                return await self._watch(request, call)
            status, raw = self._do(call) if not isinstance(fault, Lost) or fault.done else (200, {})
        except Refused as refused:
            status, raw = refused.code, refused.status()
        if isinstance(fault, Silence) and fault.done:
            await self._until(fault.until)
        body = json.dumps(raw)
        if isinstance(fault, Lost):
            if fault.after is not None:
                response = web.StreamResponse(headers={"Content-Length": str(len(body))})
                await response.prepare(request)
                await response.write(body.encode()[: fault.after])
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=status, text=body, content_type="application/json")

    def close(self) -> None:
        """Let go of all that is held."""
        self._closed.set()

    def _fault(self, call: Call) -> Fault | None:
        for index, (verb, fault) in enumerate(self._once):
            if verb in {"", call.verb}:
                del self._once[index]
                return fault
        return self.meet(call) or self._group(call)

    def _group(self, call: Call) -> Answer | None:
        """What is asked of a group itself; one that there is not has no Status, as with a real one."""
        root, _, name = call.path.rpartition("/")
        if root != "/apis":
            return None
        known = name in self.groups
        return (
            Answer(200, {"kind": "APIGroup", "name": name})
            if known
            else Answer(404, "404 page not found\n", "text/plain")
        )

    async def _until(self, event: asyncio.Event | None) -> None:
        waits = [asyncio.ensure_future(each.wait()) for each in (event, self._closed) if each is not None]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _do(self, call: Call) -> tuple[int, Raw]:
        store, dry = self.store, call.query.get("dryRun") == "All"
        match call.verb:
            case "get":
                return 200, store.get(call.path)
            case "list":
                return 200, store.collection(call.path, call.query)
            case "create":
                return 201, store.create(call.path, call.body, dry_run=dry)
            case "replace":
                return 200, store.replace(call.path, call.body, dry_run=dry)
            case "merge":
                return 200, store.merge(call.path, call.body, dry_run=dry)
            case "apply":
                if not call.query.get("fieldManager"):
                    raise Refused(422, "Invalid", "fieldManager: Required value: is required for apply patch")
                manager, force = call.query["fieldManager"], call.query.get("force") == "true"
                return 200, store.apply(call.path, call.body, manager=manager, force=force, dry_run=dry)
            case "delete":
                return 200, store.delete(call.path, call.body)
            case "PATCH":
                raise Refused(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
            case _:
                raise Refused(405, "MethodNotAllowed", "the server does not allow this method")

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        place, loop = Place.of(call.path), asyncio.get_running_loop()
        asked = int(call.query.get("resourceVersion") or 0)
        seen = asked or self.store.version
        gone = Refused(410, "Expired", f"too old resource version: {asked} ({self.store.compacted})")
        if asked and asked < self.store.compacted and not self.gone_as_event:
            raise gone
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        watch = (request, response)
        self._watches.append(watch)
        ends = loop.time() + float(call.query.get("timeoutSeconds") or 3600)
        bookmark = loop.time() + self.bookmark_s
        try:
            if not asked:
                for raw in self.store.select(place, call.query):
                    await response.write(_line("ADDED", raw))
            # A client that has gone shows as a request without a transport.
            while loop.time() < ends and not self._closed.is_set() and request.transport is not None:
                if seen < self.store.compacted:
                    await response.write(_line("ERROR", gone.status()))
                    break
                if not self.mute:
                    news = [change for change in self.store.history if change.version > seen]
                    seen = self.store.version
                    for change in news:
                        kind = _told(change, place, call.query)
                        if kind:
                            await response.write(_line(kind, change.now))
                    if loop.time() >= bookmark and call.query.get("allowWatchBookmarks") == "true":
                        bookmark = loop.time() + self.bookmark_s
                        await response.write(_line("BOOKMARK", _bookmark(place, seen)))
                await asyncio.sleep(_TICK_S)
        finally:
            self._watches.remove(watch)
        return response


@asynccontextmanager
async def fake_api() -> AsyncIterator[FakeApi]:
    """A server on a free port of the loopback interface."""
    fake = FakeApi()
    async with answering(fake.handle) as fake.url:
        try:
            yield fake
        finally:
            fake.close()


_PATCHES = {"application/merge-patch+json": "merge", "application/apply-patch+yaml": "apply"}
_VERBS = {"POST": "create", "PUT": "replace", "DELETE": "delete"}


async def _call(request: web.Request) -> Call:
    query = dict(request.query)
    match request.method:
        case "GET" if query.get("watch") in {"1", "true"}:
            verb = "watch"
        case "GET":
            verb = "get" if _names_one(request.path) else "list"
        case "PATCH":
            verb = _PATCHES.get(request.content_type, "PATCH")
        case method:
            verb = _VERBS.get(method, method)
    text = await request.text()
    return Call(verb, request.path, query, dict(request.headers), json.loads(text) if text else None)


def _names_one(path: str) -> bool:
    try:
        return Place.of(path).name is not None
    except Refused:
        return True


def _told(change: Change, place: Place, query: dict[str, str]) -> str:
    """What a watch with these selectors is told of it: an object that is selected no longer is one that was deleted."""
    if not concerns(place, change.key):
        return ""
    before = change.before is not None and selects(query, change.before)
    now = not change.deleted and selects(query, change.now)
    return {(True, True): "MODIFIED", (False, True): "ADDED", (True, False): "DELETED"}.get((before, now), "")


def _bookmark(place: Place, version: int) -> Raw:
    return {"kind": place.kind, "apiVersion": place.version, "metadata": {"resourceVersion": str(version)}}


def _line(kind: str, raw: Raw) -> bytes:
    return json.dumps({"type": kind, "object": raw}).encode() + b"\n"
