"""
Child processes that never outlive the demo, however it ends.

Each runs in a session of its own, so that Ctrl-C reaches the demo alone, which
then takes them down in order. If the demo is killed, the kernel ends them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

#: Runs its arguments so that they get SIGTERM when their parent ends. A program of its own and not a hook between fork
#: and exec, which may not be Python once the parent has threads.
_TIED: Final = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

#: The stack promises to be gone 10 s after SIGTERM.
_GRACE_S: Final = 15.0


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@asynccontextmanager
async def running(*command: str, log: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Process]:
    """A process for the length of the context, its output in `log`; then SIGTERM, and SIGKILL if it does not listen."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _TIED, str(os.getpid())),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=None if env is None else {**os.environ, **env},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_GRACE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def run(*command: str, log: Path) -> str:
    """Run to the end and return what it printed. Raises DemoError with the end of its words when it failed."""
    async with running(*command, log=log) as process:
        code = await process.wait()
    if code != 0:
        raise DemoError(f"{Path(command[0]).name} {' '.join(command[1:])} ended with {code}:\n{tail(log)}")
    return words(log)


def words(log: Path) -> str:
    """All that a process has said so far; "" before it said anything."""
    return log.read_text(errors="replace") if log.is_file() else ""


def tail(log: Path, lines: int = 40) -> str:
    """The last lines of a log, each cut to what a person reads."""
    return "\n".join(line[:400] for line in words(log).splitlines()[-lines:])
