"""The Envoys of a stack."""

from __future__ import annotations

import asyncio

from orchestrator.platform.local.mesh_nodes import FixedNodes
from tests.orchestrator.waiting import eventually


async def test_they_are_told_once() -> None:
    """And nothing ends but by cancellation: what ended would end the control plane."""
    told: list[frozenset[str]] = []
    task = asyncio.create_task(FixedNodes(["mesh-0"]).run(told.append))
    await eventually(lambda: told)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})
    assert told == [{"mesh-0"}]
