"""
One revision in another's place, as the adapter has a real server do it, asked without the mesh that would retry.

Version n of the model is prober n: each answer says which version gave it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.domain.fleet import CopyState
from tests.standalone.client import Client
from tests.standalone.models import Models
from tests.standalone.real_pod import RealPod, real_pod
from tests.standalone.store import Store
from tests.standalone.witness import Witness

#: More than any load takes, less than any clock is off.
AN_HOUR_NS = 3600 * 10**9


@dataclass(frozen=True, slots=True)
class Server:
    """One kind of server."""

    server_type: str
    framework: str
    suffix: str

    def uri(self, models: Models, number: int) -> str:
        return models.uri(f"probe-{number}.{self.suffix}")


SERVERS = {"mlserver": Server("mlserver", "sklearn", "joblib"), "triton": Server("triton", "onnx", "onnx")}


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Server:
    """Either."""
    return SERVERS[request.param]


@pytest.fixture
async def pod(server: Server, tmp_path: Path, store: Store) -> AsyncIterator[RealPod]:
    """One with its adapter."""
    async with real_pod(server.server_type, tmp_path / "state", store) as pod:
        yield pod


@pytest.fixture
def asked(pod: RealPod, models: Models) -> Witness:
    """Asks the server all the while that its context lasts."""
    return Witness(pod.target, ["m"], models.probes, models.probe_labels)


async def heard(asked: Witness, number: int) -> None:
    """This version answers from now on."""
    await asyncio.to_thread(asked.heard, "m", number)


async def test_there_and_back(pod: RealPod, server: Server, models: Models, asked: Witness) -> None:
    """1 → 2 → 1 → 3, each answered from the moment it is loaded, and nothing else; whatever the files' times and the clock say."""
    await pod.load("m", "r0", server.uri(models, 1), server.framework)
    with asked:
        await heard(asked, 1)
        for turn, number in enumerate((2, 1, 3)):
            if turn == 1:
                # As if the clock had been an hour ahead at this load, and were set back now.
                _shift(pod.models / "m", AN_HOUR_NS)
                with Client(pod.target) as client:
                    await asyncio.to_thread(client.triton.load_model, "m")
            copy = await pod.load("m", f"r{turn + 1}", server.uri(models, number), server.framework)
            assert copy.state is CopyState.LOADED, copy
            assert [c.key.revision for c in pod.copies("m")] == [f"r{turn + 1}"]
            await heard(asked, number)
    asked.check()
    assert asked.phases("m") == [1, 2, 1, 3]


async def test_changed_bytes_under_the_same_name(
    pod: RealPod, server: Server, models: Models, store: Store, asked: Witness
) -> None:
    """What the annotation `reload` asks for: another revision of the same URI."""
    uri = f"s3://models/replaced/{server.server_type}.{server.suffix}"
    store.put(uri, models.file(f"probe-4.{server.suffix}"))
    await pod.load("m", "r0", uri, server.framework)
    with asked:
        await heard(asked, 4)
        store.put(uri, models.file(f"probe-5.{server.suffix}"))
        copy = await pod.load("m", "r1", uri, server.framework)
        assert copy.state is CopyState.LOADED, copy
        await heard(asked, 5)
    asked.check()
    assert asked.phases("m") == [4, 5]


async def test_what_fails_leaves_what_serves(
    pod: RealPod, server: Server, models: Models, store: Store, asked: Witness
) -> None:
    """
    A corrupt file, one that is cut short, a layout that cannot be, a source that is not there: the old one answers on.

    Then, after all that, a good one takes its place.
    """
    content = models.file(f"probe-2.{server.suffix}").read_bytes()
    base = f"s3://models/failing/{server.server_type}"
    store.put(f"{base}/corrupt.{server.suffix}", b"\x80\x04nonsense" * 100)
    store.put(f"{base}/short.{server.suffix}", content[: len(content) // 2])
    for name in ("one", "two"):
        store.put(f"{base}/layout/{name}.{server.suffix}", content)
    failing = {
        f"{base}/corrupt.{server.suffix}": "ModelLoadFailed",
        f"{base}/short.{server.suffix}": "ModelLoadFailed",
        f"{base}/layout": "InvalidModelLayout",
        f"{base}/missing": "ModelNotFound",
    }
    before = await pod.load("m", "good", server.uri(models, 1), server.framework)
    with asked:
        await heard(asked, 1)
        for turn, (uri, reason) in enumerate(failing.items()):
            copy = await pod.load("m", f"bad-{turn}", uri, server.framework)
            assert copy.failure is not None, (uri, copy)
            assert copy.failure.reason == reason
            assert before in pod.copies("m")
            await heard(asked, 1)
        copy = await pod.load("m", "better", server.uri(models, 3), server.framework)
        assert copy.state is CopyState.LOADED, copy
        await heard(asked, 3)
    asked.check()
    assert asked.phases("m") == [1, 3]


def _shift(tree: Path, by_ns: int) -> None:
    for path in (tree, *tree.rglob("*")):
        moment = path.stat().st_mtime_ns + by_ns
        os.utime(path, ns=(moment, moment))
