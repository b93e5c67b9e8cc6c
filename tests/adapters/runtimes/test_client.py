"""What the servers answer, made plain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from adapters.domain.errors import ServerGone, ServerRefused, ServerSilent
from adapters.runtimes.client import RuntimeClient, words
from adapters.runtimes.mlserver import MLServerClient
from adapters.runtimes.triton import TritonClient
from tests.adapters.runtimes.inference_server import InferenceServer


@pytest.fixture(params=["triton", "mlserver"])
async def client(
    request: pytest.FixtureRequest, inference: InferenceServer, tmp_path: Path
) -> AsyncIterator[RuntimeClient]:
    """Either server's client."""
    triton = request.param == "triton"
    made = TritonClient(inference.target, tmp_path) if triton else MLServerClient(inference.target)
    yield made
    await made.close()


async def test_a_model_is_loaded_when_it_says_that_it_is_ready(
    client: RuntimeClient, inference: InferenceServer
) -> None:
    """An OK alone is not believed."""
    await client.load("m", 5)
    assert await client.is_loaded("m")
    inference.index["half"] = "UNAVAILABLE"
    with pytest.raises(ServerRefused, match="not ready"):
        await client.load("half", 5)


async def test_a_refusal_carries_the_servers_words(client: RuntimeClient, inference: InferenceServer) -> None:
    """Whatever the code; without the traceback of its backend."""
    inference.refusals["RepositoryModelLoad"] = (
        grpc.StatusCode.INVALID_ARGUMENT,
        "load failed for model 'm': bad file\n\nAt:\n  /srv/secret/model.py(107): open_session\n",
    )
    with pytest.raises(ServerRefused) as caught:
        await client.load("m", 5)
    assert caught.value.words == "load failed for model 'm': bad file"


async def test_a_long_refusal_carries_the_servers_words(client: RuntimeClient, inference: InferenceServer) -> None:
    """A model of thousands of columns whose names do not match: gRPC alone would say how long that is."""
    said = "feature_names mismatch: " + ", ".join(f"'column_{number}'" for number in range(3_000))
    assert len(said) > 40_000
    inference.refusals["RepositoryModelLoad"] = (grpc.StatusCode.INTERNAL, said)
    with pytest.raises(ServerRefused) as caught:
        await client.load("m", 5)
    assert caught.value.words == said


async def test_unavailable_is_a_word_if_the_server_answers_and_its_death_if_not(
    client: RuntimeClient, inference: InferenceServer
) -> None:
    """So that a dead server never fails a model."""
    inference.refusals["RepositoryModelLoad"] = (grpc.StatusCode.UNAVAILABLE, "too busy")
    with pytest.raises(ServerRefused, match="too busy"):
        await client.load("m", 5)
    await inference.stop()
    with pytest.raises(ServerGone):
        await client.load("m", 5)


async def test_silence_is_told_from_death(client: RuntimeClient, inference: InferenceServer) -> None:
    """A frozen server may still act on what it was sent."""
    inference.answers.clear()
    with pytest.raises(ServerSilent, match=r"no answer within 0\.05 s"):
        await client.load("m", 0.05)
    inference.answers.set()


async def test_an_unload_of_an_unknown_model_is_done(client: RuntimeClient, inference: InferenceServer) -> None:
    """Each server has its own words for it; absence is what counts."""
    await client.unload("never", 5)
    inference.refusals["RepositoryModelUnload"] = (grpc.StatusCode.INVALID_ARGUMENT, "Model never not found")
    await client.unload("never", 5)


async def test_an_unload_that_is_refused_while_the_model_stays_is_an_error(
    client: RuntimeClient, inference: InferenceServer
) -> None:
    """In the server's words."""
    inference.index["m"] = "READY"
    inference.refusals["RepositoryModelUnload"] = (grpc.StatusCode.INTERNAL, "cannot")
    with pytest.raises(ServerRefused, match="cannot"):
        await client.unload("m", 5)


def test_words_are_never_empty() -> None:
    """MLServer's may be."""
    assert words("") == "no reason given"
    assert words("110") == "110"
