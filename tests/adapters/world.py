"""
An adapter with its own S3 and server, in memory: for tests of what lies between.

The fake server behaves as Triton and MLServer do where it matters: it loads
what its repository has under the name, keeps the old model when a load fails,
and knows nothing after its death. Real stores and servers are tested where
they are met (tests of storage and runtimes, and the standalone tier).
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.domain.copies import Copy, CopyKey, CopyState, Credentials, Order, Reason, ServerState, Source
from adapters.domain.errors import NO_REASON, LoadFailure, ServerGone, ServerRefused, SourceChanged
from adapters.domain.objects import Listing, RemoteFile, StoredObject
from adapters.layouts import triton
from adapters.ledger import Ledger
from adapters.loader import memory
from adapters.loader.loader import Loader
from adapters.loader.memory import read
from adapters.loader.places import Places
from adapters.loader.settings import LoaderSettings
from adapters.server import Bells
from tests.orchestrator.waiting import eventually
from tests.trees import files_below

CREDENTIALS = Credentials(access_key_id="AKIDAKID", secret_access_key="SECRETSECRET", endpoint_url="http://store")


def key(model: str, revision: str = "1") -> CopyKey:
    return CopyKey(model, f"uid-{model}", revision)


def state_of(ledger: Ledger, key: CopyKey) -> CopyState | None:
    copy = ledger.copy(key)
    return copy.state if copy else None


def kept(ledger: Ledger) -> tuple[Copy, ...]:
    """What would survive a restart of the adapter: the copies that serve and are meant to."""
    return tuple(copy for copy in ledger.changes(0).copies if copy.state is CopyState.LOADED)


class FakeServer:
    """A model server, and whether it is there."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        #: Model → content of its model.onnx as of the load.
        self.loaded: dict[str, bytes] = {}
        self.calls: list[str] = []
        #: While cleared, loads do not return.
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.unload_refusals = 0
        self.alive = asyncio.Event()
        self.dead = asyncio.Event()
        #: Loaded, and not able to answer.
        self.broken: set[str] = set()
        #: Of which it is said that they may be.
        self.suspected: asyncio.Queue[str] = asyncio.Queue()

    async def appeared(self) -> None:
        await self.alive.wait()
        self.dead.clear()

    async def lost(self) -> None:
        await self.dead.wait()

    def start(self) -> None:
        self.alive.set()

    def die(self) -> None:
        self.loaded.clear()
        self.broken.clear()
        self.alive.clear()
        self.dead.set()

    async def load(self, model: str, timeout_s: float) -> None:
        self.calls.append(f"load {model}")
        content = (self.repository / model / "1" / "model.onnx").read_bytes()
        await self.may_load.wait()
        if not self.alive.is_set():
            raise ServerGone
        if b"mute" in content:
            raise ServerRefused("8")
        if b"silent" in content:
            raise ServerRefused(NO_REASON)
        if b"bad" in content:
            raise ServerRefused(f"{self.repository}/{model}/1/model.onnx: {content.decode()} AKIDAKID")
        self.loaded[model] = content
        self.broken.discard(model)

    async def unload(self, model: str, timeout_s: float) -> None:
        self.calls.append(f"unload {model}")
        if self.unload_refusals:
            self.unload_refusals -= 1
            raise ServerRefused("not now")
        self.loaded.pop(model, None)

    async def is_loaded(self, model: str) -> bool:
        return model in self.loaded and model not in self.broken

    async def ailing(self) -> str:
        return await self.suspected.get()

    def breaks(self, model: str) -> None:
        self.broken.add(model)
        self.suspected.put_nowait(model)

    async def loaded_models(self) -> frozenset[str]:
        return frozenset(self.loaded)


class FakeStore:
    """Objects by key; sizes are lengths, ETags are contents."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.down = False
        #: Paths, in the order in which their downloads began.
        self.began: list[str] = []
        self.lists = 0
        self.patience: list[float] = []
        #: While cleared, downloads do not return.
        self.may_download = asyncio.Event()
        self.may_download.set()
        #: Downloads that find the source changed.
        self.changes = 0
        #: What happens to the objects before a download ends.
        self.meanwhile: Callable[[], None] = lambda: None

    @property
    def downloads(self) -> int:
        return len(self.began)

    async def list(self, source: Source, credentials: Credentials) -> Listing:
        self.lists += 1
        await asyncio.sleep(0)
        if self.down:
            raise LoadFailure.because(Reason.STORAGE_UNAVAILABLE, f"{source.uri}: down")
        found = tuple(
            StoredObject(key=name, size=len(content), etag=content.decode())
            for name, content in sorted(self.objects.items())
            if name == source.path or name.startswith(source.path + "/")
        )
        if not found:
            raise LoadFailure.because(Reason.MODEL_NOT_FOUND, f"{source.uri}: not there")
        return Listing(objects=found, single=found[0].key == source.path)

    async def download(
        self,
        source: Source,
        credentials: Credentials,
        files: Sequence[RemoteFile],
        into: Path,
        patience_s: float,
    ) -> None:
        self.began.append(source.path)
        self.patience.append(patience_s)
        await self.may_download.wait()
        if self.changes:
            self.changes -= 1
            raise SourceChanged(source.path)
        for file in files:
            (into / file.path).parent.mkdir(parents=True, exist_ok=True)
            (into / file.path).write_bytes(self.objects[file.stored.key])
        self.meanwhile()


class FullDisk:
    """While it is `now`, the ledger's file cannot be written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = False
        for name in ("_append", "_replace"):
            monkeypatch.setattr(memory, name, partial(self._write, getattr(memory, name)))

    def _write(self, write: Callable[..., None], *arguments: Any) -> None:
        if self.now:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*arguments)


class World:
    """One adapter, running; the server and the store outlive it."""

    def __init__(self, root: Path, server: FakeServer, store: FakeStore, *, capacity: int = 1000) -> None:
        settings = LoaderSettings(
            model_dir=root / "repository",
            scratch=root / "scratch",
            capacity_bytes=capacity,
            runtime="triton-2.x",
            server_type="triton",
            least_reserve=10,
            recheck_s=0.01,
            server_log="kubectl logs p",
        )
        self.places = Places(settings.model_dir, settings.scratch)
        self.places.open()
        remembered = read(self.places.ledger)
        self.bells = Bells()
        self.server = server
        self.store = store
        self.ledger = Ledger(capacity, epoch=remembered.epoch, on_change=self.bells.ring)
        self.loader = Loader(
            ledger=self.ledger,
            places=self.places,
            store=store,
            server=server,
            presence=server,
            planner=triton.plan,
            remembered=remembered,
            settings=settings,
        )

    def load(
        self,
        model: str,
        revision: str = "1",
        *,
        path: str = "",
        reserve: int = 0,
        urgent: bool = False,
        timeout_s: float = 0.0,
    ) -> None:
        path = path or model
        source = Source(bucket="b", path=path, framework="onnx", uri=f"s3://b/{path}")
        self.loader.load(
            Order(
                key=key(model, revision),
                source=source,
                credentials=CREDENTIALS,
                reserve=reserve,
                urgent=urgent,
                timeout_s=timeout_s,
            )
        )

    def unload(self, model: str, revision: str = "1") -> None:
        self.loader.unload(key(model, revision))

    def copy(self, model: str, revision: str = "1") -> Copy | None:
        return self.ledger.copy(key(model, revision))

    def state(self, model: str, revision: str = "1") -> CopyState | None:
        copy = self.copy(model, revision)
        return copy.state if copy else None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the ledger will say."""
        bell = self.bells.add()
        try:
            async with asyncio.timeout(30):
                while not condition():
                    bell.clear()
                    await bell.wait()
        finally:
            self.bells.remove(bell)

    async def until_state(self, state: CopyState | None, model: str, revision: str = "1") -> None:
        await self.until(lambda: self.state(model, revision) is state)

    async def until_ready(self) -> None:
        await self.until(lambda: self.ledger.server is ServerState.READY)

    def files(self) -> list[str]:
        """What is on the disk but for the ledger and the lock."""
        root = self.places.scratch.parent
        return sorted(str(path.relative_to(root)) for path in files_below(root) if path.parent.name != "scratch")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what no bell announces."""
    await eventually(condition, within=30.0)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    """Run the adapter; at the end it is stopped as by SIGTERM, or killed as far as the disk can tell."""
    task = asyncio.create_task(world.loader.run())
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.wait([task])
        world.places.close()
        if not task.cancelled():
            task.result()
