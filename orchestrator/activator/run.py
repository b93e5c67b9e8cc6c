"""
The activator as a process's one task: started by `run`, ended by cancelling it.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import grpc
import structlog

from orchestrator.activator.budget import Budget
from orchestrator.activator.channels import Channels
from orchestrator.activator.demand_client import DemandClient
from orchestrator.activator.drain import EnvoyDrain
from orchestrator.activator.gate import Gate
from orchestrator.activator.health import HealthServer
from orchestrator.activator.hold import Hold
from orchestrator.activator.proxy import Proxy, ProxySettings, server_options
from orchestrator.activator.settings import ActivatorSettings
from orchestrator.domain.addresses import split
from orchestrator.transport.identity import IdentityFiles

log = structlog.get_logger(__name__)

#: How long a stopping activator goes on with what it holds; the last part is left for its refusals to be sent.
_GRACE_S: Final = 5.0
_REFUSE_S: Final = 0.5


async def run(settings: ActivatorSettings) -> None:
    """
    Serve until cancelled; then admit no one, go on with what is held for a few seconds, and return.

    Raises RuntimeError if it cannot listen, ValueError if the settings contradict each other,
    OSError if there is no identity in `tls_dir`.
    """
    budget = Budget.divide(settings.max_bytes, largest=settings.max_message_bytes, max_line=settings.max_waiting)
    hold = Hold(Gate(max_waiting=settings.max_waiting, max_per_model=settings.max_waiting_per_model), budget)
    channels = Channels(max_message_bytes=settings.max_message_bytes)
    proxy = Proxy(
        hold,
        channels,
        ProxySettings(
            max_message_bytes=settings.max_message_bytes,
            max_streams=settings.max_streams,
            default_wait_s=settings.default_wait_s,
            version=settings.version,
        ),
    )
    drain = EnvoyDrain(
        settings.envoy_admin,
        least_s=settings.drain_least_s,
        idle_s=settings.drain_idle_s,
        most_s=settings.drain_most_s,
        clock=time.monotonic,
    )
    health = HealthServer(drain, proxy.figures)
    identities = IdentityFiles(Path(settings.tls_dir)) if settings.tls_dir is not None else None
    server = grpc.aio.server(options=server_options(settings.max_message_bytes))
    server.add_generic_rpc_handlers((proxy,))
    try:
        server.add_insecure_port(settings.listen)
        async with asyncio.TaskGroup() as group:
            demand = group.create_task(DemandClient(hold, settings.leader, identities=identities).run())
            await server.start()
            if settings.health:
                host, port = split(settings.health)
                await health.start(host, int(port), settings.drain_port)
            log.info("activator_started", listen=settings.listen, leader=settings.leader)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await _stop(server, hold)
                demand.cancel()
    finally:
        hold.stop_timer()
        await health.close()
        await drain.close()
        await channels.close()
        log.info("activator_stopped", waiting=hold.waiting)


async def _stop(server: grpc.aio.Server, hold: Hold) -> None:
    log.info("activator_stopping", waiting=hold.waiting)
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(server.stop(_GRACE_S))
        await asyncio.wait([stopping], timeout=_GRACE_S - _REFUSE_S)
        hold.close("the activator is stopping: try again")
