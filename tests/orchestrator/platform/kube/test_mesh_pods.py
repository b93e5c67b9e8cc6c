"""Which mesh pods count, and that the count is told as it changes."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from orchestrator.platform.kube import names
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.mesh_pods import MeshPods, takes_requests
from orchestrator.platform.kube.paths import core
from tests.orchestrator.platform.kube.fake_api import fake_api
from tests.orchestrator.waiting import eventually


def pod(uid: str, *, ready: bool = True, component: str = names.MESH, **metadata: Any) -> dict[str, Any]:
    labels = {names.LABEL_NAME: names.PRODUCT, names.LABEL_COMPONENT: component}
    conditions = [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": str(ready)}]
    return {"metadata": {"uid": uid, "labels": labels, **metadata}, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("raw", "takes"),
    [
        (pod("a"), True),
        (pod("a", ready=False), False),
        (pod("a", deletionTimestamp="2026-01-01T00:00:00Z"), False),
        ({"metadata": {"uid": "a"}}, False),
        ({"metadata": {"uid": "a"}, "status": {"conditions": None}}, False),
    ],
)
def test_only_those_that_get_requests_count(raw: dict[str, Any], takes: bool) -> None:
    """A route would otherwise wait for an Envoy that is starting, or that is gone in a moment."""
    assert takes_requests(raw) is takes


async def test_changes_are_told() -> None:
    """The pods of the mesh alone, from the first list on."""
    told: list[frozenset[str]] = []
    async with fake_api() as fake, KubeApi(fake.url) as api:

        def put(name: str, raw: dict[str, Any]) -> None:
            fake.store.put(core("pods", "ns", name), raw)

        put("one", pod("uid-1"))
        put("other", pod("uid-9", component=names.RUNTIME))
        mesh = MeshPods(api, "ns", clock=time.monotonic, random=random.random)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(mesh.run(told.append)), group.create_task(mesh.watch())]
            await eventually(lambda: told == [{"uid-1"}])
            put("two", pod("uid-2"))
            await eventually(lambda: told[-1] == {"uid-1", "uid-2"})
            put("one", pod("uid-1", ready=False))
            await eventually(lambda: told[-1] == {"uid-2"})
            fake.store.delete(core("pods", "ns", "two"))
            await eventually(lambda: told[-1] == frozenset())
            for task in tasks:
                task.cancel()
