"""
One runtime pod without the rest of the product: a real server, the real adapter beside it, and their leader's client.

For what is between an adapter and its server, which the whole product would only make slower to see. The processes are
launched as the product launches them, and are gone with the test however that ends.
"""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.domain.fleet import Copy, CopyKey, CopyState, LoadOrder
from orchestrator.domain.storage import Credentials
from orchestrator.domain.trained_model import parse_storage_uri
from orchestrator.fleet.client import FleetClient
from orchestrator.fleet.observed import ObservedFleet
from orchestrator.machinery.term import Term
from orchestrator.platform.local.guarding import Guarding
from orchestrator.platform.local.installation import find_installation
from orchestrator.platform.local.launch import PodTemplate
from orchestrator.platform.local.pod import PodSettings, RuntimePod, free_ports
from orchestrator.platform.local.stack import Stack, claim
from tests.standalone.processes import Process, descendants
from tests.standalone.store import Store

_CAPACITY = 4 << 30


class RealPod:
    """The pod, as its leader has it."""

    def __init__(self, pod: RuntimePod, stack: Stack, store: Store) -> None:
        self._pod = pod
        self._stack = stack
        self._credentials = Credentials(
            access_key_id=store.access_key, secret_access_key=store.secret_key, endpoint_url=store.endpoint
        )
        self._news = asyncio.Event()
        self._observed = ObservedFleet()
        self._fleet = FleetClient(self._observed, term=Term(1), on_change=lambda *_: self._news.set())

    @property
    def target(self) -> str:
        """Where the server takes requests."""
        return self._pod.view().endpoint

    @property
    def models(self) -> Path:
        """The server's repository."""
        return self._stack.pods / self._pod.view().uid / "models"

    def processes(self, role: str) -> tuple[Process, ...]:
        """Its processes with this role."""
        return tuple(p for p in descendants(os.getpid()) if p.role == role)

    async def connect(self) -> None:
        """Return when the server is ready."""
        self._fleet.list_pods([self._pod.view()])
        await self._until(lambda: all(view.usable for view in self._observed.pods()), within=60)

    async def close(self) -> None:
        """Leave it."""
        await self._fleet.close()

    async def load(self, model: str, revision: str, uri: str, framework: str, *, reserve: int = 0) -> Copy:
        """Command a load and return what became of it: Loaded or Failed."""
        key = CopyKey(model, f"uid-{model}", revision)
        await self._fleet.load(
            self._pod.view().uid,
            LoadOrder(
                key=key,
                source=parse_storage_uri(uri),
                uri=uri,
                framework=framework,
                credentials=self._credentials,
                reserve=reserve,
                urgent=True,
                timeout_s=60.0,
            ),
        )
        return await self.settled(model, revision)

    async def settled(self, model: str, revision: str) -> Copy:
        """The copy, once it is Loaded or Failed."""
        states = (CopyState.LOADED, CopyState.FAILED)

        def found() -> list[Copy]:
            return [c for c in self.copies(model) if c.key.revision == revision and c.state in states]

        await self._until(lambda: bool(found()), within=60)
        return found()[0]

    async def unload(self, model: str, revision: str) -> None:
        """Return when the copy is gone."""
        await self._fleet.unload(self._pod.view().uid, CopyKey(model, f"uid-{model}", revision))
        await self._until(lambda: all(c.key.revision != revision for c in self.copies(model)), within=60)

    def copies(self, model: str) -> tuple[Copy, ...]:
        """Of this model, as last reported."""
        return self._observed.copies(model)

    async def _until(self, condition: Callable[[], bool], *, within: float) -> None:
        async with asyncio.timeout(within):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def real_pod(server_type: str, state: Path, store: Store) -> AsyncIterator[RealPod]:
    """A pod whose server is ready."""
    stack = claim(state)
    guarding = Guarding(stack, random.random)
    try:
        await guarding.start()
        settings = PodSettings(stack=stack, found=find_installation(), environment=os.environ, random=random.random)
        template = PodTemplate(runtime=f"{server_type}-real", server_type=server_type, capacity_bytes=_CAPACITY)
        pod = RuntimePod(template, str(uuid.uuid4()), free_ports(frozenset()), settings, lambda: None)
        running = asyncio.create_task(pod.run())
        leader = RealPod(pod, stack, store)
        try:
            await leader.connect()
            yield leader
        finally:
            await leader.close()
            pod.stop(2.0)
            await running
    finally:
        await guarding.dismiss()
        stack.release()
