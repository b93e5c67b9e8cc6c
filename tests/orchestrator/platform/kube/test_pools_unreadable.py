"""Objects of pools that say what nobody expected: their own trouble, and nobody else's."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import pytest

from orchestrator.domain.fleet import Pod, Pool
from orchestrator.machinery.term import Term
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.paths import core, group
from orchestrator.platform.kube.pool_names import pool_labels, pool_name
from orchestrator.platform.kube.pools import KubePools
from tests.orchestrator.platform.kube.fake_api import FakeApi, fake_api
from tests.orchestrator.platform.kube.making import SETTINGS, make_raw_pod
from tests.orchestrator.waiting import eventually

ODD = {"status": {"conditions": ["odd"]}}


def deployment(runtime: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"labels": pool_labels(runtime)}, "spec": {"replicas": 2}, **fields}


class World:
    """A namespace in which pools run, and what they said last."""

    def __init__(self, fake: FakeApi) -> None:
        self.fake = fake
        self.told = False
        self.pods: tuple[Pod, ...] = ()
        self.pools: Mapping[str, Pool] = {}

    def put(self, runtime: str, **fields: Any) -> None:
        self.fake.store.put(group("apps/v1", "deployments", "ns", pool_name(runtime)), deployment(runtime, **fields))

    def put_pod(self, name: str, **status: Any) -> None:
        self.fake.store.put(core("pods", "ns", name), make_raw_pod(name, **status))

    def on_pods(self, pods: tuple[Pod, ...], pools: Mapping[str, Pool] = MappingProxyType({}), /) -> None:
        self.told, self.pods, self.pools = True, pods, pools

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with KubeApi(self.fake.url) as api:
            pools = KubePools(
                api,
                SETTINGS,
                term=Term(1),
                report=lambda *_: None,
                clock=time.monotonic,
                random=random.random,
            )
            task = asyncio.create_task(pools.run(self.on_pods))
            await eventually(lambda: self.told or task.done())
            yield
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with fake_api() as fake:
        yield World(fake)


async def test_a_deployment_that_cannot_be_read_is_there_and_hides_no_other(world: World) -> None:
    """Not read when it is listed first, it has the pods that a Deployment has by default; else what it last had."""
    world.put("odd", **ODD)
    world.put("triton-2.x")
    async with world.running():
        assert world.pools["triton-2.x"] == Pool(2)
        assert world.pools["odd"].replicas == 1
        assert "internal error" in world.pools["odd"].message
        world.put("triton-2.x", **ODD)
        await eventually(lambda: "internal error" in world.pools["triton-2.x"].message)
        assert world.pools["triton-2.x"].replicas == 2
        world.put("odd")
        await eventually(lambda: world.pools["odd"] == Pool(2))


async def test_a_pod_that_cannot_be_read_is_there_and_hides_no_other(world: World) -> None:
    """It may hold models: it keeps the address that it last had."""
    world.put_pod("p1", podIP="10.0.0.1")
    world.put_pod("odd", conditions=["odd"])
    async with world.running():
        assert [(pod.name, pod.adapter) for pod in world.pods] == [("odd", ""), ("p1", "10.0.0.1:8085")]
        world.put_pod("p1", podIP="10.0.0.2", containerStatuses=["odd"])
        await eventually(lambda: "internal error" in world.pods[1].message)
        assert world.pods[1].adapter == "10.0.0.1:8085"
