"""
One child process, kept running: started, watched, started again, ended.

Each child leads a session of its own, so that Ctrl-C reaches the supervisor
alone, and carries two marks: the stack's and its own. When it exits, whatever
it left behind under its own mark is killed before it is started again: the
stubs of a killed Triton hold memory, and may hold ports.

No pipe leads from a child to here: a frozen supervisor must stop nobody.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from orchestrator.machinery.backoff import Backoff
from orchestrator.platform.local.guard import sweep
from orchestrator.platform.local.installation import LaunchProblem
from orchestrator.platform.local.launch import ProcessSpec

log = structlog.get_logger(__name__)

UNIT: Final = "WML_SERVING_UNIT"
#: Envoy has to be back within two seconds, a crash loop must not keep the machine busy.
_BASE_S: Final = 0.2
_CAP_S: Final = 20.0
#: One that ran this long is not in a crash loop.
STABLE_S: Final = 10.0
_SWEEP_S: Final = 2.0
#: Whatever does not end on SIGKILL within this hangs in the kernel.
_REAP_S: Final = 2.0
_STDERR: Final = 2
_TAIL_BYTES: Final = 4096
_TAIL_CHARACTERS: Final = 300


class Process:
    """A child that `run` keeps running until `stop`."""

    def __init__(
        self,
        name: str,
        prepare: Callable[[], ProcessSpec],
        *,
        marks: Mapping[str, str],
        random: Callable[[], float],
        on_change: Callable[[], None] = lambda: None,
        stable_s: float = STABLE_S,
    ) -> None:
        """
        `name` is unique in the stack.

        `prepare` says how to start it, anew for each start, and may raise LaunchProblem.
        `marks` are variables for its environment; `on_change` is called when `trouble` changes.
        """
        self.name = name
        #: What the last exit or the last failure to start says; "" when it is not in a crash loop.
        self.trouble = ""
        self.pid: int | None = None
        self._prepare = prepare
        self._marks = {**marks, UNIT: f"{next(iter(marks.values()), '')}:{name}"}
        self._backoff = Backoff(_BASE_S, _CAP_S, random)
        self._on_change = on_change
        self._stable_s = stable_s
        self._child: asyncio.subprocess.Process | None = None
        #: Why `kill` ended the child that ran last; "" if it did not.
        self._killed = ""
        self._stop = asyncio.Event()
        self._grace_s: float | None = None

    def stop(self, grace_s: float | None = None) -> None:
        """Have `run` end: SIGTERM, and SIGKILL after the grace (the process's own if None)."""
        self._grace_s = grace_s
        self._stop.set()

    def kill(self, why: str) -> None:
        """SIGKILL for the child that runs now, if one does: it is started again like any that ended by itself, and `trouble` says why."""
        if self._child is not None and self._child.returncode is None:
            self._killed = why
            _signal(self._child, signal.SIGKILL)

    async def run(self) -> None:
        """Keep it running; returns after `stop`, when nothing of it is left. Cancelled: kills it at once."""
        while not self._stop.is_set():
            started = time.monotonic()
            ended = await self._once(started)
            if self._stop.is_set():
                break
            ran_s = time.monotonic() - started
            delay_s = self._backoff.after(ran_s, self._stable_s)
            log.warning(
                "process_exited",
                name=self.name,
                reason=ended,
                ran_ms=round(ran_s * 1000),
                restart_in_ms=round(delay_s * 1000),
            )
            self._set_trouble(ended)
            await self._pause(delay_s)
        self._set_trouble("")

    async def _once(self, started: float) -> str:
        """Start it and wait until it exits or is to stop; how it ended."""
        try:
            spec = self._prepare()
            child = await self._spawn(spec)
        except LaunchProblem as problem:
            return str(problem)
        except OSError as error:
            return f"cannot be started: {error.strerror or type(error).__name__}"
        except ValueError:
            # Its text may have some of what is in it, which may be secret.
            return "cannot be started: an argument or a variable of its environment has characters that none can have"
        self.pid, self._child, self._killed = child.pid, child, ""
        log.info("process_started", name=self.name, pid=child.pid)
        exited = asyncio.create_task(child.wait())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            settled = await asyncio.wait({exited, stopped}, timeout=self._stable_s, return_when=asyncio.FIRST_COMPLETED)
            if not settled[0]:
                self._set_trouble("")
                await asyncio.wait({exited, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not exited.done():
                _signal(child, signal.SIGTERM)
                await asyncio.wait({exited}, timeout=spec.grace_s if self._grace_s is None else self._grace_s)
            if not exited.done():
                _signal(child, signal.SIGKILL)
            code = await exited
        finally:
            self.pid = self._child = None
            # Also when this task was cancelled.
            _signal(child, signal.SIGKILL)
            stopped.cancel()
            # A child that nobody waited for stays as a zombie, and its transport outlives the loop.
            await asyncio.wait({exited}, timeout=_REAP_S)
            exited.cancel()
        await asyncio.to_thread(sweep, f"{UNIT}={self._marks[UNIT]}", _SWEEP_S)
        if self._killed:
            return f"was ended: {self._killed}"
        how = f"exited with code {code}" if code >= 0 else f"was killed by signal {-code}"
        said = _tail(spec.log) if spec.log is not None and code != 0 else ""
        return f"{how}; its last words: {said}" if said else how

    async def _spawn(self, spec: ProcessSpec) -> asyncio.subprocess.Process:
        output = _STDERR if spec.log is None else _open_log(spec.log)
        try:
            return await asyncio.create_subprocess_exec(
                *spec.argv,
                cwd=spec.cwd,
                env={**spec.env, **self._marks},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            if output != _STDERR:
                os.close(output)

    def _set_trouble(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._on_change()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return


def _signal(child: asyncio.subprocess.Process, number: int) -> None:
    try:
        child.send_signal(number)
    except ProcessLookupError:
        # It has ended, which is what was wanted.
        return


def _open_log(path: Path) -> int:
    # Appending, so that a log that is cut short while it is open goes on at its new end.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _tail(path: Path) -> str:
    """The last line of a log that says something, cut to a length that fits a message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read(_TAIL_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:_TAIL_CHARACTERS] for line in reversed(lines) if line.strip()), "")
