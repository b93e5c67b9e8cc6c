"""A supervisor as a process of its own, killed in every way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.platform.local.guard import SHARED_MEMORY, carriers, sweep
from orchestrator.platform.local.stack import MARK, claim, shm_prefix
from tests.orchestrator.waiting import eventually

ROOT = Path(__file__).resolve().parents[4]

#: Two children that leave grandchildren in sessions of their own, one of them deaf to SIGTERM.
PROGRAM = """
import asyncio, os, random, signal, sys
from pathlib import Path
from orchestrator.machinery.logs import configure_logs
from orchestrator.platform.local.launch import ProcessSpec
from orchestrator.platform.local.pod_set import PodSet
from orchestrator.platform.local.stack import StackError, claim
from orchestrator.platform.local.supervisor import Supervisor

configure_logs("info", process="supervisor")
try:
    stack = claim(Path(sys.argv[1]))
except StackError as error:
    sys.exit(f"refused: {error}")
(stack.private / "some.sock").touch()
Path("/dev/shm", stack.shm_prefix + "segment").touch()

def child(name, trap):
    code = f"{trap}; setsid sleep 100 & echo {name} $$; sleep 100; sleep 100"
    argv = ("/bin/sh", "-c", code)
    return ProcessSpec(name=name, argv=argv, env={"PATH": os.environ["PATH"]}, cwd=Path("/"),
                       log=stack.logs / f"{name}.log", grace_s=0.5)

def no_pods(*_):
    raise AssertionError

async def main():
    supervisor = Supervisor(stack, [child("deaf", "trap '' TERM"), child("kind", "true")], PodSet(no_pods),
                            random=random.random)
    task = asyncio.ensure_future(supervisor.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass

asyncio.run(main())
"""


@dataclass
class Running:
    """A supervisor's process."""

    process: subprocess.Popen[bytes]
    state: Path
    output: Path

    @property
    def lock(self) -> dict[str, str]:
        try:
            content: dict[str, str] = json.loads((self.state / "lock").read_text() or "{}")
        except FileNotFoundError:
            return {}
        return content

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def named(self, event: str) -> list[dict[str, object]]:
        return [line for line in self.lines if line["event"] == event]


def launch(tmp_path: Path) -> Running:
    output = tmp_path / "output"
    with output.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "state")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=file,
        )
    return Running(process, tmp_path / "state", output)


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Running]:
    running = launch(tmp_path)
    marks: set[str] = set()
    try:
        await eventually(lambda: len(running.named("process_started")) == 2)
        marks.add(f"{MARK}={running.lock['token']}")
        # Two shells, and two sleepers each, one of them in a session of its own.
        await eventually(lambda: len(carriers(next(iter(marks)))) == 6)
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        for mark in marks:
            sweep(mark, 5.0)


@pytest.fixture
def left(supervisor: Running) -> dict[str, object]:
    """What there was, to look for afterwards."""
    token = supervisor.lock["token"]
    return {"mark": f"{MARK}={token}", "private": supervisor.lock["private"], "shm": shm_prefix(token)}


def gone(left: dict[str, object]) -> bool:
    segments = list(SHARED_MEMORY.glob(f"{left['shm']}*"))
    return not (carriers(str(left["mark"])) or Path(str(left["private"])).exists() or segments)


async def test_sigterm_ends_everything(supervisor: Running, left: dict[str, object]) -> None:
    """In time, the deaf included; STATE is free the moment the supervisor is gone."""
    supervisor.process.send_signal(signal.SIGTERM)
    assert supervisor.process.wait(10) == 0
    assert gone(left)
    stack = claim(supervisor.state)
    stack.release()


async def test_a_second_signal_does_not_wait(supervisor: Running, left: dict[str, object]) -> None:
    """Nor does it leave more behind."""
    supervisor.process.send_signal(signal.SIGTERM)
    await eventually(lambda: supervisor.named("stack_stopping"))
    supervisor.process.send_signal(signal.SIGTERM)
    supervisor.process.wait(10)
    await eventually(lambda: gone(left), within=5)


async def test_sigkill_leaves_nothing(supervisor: Running, left: dict[str, object]) -> None:
    """No process, whatever its session, no directory, no shared memory; and STATE can be claimed again."""
    supervisor.process.kill()
    await eventually(lambda: gone(left), within=5)
    stack = claim(supervisor.state)
    stack.release()


async def test_sigkill_with_a_frozen_child_leaves_nothing(supervisor: Running, left: dict[str, object]) -> None:
    """A stopped process cannot end by itself."""
    for pid in carriers(str(left["mark"])):
        os.kill(pid, signal.SIGSTOP)
    supervisor.process.kill()
    await eventually(lambda: gone(left), within=5)


async def test_a_frozen_supervisor_stops_nobody(supervisor: Running, left: dict[str, object]) -> None:
    """Its guard does not take it for dead."""
    before = set(carriers(str(left["mark"])))
    supervisor.process.send_signal(signal.SIGSTOP)
    await eventually(lambda: "State:\tT" in Path(f"/proc/{supervisor.process.pid}/status").read_text())
    await eventually(lambda: before <= set(carriers(str(left["mark"]))))
    supervisor.process.send_signal(signal.SIGCONT)


async def test_a_dead_child_comes_back(supervisor: Running, left: dict[str, object]) -> None:
    """And the other does not notice."""
    deaf, kind = ((supervisor.state / "logs" / f"{name}.log").read_text().split()[1] for name in ("deaf", "kind"))
    os.kill(int(kind), signal.SIGKILL)
    await eventually(lambda: len(supervisor.named("process_started")) == 3)
    assert int(deaf) in carriers(str(left["mark"]))


async def test_two_stacks(supervisor: Running, left: dict[str, object], tmp_path: Path) -> None:
    """In one STATE the second is refused and the first unharmed; in two they do not touch each other."""
    second = launch(tmp_path)
    assert second.process.wait(10) == 1
    assert "in use by another stack" in second.output.read_text()
    (tmp_path / "other").mkdir()
    other = launch(tmp_path / "other")
    try:
        await eventually(lambda: len(other.named("process_started")) == 2)
        other.process.kill()
        await eventually(lambda: not carriers(f"{MARK}={other.lock['token']}"), within=5)
        assert len(carriers(str(left["mark"]))) == 6
    finally:
        other.process.kill()
        other.process.wait()
