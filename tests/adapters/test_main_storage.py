"""The process and what it downloads: its memory, its disk, its end in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protos import fleet_pb2
from tests.adapters.leader import DOWNLOADING, FAILED, LOADED
from tests.adapters.process import adapter, leading
from tests.adapters.runtimes.inference_server import InferenceServer, inference_server
from tests.adapters.storage.stores import ACCESS, SECRET, LyingStore, lying, rclone
from tests.adapters.world import until
from tests.small_disk import filled

MIB = 1024 * 1024
GIB = 1024 * MIB


@pytest.fixture
async def server() -> AsyncIterator[InferenceServer]:
    async with inference_server() as server:
        yield server


@pytest.fixture
async def liar() -> AsyncIterator[LyingStore]:
    async with lying() as store:
        yield store


def credentials(endpoint: str) -> fleet_pb2.Credentials:
    return fleet_pb2.Credentials(access_key_id=ACCESS, secret_access_key=SECRET, endpoint_url=endpoint)


async def test_a_model_of_two_gigabytes_takes_little_memory(tmp_path: Path, server: InferenceServer) -> None:
    """Every byte is where it belongs, and the adapter never had 300 MB."""
    marks = {0: b"first", GIB - 3: b"middle", 2 * GIB - 4: b"last"}
    bucket = tmp_path / "s3" / "bucket"
    bucket.mkdir(parents=True)
    with (bucket / "model.onnx").open("wb") as model:
        model.truncate(2 * GIB)
        for offset, mark in marks.items():
            model.seek(offset)
            model.write(mark)
    with rclone(bucket.parent, etags=False) as endpoint, adapter(tmp_path, server.target) as process:
        async with leading(process) as leader:
            await leader.load("large", path="model.onnx", bucket="bucket", credentials=credentials(endpoint))
            copy = await leader.until_state(LOADED, "large", within_s=240)
            assert copy.measured == 2 * GIB
            with (process.models / "large/1/model.onnx").open("rb") as model:
                for offset, mark in marks.items():
                    model.seek(offset)
                    assert model.read(len(mark)) == mark
            assert process.peak_kib < 300_000_000 / 1024
            await leader.unload("large")
            await leader.until(lambda: "large" in leader.gone)
            assert process.files() == []


async def test_a_model_of_five_thousand_objects_takes_little_memory(
    tmp_path: Path, server: InferenceServer, liar: LyingStore
) -> None:
    """An ONNX model with external data, a tensor a file: each is where it belongs, and the adapter never had 300 MB."""
    objects = {f"weights/{number:04}": b"%04d" % number * 500 for number in range(4999)}
    objects["model.onnx"] = b"graph"
    liar.objects = {f"many/{path}": content for path, content in objects.items()}
    with adapter(tmp_path, server.target) as process:
        async with leading(process) as leader:
            await leader.load("many", path="many", bucket="bucket", credentials=credentials(liar.endpoint))
            copy = await leader.until_state(LOADED, "many", within_s=120)
            assert copy.measured == sum(map(len, objects.values()))
            there = process.models / "many/1/model.onnx"
            assert [path for path, content in objects.items() if (there / path).read_bytes() != content] == []
            assert process.peak_kib < 300_000_000 / 1024


async def test_an_adapter_killed_in_a_download_leaves_nothing_behind(
    tmp_path: Path, server: InferenceServer, liar: LyingStore
) -> None:
    """The next one finds half a model, removes it, and can be told to load it."""
    liar.objects = {"a": bytes(4 * MIB)}
    liar.cut, liar.hang = MIB, {"BODY"}
    with adapter(tmp_path, server.target) as first:
        async with leading(first) as leader:
            await leader.load("a", bucket="bucket", credentials=credentials(liar.endpoint))
            await until(lambda: liar.sent == MIB)
            await until(lambda: first.files() == ["a"])
        first.kill()
    liar.cut, liar.hang = None, set()
    with adapter(tmp_path, server.target) as second:
        async with leading(second) as leader:
            assert second.files() == []
            assert list((second.scratch / "staging").iterdir()) == []
            assert leader.copies == {}
            await leader.load("a", bucket="bucket", credentials=credentials(liar.endpoint))
            await leader.until_state(LOADED, "a")
            assert second.files() == ["config.pbtxt", "model.onnx"]


async def test_a_disk_that_is_full_fails_the_model_and_nothing_else(
    tmp_path: Path, server: InferenceServer, liar: LyingStore
) -> None:
    """Before the download or in the middle of it: named, tidied up, and loaded once there is room."""
    liar.objects = {"a": bytes(MIB), "b": bytes(4 * MIB)}
    who = credentials(liar.endpoint)
    with adapter(tmp_path, server.target, disk_bytes=40 * MIB) as process:
        async with leading(process) as leader:
            await leader.load("a", bucket="bucket", credentials=who)
            await leader.until_state(LOADED, "a")
            served = process.files()
            with filled(process.scratch):
                await leader.load("b", bucket="bucket", credentials=who)
                copy = await leader.until_state(FAILED, "b")
                assert copy.failure.reason == "StorageUnavailable"
                assert "s3://bucket/b: the adapter's disk is full" in copy.failure.message
            await until(lambda: process.files() == served)

            liar.cut, liar.hang, liar.sent = MIB, {"BODY"}, 0
            await leader.load("b", bucket="bucket", credentials=who)
            await leader.until_state(DOWNLOADING, "b")
            await until(lambda: liar.sent == MIB)
            with filled(process.scratch):
                liar.cut, liar.hang = None, set()
                liar.release()
                copy = await leader.until_state(FAILED, "b")
                assert copy.failure.reason == "StorageUnavailable"
                assert "s3://bucket/b: the adapter's disk is full (No space left on device)" in copy.failure.message
            await until(lambda: process.files() == served)
            assert leader.copies["a"].state == LOADED

            await leader.load("b", bucket="bucket", credentials=who)
            await leader.until_state(LOADED, "b")
