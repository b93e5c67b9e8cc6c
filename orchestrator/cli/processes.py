"""
What the commands that are processes do, once their settings are read.

Here the parts of the product meet a platform: `standalone` is the local one,
with files for an API server and a supervisor for a kubelet.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
import uuid
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from orchestrator.activator.run import ActivatorSettings
from orchestrator.activator.run import run as run_activator
from orchestrator.machinery.epoch import next_epoch
from orchestrator.machinery.logs import configure_logs
from orchestrator.machinery.signals import until_signal
from orchestrator.manager import ControlPlane, Platform
from orchestrator.mesh.bootstrap import BootstrapSettings, bootstrap
from orchestrator.platform.local.builtin import builtin_runtimes
from orchestrator.platform.local.events import EventLog
from orchestrator.platform.local.installation import Installation, find_installation
from orchestrator.platform.local.launch import ProcessSpec, envoy_spec, product_environment, product_spec
from orchestrator.platform.local.pod import PodSettings
from orchestrator.platform.local.pod_set import PodSet
from orchestrator.platform.local.pools import SupervisorPools
from orchestrator.platform.local.record_store import RecordStore
from orchestrator.platform.local.source import DirectorySource
from orchestrator.platform.local.stack import Port, Stack, StackError, claim
from orchestrator.platform.local.supervisor import POOLS_SOCKET, Supervisor
from orchestrator.settings import VERSION, ControllerSettings, StandaloneSettings

log = structlog.get_logger(__name__)

_LOOPBACK: Final = "127.0.0.1"
_MESH_NODE: Final = "mesh-0"


async def activator(settings_file: Path) -> None:
    """Serve as an activator until cancelled."""
    settings = ActivatorSettings.load(settings_file)
    configure_logs(settings.log_level, process="activator")
    await run_activator(settings)


async def controller(settings_file: Path) -> None:
    """Lead until cancelled."""
    settings = ControllerSettings.load(settings_file)
    configure_logs(settings.log_level, process="controller")
    state = Path(settings.state_dir)
    events = EventLog(_timestamp)
    source = DirectorySource(
        Path(settings.directory),
        RecordStore(state / "trainedmodels"),
        namespace=settings.namespace,
        builtins=builtin_runtimes(settings.namespace),
        clock=time.monotonic,
        timestamp=_timestamp,
        new_uid=lambda: str(uuid.uuid4()),
    )
    platform = Platform(
        source=source,
        statuses=source,
        recorder=events,
        events=events.list,
        pools=SupervisorPools(Path(settings.supervisor), random.random),
        epoch=_take_epoch(state / "epoch", time.time_ns() // 1_000_000),
    )
    await ControlPlane(settings, platform).run()


def standalone(arguments: Namespace) -> int:
    """The whole product on this machine, until a signal; the exit code."""
    configure_logs(arguments.log_level, process="supervisor")
    settings = StandaloneSettings(
        directory=str(arguments.directory.absolute()),
        state_dir=str(arguments.state_dir.absolute()),
        namespace=arguments.namespace,
        grpc_port=arguments.grpc_port,
        admin_port=arguments.admin_port,
        pods_per_runtime=arguments.pods_per_runtime,
        pool_grace_s=arguments.pool_grace,
        max_message_bytes=arguments.max_message_bytes,
        recheck_s=arguments.recheck,
        log_level=arguments.log_level,
    )
    try:
        found = find_installation()
        stack = claim(
            Path(settings.state_dir),
            [
                Port(flag="--grpc-port", host=_LOOPBACK, number=settings.grpc_port),
                Port(flag="--admin-port", host=_LOOPBACK, number=settings.admin_port),
            ],
        )
    except StackError as error:
        sys.stderr.write(f"wml-serving standalone: {error}\n")
        return 2
    pods = PodSettings(
        stack=stack, found=found, environment=os.environ, random=random.random, recheck_s=settings.recheck_s
    )
    supervisor = Supervisor(stack, _processes(settings, stack, found), PodSet.on_this_machine(pods), random=random.random)
    log.info(
        "standalone_starting",
        directory=settings.directory,
        state=settings.state_dir,
        grpc_port=settings.grpc_port,
        admin_port=settings.admin_port,
    )
    return asyncio.run(until_signal(supervisor.run))


def _processes(settings: StandaloneSettings, stack: Stack, found: Installation) -> list[ProcessSpec]:
    """The mesh and the control plane, in the order of starting; their settings are written beside their sockets."""
    control, reach = f"unix:{stack.socket('control')}", f"unix:{stack.socket('activator')}"
    envoy = BootstrapSettings(
        node_id=_MESH_NODE,
        listen=f"{_LOOPBACK}:{settings.grpc_port}",
        admin=f"unix:{stack.socket('envoy')}",
        xds=(control,),
        activator=reach,
        max_message_bytes=settings.max_message_bytes,
    )
    waiting = ActivatorSettings(
        listen=reach,
        leader=(control,),
        max_message_bytes=settings.max_message_bytes,
        version=VERSION,
        log_level=settings.log_level,
    )
    leading = ControllerSettings(
        directory=settings.directory,
        state_dir=settings.state_dir,
        namespace=settings.namespace,
        supervisor=str(stack.socket(POOLS_SOCKET)),
        control=control,
        activator=reach,
        mesh_nodes=(_MESH_NODE,),
        admin_host=_LOOPBACK,
        admin_port=settings.admin_port,
        grpc_port=settings.grpc_port,
        pods_per_runtime=settings.pods_per_runtime,
        pool_grace_s=settings.pool_grace_s,
        log_level=settings.log_level,
    )
    files = {name: stack.private / f"{name}.json" for name in ("envoy", "activator", "controller")}
    files["envoy"].write_text(json.dumps(bootstrap(envoy), indent=2))
    files["activator"].write_text(waiting.dump())
    files["controller"].write_text(leading.dump())
    environment = product_environment(os.environ)
    return [
        envoy_spec(found, bootstrap=files["envoy"], log=stack.logs / "envoy.log", environment=os.environ),
        product_spec("activator", files["activator"], python=sys.executable, environment=environment, grace_s=6.0),
        product_spec("controller", files["controller"], python=sys.executable, environment=environment),
    ]


def _take_epoch(record: Path, unix_ms: int) -> int:
    """A new leader's epoch, on disk before it is used. What is not a number there counts as lost."""
    try:
        previous = int(record.read_text())
    except (FileNotFoundError, ValueError):
        previous = 0
    epoch = next_epoch(previous, unix_ms)
    fresh = record.with_suffix(".new")
    fresh.write_text(str(epoch))
    fresh.replace(record)
    return epoch


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
