"""A child that is kept running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestrator.platform.local.guard import carriers
from orchestrator.platform.local.installation import LaunchProblem
from orchestrator.platform.local.launch import ProcessSpec
from orchestrator.platform.local.process import Process
from tests.orchestrator.platform.local.support import environment, half
from tests.orchestrator.waiting import eventually

#: Leaves a grandchild in a session of its own, as no process group could tell.
LEAVES_A_GRANDCHILD = (
    "import subprocess, time; subprocess.Popen(['sleep', '100'], start_new_session=True); time.sleep(100)"
)
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(100)"


@pytest.fixture
def mark() -> str:
    return f"test-{os.getpid()}-{os.urandom(4).hex()}"


def spec(tmp_path: Path, code: str, grace_s: float = 5.0) -> ProcessSpec:
    return ProcessSpec(
        name="child",
        argv=(sys.executable, "-S", "-c", code),
        env=environment(),
        cwd=tmp_path,
        log=tmp_path / "log",
        grace_s=grace_s,
    )


@asynccontextmanager
async def running(
    mark: str, prepare: Callable[[], ProcessSpec], stable_s: float = 10.0
) -> AsyncIterator[tuple[Process, asyncio.Task[None]]]:
    process = Process("child", prepare, marks={"WML_TEST": mark}, random=half, stable_s=stable_s)
    task = asyncio.create_task(process.run())
    try:
        yield process, task
    finally:
        process.stop(0.0)
        await task
        assert carriers(f"WML_TEST={mark}") == []


async def test_a_killed_child_is_started_again(tmp_path: Path, mark: str) -> None:
    """And what it left in another session is gone by then."""
    async with running(mark, lambda: spec(tmp_path, LEAVES_A_GRANDCHILD)) as (process, _):
        seen = await eventually(lambda: found if len(found := carriers(f"WML_TEST={mark}")) == 2 else [])
        first = process.pid
        assert first is not None
        (grandchild,) = set(seen) - {first}
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: process.pid not in {None, first})
        assert grandchild not in carriers(f"WML_TEST={mark}")
        assert "killed by signal 9" in process.trouble


async def test_one_that_is_to_be_killed_is_started_again(tmp_path: Path, mark: str) -> None:
    """Like one that ended by itself; one that does not run now is not killed."""
    async with running(mark, lambda: spec(tmp_path, DEAF)) as (process, _):
        process.kill("it was early")
        await eventually(lambda: process.pid is not None)
        first = process.pid
        process.kill("it hung")
        await eventually(lambda: process.pid not in {None, first})
        assert process.trouble == "was ended: it hung"
        second = process.pid
        assert second is not None
        os.kill(second, signal.SIGKILL)
        await eventually(lambda: process.pid not in {None, second})
        assert "killed by signal 9" in process.trouble


async def test_a_crash_loop_slows_down_and_says_why(tmp_path: Path, mark: str) -> None:
    """The delays grow; the trouble is the log's last line."""
    code = "import sys; print('no such thing\\n\\n'); sys.exit(3)"
    with capture_logs() as lines:
        async with running(mark, lambda: spec(tmp_path, code)) as (process, _):
            await eventually(lambda: len([line for line in lines if line["event"] == "process_exited"]) == 3)
            assert process.trouble == "exited with code 3; its last words: no such thing"
    delays = [line["restart_in_ms"] for line in lines if line["event"] == "process_exited"]
    assert delays == [150, 300, 600]


async def test_the_delay_begins_anew_after_one_that_ran_well(tmp_path: Path, mark: str) -> None:
    """A crash after a good while is not a crash loop's."""
    runs = iter(["raise SystemExit(1)", "raise SystemExit(1)", "import time; time.sleep(2); raise SystemExit(1)"])
    with capture_logs() as lines:
        async with running(mark, lambda: spec(tmp_path, next(runs, "input()")), stable_s=1.5):
            await eventually(lambda: len([line for line in lines if line["event"] == "process_exited"]) == 3)
    delays = [line["restart_in_ms"] for line in lines if line["event"] == "process_exited"]
    assert delays == [150, 300, 150]


async def test_one_that_stays_up_has_no_trouble(tmp_path: Path, mark: str) -> None:
    """After a while."""
    runs = iter(["raise SystemExit(1)"])
    code = "import time; time.sleep(100)"
    async with running(mark, lambda: spec(tmp_path, next(runs, code)), stable_s=0.5) as (process, _):
        await eventually(lambda: process.trouble)
        await eventually(lambda: not process.trouble)
        assert process.pid is not None


async def test_what_cannot_be_started_says_why(tmp_path: Path, mark: str) -> None:
    """And is tried again."""

    def problem() -> ProcessSpec:
        raise LaunchProblem("install it")

    async with running(mark, problem) as (process, _):
        await eventually(lambda: process.trouble == "install it")
    missing = ProcessSpec(name="x", argv=("/none",), env={}, cwd=tmp_path)
    async with running(mark, lambda: missing) as (process, _):
        await eventually(lambda: process.trouble == "cannot be started: No such file or directory")


@pytest.mark.parametrize("env", [{"A=secret": "x"}, {"A": "secret\0"}, {"A": "secret\ud800"}])
async def test_what_no_process_can_have_ends_no_supervisor(tmp_path: Path, mark: str, env: dict[str, str]) -> None:
    """Python refuses it in another way than the kernel; it is not shown."""
    impossible = ProcessSpec(name="x", argv=(sys.executable,), env=env, cwd=tmp_path)
    async with running(mark, lambda: impossible) as (process, task):
        await eventually(lambda: task.done() or process.trouble.startswith("cannot be started: "))
        assert "secret" not in process.trouble
        assert not task.done()


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_deaf_or_frozen_child_is_killed_after_the_grace(tmp_path: Path, mark: str, frozen: bool) -> None:
    """SIGTERM first, SIGKILL then."""
    async with running(mark, lambda: spec(tmp_path, DEAF, grace_s=0.2)) as (process, task):
        await eventually(lambda: (tmp_path / "log").exists() and "deaf" in (tmp_path / "log").read_text())
        if frozen:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGSTOP)
        process.stop()
        async with asyncio.timeout(5):
            await task


async def test_a_cancelled_one_leaves_no_child(tmp_path: Path, mark: str) -> None:
    """Cancelling kills at once, and waits until the kernel has let go of it: not even a zombie is left."""
    process = Process("child", lambda: spec(tmp_path, DEAF), marks={"WML_TEST": mark}, random=half)
    task = asyncio.create_task(process.run())
    await eventually(lambda: process.pid is not None)
    pid = process.pid
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert not Path(f"/proc/{pid}").exists()


async def test_a_child_inherits_nothing(tmp_path: Path, mark: str) -> None:
    """No descriptor but the three, no variable but what it is given."""
    code = "import os; print(sorted(os.listdir('/proc/self/fd')), sorted(os.environ), flush=True); input()"
    with (tmp_path / "open").open("w"):
        async with running(mark, lambda: spec(tmp_path, code.replace("; input()", "; import time; time.sleep(100)"))):
            await eventually(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text())
    said = (tmp_path / "log").read_text()
    # 3 is the listing itself.
    assert "['0', '1', '2', '3']" in said
    assert not {"HOME", "PYTHONPATH"} & set(said.split("'"))
