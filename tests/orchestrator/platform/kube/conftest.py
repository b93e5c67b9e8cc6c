"""What the tests of a client, of a source and of a reflector are made with. A module that wants another has its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from orchestrator.platform.kube.api import KubeApi
from tests.orchestrator.platform.kube.fake_api import FakeApi, fake_api
from tests.orchestrator.platform.kube.reflecting import DEAD_S, World
from tests.orchestrator.platform.kube.sourcing import Bench, started, task


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    """An API server of Kubernetes and nothing else."""
    async with fake_api() as fake:
        yield fake


@pytest.fixture
async def api(fake: FakeApi) -> AsyncIterator[KubeApi]:
    """A client of it."""
    async with KubeApi(fake.url) as api:
        yield api


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """The source is warm."""
    async with started() as bench, task(bench.source.watch()), task(bench.recorder.run()):
        yield bench


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A server that is soon taken for dead, and no reflector yet."""
    async with fake_api() as fake, KubeApi(fake.url, timeout_s=DEAD_S, silence_s=DEAD_S) as api:
        yield World(fake, api)
