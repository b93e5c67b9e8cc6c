"""
Which Envoys exist: the mesh pods that get requests, by uid.

A route counts as accepted when each of these has it (`ports.MeshNodes`). One
that is not ready gets no new client and has its first snapshot before it does,
so it is not waited for; one that is on its way out takes no new client either.

Not promised: that a client which still holds a connection to a pod that is not
ready any more finds each route there. It ends at the activator then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Never

from orchestrator.platform.kube import names, paths
from orchestrator.platform.kube.answers import Raw
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.reflector import Reflector

_SELECTOR: Final = f"{names.LABEL_NAME}={names.PRODUCT},{names.LABEL_COMPONENT}={names.MESH}"


def takes_requests(pod: Raw) -> bool:
    """Whether clients are sent there: it is ready, and not told to end."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


class MeshPods:
    """Implements `ports.MeshNodes`."""

    def __init__(
        self, api: KubeApi, namespace: str, *, clock: Callable[[], float], random: Callable[[], float]
    ) -> None:
        self._reflector = Reflector(
            api,
            paths.core("pods", namespace),
            label_selector=_SELECTOR,
            on_list=self._on_list,
            on_event=self._on_event,
            clock=clock,
            random=random,
        )
        self._serving: frozenset[str] = frozenset()
        self._changed = asyncio.Event()

    async def watch(self) -> Never:
        """Follow the pods until cancelled; `run` says what is known by then."""
        await self._reflector.run()

    async def run(self, on_nodes: Callable[[frozenset[str]], None]) -> Never:
        """Call back with all of them, now and on each change, until cancelled. No list, no call."""
        await self._reflector.synced.wait()
        while True:
            self._changed.clear()
            on_nodes(self._serving)
            await self._changed.wait()

    def _on_list(self, pods: list[Raw]) -> None:
        self._set(frozenset(pod["metadata"]["uid"] for pod in pods if takes_requests(pod)))

    def _on_event(self, kind: str, pod: Raw) -> None:
        uid = frozenset({pod["metadata"]["uid"]})
        self._set(self._serving | uid if kind != "DELETED" and takes_requests(pod) else self._serving - uid)

    def _set(self, serving: frozenset[str]) -> None:
        if serving != self._serving:
            self._serving = serving
            self._changed.set()
