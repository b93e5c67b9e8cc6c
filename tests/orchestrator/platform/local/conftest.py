"""
A stack, an installation, and pods whose servers are scripts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.platform.local.installation import Installation, find_installation
from orchestrator.platform.local.pod import PodSettings
from orchestrator.platform.local.pod_set import PodSet
from orchestrator.platform.local.stack import Stack
from tests.orchestrator.platform.local.support import claimed, environment, half


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own."""
    with claimed(tmp_path / "state") as stack:
        yield stack


@pytest.fixture
def found(tmp_path: Path) -> Installation:
    """As `make` lays it out."""
    runtimes = tmp_path / "runtimes"
    for name, path in {
        "envoy": "lib/python3.11/site-packages/envoy/_bin/envoy",
        "mlserver": "bin/mlserver",
        "triton": "lib/python3.11/site-packages/pytriton/tritonserver/bin/tritonserver",
    }.items():
        (runtimes / name / path).parent.mkdir(parents=True)
        (runtimes / name / path).touch(0o755)
    stub = runtimes / "triton/backends/python/triton_python_backend_stub"
    stub.parent.mkdir(parents=True)
    stub.touch(0o755)
    (runtimes / "triton/host").mkdir()
    (runtimes / "triton/host/libpython3.11.so.1.0").touch()
    return find_installation(runtimes)


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> PodSettings:
    """`mlserver` and the adapter are a script that says what it was given and sleeps."""
    script = tmp_path / "server"
    script.write_text('#!/bin/sh\necho "started $@"\nexec sleep 100\n')
    script.chmod(0o755)
    none = tmp_path / "none"
    found = Installation(
        envoy=none, mlserver=script, triton=none, triton_backends=none, triton_host=none, triton_python="3.11"
    )
    return PodSettings(stack=stack, found=found, environment=environment(), random=half, python=str(script))


@pytest.fixture
async def pods(settings: PodSettings) -> AsyncIterator[PodSet]:
    """A set that runs; at the end nothing of it is left."""
    pods = PodSet.on_this_machine(settings)
    task = asyncio.create_task(pods.run())
    yield pods
    pods.end(0.5)
    async with asyncio.timeout(10):
        await task
    assert pods.pods() == ()
