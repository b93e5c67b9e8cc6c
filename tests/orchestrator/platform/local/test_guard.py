"""The process that ends what a dead supervisor cannot end any more."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.platform.local import guard as guard_module
from orchestrator.platform.local.guard import DISMISSAL, SHARED_MEMORY, carriers, remove_leftovers, sweep
from tests.orchestrator.platform.local.support import environment
from tests.orchestrator.waiting import eventually


@pytest.fixture
def mark() -> str:
    return f"WML_TEST={os.getpid()}-{os.urandom(4).hex()}"


def sleeper(mark: str, code: str = "exec sleep 100") -> subprocess.Popen[bytes]:
    name, _, value = mark.partition("=")
    return subprocess.Popen(["/bin/sh", "-c", code], env={**environment(), name: value})


def test_carriers_are_told_by_the_whole_mark() -> None:
    """Not by a part of it, and never this process."""
    mark = f"WML_TEST={os.getpid()}-one"
    command, pipe = [sys.executable, "-c", "print(flush=True); input()"], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=dict([mark.split("=")])) as child:
        try:
            # In the moment of an exec a process has no environment that could be read.
            assert child.stdout is not None
            assert child.stdout.readline()
            assert [child.pid] == carriers(mark)
            assert carriers(mark[:-1]) == []
        finally:
            child.kill()


async def test_a_sweep_ends_all_that_carry_the_mark(mark: str) -> None:
    """In whatever session, frozen or deaf; others are not touched."""
    other = sleeper(f"{mark}-other")
    child = sleeper(mark, "trap '' TERM; setsid sleep 100 & sleep 100; sleep 100")
    try:
        await eventually(lambda: len(carriers(mark)) == 3)
        child.send_signal(signal.SIGSTOP)
        assert sweep(mark, 5.0) == (3, True)
        assert child.wait(5) == -signal.SIGKILL
        assert sweep(mark, 5.0) == (0, True)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


async def test_a_sweep_without_time_does_not_say_that_it_is_clean(mark: str) -> None:
    """It must look more than once: a process may be between fork and exec."""
    assert sweep(mark, 0.0) == (0, False)


def test_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of the prefix, and whole directories; what is not there is no error; no prefix is no segment."""
    monkeypatch.setattr(guard_module, "SHARED_MEMORY", tmp_path / "shm")
    remove_leftovers("wml_a_", [tmp_path / "none"])
    (tmp_path / "shm").mkdir()
    for name in ("wml_a_1", "wml_b_1"):
        (tmp_path / "shm" / name).touch()
    (tmp_path / "pods" / "pod" / "models").mkdir(parents=True)
    remove_leftovers("", [])
    assert len(list((tmp_path / "shm").iterdir())) == 2
    remove_leftovers("wml_a_", [tmp_path / "pods"])
    assert [path.name for path in (tmp_path / "shm").iterdir()] == ["wml_b_1"]
    assert not (tmp_path / "pods").exists()


@dataclass
class Guarded:
    """A guard's process, what it guards, and what it has to remove."""

    guard: asyncio.subprocess.Process
    child: subprocess.Popen[bytes]
    directory: Path
    segment: Path

    async def end(self) -> tuple[int | None, str]:
        """Close its pipe; its exit code, and what it said."""
        assert self.guard.stdin is not None
        self.guard.stdin.close()
        _, said = await self.guard.communicate()
        return self.guard.returncode, said.decode()


@pytest.fixture
async def guarded(mark: str, tmp_path: Path) -> AsyncIterator[Guarded]:
    child = sleeper(mark)
    prefix = f"wml_test_{os.urandom(4).hex()}_"
    directory = tmp_path / "private"
    directory.mkdir()
    segment = SHARED_MEMORY / f"{prefix}segment"
    segment.touch()
    order = {"mark": mark, "timeout_s": 5.0, "shm_prefix": prefix, "remove": [str(directory)]}
    guard = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", guard_module.__file__),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={},
    )
    assert guard.stdin is not None
    guard.stdin.write(json.dumps(order).encode() + b"\n")
    try:
        await eventually(lambda: carriers(mark) == [child.pid])
        yield Guarded(guard, child, directory, segment)
    finally:
        if guard.returncode is None:
            guard.kill()
            await guard.wait()
        child.kill()
        child.wait()
        segment.unlink(missing_ok=True)


async def test_the_end_of_the_pipe_is_the_order(guarded: Guarded) -> None:
    """Processes, shared memory and directories go; it says so in one line of the product's log."""
    code, said = await guarded.end()
    assert code == 0
    assert guarded.child.wait(5) == -signal.SIGKILL
    assert not guarded.directory.exists()
    assert not guarded.segment.exists()
    line = json.loads(said)
    assert (line["event"], line["level"], line["killed"], line["clean"]) == ("stack_swept", "warning", 1, True)


async def test_a_dismissed_guard_harms_nothing(guarded: Guarded) -> None:
    """The supervisor has done all of it."""
    assert guarded.guard.stdin is not None
    guarded.guard.stdin.write(DISMISSAL)
    assert await guarded.end() == (0, "")
    assert guarded.child.poll() is None
    assert guarded.directory.exists()
    assert guarded.segment.exists()


async def test_signals_do_not_end_it(guarded: Guarded) -> None:
    """Ctrl-C and a closing terminal reach every process of a session; the guard is for afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    status = Path(f"/proc/{guarded.guard.pid}/status")
    await eventually(ignoring(status, numbers))
    for number in numbers:
        guarded.guard.send_signal(number)
    assert guarded.child.poll() is None
    code, _ = await guarded.end()
    assert code == 0
    assert guarded.child.wait(5) == -signal.SIGKILL


def ignoring(status: Path, numbers: tuple[signal.Signals, ...]) -> Callable[[], bool]:
    """Whether the process ignores all of these signals by now."""

    def ignores() -> bool:
        mask = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigIgn:"))
        return all(int(mask, 16) >> (number - 1) & 1 for number in numbers)

    return ignores
