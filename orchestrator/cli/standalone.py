"""
The command `standalone`: the whole product on this machine.

Here the parts meet the local platform: files for an API server, a supervisor
for a kubelet, one Envoy and one activator for the mesh.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from argparse import Namespace
from pathlib import Path
from typing import Final

import structlog

from orchestrator.activator.settings import ENVIRONMENT, ActivatorSettings, budget_bytes
from orchestrator.machinery.logs import configure_logs
from orchestrator.machinery.signals import until_signal
from orchestrator.mesh.bootstrap import BootstrapSettings, bootstrap
from orchestrator.platform.local.installation import Installation, find_installation
from orchestrator.platform.local.launch import ProcessSpec, envoy_spec, product_environment, product_spec
from orchestrator.platform.local.pod import PodSettings
from orchestrator.platform.local.pod_set import PodSet
from orchestrator.platform.local.stack import Port, Stack, StackError, claim
from orchestrator.platform.local.supervisor import POOLS_SOCKET, Supervisor
from orchestrator.settings import VERSION, ControllerSettings, StandaloneSettings

log = structlog.get_logger(__name__)

_LOOPBACK: Final = "127.0.0.1"
_MESH_NODE: Final = "mesh-0"


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
        if not Path(settings.directory).is_dir():
            # One that vanishes later is unreadable and deletes nothing; one that never was is a typing error.
            raise StackError(f"{settings.directory} is not a directory")
        if Path(settings.directory).resolve() == Path(settings.state_dir).resolve():
            raise StackError("--state-dir must be another directory than DIR")
        if settings.grpc_port == settings.admin_port:
            raise StackError(f"--grpc-port and --admin-port are both {settings.grpc_port}; choose two")
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
    supervisor = Supervisor(
        stack, _processes(settings, stack, found), PodSet.on_this_machine(pods), random=random.random
    )
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
    admin = stack.socket("envoy")
    envoy = BootstrapSettings(
        node_id=_MESH_NODE,
        listen=f"{_LOOPBACK}:{settings.grpc_port}",
        admin=f"unix:{admin}",
        xds=(control,),
        activator=reach,
        max_message_bytes=settings.max_message_bytes,
    )
    waiting = ActivatorSettings(
        listen=reach,
        leader=(control,),
        max_message_bytes=settings.max_message_bytes,
        max_bytes=budget_bytes(settings.max_message_bytes),
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
        max_message_bytes=settings.max_message_bytes,
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
        envoy_spec(found, bootstrap=files["envoy"], admin=admin, log=stack.logs / "envoy.log", environment=os.environ),
        product_spec(
            "activator",
            files["activator"],
            python=sys.executable,
            environment=environment | ENVIRONMENT,
            grace_s=6.0,
        ),
        product_spec("controller", files["controller"], python=sys.executable, environment=environment),
    ]
