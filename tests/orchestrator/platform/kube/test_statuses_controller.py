"""The controller on an API server: what it reads, what it writes, and that the echo of it is no news."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from orchestrator.domain.trained_model import ModelStatus
from orchestrator.machinery.term import Term
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.objects import read_model
from orchestrator.platform.kube.statuses import StatusWriter
from orchestrator.ports import DesiredSink
from tests.orchestrator.builders import make_raw_model
from tests.orchestrator.controller.bench import SECRET as STORE
from tests.orchestrator.controller.bench import Bench
from tests.orchestrator.controller.fakes import FakePlatform
from tests.orchestrator.platform.kube.fake_api import Answer, Call, FakeApi, fake_api
from tests.orchestrator.platform.kube.support import MODELS, NAMESPACE, make_recorder, make_source
from tests.orchestrator.waiting import eventually

CREDENTIALS = base64.b64encode(json.dumps(STORE).encode()).decode()
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/storage-config"


class Platform(FakePlatform):
    """Pools are the fake's; objects and statuses are the API server's."""

    def __init__(self, api: KubeApi) -> None:
        super().__init__()
        self.source = make_source(api, make_recorder(api))
        self.writer = StatusWriter(api, namespace=NAMESPACE, shown=self.source.shown, term=Term(1))
        self.tasks: list[asyncio.Task[None]] = []

    def deliver(self, sink: DesiredSink, *, deleted: Collection[tuple[str, str]] | None = None) -> None:
        self.tasks = [asyncio.create_task(work) for work in (self.source.watch(), self.source.run(sink))]

    async def write_status(self, name: str, uid: str, status: ModelStatus) -> None:
        await self.writer.write_status(name, uid, status)


@asynccontextmanager
async def controller() -> AsyncIterator[tuple[FakeApi, Bench]]:
    """It runs, with as much room as it wants."""
    async with fake_api() as fake, KubeApi(fake.url, timeout_s=5.0) as api:
        fake.store.put(SECRET, {"metadata": {}, "data": {"default": CREDENTIALS}})
        bench, platform = Bench(), Platform(api)
        bench.platform = platform
        bench.fleet.capacity = 10_000
        await bench.start()
        try:
            await eventually(lambda: bench.desired.synced)
            yield fake, bench
        finally:
            await bench.stop()
            for task in platform.tasks:
                task.cancel()
            await asyncio.wait(platform.tasks)


def put(fake: FakeApi, name: str, **spec: str) -> None:
    raw = make_raw_model(name, **spec)
    raw["metadata"] = {"name": name}
    fake.store.put(f"{MODELS}/{name}", raw)


def said(fake: FakeApi) -> dict[str, tuple[str, str]]:
    """Status and reason of Ready, by model."""
    models = [read_model(raw) for raw in fake.store.collection(MODELS, {})["items"]]
    found = {model.name: model.status.condition("Ready") for model in models}
    return {name: (ready.status, ready.reason) for name, ready in found.items() if ready is not None}


def writes(fake: FakeApi) -> list[Call]:
    return [call for call in fake.calls if call.path.endswith("/status")]


async def test_each_write_changes_something_and_its_echo_nothing() -> None:
    """One write a state, and quiet afterwards; an update and a deletion are seen like that, too."""
    names = [f"m{n}" for n in range(40)]
    async with controller() as (fake, bench):
        for name in names:
            put(fake, name)
        await eventually(lambda: said(fake) == dict.fromkeys(names, ("True", "Loaded")))
        put(fake, "broken", storageUri="http://x")
        await eventually(lambda: said(fake).get("broken") == ("False", "InvalidStorageUri"))
        fake.store.merge(f"{MODELS}/broken", {"spec": {"model": {"storageUri": "s3://models/mended"}}})
        await eventually(lambda: said(fake).get("broken") == ("True", "Loaded"))
        fake.store.delete(f"{MODELS}/m0")
        await eventually(lambda: bench.fleet.loaded() == {*names, "broken"} - {"m0"})
        # A write is one version of the store: one that said what was stored already would have made none.
        changed = [c for c in fake.store.history if c.before and c.before.get("status") != c.now.get("status")]
        assert len(writes(fake)) == len(changed)
        assert not [call for call in fake.calls if call.path.startswith(f"{MODELS}/") and call.verb == "get"]


async def test_statuses_that_were_not_taken_are_written_later() -> None:
    """The API server is away for a while; what happened meanwhile is told then, and nothing else."""
    async with controller() as (fake, bench):
        away = True

        def meet(call: Call) -> Answer | None:
            return Answer(503, "away") if away and call.verb == "merge" else None

        fake.meet = meet
        put(fake, "a")
        await eventually(lambda: bench.fleet.loaded() == {"a"} and writes(fake))
        assert said(fake) == {}
        away = False
        await eventually(lambda: said(fake) == {"a": ("True", "Loaded")}, within=30.0)


async def test_a_model_that_somebodys_finalizer_holds_says_so() -> None:
    """It is withdrawn at once; its last status is no READY, is written once."""
    async with controller() as (fake, bench):
        put(fake, "a")
        await eventually(lambda: said(fake) == {"a": ("True", "Loaded")})
        fake.store.merge(f"{MODELS}/a", {"metadata": {"finalizers": ["example.com/x"]}})
        fake.store.delete(f"{MODELS}/a")
        await eventually(lambda: said(fake) == {"a": ("False", "RuntimeUnavailable")} and not bench.fleet.loaded())
        ready = read_model(fake.store.get(f"{MODELS}/a")).status.condition("Ready")
        assert ready is not None
        assert ready.message == "being deleted; finalizer example.com/x holds it"
        before = len(writes(fake))
        fake.store.merge(f"{MODELS}/a", {"metadata": {"labels": {"x": "y"}}})
        put(fake, "b")
        await eventually(lambda: said(fake).get("b") == ("True", "Loaded"))
        assert [call.path for call in writes(fake)[before:]] == [f"{MODELS}/b/status"]
        fake.store.merge(f"{MODELS}/a", {"metadata": {"finalizers": None}})
        put(fake, "a")
        await eventually(lambda: said(fake).get("a") == ("True", "Loaded"))
