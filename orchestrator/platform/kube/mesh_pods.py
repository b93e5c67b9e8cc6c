"""
Which Envoys exist: the mesh pods that get requests, by uid.

A route counts as accepted when each of these has it (`ports.MeshNodes`). One
that is not ready gets no new client and has its first snapshot before it does,
so it is not waited for; one that is on its way out takes no new client either.

A cluster that has not heard of a node for a while calls each pod there not
ready, whatever it is; so it does after an API server that was away for a minute,
until each kubelet has looked again, which takes it another one. Nothing is known
of these pods then. Those that are connected are alive.

Not promised: that a client which still holds a connection to a pod that is not
ready any more finds each route there. It ends at the activator then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, Final, Never

from orchestrator.platform.kube import names, paths
from orchestrator.platform.kube.answers import UNREADABLE, Raw
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.reflector import Reflector
from orchestrator.ports import OnNodes

_SELECTOR: Final = f"{names.LABEL_NAME}={names.PRODUCT},{names.LABEL_COMPONENT}={names.MESH}"


class Standing(Enum):
    """What a pod is to the mesh."""

    #: Clients are sent there: it is ready, and not told to end.
    SERVING = auto()
    #: It was when its node was last heard of: its containers are called ready still, and only the pod is not. Or what
    #: is said of it cannot be read.
    UNHEARD = auto()
    NONE = auto()


def standing(pod: Mapping[str, Any]) -> Standing:
    """By what the API server says of it."""
    if pod["metadata"].get("deletionTimestamp"):
        return Standing.NONE
    if UNREADABLE in pod:
        return Standing.UNHEARD
    conditions = (pod.get("status") or {}).get("conditions") or ()
    true = {c.get("type") for c in conditions if c.get("status") == "True"}
    if "Ready" in true:
        return Standing.SERVING
    return Standing.UNHEARD if "ContainersReady" in true else Standing.NONE


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
            read=standing,
            clock=clock,
            random=random,
        )
        #: By uid.
        self._standings: dict[str, Standing] = {}
        self._changed = asyncio.Event()

    async def watch(self) -> Never:
        """Follow the pods until cancelled; `run` says what is known by then."""
        await self._reflector.run()

    async def run(self, on_nodes: OnNodes) -> Never:
        """Call back with all of them, now and on each change, until cancelled. No list, no call."""
        await self._reflector.synced.wait()
        while True:
            self._changed.clear()
            on_nodes(self._that(Standing.SERVING), self._that(Standing.UNHEARD))
            await self._changed.wait()

    def _on_list(self, pods: list[Raw]) -> None:
        self._set({pod["metadata"]["uid"]: standing(pod) for pod in pods})

    def _on_event(self, kind: str, pod: Raw) -> None:
        self._set(self._standings | {pod["metadata"]["uid"]: Standing.NONE if kind == "DELETED" else standing(pod)})

    def _set(self, standings: dict[str, Standing]) -> None:
        standings = {uid: each for uid, each in standings.items() if each is not Standing.NONE}
        if standings != self._standings:
            self._standings = standings
            self._changed.set()

    def _that(self, wanted: Standing) -> frozenset[str]:
        return frozenset(uid for uid, each in self._standings.items() if each is wanted)
