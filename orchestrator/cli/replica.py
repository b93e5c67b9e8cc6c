"""
The command `controller` in a cluster: one replica of the orchestrator, which stands by until it leads.

What a standby does already is what makes taking over quick: it has listed the
desired state and follows it, and its image and its certificate are there. All
else begins with the lead and ends with it; so does the process, for what it
knows is of a term that is over. An orderly end gives the lease back last, when
nothing is commanded any more.

An API server that is away ends no standby, and no probe: restarting would not
bring it back.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from argparse import Namespace
from datetime import UTC, datetime
from typing import Final

import structlog

from orchestrator.admin.leader import Leader
from orchestrator.admin.server import AdminServer
from orchestrator.cli.mesh import ACTIVATOR
from orchestrator.domain.addresses import host_port
from orchestrator.domain.errors import EventReason
from orchestrator.domain.serving_runtime import API_VERSION as RUNTIME_API
from orchestrator.domain.serving_runtime import KIND as RUNTIME_KIND
from orchestrator.domain.timestamp import timestamp
from orchestrator.machinery.live_level import LiveLevel
from orchestrator.machinery.logs import configure_logs
from orchestrator.machinery.pulse import Pulse
from orchestrator.machinery.term import Term
from orchestrator.manager import ControlPlane, Platform
from orchestrator.platform.builtin import builtin_manifests
from orchestrator.platform.kube import names
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.connect import connect
from orchestrator.platform.kube.counts import KubeCounts
from orchestrator.platform.kube.events import EventRecorder, Reference
from orchestrator.platform.kube.lease import Elector
from orchestrator.platform.kube.liveness import LEASE_BOUND_S, beat_on_lease
from orchestrator.platform.kube.mesh_pods import MeshPods
from orchestrator.platform.kube.pod_settings import PodSettings
from orchestrator.platform.kube.pools import KubePools
from orchestrator.platform.kube.runtime_user import runtime_user
from orchestrator.platform.kube.source import KubeSource
from orchestrator.platform.kube.statuses import StatusWriter
from orchestrator.platform.kube.tls_secrets import TlsSecrets
from orchestrator.settings import VERSION, ControlPlaneSettings

log = structlog.get_logger(__name__)

#: What ModelMesh has.
_PODS_PER_RUNTIME: Final = 2


async def replica(arguments: Namespace) -> None:
    """Stand by, and lead until cancelled or until another does. Raises NoCluster."""
    configure_logs(arguments.log_level, process="controller")
    counts, lease = KubeCounts(), Pulse(time.monotonic, LEASE_BOUND_S)
    trace = counts.trace()
    beat_on_lease(trace, lease)
    async with await connect(os.environ, time.monotonic, trace=trace) as api:
        await Replica(api, arguments, counts, lease).run()


class Replica:
    """The parts of one process that live as long as it does."""

    def __init__(self, api: KubeApi, arguments: Namespace, counts: KubeCounts, lease: Pulse) -> None:
        namespace: str = arguments.namespace
        self._term: Term | None = None
        self._api = api
        self._arguments = arguments
        self._events = EventRecorder(
            api,
            namespace=namespace,
            identity=arguments.identity,
            timestamp=_timestamp,
            new_suffix=lambda: secrets.token_hex(8),
            clock=time.monotonic,
            random=random.random,
            api_version=arguments.models_api,
            leads=self._leads,
        )
        self._source = KubeSource(
            api,
            namespace=namespace,
            recorder=self._events,
            builtins=builtin_manifests(),
            clock=time.monotonic,
            random=random.random,
            api_version=arguments.models_api,
            on_config=LiveLevel(),
        )
        self._mesh = MeshPods(api, namespace, clock=time.monotonic, random=random.random)
        self._elector = Elector(
            api,
            namespace,
            # Whoever asks a standby is answered by the leader: its address is in its name.
            f"{arguments.identity}_{arguments.address}",
            clock=time.monotonic,
            wall_ns=time.time_ns,
            random=random.random,
        )
        self._tls = TlsSecrets(api, namespace, names.ORCHESTRATOR, leads=self._leads, on_expiry=counts.expires)
        self._admin = AdminServer(
            service={"name": names.PRODUCT, "version": VERSION, "grpcPort": names.MESH_PORT},
            checks={"lease": lease.problem},
            standby=self._unready,
            leader=self._leader,
            figures=counts.figures,
        )

    async def run(self) -> None:
        """One life: standing by, one term, and the end."""
        await self._admin.start(self._arguments.bind, names.ADMIN_PORT)
        try:
            async with asyncio.TaskGroup() as group:
                for name, work in (
                    ("events", self._events.run()),
                    ("source", self._source.watch()),
                    ("mesh", self._mesh.watch()),
                ):
                    group.create_task(work, name=name)
                log.info("replica_started", identity=self._elector.identity, version=VERSION)
                # Beside the election, whose requests show that this process lives while the API server is away.
                identified = group.create_task(self._tls.begin(), name="identity")
                user = group.create_task(self._runtime_user(), name="user")
                term = self._term = await self._elector.acquire()
                group.create_task(self._elector.keep(), name="lease")
                # Here, and not only where it is made use of: the lead may be lost before there is a certificate.
                group.create_task(term.run(), name="term")
                await identified
                group.create_task(self._tls.run(), name="certificates")
                await self._plane(term, await user).run()
        finally:
            await self._elector.release()
            await self._admin.close()

    async def _runtime_user(self) -> int | None:
        said: int | None = self._arguments.runtime_user
        return await runtime_user(self._api) if said is None else said or None

    def _leads(self) -> bool:
        return self._term is not None and not self._term.over

    def _plane(self, term: Term, user: int | None) -> ControlPlane:
        arguments = self._arguments
        settings = ControlPlaneSettings(
            namespace=arguments.namespace,
            control=host_port(arguments.bind, names.CONTROL_PORT),
            activator=ACTIVATOR,
            pods_per_runtime=_PODS_PER_RUNTIME,
            max_message_bytes=arguments.max_message_bytes,
        )
        pods = PodSettings(namespace=arguments.namespace, image=arguments.image, run_as_user=user)
        platform = Platform(
            source=self._source,
            statuses=StatusWriter(
                self._api,
                namespace=arguments.namespace,
                shown=self._source.shown,
                term=term,
                api_version=arguments.models_api,
            ),
            recorder=self._events,
            events=self._events.list,
            problems=self._source.problems,
            refused=self._source.refused,
            pools=KubePools(
                self._api,
                pods,
                term=term,
                report=self._pool_trouble,
                clock=time.monotonic,
                random=random.random,
            ),
            mesh=self._mesh,
            term=term,
            identities=self._tls,
        )
        return ControlPlane(settings, platform, self._admin)

    def _pool_trouble(self, runtime: str, uid: str, reason: EventReason, message: str) -> None:
        about = Reference(api_version=RUNTIME_API, kind=RUNTIME_KIND, name=runtime, uid=uid)
        self._events.about(about, warning=True, reason=reason, message=message)

    def _unready(self) -> str:
        """Why this replica could not take over at once; empty: it could."""
        return "" if self._source.synced else "starting"

    def _leader(self) -> Leader | None:
        pod, _, rest = self._elector.holder.partition("_")
        address, _, _ = rest.rpartition("_")
        if not pod:
            return None
        return Leader(name=pod, address=host_port(address, names.ADMIN_PORT) if address else "")


def _timestamp() -> str:
    return timestamp(datetime.now(UTC))
