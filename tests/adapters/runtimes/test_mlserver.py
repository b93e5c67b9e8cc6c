"""MLServer's own spellings."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.domain.errors import ServerRefused
from adapters.runtimes.mlserver import MLServerClient
from tests.adapters.runtimes.inference_server import InferenceServer


@pytest.fixture
async def client(inference: InferenceServer) -> AsyncIterator[MLServerClient]:
    made = MLServerClient(inference.target)
    yield made
    await made.close()


async def test_states_are_read_through_the_name_of_the_enum(client: MLServerClient, inference: InferenceServer) -> None:
    """It sends `State.READY`."""
    inference.index = {"a": "State.READY", "b": "State.UNAVAILABLE", "c": "State.UNKNOWN"}
    assert await client.loaded_models() == {"a", "c"}


async def test_an_unload_asks_for_one_model_and_not_for_the_index(
    client: MLServerClient, inference: InferenceServer
) -> None:
    """The index parses every settings file in the repository."""
    inference.index = {"m": "READY"}
    await client.unload("m", 5)
    assert "RepositoryIndex" not in inference.calls


async def test_a_model_that_stays_is_not_taken_for_gone(client: MLServerClient, inference: InferenceServer) -> None:
    """Not even if the server said OK."""
    inference.index = {"m": "READY"}
    inference.lingering = ["READY"]
    with pytest.raises(ServerRefused, match="still has the model"):
        await client.unload("m", 5)
