"""A client of adapters, and a real gRPC server in an adapter's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from orchestrator.domain.fleet import CopyKey, CopyState, Pod
from orchestrator.fleet.client import FleetClient
from orchestrator.fleet.convert import key_to_proto
from orchestrator.fleet.observed import ObservedFleet
from orchestrator.machinery.term import Term
from protos import fleet_pb2, fleet_pb2_grpc
from tests.orchestrator.builders import make_credentials, make_key, make_order, make_pod

EPOCH = 1_700_000_000_000
KEY = make_key()


class FakeAdapter(fleet_pb2_grpc.AdapterServicer):
    """Says what it is told to say, and remembers what it was asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.hellos: list[fleet_pb2.Hello] = []
        self.commands: list[fleet_pb2.LoadRequest | fleet_pb2.UnloadRequest] = []
        self.refuse: tuple[grpc.StatusCode, str] | None = None
        #: The highest epoch that it has seen, as far as it says.
        self.epoch = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self._says: asyncio.Queue[fleet_pb2.Report] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._says = asyncio.Queue()
        self._server = grpc.aio.server()
        fleet_pb2_grpc.add_AdapterServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    @property
    def unsaid(self) -> int:
        """How many reports nobody has heard yet."""
        return self._says.qsize()

    def say(self, *copies: tuple[CopyKey, fleet_pb2.CopyState.ValueType], full: bool = False, boot: str = "b1") -> None:
        """The next report."""
        made = [fleet_pb2.Copy(key=key_to_proto(k), state=s) for k, s in copies]
        self._says.put_nowait(
            fleet_pb2.Report(boot=boot, full=full, copies=made, server=fleet_pb2.SERVER_STATE_READY, epoch=self.epoch)
        )

    async def Watch(
        self, request: fleet_pb2.Hello, context: grpc.aio.ServicerContext[fleet_pb2.Hello, fleet_pb2.Report]
    ) -> AsyncIterator[fleet_pb2.Report]:
        self.hellos.append(request)
        while True:
            yield await self._says.get()

    async def Load(
        self,
        request: fleet_pb2.LoadRequest,
        context: grpc.aio.ServicerContext[fleet_pb2.LoadRequest, fleet_pb2.Accepted],
    ) -> fleet_pb2.Accepted:
        return await self._take(request, context)

    async def Unload(
        self,
        request: fleet_pb2.UnloadRequest,
        context: grpc.aio.ServicerContext[fleet_pb2.UnloadRequest, fleet_pb2.Accepted],
    ) -> fleet_pb2.Accepted:
        return await self._take(request, context)

    async def _take(
        self, request: fleet_pb2.LoadRequest | fleet_pb2.UnloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> fleet_pb2.Accepted:
        self.commands.append(request)
        await self.hold.wait()
        if self.refuse is not None:
            await context.abort(*self.refuse, (("wml-epoch", str(self.epoch)), ("wml-boot", "b1")))
        return fleet_pb2.Accepted()


class Bench:
    """A client and what it observed, with one adapter."""

    def __init__(self, directory: Path, term: Term | None = None) -> None:
        self.adapter = FakeAdapter(f"unix:{directory}/adapter.sock")
        self.observed = ObservedFleet()
        self.changed: set[str] = set()
        self.term = term or Term(EPOCH)
        self.client = FleetClient(self.observed, term=self.term, on_change=self._on_change)
        self.pod: Pod = make_pod("p1", adapter=self.adapter.address)

    def _on_change(self, models: frozenset[str], runtimes: frozenset[str]) -> None:
        self.changed |= models | runtimes

    def confirm(self) -> bool:
        """The lease is renewed."""
        self.term.confirm()
        return True

    @property
    def known(self) -> bool:
        view = self.observed.pod("p1")
        return view is not None and view.known

    def state(self, key: CopyKey = KEY) -> CopyState | None:
        copy = self.observed.copies_in("p1").get(key)
        return copy.state if copy is not None else None

    async def load(self) -> None:
        credentials = make_credentials(secret_access_key="hunter2hunter2")
        await self.client.load("p1", make_order(key=KEY, credentials=credentials))
