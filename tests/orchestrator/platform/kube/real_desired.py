"""
Statuses, events and built-in runtimes on the API server of KUBECONFIG, which has the definitions of manifests/.

    KUBECONFIG=... pytest tests/orchestrator/platform/kube/real_desired.py

Here is what the tests' own server does not know: owners of fields, metadata in
a patch of a status, schemas. Not collected by itself, as real_api.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.domain.serving_runtime import API_VERSION as RUNTIME_API
from orchestrator.domain.trained_model import API_VERSION, ModelStatus
from orchestrator.machinery.term import Term
from orchestrator.platform.builtin import builtin_manifests
from orchestrator.platform.kube.api import ApiError, KubeApi, Raw
from orchestrator.platform.kube.builtin_keeper import BuiltinKeeper
from orchestrator.platform.kube.events import EventRecorder
from orchestrator.platform.kube.objects import read_model
from orchestrator.platform.kube.paths import core, group
from orchestrator.platform.kube.statuses import StatusWriter
from tests.orchestrator.builders import make_raw_model
from tests.orchestrator.platform.kube.real_api import api, namespace
from tests.orchestrator.platform.kube.support import FULL_STATUS, make_recorder

__all__ = ["api", "namespace"]


async def create(api: KubeApi, namespace: str) -> Raw:
    raw = make_raw_model("a")
    raw["metadata"] = {"name": "a"}
    return await api.create(group(API_VERSION, "trainedmodels", namespace), raw)


async def test_a_status_is_stored_whole_and_only_where_it_belongs(api: KubeApi, namespace: str) -> None:
    """Each field survives the definition; another object of the name is not written to, which a uid would not prevent."""
    path = group(API_VERSION, "trainedmodels", namespace, "a")
    first = read_model(await create(api, namespace))
    writer = StatusWriter(api, namespace=namespace, shown=lambda _: first, term=Term(1))
    await writer.write_status("a", first.uid, FULL_STATUS)
    assert read_model(await api.get(path)).status == FULL_STATUS
    await writer.write_status("a", first.uid, ModelStatus(url="grpc://y"))
    assert read_model(await api.get(path)).status == ModelStatus(url="grpc://y")
    await api.delete(path)
    await create(api, namespace)
    await writer.write_status("a", first.uid, FULL_STATUS)
    assert read_model(await api.get(path)).status == ModelStatus()
    await api.merge(f"{path}/status", {"metadata": {"uid": first.uid}, "status": {"url": "whose?"}})
    assert read_model(await api.get(path)).status.url == "whose?"


@pytest.mark.parametrize("memory", ["-1Gi", "1n", "lots", -1])
async def test_what_cannot_be_read_is_refused(api: KubeApi, namespace: str, memory: object) -> None:
    """By the definition, when it is applied."""
    raw = make_raw_model("a", memory=memory)
    raw["metadata"] = {"name": "a"}
    with pytest.raises(ApiError, match="422"):
        await api.create(group(API_VERSION, "trainedmodels", namespace), raw)


async def test_builtin_runtimes_and_their_users(api: KubeApi, namespace: str) -> None:
    """Nothing of them is dropped; a field that somebody else has set stays his, and the rest is ours."""
    path = group(RUNTIME_API, "servingruntimes", namespace, "triton-2.x")
    before = builtin_manifests()
    assert await BuiltinKeeper(api, namespace, before).ensure("triton-2.x")
    found = await api.get(path)
    assert found["spec"] == before["triton-2.x"]["spec"]
    assert (await BuiltinKeeper(api, namespace, before).ensure("triton-2.x")) == found
    containers = [found["spec"]["containers"][0] | {"image": "mine:1"}]
    edited = {"modelLoadingTimeoutMillis": 600_000}
    await api.merge(path, {"spec": {"containers": containers, "disabled": True, "builtInAdapter": edited}})
    spec = before["triton-2.x"]["spec"]
    adapter = spec["builtInAdapter"] | {"memBufferBytes": 7}
    changed = spec | {"builtInAdapter": adapter, "containers": [spec["containers"][0] | {"image": "new:1"}]}
    after = {"triton-2.x": before["triton-2.x"] | {"spec": changed}}
    for _ in range(2):
        assert await BuiltinKeeper(api, namespace, after).ensure("triton-2.x")
        found = await api.get(path)
        assert found["spec"] == spec | {
            "builtInAdapter": adapter | edited,
            "containers": containers,
            "disabled": True,
        }


@pytest.fixture
async def recorder(api: KubeApi, namespace: str) -> AsyncIterator[EventRecorder]:
    recorder = make_recorder(api, namespace)
    task = asyncio.create_task(recorder.run())
    yield recorder
    task.cancel()
    await asyncio.wait({task})


async def test_events_are_taken_and_counted(api: KubeApi, namespace: str, recorder: EventRecorder) -> None:
    """In one object, whatever the length of its message."""
    found: list[Raw] = []

    async def look() -> list[int]:
        nonlocal found
        found = (await api.list(core("events", namespace))).items
        return [raw["count"] for raw in found]

    for expected in (1, 2):
        recorder.event("a", "uid-a", warning=True, reason="ModelLoadFailed", message="ä" * 2000)
        counts: list[int] = []
        for _ in range(200):
            counts = await look()
            if counts == [expected]:
                break
            await asyncio.sleep(0.05)
        assert counts == [expected]
    assert found[0]["involvedObject"]["kind"] == "TrainedModel"
