"""A guard is there as long as there is something to guard."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from orchestrator.platform.local import guard as guard_module
from orchestrator.platform.local.guard import carriers, sweep
from orchestrator.platform.local.guarding import Guarding
from orchestrator.platform.local.stack import MARK, Stack, claim
from tests.orchestrator.platform.local.support import alive, environment, half, running
from tests.orchestrator.waiting import eventually

ROOT = Path(__file__).resolve().parents[4]

#: A supervisor that does nothing but to have itself guarded, and one process.
PROGRAM = """
import asyncio, random, subprocess, sys
from pathlib import Path
from orchestrator.platform.local.guarding import Guarding
from orchestrator.platform.local.stack import claim

async def main():
    stack = claim(Path(sys.argv[1]))
    guarding = Guarding(stack, random.random)
    await guarding.start()
    subprocess.Popen(["sleep", "100"], env=dict(stack.environment), stdout=subprocess.DEVNULL, start_new_session=True)
    print(stack.token, stack.private, flush=True)
    await guarding.run()

asyncio.run(main())
"""


@pytest.fixture
async def guarding(stack: Stack) -> AsyncIterator[Guarding]:
    """Started."""
    guarding = Guarding(stack, half)
    await guarding.start()
    yield guarding
    await guarding.dismiss()
    assert guards() == []


@pytest.fixture
def child(stack: Stack) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the stack."""
    with subprocess.Popen(["sleep", "100"], env={**environment(), **stack.environment}) as child:
        yield child
        child.kill()


def guards(parent: int | None = None) -> list[int]:
    """The guards that run as children of a process, this one if none is named."""
    found = []
    for process in psutil.Process(parent).children():
        try:
            if guard_module.__file__ in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.NoSuchProcess:
            # It ended while it was looked at.
            continue
    return found


async def the_guard(parent: int | None = None) -> int:
    """Its pid. A process that was started just now has no command line for a moment."""
    await eventually(lambda: len(guards(parent)) == 1)
    return guards(parent)[0]


async def killed_and_replaced(parent: int | None = None) -> None:
    """Kill the guard, and wait for another."""
    first = await the_guard(parent)
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: set(guards(parent)) - {first})


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


async def test_a_guard_has_nothing_of_the_users(guarding: Guarding, stack: Stack) -> None:
    """No variable that could hold a secret, or bring code; a session of its own, and no directory kept in use."""
    pid = await the_guard()
    await eventually(lambda: psutil.Process(pid).cwd() == "/")
    assert psutil.Process(pid).environ() == {}
    assert os.getsid(pid) == pid
    assert pid not in alive(stack), "it would end itself"


async def test_a_dismissed_guard_ends_nothing(stack: Stack, child: subprocess.Popen[bytes]) -> None:
    """By the time it is dismissed nothing should be left; what is left all the same is not its business."""
    before = descriptors()
    guarding = Guarding(stack, half)
    await guarding.start()
    await the_guard()
    await guarding.dismiss()
    assert guards() == []
    assert child.poll() is None
    assert stack.private.is_dir()
    assert descriptors() <= before
    await guarding.dismiss()


async def test_one_that_died_is_replaced(guarding: Guarding, stack: Stack, child: subprocess.Popen[bytes]) -> None:
    """Each time; what it guards does not notice."""
    with capture_logs() as lines:
        async with running(guarding.run()):
            for _ in range(2):
                await killed_and_replaced()
    assert [(line["event"], line["code"]) for line in lines] == [("guard_exited", -signal.SIGKILL)] * 2
    assert child.poll() is None
    assert stack.private.is_dir()


async def test_the_delay_grows_with_each_death_and_begins_anew_after_a_good_while(stack: Stack) -> None:
    """One that dies at once must not keep the machine busy; one that died after days is replaced at once."""
    stable_s = 5.0
    guarding = Guarding(stack, half, stable_s=stable_s)
    await guarding.start()
    with capture_logs() as lines:
        async with running(guarding.run()):
            for _ in range(3):
                await killed_and_replaced()
            await the_guard()
            seen = time.monotonic()
            await eventually(lambda: time.monotonic() - seen > stable_s)
            await killed_and_replaced()
    await guarding.dismiss()
    assert [line["restart_in_ms"] for line in lines] == [38, 75, 150, 38]


async def test_one_that_cannot_be_started_is_tried_again(
    guarding: Guarding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it can be: no memory, no processes, an interpreter that is being replaced."""
    with capture_logs() as lines:
        async with running(guarding.run()):
            with monkeypatch.context() as broken:
                broken.setattr(sys, "executable", str(tmp_path / "none"))
                os.kill(await the_guard(), signal.SIGKILL)
                await eventually(lambda: len([line for line in lines if line["event"] == "guard_not_started"]) == 2)
                assert guards() == []
            await eventually(guards)
    assert lines[1]["reason"] == "No such file or directory"


async def test_the_first_that_cannot_be_started_is_an_error(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may be started unguarded; no descriptor is kept, and there is nothing to dismiss."""
    before = descriptors()
    guarding = Guarding(stack, half)
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", str(tmp_path / "none"))
        with pytest.raises(FileNotFoundError):
            await guarding.start()
    assert descriptors() <= before
    await guarding.dismiss()


async def test_a_guard_that_died_just_now_can_be_dismissed(stack: Stack) -> None:
    """Its end was not seen yet: the pipe is broken."""
    before = descriptors()
    guarding = Guarding(stack, half)
    await guarding.start()
    os.kill(await the_guard(), signal.SIGKILL)
    await eventually(lambda: not guards())
    await guarding.dismiss()
    assert descriptors() <= before


@pytest.mark.parametrize("replaced", [False, True], ids=["first", "second"])
async def test_the_supervisors_death_ends_what_is_guarded(tmp_path: Path, replaced: bool) -> None:
    """By SIGKILL, which leaves it no word to say; a guard that took another's place guards as well."""
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(tmp_path)),
        stdout=subprocess.PIPE,
        env={**environment(), "PYTHONPATH": str(ROOT)},
    )
    mark = ""
    try:
        assert supervisor.stdout is not None
        token, private = (await supervisor.stdout.readline()).decode().split()
        mark = f"{MARK}={token}"
        await eventually(lambda: len(carriers(mark)) == 1)
        if replaced:
            await killed_and_replaced(supervisor.pid)
        supervisor.kill()
        await supervisor.wait()
        await eventually(lambda: not carriers(mark) and not Path(private).exists())
        # STATE is locked until the guard is done, and free then.
        claim(tmp_path).release()
    finally:
        if supervisor.returncode is None:
            supervisor.kill()
            await supervisor.wait()
        if mark:
            sweep(mark, 5.0)
