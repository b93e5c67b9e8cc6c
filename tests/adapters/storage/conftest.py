"""Fixtures of the storage tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio

from adapters.storage.limits import StorageLimits
from adapters.storage.s3 import S3Store
from tests.adapters.storage.stores import LyingStore, lying, rclone

LARGE = bytes(range(256)) * 10_000
#: More than a page of a listing; most are empty, which the store is not asked for.
MANY = {f"{number:04}": b"" if number % 20 else str(number).encode() for number in range(1100)}


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3 server with a bucket of everything; its endpoint."""
    bucket = tmp_path_factory.mktemp("s3") / "bucket"
    contents = {
        "model.onnx": b"one object",
        "empty.bin": b"",
        "dir/a/b/c": b"deep",
        "dir/__init__.py": b"",
        "dir/model.onnx": b"in a directory",
        "dir-2/model.onnx": b"a sibling",
        "large": LARGE,
        "with space+plus%/ü.txt": b"odd name",
    }
    contents |= {f"many/{name}": content for name, content in MANY.items()}
    for path, content in contents.items():
        (bucket / path).parent.mkdir(parents=True, exist_ok=True)
        (bucket / path).write_bytes(content)
    with rclone(bucket.parent) as endpoint:
        yield endpoint


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_liar() -> AsyncIterator[LyingStore]:
    async with lying() as store:
        yield store


@pytest.fixture
def liar(shared_liar: LyingStore) -> LyingStore:
    """A store that lies as the test tells it to; each test begins with an honest one."""
    shared_liar.reset()
    return shared_liar


def limits(read_s: float) -> StorageLimits:
    return StorageLimits(
        part_bytes=1_000_000, connect_s=5.0, read_s=read_s, attempts=2, max_objects=1200, max_bytes=10**7
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def s3() -> AsyncIterator[S3Store]:
    """What is tested. Shared, as in life: a client is work, and outlives what goes wrong with it."""
    store = S3Store(limits(10.0))
    yield store
    await store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient() -> AsyncIterator[S3Store]:
    """The same, for stores that are silent: one that is not may be taken for it where the machine is busy."""
    store = S3Store(limits(0.15))
    yield store
    await store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stubborn() -> AsyncIterator[S3Store]:
    """As impatient, and asks again and again: for stores that are silent now and then."""
    store = S3Store(replace(limits(0.15), attempts=50))
    yield store
    await store.close()
