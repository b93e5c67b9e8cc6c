"""Triton unloads behind its answer: only the index confirms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.domain.errors import ServerSilent
from adapters.runtimes.triton import TritonClient
from tests.adapters.runtimes.inference_server import InferenceServer


@pytest.fixture
async def client(inference: InferenceServer, tmp_path: Path) -> AsyncIterator[TritonClient]:
    made = TritonClient(inference.target, tmp_path)
    yield made
    await made.close()


async def test_an_unload_returns_when_the_last_request_is_answered(
    client: TritonClient, inference: InferenceServer
) -> None:
    """UNLOADING is still in memory."""
    inference.index["m"] = "READY"
    inference.lingering = ["READY", "UNLOADING", "UNLOADING"]
    await client.unload("m", 5)
    assert inference.calls.count("RepositoryIndex") == 4


async def test_an_unload_that_does_not_end_is_silence(client: TritonClient, inference: InferenceServer) -> None:
    """Its bytes stay held."""
    inference.index["m"] = "READY"
    inference.lingering = ["UNLOADING"] * 1000
    with pytest.raises(ServerSilent):
        await client.unload("m", 0.05)


async def test_what_is_in_memory_in_any_state_is_listed(client: TritonClient, inference: InferenceServer) -> None:
    """A repository's directories that are not loaded are not."""
    inference.index = {"a": "READY", "b": "UNAVAILABLE", "c": "LOADING", "d": "", "": "READY"}
    assert await client.loaded_models() == {"a", "c"}
