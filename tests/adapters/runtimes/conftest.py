"""Fixtures of the runtimes' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.adapters.runtimes.inference_server import InferenceServer, inference_server


@pytest.fixture
async def inference() -> AsyncIterator[InferenceServer]:
    """A server that does as it is told."""
    async with inference_server() as server:
        yield server
