"""
MLServer finds a model by its directory: what a load costs does not depend on how many models there are.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.standalone.models import Models
from tests.standalone.real_pod import RealPod, real_pod
from tests.standalone.store import Store


@pytest.fixture
async def pod(tmp_path: Path, store: Store) -> AsyncIterator[RealPod]:
    """An MLServer with its adapter."""
    async with real_pod("mlserver", tmp_path / "state", store) as pod:
        yield pod


async def test_a_load_reads_nothing_of_other_models(pod: RealPod, models: Models) -> None:
    """
    Neighbours that would hang or break whoever reads their settings are not noticed: a FIFO, a broken file.

    What a name cannot be, what is not there, what is broken and what says that it is another is not found, in the
    words that MLServer has for it. The index has each directory with settings once, and what is loaded as READY.
    """
    os.mkfifo(_settings(pod, "fifo"))
    _settings(pod, "broken").write_text("{")
    _settings(pod, "list").write_text("[]")
    _settings(pod, "liar").write_text(json.dumps({"name": "honest", "implementation": "mlserver_sklearn.SKLearnModel"}))
    (pod.models / "empty").mkdir()
    nested = _settings(pod, "nested").parent / "deep"
    nested.mkdir()
    (nested / "model-settings.json").write_text(json.dumps({"name": "deep"}))

    copy = await pod.load("honest", "1", models.uri("probe-1.joblib"), "sklearn")
    assert copy.state == "Loaded", copy

    client = InferenceServerClient(pod.target)
    try:
        hostile = ("", ".", "..", "../models/honest", "honest/", "/", "honest/model", ".hidden", "x" * 300, "a\0b", "*")
        for name in ("missing", "broken", "list", "liar", "empty", "deep", "nested", *hostile):
            with pytest.raises(InferenceServerException, match="not found"):
                await client.load_model(name, client_timeout=10)
        index = await client.get_model_repository_index(client_timeout=10)
        states = sorted((each.name, each.state.removeprefix("State.")) for each in index.models)
        unloaded = [(name, "UNAVAILABLE") for name in ("broken", "liar", "list")]
        assert states == sorted([("honest", "READY"), *unloaded])
    finally:
        await client.close()


def _settings(pod: RealPod, name: str) -> Path:
    (pod.models / name).mkdir()
    return pod.models / name / "model-settings.json"
