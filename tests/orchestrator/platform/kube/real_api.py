"""
The contract of test_api.py, against the API server of KUBECONFIG, in namespaces that it makes and removes.

    KUBECONFIG=... pytest tests/orchestrator/platform/kube/real_api.py

Not collected by itself: the cluster tier runs it where its API server can be reached.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.connect import connect
from orchestrator.platform.kube.paths import core
from tests.orchestrator.platform.kube.api_contract import ApiContract


@pytest.fixture
async def api() -> AsyncIterator[KubeApi]:
    async with await connect(os.environ, time.monotonic) as api:
        yield api


@pytest.fixture
async def namespace(api: KubeApi) -> AsyncIterator[str]:
    name = f"test-contract-{uuid.uuid4().hex[:8]}"
    await api.create(core("namespaces", None), {"metadata": {"name": name}})
    yield name
    await api.delete(core("namespaces", None, name))


class TestReal(ApiContract):
    """What a real API server does: the tests' own is held to the same."""
