"""A source of desired state on a fake API server, and what it delivers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.trained_model import API_VERSION, TrainedModel
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.events import EventRecorder
from orchestrator.platform.kube.paths import group
from orchestrator.platform.kube.source import KubeSource
from tests.orchestrator.builders import make_raw_model
from tests.orchestrator.platform.kube.fake_api import FakeApi, fake_api
from tests.orchestrator.platform.kube.support import MODELS, NAMESPACE, make_recorder, make_source
from tests.orchestrator.waiting import eventually

RUNTIMES = group("serving.kserve.io/v1alpha1", "servingruntimes", NAMESPACE)
TRITON, MLSERVER = "triton-2.x", "mlserver-0.x"


@dataclass
class Sink:
    """Implements ports.DesiredSink: the state, and how it came."""

    models: dict[str, TrainedModel] = field(default_factory=dict)
    runtimes: Mapping[str, ServingRuntime] = field(default_factory=dict)
    storage: StorageConfig | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    listings: int = 0
    changes: list[set[str]] = field(default_factory=list)
    deleted: set[tuple[str, str]] = field(default_factory=set)

    def replace(
        self,
        *,
        models: Mapping[str, TrainedModel],
        runtimes: Mapping[str, ServingRuntime],
        storage: StorageConfig | None,
        config: Mapping[str, str],
        deleted: Collection[tuple[str, str]] | None = None,
    ) -> None:
        # None would make every absence a deletion.
        assert deleted is not None
        self.models, self.runtimes, self.storage, self.config = dict(models), runtimes, storage, config
        self.deleted |= set(deleted)
        self.listings += 1

    def change(self, models: Mapping[str, TrainedModel | None], *, deleted: Collection[tuple[str, str]] = ()) -> None:
        assert self.listings
        self.changes.append(set(models))
        for name, model in models.items():
            self.models.pop(name, None)
            if model is not None:
                self.models[name] = model
        self.deleted |= set(deleted)


@dataclass
class Bench:
    fake: FakeApi
    source: KubeSource
    recorder: EventRecorder
    #: What was told of the ConfigMap.
    configs: list[Mapping[str, str]]

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[Sink]:
        sink = Sink()
        async with task(self.source.run(sink)):
            await eventually(lambda: sink.listings)
            yield sink

    def put(self, name: str, **metadata: Any) -> None:
        raw = make_raw_model(name)
        raw["metadata"] = {"name": name, **metadata}
        self.fake.store.put(f"{MODELS}/{name}", raw)


@asynccontextmanager
async def task(work: Any) -> AsyncIterator[None]:
    """In the background; nothing but the end of the context ends it."""
    running = asyncio.create_task(work)
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})
    assert running.cancelled(), running.exception()


@asynccontextmanager
async def started(*, version: str = API_VERSION) -> AsyncIterator[Bench]:
    """A source that knows nothing yet, and a server."""
    async with fake_api() as fake, KubeApi(fake.url, timeout_s=5.0) as api:
        configs: list[Mapping[str, str]] = []
        recorder = make_recorder(api)
        source = make_source(api, recorder, api_version=version, on_config=configs.append)
        yield Bench(fake, source, recorder, configs)
