"""
The supervisor's side of the guard: keeps one running, and dismisses it at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final, Never

import structlog

from orchestrator.machinery.backoff import Backoff
from orchestrator.platform.local import guard
from orchestrator.platform.local.process import STABLE_S
from orchestrator.platform.local.stack import Stack

log = structlog.get_logger(__name__)

_BASE_S: Final = 0.05
_CAP_S: Final = 5.0
_SWEEP_S: Final = 30.0
_DISMISSAL_S: Final = 1.0


class Guarding:
    """A stack's guard. Law: from `start` on, the supervisor's death closes the only writing end of the guard's pipe."""

    def __init__(self, stack: Stack, random: Callable[[], float], *, stable_s: float = STABLE_S) -> None:
        self._stack = stack
        self._stable_s = stable_s
        self._backoff = Backoff(_BASE_S, _CAP_S, random)
        self._child: asyncio.subprocess.Process | None = None
        self._pipe = -1

    async def start(self) -> None:
        """Start it. Raises OSError: then nothing else may be started."""
        order = {
            "mark": self._stack.mark,
            "timeout_s": _SWEEP_S,
            "shm_prefix": self._stack.shm_prefix,
            "remove": [str(path) for path in self._stack.leftovers],
        }
        reading, writing = os.pipe()
        try:
            # Before there is a guard: one that lives has its order, whenever this process dies.
            os.write(writing, json.dumps(order).encode() + b"\n")
            # -I, -S: nothing of the user's environment or site-packages can delay or break it.
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", guard.__file__),
                stdin=reading,
                stdout=subprocess.DEVNULL,
                env={},
                # STATE stays locked until the guard is done too.
                pass_fds=(self._stack.lock,),
                start_new_session=True,
                cwd="/",
            )
        except OSError:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self._pipe = writing

    async def run(self) -> Never:
        """Start another whenever one dies, until cancelled."""
        begun = time.monotonic()
        while True:
            code = await self._child.wait() if self._child is not None else None
            self._forget()
            delay_s = self._backoff.after(time.monotonic() - begun, self._stable_s)
            if code is not None:
                log.warning("guard_exited", code=code, restart_in_ms=round(delay_s * 1000))
            await asyncio.sleep(delay_s)
            begun = time.monotonic()
            try:
                await self.start()
            except OSError as error:
                log.warning("guard_not_started", reason=error.strerror or type(error).__name__)

    async def dismiss(self) -> None:
        """There is nothing left to guard: have it end."""
        child, self._child = self._child, None
        if child is None:
            return
        try:
            os.write(self._pipe, guard.DISMISSAL)
        except BrokenPipeError:
            # It died just now.
            pass
        self._forget()
        waiting = asyncio.create_task(child.wait())
        await asyncio.wait({waiting}, timeout=_DISMISSAL_S)

    def _forget(self) -> None:
        self._child = None
        if self._pipe >= 0:
            os.close(self._pipe)
        self._pipe = -1
