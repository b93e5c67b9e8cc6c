"""
One runtime pod: a directory, a model server, and the adapter beside it.

As in a cluster the adapter outlives the server: a server that dies is started
again in the same pod, at the same port, and its adapter sees a new boot; one
that hangs is ended, so that it is. A port that somebody else took meanwhile ends
the pod: its endpoint is what the mesh knows it by, so another port is another pod.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from orchestrator.domain.fleet import Pod
from orchestrator.platform.local.guard import remove_leftovers
from orchestrator.platform.local.hand_over import handed_over
from orchestrator.platform.local.installation import Installation, LaunchProblem
from orchestrator.platform.local.launch import (
    PodPlace,
    PodTemplate,
    ProcessSpec,
    adapter_spec,
    product_environment,
    server_spec,
)
from orchestrator.platform.local.liveness import LivenessProbe
from orchestrator.platform.local.process import Process
from orchestrator.platform.local.stack import Stack

log = structlog.get_logger(__name__)

_LOOPBACK: Final = "127.0.0.1"
#: Names are cut so that files may be named after them.
_LONGEST_RUNTIME: Final = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """What all pods of a stack share."""

    stack: Stack
    found: Installation
    #: The user's environment.
    environment: Mapping[str, str]
    random: Callable[[], float]
    recheck_s: float = 60.0
    python: str = sys.executable


class RuntimePod:
    """A pod from its birth to its end."""

    def __init__(
        self,
        template: PodTemplate,
        uid: str,
        ports: tuple[int, int],
        settings: PodSettings,
        on_change: Callable[[], None],
    ) -> None:
        """`ports` are two that are free; `on_change` is called whenever `view` changes."""
        stack = settings.stack
        short = uid.replace("-", "")[:8]
        name = f"{template.runtime[:_LONGEST_RUNTIME]}-{short}"
        self.template = template
        self.ports = ports
        self.terminating = False
        self._uid = uid
        self._settings = settings
        self._on_change = on_change
        self._leaves = asyncio.Event()
        self._place = PodPlace(
            name=name,
            directory=stack.pods / uid,
            adapter_socket=stack.socket(f"pod-{short}"),
            repository=stack.private / f"models-{short}",
            backends=stack.private / f"backends-{short}",
            log=stack.logs / f"{name}.log",
            grpc_port=ports[0],
            http_port=ports[1],
            shm_prefix=f"{stack.shm_prefix}{short}_",
        )
        self._server = self._process("server", self._prepare_server)
        self._adapter = self._process("adapter", self._prepare_adapter)

    @property
    def name(self) -> str:
        """Unique in the stack."""
        return self._place.name

    @property
    def troubled(self) -> bool:
        """Whether one of its processes does not stay up."""
        return bool(self._server.trouble or self._adapter.trouble)

    def view(self) -> Pod:
        """The pod as the controller sees it."""
        troubles = (("server", self._server.trouble), ("adapter", self._adapter.trouble))
        return Pod(
            uid=self._uid,
            name=self.name,
            runtime=self.template.runtime,
            adapter=f"unix:{self._place.adapter_socket}",
            endpoint=self._place.endpoint,
            terminating=self.terminating,
            message="; ".join(f"{what} {trouble}" for what, trouble in troubles if trouble),
        )

    def leave(self) -> None:
        """Have `run` end once what its server holds has been handed over to other pods."""
        self.terminating = True
        self._on_change()
        self._leaves.set()

    def stop(self, grace_s: float | None = None) -> None:
        """Have `run` end: the server first, the adapter as long as there is a server to speak for."""
        self.terminating = True
        self._on_change()
        self._server.stop(grace_s)
        if grace_s is not None:
            self._adapter.stop(grace_s)

    async def run(self) -> None:
        """Live until `stop`, or `leave`; nothing of the pod is left then but its log. Raises OSError if its directory cannot be made."""
        place = self._place
        try:
            for directory in (place.models, place.scratch, place.work):
                directory.mkdir(mode=0o700, parents=True)
            place.repository.symlink_to(place.models)
            place.backends.symlink_to(self._settings.found.triton_backends)
            log.info("pod_started", pod=self.name, runtime=self.template.runtime, endpoint=place.endpoint)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._adapter.run(), name=f"{self.name}/adapter")
                probe = LivenessProbe(place.health_socket, end_server=self._server.kill, end_adapter=self._adapter.kill)
                beside = (
                    group.create_task(self._hand_over(), name=f"{self.name}/leaving"),
                    group.create_task(probe.run(), name=f"{self.name}/liveness"),
                )
                await self._server.run()
                for task in beside:
                    task.cancel()
                self._adapter.stop()
        finally:
            self.terminating = True
            for path in (place.adapter_socket, place.health_socket, place.repository, place.backends):
                path.unlink(missing_ok=True)
            await asyncio.to_thread(remove_leftovers, place.shm_prefix, (place.directory,))
            log.info("pod_ended", pod=self.name, runtime=self.template.runtime)

    async def _hand_over(self) -> None:
        await self._leaves.wait()
        await handed_over(self._place.health_socket, self.name)
        self._server.stop()

    def _process(self, role: str, prepare: Callable[[], ProcessSpec]) -> Process:
        return Process(
            f"{self.name}/{role}",
            prepare,
            marks=self._settings.stack.environment,
            random=self._settings.random,
            on_change=self._on_change,
        )

    def _prepare_server(self) -> ProcessSpec:
        remove_leftovers(self._place.shm_prefix, ())
        wanted = self.ports if self.template.server_type == "mlserver" else self.ports[:1]
        taken = [port for port in wanted if not is_free(port)]
        if taken:
            self.stop()
            raise LaunchProblem(f"port {taken[0]} was taken by another process")
        return server_spec(self.template, self._place, self._settings.found, self._settings.environment)

    def _prepare_adapter(self) -> ProcessSpec:
        self._place.adapter_socket.unlink(missing_ok=True)
        return adapter_spec(
            self.template,
            self._place,
            python=self._settings.python,
            recheck_s=self._settings.recheck_s,
            environment=product_environment(self._settings.environment),
        )


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(taken: frozenset[int]) -> tuple[int, int]:
    """Two free loopback ports outside of `taken`. Somebody may take them before a server does: see above."""
    found: list[int] = []
    while len(found) < 2:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((_LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        if port not in taken and port not in found:
            found.append(port)
    return found[0], found[1]
