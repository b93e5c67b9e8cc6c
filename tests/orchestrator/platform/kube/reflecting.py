"""A reflector of ConfigMaps on a fake API server, and what it delivers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.paths import core
from orchestrator.platform.kube.reflector import Reflector
from tests.orchestrator.platform.kube.fake_api import FakeApi
from tests.orchestrator.waiting import eventually

CONFIGS = core("configmaps", "ns")
#: After how long a silence a server is taken for dead: longer than a machine that is busy stands still.
DEAD_S = 2.0
_QUICK: dict[str, Any] = {"random": random.random, "backoff_s": (0.02, 0.1)}


class Mirror:
    """What the deliveries say, folded; and each of them."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.lists: list[list[str]] = []
        self.events: list[tuple[str, str]] = []

    def on_list(self, items: list[dict[str, Any]]) -> None:
        self.objects = {item["metadata"]["name"]: item for item in items}
        self.lists.append(sorted(self.objects))

    def on_event(self, kind: str, raw: dict[str, Any]) -> None:
        name = raw["metadata"]["name"]
        self.events.append((kind, name))
        if kind == "DELETED":
            self.objects.pop(name)
        else:
            self.objects[name] = raw

    def data(self) -> dict[str, str]:
        return {name: raw["data"]["x"] for name, raw in self.objects.items()}


class World:
    """A server, one reflector of its ConfigMaps, and what it delivered."""

    def __init__(self, fake: FakeApi, api: KubeApi) -> None:
        self.fake = fake
        self.api = api
        self.mirror = Mirror()

    def put(self, name: str, value: str, **labels: str) -> None:
        self.fake.store.put(core("configmaps", "ns", name), {"metadata": {"labels": labels}, "data": {"x": value}})

    def delete(self, name: str) -> None:
        self.fake.store.delete(core("configmaps", "ns", name))

    async def cut(self) -> None:
        """End the watch that is open, once one is, and return once the server is asked again."""
        await eventually(lambda: self.fake.watches)
        known = len(self.fake.calls)
        self.fake.cut()
        await eventually(lambda: len(self.fake.calls) > known)

    @asynccontextmanager
    async def reflecting(self, **fields: Any) -> AsyncIterator[Reflector]:
        reflector = Reflector(
            self.api,
            CONFIGS,
            on_list=self.mirror.on_list,
            on_event=self.mirror.on_event,
            clock=time.monotonic,
            **_QUICK | fields,
        )
        task = asyncio.create_task(reflector.run())
        try:
            yield reflector
        finally:
            assert not task.done() or task.exception() is None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def agrees(self) -> None:
        """The mirror is what the store has."""
        await eventually(lambda: self.mirror.data() == self.stored())

    def stored(self) -> dict[str, str]:
        return {key.name: raw["data"]["x"] for key, raw in self.fake.store.objects.items()}
