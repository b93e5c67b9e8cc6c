"""Children end with the context that they run in, whatever they think of it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import psutil
import pytest

from samples.demo.process import DemoError, run, running, tail

FOREVER = "import time; print('up', flush=True); time.sleep(600)"


async def test_a_child_ends_with_its_context(tmp_path: Path) -> None:
    """Gone when the context is left, by an error too."""
    with pytest.raises(ZeroDivisionError):
        async with running(sys.executable, "-c", FOREVER, log=tmp_path / "log") as process:
            pid = process.pid
            raise ZeroDivisionError
    assert process.returncode is not None
    assert not psutil.pid_exists(pid)


async def test_a_child_ends_when_its_waiter_is_cancelled(tmp_path: Path) -> None:
    """Ctrl-C cancels the demo; nothing is left behind."""
    started = asyncio.Event()
    pids = []

    async def wait() -> None:
        async with running(sys.executable, "-c", FOREVER, log=tmp_path / "log") as process:
            pids.append(process.pid)
            started.set()
            await process.wait()

    task = asyncio.create_task(wait())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not psutil.pid_exists(pids[0])


async def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the demo leaves nothing behind either."""
    program = f"""
import asyncio, sys
from pathlib import Path
from samples.demo.process import running

async def main():
    async with running(sys.executable, "-c", {FOREVER!r}, log=Path({str(tmp_path / "log")!r})) as process:
        print(process.pid, flush=True)
        await process.wait()

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    async with asyncio.timeout(20):
        while not tail(tmp_path / "log"):
            await asyncio.sleep(0.01)
    parent.kill()
    await parent.wait()
    assert await asyncio.to_thread(psutil.wait_procs, [child], 10) == ([child], [])


async def test_what_a_child_prints_is_returned(tmp_path: Path) -> None:
    """Of the last run with that log only."""
    for word in ("one", "two"):
        assert await run(sys.executable, "-c", f"print({word!r})", log=tmp_path / "log") == f"{word}\n"


async def test_a_failed_child_is_quoted(tmp_path: Path) -> None:
    """The error has the exit code and the last words."""
    with pytest.raises(DemoError, match=r"ended with 3(.|\n)*no luck"):
        await run(sys.executable, "-c", "import sys; print('no luck'); sys.exit(3)", log=tmp_path / "log")


def test_a_tail_is_bounded(tmp_path: Path) -> None:
    """In lines and in their length; a log that is not there has none."""
    log = tmp_path / "log"
    assert tail(log) == ""
    log.write_text("x" * 10_000 + "\n" + os.linesep.join("abc") + "\n")
    assert [len(line) for line in tail(log, lines=4).splitlines()] == [400, 1, 1, 1]
