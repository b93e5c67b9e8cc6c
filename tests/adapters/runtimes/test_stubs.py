"""The ends of a model's own processes, and of no other process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from adapters.runtimes.stubs import Stubs, instance_of
from tests.adapters.world import until

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


def command(file: Path, name: str, *, program: str = "/opt/backends/python/triton_python_backend_stub") -> list[str]:
    """The words with which Triton starts an instance."""
    return [program, str(file), "shm_1", "1048576", "1048576", "6735", "/opt/backends/python", "336", name, "/opt/b"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Of a server that knows it by another name, as one whose path is a link does."""
    (tmp_path / "models").mkdir()
    (tmp_path / "link").symlink_to("models")
    return tmp_path / "models"


@pytest.fixture
async def stubs(repository: Path) -> AsyncIterator[Stubs]:
    made = Stubs(repository)
    yield made
    made.close()


@pytest.fixture
async def start(repository: Path) -> AsyncIterator[Start]:
    """Starts a process that looks like an instance of a model; killed at the end."""
    started: list[asyncio.subprocess.Process] = []

    async def start(model: str, instance: str = "0_0") -> asyncio.subprocess.Process:
        file = repository.parent / "link" / model / "1" / "model.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            # Written once: a shell that was started a moment ago may not have read it yet.
            file.write_text("read -r _")
        # A shell that runs the file, under another name: it waits for what never comes.
        words = command(file, f"{model}_{instance}")
        child = await asyncio.create_subprocess_exec(*words, executable="/bin/sh", stdin=asyncio.subprocess.PIPE)
        started.append(child)
        # In the moment of an exec a process has no command line.
        await until(lambda: Path(f"/proc/{child.pid}/cmdline").read_bytes() != b"")
        return child

    yield start
    for child in started:
        if child.returncode is None:
            child.kill()
        await child.wait()


@pytest.mark.parametrize(
    ("words", "instance"),
    [
        (command(Path("{}/m/1/model.py"), "m_0_0"), ("m", "m_0_0")),
        (command(Path("{}/m.x/1/model.onnx"), "m.x_12_3"), ("m.x", "m.x_12_3")),
        # Completes a configuration, and ends.
        (command(Path("{}/m/1/model.py"), "m"), None),
        (command(Path("{}"), "m_0_0"), None),
        (command(Path("{}x/m/1/model.py"), "m_0_0"), None),
        (command(Path("{}/../m/1/model.py"), "m_0_0"), None),
        (command(Path("{}/m/1/model.py"), "m_0_0", program="/bin/sh"), None),
        (command(Path("{}/m/1/model.py"), "m_0_0")[:8], None),
        ([], None),
    ],
)
def test_a_command_line_says_whose_it_is(repository: Path, words: list[str], instance: tuple[str, str] | None) -> None:
    """By the file, below this repository; whatever else runs is none of ours."""
    raw = b"".join(os.fsencode(word.format(repository)) + b"\0" for word in words)
    assert instance_of(raw, repository) == instance
    assert instance_of(raw.replace(b"/models", b"/link"), repository) == instance


async def end(child: asyncio.subprocess.Process) -> None:
    """By force, and waited for."""
    child.kill()
    await child.wait()


@pytest.mark.contract
async def test_a_model_is_whole_until_one_of_its_instances_ends(stubs: Stubs, start: Start) -> None:
    """Whichever it is; other models are what they were."""
    instances = [await start("m", "0_0"), await start("m", "0_1")]
    await start("n")
    await stubs.look("m")
    await stubs.look("n")
    assert stubs.whole("m")
    await end(instances[1])
    async with asyncio.timeout(30):
        assert await stubs.ended() == "m"
    assert not stubs.whole("m")
    assert stubs.whole("n")
    assert stubs.whole("native")


@pytest.mark.contract
async def test_what_a_load_replaced_may_end(stubs: Stubs, start: Start) -> None:
    """Triton starts the new before it ends the old, which may be busy for a while; and the new may be no process at all."""
    before = await start("m")
    await stubs.look("m")
    after = await start("m")
    await stubs.look("m")
    other = await start("n")
    await stubs.look("n")
    await end(before)
    await end(other)
    async with asyncio.timeout(30):
        assert await stubs.ended() == "n"
    assert stubs.whole("m")
    await stubs.look("m")
    await end(after)
    assert stubs.whole("m")


@pytest.mark.contract
@pytest.mark.parametrize("model", ["m", None])
async def test_of_two_loads_in_a_row_the_last_counts(stubs: Stubs, start: Start, model: str | None) -> None:
    """
    Both are seen for the first time after the second, whose end alone is news, in each of its instances.

    So it is where an adapter dies over a load, with which Triton goes on, and the next one asks for another.
    """
    elder = [await start("m", "0_0"), await start("m", "0_1")]
    younger = [await start("m", "0_0"), await start("m", "0_1")]
    other = await start("n")
    await stubs.look("n")
    await stubs.look(model)
    for each in (*elder, other):
        await end(each)
    async with asyncio.timeout(30):
        assert await stubs.ended() == "n"
    assert stubs.whole("m")
    await end(younger[0])
    async with asyncio.timeout(30):
        assert await stubs.ended() == "m"
    assert not stubs.whole("m")


@pytest.mark.contract
async def test_a_model_that_broke_is_whole_after_its_next_load(stubs: Stubs, start: Start) -> None:
    """And what an unload ends was meant to end."""
    first = await start("m")
    await stubs.look("m")
    await end(first)
    async with asyncio.timeout(30):
        assert await stubs.ended() == "m"
    second = await start("m")
    await stubs.look("m")
    assert stubs.whole("m")
    stubs.forget("m")
    await end(second)
    assert stubs.whole("m")


@pytest.mark.contract
async def test_an_adapter_that_was_started_again_takes_what_is_there(stubs: Stubs, start: Start) -> None:
    """All models at once; what it knew of a server before is forgotten."""
    children = {model: await start(model) for model in ("a", "b")}
    await stubs.look()
    await end(children["a"])
    async with asyncio.timeout(30):
        assert await stubs.ended() == "a"
    await stubs.look()
    assert stubs.whole("a")
    await end(children["b"])
    async with asyncio.timeout(30):
        assert await stubs.ended() == "b"


async def test_names_that_do_not_resolve_do_not_stop_a_load(stubs: Stubs) -> None:
    """The event loop looks names up in threads of its own; a name server that is silent takes all of them."""
    release = threading.Event()
    loop = asyncio.get_running_loop()
    lookups = [loop.run_in_executor(None, release.wait) for _ in range(64)]
    try:
        async with asyncio.timeout(10):
            await stubs.look("m")
    finally:
        release.set()
        await asyncio.gather(*lookups)


CONCEALED = """
import ctypes, os, subprocess, sys
from adapters.runtimes.stubs import conceal

def seen():
    return subprocess.run(["cat", f"/proc/{os.getpid()}/environ"], capture_output=True).returncode == 0

if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
# A change of user conceals a process as well.
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
before = seen()
conceal()
print(before, seen())
"""


def test_a_concealed_process_is_not_read_by_others_of_its_user() -> None:
    """Its environment stands for its memory and its files: the kernel asks the same of who reads them."""
    done = subprocess.run([sys.executable, "-c", CONCEALED], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"]
