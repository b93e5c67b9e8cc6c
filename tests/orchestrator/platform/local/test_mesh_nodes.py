"""The Envoys of a stack."""

from __future__ import annotations

import asyncio

from orchestrator.platform.local.mesh_nodes import FixedNodes
from tests.orchestrator.waiting import eventually


async def test_they_are_told_once() -> None:
    """And nothing ends but by cancellation: what ended would end the control plane."""
    told: list[tuple[frozenset[str], frozenset[str]]] = []

    def tell(nodes: frozenset[str], unheard: frozenset[str] = frozenset(), /) -> None:
        told.append((nodes, unheard))

    task = asyncio.create_task(FixedNodes(["mesh-0"]).run(tell))
    await eventually(lambda: told)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})
    assert told == [(frozenset({"mesh-0"}), frozenset())]
