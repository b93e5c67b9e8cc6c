"""Which mesh pods count, and that the count is told as it changes."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from orchestrator.platform.kube import names
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.mesh_pods import MeshPods, Standing, standing
from orchestrator.platform.kube.paths import core
from tests.orchestrator.platform.kube.fake_api import fake_api
from tests.orchestrator.waiting import eventually


def pod(
    uid: str, *, ready: bool = True, containers: bool | None = None, component: str = names.MESH, **metadata: Any
) -> dict[str, Any]:
    labels = {names.LABEL_NAME: names.PRODUCT, names.LABEL_COMPONENT: component}
    conditions = [
        {"type": "Initialized", "status": "True"},
        {"type": "ContainersReady", "status": str(ready if containers is None else containers)},
        {"type": "Ready", "status": str(ready)},
    ]
    return {"metadata": {"uid": uid, "labels": labels, **metadata}, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (pod("a"), Standing.SERVING),
        (pod("a", ready=False), Standing.NONE),
        (pod("a", ready=False, containers=True), Standing.UNHEARD),
        (pod("a", ready=False, containers=True, deletionTimestamp="2026-01-01T00:00:00Z"), Standing.NONE),
        (pod("a", deletionTimestamp="2026-01-01T00:00:00Z"), Standing.NONE),
        ({"metadata": {"uid": "a"}}, Standing.NONE),
        ({"metadata": {"uid": "a"}, "status": {"conditions": None}}, Standing.NONE),
    ],
)
def test_only_those_that_get_requests_count(raw: dict[str, Any], expected: Standing) -> None:
    """A route would otherwise wait for an Envoy that is starting, or gone in a moment, or gone with its node."""
    assert standing(raw) is expected


async def test_changes_are_told() -> None:
    """The pods of the mesh alone, from the first list on."""
    told: list[tuple[list[str], list[str]]] = []

    def tell(nodes: frozenset[str], unheard: frozenset[str] = frozenset(), /) -> None:
        told.append((sorted(nodes), sorted(unheard)))

    async with fake_api() as fake, KubeApi(fake.url) as api:

        def put(name: str, raw: dict[str, Any]) -> None:
            fake.store.put(core("pods", "ns", name), raw)

        put("one", pod("uid-1"))
        put("other", pod("uid-9", component=names.RUNTIME))
        mesh = MeshPods(api, "ns", clock=time.monotonic, random=random.random)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(mesh.run(tell)), group.create_task(mesh.watch())]
            await eventually(lambda: told == [(["uid-1"], [])])
            put("two", pod("uid-2"))
            await eventually(lambda: told[-1] == (["uid-1", "uid-2"], []))
            put("one", pod("uid-1", ready=False))
            await eventually(lambda: told[-1] == (["uid-2"], []))
            put("two", pod("uid-2", ready=False, containers=True))
            await eventually(lambda: told[-1] == ([], ["uid-2"]))
            fake.store.delete(core("pods", "ns", "two"))
            await eventually(lambda: told[-1] == ([], []))
            for task in tasks:
                task.cancel()


async def test_a_pod_that_cannot_be_read_is_unheard_and_hides_no_other() -> None:
    """It is there, and may get requests: what is connected of it is waited for."""
    told: list[tuple[list[str], list[str]]] = []

    def tell(nodes: frozenset[str], unheard: frozenset[str] = frozenset(), /) -> None:
        told.append((sorted(nodes), sorted(unheard)))

    async with fake_api() as fake, KubeApi(fake.url) as api:
        fake.store.put(core("pods", "ns", "odd"), pod("uid-odd") | {"status": {"conditions": ["odd"]}})
        fake.store.put(core("pods", "ns", "one"), pod("uid-1"))
        mesh = MeshPods(api, "ns", clock=time.monotonic, random=random.random)
        tasks = [asyncio.create_task(mesh.run(tell)), asyncio.create_task(mesh.watch())]
        await eventually(lambda: told == [(["uid-1"], ["uid-odd"])] or tasks[1].done())
        fake.store.put(core("pods", "ns", "one"), pod("uid-1") | {"status": {"conditions": ["odd"]}})
        await eventually(lambda: told[-1:] == [([], ["uid-1", "uid-odd"])] or tasks[1].done())
        assert not tasks[1].done()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
