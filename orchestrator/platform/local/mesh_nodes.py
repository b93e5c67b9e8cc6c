"""
The Envoys of a stack: those that the supervisor was told to run, whatever state they are in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from orchestrator.ports import OnNodes


class FixedNodes:
    """Implements `ports.MeshNodes`."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self._nodes = frozenset(nodes)

    async def run(self, on_nodes: OnNodes) -> None:
        """Call back once, and wait to be cancelled."""
        on_nodes(self._nodes)
        await asyncio.Event().wait()
