"""
Pools on the API server of KUBECONFIG, which has the definitions of manifests/.

    KUBECONFIG=... pytest tests/orchestrator/platform/kube/real_pools.py

Here is what the tests' own server does not know: schemas, admission, owners of
fields, and that an apply which changes nothing is no write. Nothing need run
pods there. Not collected by itself: the cluster tier runs it, as real_api.py.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import pytest

from orchestrator.domain.fleet import Pod, Pool
from orchestrator.domain.serving_runtime import API_VERSION, ServingRuntime, parse_serving_runtime
from orchestrator.machinery.term import Term
from orchestrator.platform.builtin import builtin_manifests
from orchestrator.platform.kube.api import ApiError, KubeApi, Raw
from orchestrator.platform.kube.deployment import pool_objects
from orchestrator.platform.kube.names import RUNTIME_ACCOUNT
from orchestrator.platform.kube.paths import core, group
from orchestrator.platform.kube.pools import KubePools
from tests.orchestrator.platform.kube.making import SETTINGS
from tests.orchestrator.platform.kube.real_api import api, namespace
from tests.orchestrator.waiting import eventually

__all__ = ["api", "namespace"]

NAMES = tuple(builtin_manifests())


class World:
    """A namespace with a ServingRuntime of its API server's, and pools in it."""

    def __init__(self, api: KubeApi, namespace: str, runtime: ServingRuntime) -> None:
        self.api, self.runtime = api, runtime
        self.settings = replace(SETTINGS, namespace=namespace)
        self.objects = pool_objects(runtime, self.settings)
        self.path = group("apps/v1", "deployments", namespace, self.objects.name)
        self.said: Mapping[str, Pool] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[KubePools]:
        def on_pods(pods: tuple[Pod, ...], pools: Mapping[str, Pool] = MappingProxyType({}), /) -> None:
            self.said = pools

        pools = KubePools(
            self.api,
            self.settings,
            term=Term(1),
            report=lambda *_: None,
            clock=time.monotonic,
            random=random.random,
            repair_s=0.2,
        )
        task = asyncio.create_task(pools.run(on_pods))
        try:
            yield pools
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def there(self) -> Raw | None:
        try:
            return await self.api.get(self.path)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    async def until(self, replicas: int, **pod: Any) -> Raw:
        """The Deployment, once it has so many pods, and these fields of its pods."""
        async with asyncio.timeout(20):
            while True:
                raw = await self.there()
                if raw is not None and raw["spec"]["replicas"] == replicas:
                    spec = raw["spec"]["template"]["spec"]
                    if all(spec.get(key) == value for key, value in pod.items()):
                        return raw
                await asyncio.sleep(0.05)

    def changed(self, **spec: Any) -> ServingRuntime:
        """The runtime, as if its spec said this as well."""
        raw = self.runtime.raw
        return parse_serving_runtime({**raw, "spec": {**raw["spec"], **spec}})


async def make_world(api: KubeApi, namespace: str, name: str = "triton-2.x") -> World:
    raw = await api.create(group(API_VERSION, "servingruntimes", namespace), builtin_manifests()[name])
    return World(api, namespace, parse_serving_runtime(raw))


@pytest.mark.parametrize("name", NAMES)
async def test_the_pods_of_the_built_in_runtimes_are_taken_under_restricted(
    api: KubeApi, namespace: str, name: str
) -> None:
    """By the admission that enforces it, as a pod; and no field is dropped from the Deployment or its budget."""
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    await api.merge(core("namespaces", None, namespace), {"metadata": {"labels": enforce}})
    await api.create(core("serviceaccounts", namespace), {"metadata": {"name": RUNTIME_ACCOUNT}})
    world = await make_world(api, namespace, name)
    template = world.objects.deployment["spec"]["template"]
    pod = {"metadata": {**template["metadata"], "name": "p"}, "spec": template["spec"]}
    await api.create(core("pods", namespace), pod)
    await api.delete(core("pods", namespace, "p"), {"gracePeriodSeconds": 0})
    stored = await api.apply(world.path, world.objects.at(1), dry_run=True)
    assert _lost(world.objects.at(1), stored) == []
    budget = group("policy/v1", "poddisruptionbudgets", namespace, world.objects.name)
    assert _lost(world.objects.budget, await api.apply(budget, world.objects.budget, dry_run=True)) == []


async def test_another_leader_writes_nothing_where_nothing_is_to_be_changed(api: KubeApi, namespace: str) -> None:
    """It applies once, since it does not know what was done before it: the version stays."""
    world = await make_world(api, namespace)
    async with world.running() as pools:
        await pools.scale(world.runtime, 1)
        before = await world.until(1)
    async with world.running() as pools:
        await pools.scale(world.runtime, 1)
        # Looked at in order: when the second is there, the first has been applied.
        await pools.scale(world.changed(), 2)
        after = await world.until(2)
        await pools.scale(world.runtime, 1)
        await world.until(1)
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert after["spec"] == before["spec"] | {"replicas": 2}


async def test_what_is_changed_by_hand_is_put_right_and_what_is_not_said_any_more_goes(
    api: KubeApi, namespace: str
) -> None:
    """Fields of ours have one owner, whoever else has written them."""
    world = await make_world(api, namespace)
    async with world.running() as pools:
        await pools.scale(world.runtime, 1)
        await world.until(1)
        await api.merge(world.path, {"spec": {"replicas": 5, "strategy": {"rollingUpdate": {"maxSurge": 3}}}})
        raw = await world.until(1)
        assert raw["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 1
        await pools.scale(world.changed(nodeSelector={"a": "b"}), 1)
        await world.until(1, nodeSelector={"a": "b"})
        await pools.scale(world.runtime, 1)
        await world.until(1, nodeSelector=None)
        await api.delete(world.path)
        await world.until(1)


async def test_what_the_server_refuses_is_told_in_its_words(api: KubeApi, namespace: str) -> None:
    """And what was there before stays."""
    world = await make_world(api, namespace)
    async with world.running() as pools:
        await pools.scale(world.runtime, 1)
        before = await world.until(1)
        await pools.scale(world.changed(tolerations=[{"operator": "Maybe"}]), 1)
        await eventually(lambda: "tolerations[0].operator" in world.said["triton-2.x"].message)
        assert (await world.until(1))["spec"] == before["spec"]
        await pools.scale(world.runtime, 1)
        # A cluster that runs pods may have something else to say: here there is no account for them.
        await eventually(lambda: "tolerations" not in world.said["triton-2.x"].message)


async def test_somebody_who_is_quicker_with_the_name_is_not_overwritten(api: KubeApi, namespace: str) -> None:
    """Not even where the watch has not shown it: without force fields of others conflict."""
    world = await make_world(api, namespace)
    labels = {"matchLabels": {"a": "b"}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "triton", "image": "x"}]}}
    mine = {"metadata": {"name": world.objects.name}, "spec": {"selector": labels, "template": template}}
    await api.create(group("apps/v1", "deployments", namespace), mine)
    with pytest.raises(ApiError, match="409"):
        await api.apply(world.path, world.objects.at(1), force=False)
    before = await world.there()
    async with world.running() as pools:
        await pools.scale(world.runtime, 1)
        await eventually(lambda: "is left alone" in world.said.get("triton-2.x", Pool(0)).message)
        await pools.end("triton-2.x")
        await eventually(lambda: "triton-2.x" not in world.said)
    after = await world.there()
    assert before is not None
    assert after is not None
    assert (after["spec"], after["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"])


def _lost(wanted: Any, stored: Any, path: str = "") -> list[str]:
    """The paths of what is not there; how a value is written is the server's own."""
    if isinstance(wanted, dict):
        if not isinstance(stored, dict):
            return [path]
        return [lost for key in wanted for lost in _lost(wanted[key], stored.get(key), f"{path}.{key}")]
    if isinstance(wanted, list):
        if not isinstance(stored, list) or len(wanted) != len(stored):
            return [path]
        return [lost for i, each in enumerate(wanted) for lost in _lost(each, stored[i], f"{path}[{i}]")]
    # What is empty is not stored.
    return [path] if wanted and stored is None else []
