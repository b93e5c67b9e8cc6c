"""
The pods of a stack: as many of each runtime as were asked for last.

Nobody's silence changes a number: pods stay as they are until a new number
comes, or the stack ends. A runtime whose template changed keeps its pods;
those that start from then on are of the new one.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self, TypeVar

import structlog

from orchestrator.domain.fleet import Pod
from orchestrator.platform.local.launch import PodTemplate
from orchestrator.platform.local.pod import PodSettings, RuntimePod, free_ports

log = structlog.get_logger(__name__)

#: After a pod that could not even be set up (a full disk), before the next.
_RETRY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many pods of this kind."""

    template: PodTemplate
    replicas: int


class _Troubled(Protocol):
    @property
    def troubled(self) -> bool: ...


_P = TypeVar("_P", bound=_Troubled)


def surplus(alive: Sequence[_P], replicas: int) -> Sequence[_P]:
    """Which of the pods, given oldest first, to end: those that do not stay up, then the youngest."""
    kept = sorted(range(len(alive)), key=lambda index: (alive[index].troubled, index))[:replicas]
    return [pod for index, pod in enumerate(alive) if index not in kept]


class PodSet:
    """Runs pods. Calls are synchronous; `run` does the work."""

    def __init__(self, make: Callable[[PodTemplate, Sequence[RuntimePod], Callable[[], None]], RuntimePod]) -> None:
        """`make(template, pods that exist, on_change)` gives a new pod; it may raise OSError."""
        self._make = make
        self._wanted: dict[str, Wanted] = {}
        #: Oldest first, those that are ending included.
        self._pods: list[RuntimePod] = []
        self._work = asyncio.Event()
        self._listeners: set[Callable[[], None]] = set()
        self._ending = False

    @classmethod
    def on_this_machine(cls, settings: PodSettings) -> Self:
        """Real pods, each with a new uid and ports that are free."""

        def make(template: PodTemplate, others: Sequence[RuntimePod], on_change: Callable[[], None]) -> RuntimePod:
            taken = frozenset(port for pod in others for port in pod.ports)
            return RuntimePod(template, str(uuid.uuid4()), free_ports(taken), settings, on_change)

        return cls(make)

    def scale(self, template: PodTemplate, replicas: int) -> None:
        """Have so many pods of this runtime."""
        wanted = Wanted(template, max(0, replicas))
        if self._wanted.get(template.runtime) != wanted:
            log.info("pool_scaled", runtime=template.runtime, replicas=wanted.replicas)
            self._wanted[template.runtime] = wanted
            self._work.set()
            self._changed()

    def drop(self, runtime: str) -> None:
        """Have no pods of the runtime of that name."""
        wanted = self._wanted.get(runtime)
        if wanted is not None:
            self.scale(wanted.template, 0)

    def pods(self) -> tuple[Pod, ...]:
        """All pods, oldest first, as the controller sees them."""
        return tuple(pod.view() for pod in self._pods)

    def replicas(self) -> dict[str, int]:
        """How many pods each runtime is to have, of all that were ever asked for."""
        return {runtime: wanted.replicas for runtime, wanted in self._wanted.items()}

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have `listener` called after each change of `pods` or `replicas`; returns what ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def end(self, grace_s: float) -> None:
        """Have `run` end every pod, and end."""
        self._ending = True
        for pod in self._pods:
            pod.stop(grace_s)
        self._work.set()

    async def run(self) -> None:
        """Start and end pods as asked, until `end`."""
        async with asyncio.TaskGroup() as group:
            while not self._ending:
                self._work.clear()
                self._step(group)
                await self._work.wait()

    def _step(self, group: asyncio.TaskGroup) -> None:
        for wanted in self._wanted.values():
            runtime = wanted.template.runtime
            alive = [pod for pod in self._pods if pod.template.runtime == runtime and not pod.terminating]
            for pod in surplus(alive, wanted.replicas):
                pod.leave()
            for _ in range(wanted.replicas - len(alive)):
                self._start(wanted.template, group)

    def _start(self, template: PodTemplate, group: asyncio.TaskGroup) -> None:
        try:
            pod = self._make(template, tuple(self._pods), self._changed)
        except OSError as error:
            self._retry(template.runtime, error)
            return
        self._pods.append(pod)
        group.create_task(self._live(pod), name=pod.name)
        self._changed()

    async def _live(self, pod: RuntimePod) -> None:
        try:
            await pod.run()
        except OSError as error:
            self._retry(pod.template.runtime, error)
        else:
            self._work.set()
        finally:
            self._pods.remove(pod)
            self._changed()

    def _retry(self, runtime: str, error: OSError) -> None:
        log.error("pod_failed", runtime=runtime, reason=error.strerror or type(error).__name__, retry_s=_RETRY_S)
        asyncio.get_running_loop().call_later(_RETRY_S, self._work.set)

    def _changed(self) -> None:
        for listener in tuple(self._listeners):
            listener()
