"""
Builds the control plane, starts it in order, stops it in reverse.

The order is the law of starting: the epoch raises the fences, the first lists
and reports come in, only then do the ports open for Envoys and activators and
do workers decide anything. What an adapter has not told within the patience
is unknown, never absent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import structlog

from orchestrator.admin.server import AdminServer
from orchestrator.admin.term_view import TermView, Use
from orchestrator.controller.actor import Actor
from orchestrator.controller.controller import Controller, Key, enqueue_model, enqueue_pool, enqueue_status
from orchestrator.controller.counts import ControllerCounts, CountedStatuses, census
from orchestrator.controller.desired import DesiredState
from orchestrator.controller.observer import Observer
from orchestrator.controller.pool_keeper import PoolKeeper
from orchestrator.controller.reconciler import Reconciler
from orchestrator.controller.removals import Removals
from orchestrator.controller.residency import Residency
from orchestrator.domain.config import Config
from orchestrator.fleet.client import FleetClient
from orchestrator.fleet.observed import ObservedFleet
from orchestrator.fleet.stock import stock
from orchestrator.machinery.figures import Figure
from orchestrator.machinery.term import Term
from orchestrator.machinery.work_queue import WorkQueue
from orchestrator.mesh.demand_book import DemandBook
from orchestrator.mesh.demand_server import DemandServer
from orchestrator.mesh.load_reports import LoadReports
from orchestrator.mesh.resources import ClusterFactory
from orchestrator.mesh.router import Router
from orchestrator.mesh.server import SERVER_OPTIONS, MeshServer
from orchestrator.mesh.usage import Usage
from orchestrator.ports import DesiredSource, MeshNodes, Pools, Recorder, StatusWriter
from orchestrator.settings import VERSION, ControlPlaneSettings
from orchestrator.transport.identity import MESH, Identities
from orchestrator.transport.server import OnlyRole, server_credentials

log = structlog.get_logger(__name__)

#: How long a new leader waits for each pod's first report. A pod that is silent longer is unknown, and work begins.
PATIENCE_S: Final = 3.0
_SERVER_GRACE_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Where desired state comes from and what runs pools."""

    source: DesiredSource
    statuses: StatusWriter
    recorder: Recorder
    #: Events of one model, newest last, for the admin API.
    events: Callable[[str], list[dict[str, Any]]]
    #: What is wrong with the desired state as it was given, a line each.
    problems: Callable[[], list[str]]
    #: Why the object of a model that is not known is not taken; "" if there is none.
    refused: Callable[[str], str]
    pools: Pools
    mesh: MeshNodes
    term: Term
    #: For mutual TLS with the mesh and the adapters; None: all is on one machine.
    identities: Identities | None = None


class ControlPlane:
    """One leader's term. `run` ends only by cancellation, or by what ends the process: a failure, or another leader."""

    def __init__(self, settings: ControlPlaneSettings, platform: Platform, admin: AdminServer) -> None:
        self._settings = settings
        self._platform = platform
        self._admin = admin
        self._counts = ControllerCounts()
        clock = time.monotonic
        self._queue: WorkQueue[Key] = WorkQueue(clock)
        self._statuses: WorkQueue[Key] = WorkQueue(clock, name="status")
        self._desired = DesiredState()
        self._keeper = PoolKeeper(clock)
        self._observed = ObservedFleet(clock)
        # Built below; callbacks reach it through these two lines only.
        self._router = Router(
            clusters=ClusterFactory(activator=settings.activator, max_message_bytes=settings.max_message_bytes),
            now=clock,
            on_change=lambda names: self._controller.models_changed(names),
        )
        self._book = DemandBook(on_want=lambda name: self._controller.models_changed(frozenset({name})))
        self._fleet = FleetClient(
            self._observed,
            term=platform.term,
            identities=platform.identities,
            on_change=lambda models, runtimes: self._controller.fleet_changed(models, runtimes),
        )
        observer = Observer(self._desired, self._observed, self._router, self._book, clock)
        self._usage = Usage(on_use=lambda rates: self._residency.reported(rates, clock()))
        residency = self._residency = Residency(self._usage.rate)
        removals = Removals(residency=residency, recorder=platform.recorder, clock=clock)
        actor = Actor(
            observer=observer,
            fleet=self._fleet,
            view=self._observed,
            mesh=self._router,
            activators=self._book,
            residency=residency,
            enqueue=enqueue_model(self._queue),
            counts=self._counts,
            clock=clock,
        )
        reconciler = Reconciler(
            desired=self._desired,
            observer=observer,
            actor=actor,
            view=self._observed,
            activators=self._book,
            residency=residency,
            removals=removals,
            keeper=self._keeper,
            pools=platform.pools,
            statuses=CountedStatuses(platform.statuses, self._counts),
            recorder=platform.recorder,
            defaults=Config(pods_per_runtime=settings.pods_per_runtime, pool_grace_s=settings.pool_grace_s),
            enqueue_pool=enqueue_pool(self._queue),
            enqueue_model=enqueue_model(self._queue),
            enqueue_status=enqueue_status(self._statuses),
            clock=clock,
        )
        self._controller = Controller(
            queue=self._queue,
            statuses=self._statuses,
            desired=self._desired,
            keeper=self._keeper,
            reconciler=reconciler,
            removals=removals,
            counts=self._counts,
        )
        self._working = False

    async def run(self) -> None:
        """Start in order and reconcile until cancelled."""
        settings, platform = self._settings, self._platform
        log.info("controller_starting", epoch=platform.term.epoch, namespace=settings.namespace, version=VERSION)
        self.show()
        identities = platform.identities
        # Of the roles that there are only the mesh has business here.
        guards = [OnlyRole(MESH)] if identities is not None else []
        server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=guards)
        MeshServer(self._router).add_to(server)
        DemandServer(self._book).add_to(server)
        LoadReports(self._usage).add_to(server)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(platform.term.run(), name="term")
                group.create_task(platform.source.run(self._controller), name="source")
                group.create_task(platform.pools.run(self._fleet.list_pods), name="pools")
                group.create_task(platform.mesh.run(self._router.expect), name="mesh")
                await self._controller.synced.wait()
                await self._fleet.heard(PATIENCE_S)
                _listen(server, settings.control, identities)
                await server.start()
                self._controller.models_changed(self._observed.models() | self._router.strangers())
                self._controller.fleet_changed(frozenset(), self._observed.runtimes())
                self._working = True
                log.info("controller_started", trained_models=len(self._desired.models))
                group.create_task(self._controller.run(), name="controller")
        finally:
            self._working = False
            await server.stop(_SERVER_GRACE_S)
            await self._fleet.close()
            self._admin.detach()
            log.info("controller_stopped")

    def show(self) -> None:
        """Have the admin server show this term."""
        self._admin.attach(
            TermView(
                epoch=self._platform.term.epoch,
                models=self._desired,
                fleet=self._observed,
                use=self._use,
                events=self._platform.events,
                problems=self._platform.problems,
                refused=self._platform.refused,
                working=lambda: self._working,
                figures=self._figures,
            )
        )

    def _use(self, model: str) -> Use:
        now = time.monotonic()
        used = self._residency.last_used(model, now)
        idle_s = None if used is None else now - used
        return Use(idle_s=idle_s, requests_per_s=self._usage.rate(model))

    def _figures(self) -> list[Figure]:
        return [
            *self._queue.figures(),
            *self._statuses.figures(),
            *census(self._desired.statuses()),
            *self._counts.figures(),
            *self._observed.counts.figures(),
            *stock(self._observed.pods()),
            *self._book.figures(),
            *self._router.figures(),
        ]


def _listen(server: grpc.aio.Server, address: str, identities: Identities | None) -> None:
    """Bind; a Unix socket that a killed process left behind is in nobody's use: its directory is this stack's own."""
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).unlink(missing_ok=True)
    if identities is not None:
        port = server.add_secure_port(address, server_credentials(identities))
    else:
        port = server.add_insecure_port(address)
    if port == 0:
        raise OSError(f"cannot listen on {address}")
