"""
The command `mesh-bootstrap`: what the Envoy and the activator of one mesh pod are told, as files.

It runs before them, from the same image as the orchestrator, so that what a
mesh pod does and what the orchestrator expects of it are of one version.
"""

from __future__ import annotations

import json
import socket
from argparse import Namespace
from pathlib import Path
from typing import Final

from orchestrator.activator.settings import ActivatorSettings, budget_bytes
from orchestrator.domain.addresses import ANYWHERE, host_port
from orchestrator.mesh.bootstrap import BootstrapSettings, bootstrap
from orchestrator.mesh.control_tls import sds_files
from orchestrator.platform.kube import names
from orchestrator.settings import VERSION

#: Between the containers of the pod.
ADMIN: Final = "127.0.0.1:9901"
ACTIVATOR: Final = "127.0.0.1:8036"
ENVOY_FILE: Final = "envoy.json"
ACTIVATOR_FILE: Final = "activator.json"


def mesh_bootstrap(arguments: Namespace) -> int:
    """Write both files; the exit code."""
    # Of the kernel that Envoy is about to run on, which does not start where it cannot listen.
    bind = "0.0.0.0" if arguments.bind == ANYWHERE and not _has_ipv6() else arguments.bind
    envoy = BootstrapSettings(
        node_id=arguments.node_id,
        listen=host_port(bind, names.MESH_PORT),
        admin=ADMIN,
        xds=(arguments.leader,),
        activator=ACTIVATOR,
        ready=host_port(bind, names.MESH_READY_PORT),
        tls_dir=arguments.tls_dir,
        sds_dir=str(arguments.directory),
        max_message_bytes=arguments.max_message_bytes,
    )
    activator = ActivatorSettings(
        listen=ACTIVATOR,
        leader=(arguments.leader,),
        max_message_bytes=arguments.max_message_bytes,
        max_bytes=budget_bytes(arguments.max_message_bytes),
        version=VERSION,
        health=host_port(bind, names.ACTIVATOR_HEALTH_PORT),
        drain_port=names.ACTIVATOR_DRAIN_PORT,
        envoy_admin=ADMIN,
        tls_dir=arguments.tls_dir,
        log_level=arguments.log_level,
    )
    directory: Path = arguments.directory
    (directory / ENVOY_FILE).write_text(json.dumps(bootstrap(envoy), indent=2) + "\n")
    (directory / ACTIVATOR_FILE).write_text(activator.dump())
    for name, content in sds_files(arguments.tls_dir).items() if arguments.tls_dir is not None else ():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n")
    return 0


def _has_ipv6() -> bool:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True
