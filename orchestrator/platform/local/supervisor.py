"""
The process that owns all others.

It decides nothing: it keeps the processes it was given running, and as many
pods as the controller asks for. It is small so that it does not fail; and when
it is killed, its guard ends what it owned.

Ending is in order: the controller first, so that it does not take the end of
its pods for a failure and write that down; then what is in front, then the
pods. What is late is killed, and nothing outlives the sweep.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from orchestrator.platform.local.guard import sweep
from orchestrator.platform.local.guarding import Guarding
from orchestrator.platform.local.launch import ProcessSpec
from orchestrator.platform.local.listener import ListenerWatch
from orchestrator.platform.local.log_files import trim
from orchestrator.platform.local.pod_set import PodSet
from orchestrator.platform.local.pool_server import PoolServer
from orchestrator.platform.local.process import Process
from orchestrator.platform.local.stack import Stack

log = structlog.get_logger(__name__)

#: The name of the socket that the controller dials.
POOLS_SOCKET: Final = "supervisor"
#: All of an orderly end, the sweep aside: after SIGTERM everything is gone within ten seconds.
_ORDERLY_S: Final = 7.0
_POD_GRACE_S: Final = 4.0
_SWEEP_S: Final = 2.0
_TRIM_EVERY_S: Final = 10.0


class Supervisor:
    """Runs a stack that was claimed."""

    def __init__(
        self, stack: Stack, processes: Sequence[ProcessSpec], pods: PodSet, *, random: Callable[[], float]
    ) -> None:
        """`processes` in the order of starting; they are ended in reverse."""
        self._stack = stack
        self._pods = pods
        self._guarding = Guarding(stack, random)
        self._logs = frozenset(spec.log.name for spec in processes if spec.log is not None)
        self._processes = tuple(
            Process(spec.name, _always(spec), marks=stack.environment, random=random) for spec in processes
        )
        self._listeners = tuple(
            ListenerWatch(spec.admin, process.kill)
            for spec, process in zip(processes, self._processes, strict=True)
            if spec.admin is not None
        )

    async def run(self) -> None:
        """
        Run until cancelled; then end everything in order, and raise CancelledError.

        Cancelled a second time: everything is killed at once. When this is
        over nothing of the stack is left, and STATE is free.
        """
        try:
            # Before there is anything to guard.
            await self._guarding.start()
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(self._guarding.run(), name="guard"),
                    group.create_task(self._trim_logs(), name="logs"),
                    group.create_task(PoolServer(self._pods, self._stack.socket(POOLS_SOCKET)).run(), name="pools"),
                    *(group.create_task(watch.run(), name="listener") for watch in self._listeners),
                ]
                pods = group.create_task(self._pods.run(), name="pods")
                running = [group.create_task(process.run(), name=process.name) for process in self._processes]
                try:
                    await asyncio.Event().wait()
                finally:
                    for helper in helpers:
                        helper.cancel()
                    await self._end_in_order(running, pods)
        finally:
            killed, clean = sweep(self._stack.mark, _SWEEP_S)
            log.info("stack_stopped", state=str(self._stack.state), killed=killed, clean=clean)
            self._stack.release()
            await self._guarding.dismiss()

    async def _end_in_order(self, running: Sequence[asyncio.Task[None]], pods: asyncio.Task[None]) -> None:
        log.info("stack_stopping", state=str(self._stack.state))
        end = time.monotonic() + _ORDERLY_S
        for process, task in reversed(list(zip(self._processes, running, strict=True))):
            process.stop()
            await asyncio.wait({task}, timeout=max(0.0, end - time.monotonic()))
        self._pods.end(_POD_GRACE_S)
        await asyncio.wait({pods}, timeout=max(0.0, end - time.monotonic()))

    async def _trim_logs(self) -> None:
        while True:
            in_use = self._logs | {f"{pod.name}.log" for pod in self._pods.pods()}
            try:
                await asyncio.to_thread(trim, self._stack.logs, in_use)
            except OSError as error:
                log.warning("logs_not_trimmed", reason=error.strerror or type(error).__name__)
            await asyncio.sleep(_TRIM_EVERY_S)


def _always(spec: ProcessSpec) -> Callable[[], ProcessSpec]:
    return lambda: spec
