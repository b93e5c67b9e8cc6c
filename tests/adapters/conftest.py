"""Fixtures of the adapter's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.world import FakeServer, FakeStore, FullDisk, World, running


@pytest.fixture
def server(tmp_path: Path) -> FakeServer:
    fake = FakeServer(tmp_path / "repository")
    fake.start()
    return fake


@pytest.fixture
def store() -> FakeStore:
    fake = FakeStore()
    fake.objects = {"a": b"model A", "b": b"model B", "bad": b"bad model", "dir/model.onnx": b"in a directory"}
    return fake


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    """A disk that has room until the test says otherwise."""
    return FullDisk(monkeypatch)


@pytest.fixture
async def world(tmp_path: Path, server: FakeServer, store: FakeStore) -> AsyncIterator[World]:
    """An adapter whose server is ready."""
    async with running(World(tmp_path, server, store)) as made:
        await made.until_ready()
        yield made
