"""
The command `controller`: the reconciler on the local platform.
"""

from __future__ import annotations

import random
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import structlog

from orchestrator.admin.server import AdminServer
from orchestrator.domain.timestamp import timestamp
from orchestrator.machinery.live_level import LiveLevel
from orchestrator.machinery.logs import configure_logs
from orchestrator.manager import ControlPlane, Platform
from orchestrator.platform.builtin import builtin_runtimes
from orchestrator.platform.event_log import EventLog
from orchestrator.platform.local.lease import Lease
from orchestrator.platform.local.mesh_nodes import FixedNodes
from orchestrator.platform.local.pools import SupervisorPools
from orchestrator.platform.local.record_store import RecordStore
from orchestrator.platform.local.source import DirectorySource
from orchestrator.settings import VERSION, ControllerSettings

log = structlog.get_logger(__name__)


async def controller(settings_file: Path) -> None:
    """Lead until cancelled, or until another does."""
    settings = ControllerSettings.load(settings_file)
    configure_logs(settings.log_level, process="controller")
    state = Path(settings.state_dir)
    lease = Lease(state / "epoch", time.time_ns() // 1_000_000)
    events = EventLog(_timestamp)
    source = DirectorySource(
        Path(settings.directory),
        RecordStore(state / "trainedmodels", lease.check),
        namespace=settings.namespace,
        builtins=builtin_runtimes(settings.namespace),
        clock=time.monotonic,
        timestamp=_timestamp,
        new_uid=lambda: str(uuid.uuid4()),
        on_config=LiveLevel(),
    )
    platform = Platform(
        source=source,
        statuses=source,
        recorder=events,
        events=events.list,
        problems=source.problems,
        refused=source.refused,
        pools=SupervisorPools(Path(settings.supervisor), lease.term, random.random),
        mesh=FixedNodes(settings.mesh_nodes),
        term=lease.term,
    )
    admin = AdminServer(service={"name": "wml-serving", "version": VERSION, "grpcPort": settings.grpc_port})
    try:
        await admin.start(settings.admin_host, settings.admin_port)
        await ControlPlane(settings, platform, admin).run()
    finally:
        await admin.close()
        try:
            lease.close()
        except OSError as error:
            # Why the term ended is the news; the next one finds out about its successor as this one did.
            log.warning("epoch_not_kept", problem=error.strerror)


def _timestamp() -> str:
    return timestamp(datetime.now(UTC))
