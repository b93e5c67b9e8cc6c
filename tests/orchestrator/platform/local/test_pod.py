"""One pod: real processes that stand in for a server and its adapter."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from orchestrator.platform.local.guard import SHARED_MEMORY, carriers
from orchestrator.platform.local.launch import PodTemplate
from orchestrator.platform.local.liveness import LivenessProbe
from orchestrator.platform.local.pod import PodSettings, RuntimePod, free_ports, is_free
from orchestrator.platform.local.process import UNIT
from orchestrator.platform.local.stack import Stack
from tests.orchestrator.platform.local.support import TEMPLATE, alive
from tests.orchestrator.platform.local.test_liveness import HUNG, SILENT, adapter_at
from tests.orchestrator.waiting import eventually

UID = "01234567-89ab-cdef-0123-456789abcdef"

Start = Callable[[], AbstractAsyncContextManager[tuple[RuntimePod, asyncio.Task[None]]]]


@pytest.fixture
def start(settings: PodSettings, stack: Stack) -> Start:
    """A pod whose two processes run; ended with the context, if it has not ended by itself."""

    @asynccontextmanager
    async def started() -> AsyncIterator[tuple[RuntimePod, asyncio.Task[None]]]:
        pod = RuntimePod(TEMPLATE, UID, free_ports(frozenset()), settings, lambda: None)
        task = asyncio.create_task(pod.run())
        try:
            await eventually(lambda: len(alive(stack)) == 2)
            # What was started a moment ago may not have said its first word yet, which some look for after its end.
            await eventually(lambda: "started" in (stack.logs / f"{pod.name}.log").read_text())
            yield pod, task
        finally:
            pod.stop(0.5)
            async with asyncio.timeout(10):
                await task

    return started


async def one(stack: Stack, pod: RuntimePod, role: str) -> int:
    """The process with this role; in the moment of an exec it has no environment to be told by."""
    (pid,) = await eventually(lambda: carriers(f"{UNIT}={stack.token}:{pod.name}/{role}"))
    return pid


async def test_what_a_pod_is_to_the_controller(start: Start, stack: Stack) -> None:
    """Its uid, where its adapter and its server are; private directories; nothing but its log is left of it."""
    async with start() as (pod, task):
        view = pod.view()
        assert (view.uid, view.name, view.runtime) == (UID, "r-01234567", "r")
        assert view.adapter == f"unix:{stack.socket('pod-01234567')}"
        assert view.endpoint == f"127.0.0.1:{pod.ports[0]}"
        assert (view.terminating, view.message) == (False, "")
        private = [stack.pods / UID / name for name in ("models", "scratch", "work")]
        assert [path.stat().st_mode & 0o777 for path in private] == [0o700] * 3
        stack.socket("pod-01234567").touch()
        pod.stop()
        assert pod.view().terminating
        async with asyncio.timeout(10):
            await task
    assert alive(stack) == []
    assert list(stack.pods.iterdir()) == []
    assert not stack.socket("pod-01234567").exists()
    assert "started start" in (stack.logs / "r-01234567.log").read_text()


async def test_a_pod_that_leaves_keeps_its_server_until_it_is_empty(
    start: Start, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on its way out from the beginning; a stack that ends does not wait for it."""
    asked, empty = asyncio.Event(), asyncio.Event()

    async def drain(_socket: Path, _pod: str) -> None:
        asked.set()
        await empty.wait()

    monkeypatch.setattr("orchestrator.platform.local.pod.handed_over", drain)
    async with start() as (pod, task):
        pod.leave()
        assert pod.view().terminating
        await asked.wait()
        await eventually(lambda: len(alive(stack)) == 2)
        assert not task.done()
        empty.set()
        async with asyncio.timeout(10):
            await task
    empty.clear()
    async with start() as (pod, task):
        pod.leave()
        pod.stop(0.5)
        async with asyncio.timeout(10):
            await task
    assert alive(stack) == []


async def test_a_dead_server_comes_back_in_the_same_pod(start: Start, stack: Stack) -> None:
    """Same endpoint, with a message that says what happened, and without its shared memory; the adapter lives on."""
    async with start() as (pod, _):
        before, adapter = pod.view(), await one(stack, pod, "adapter")
        left = SHARED_MEMORY / f"{stack.shm_prefix}01234567_left"
        left.touch()
        os.kill(await one(stack, pod, "server"), signal.SIGKILL)
        await eventually(lambda: pod.troubled)
        assert "server was killed by signal 9; its last words: started start" in pod.view().message
        await eventually(lambda: len(alive(stack)) == 2)
        assert not left.exists()
        assert (before.uid, before.endpoint) == (pod.view().uid, pod.view().endpoint)
        assert adapter == await one(stack, pod, "adapter")


async def test_a_server_that_hangs_is_started_again(
    start: Start, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is its adapter that says so; the message has its words."""
    monkeypatch.setattr("orchestrator.platform.local.pod.LivenessProbe", partial(LivenessProbe, every_s=0.01))
    async with start() as (pod, _):
        server, adapter = await one(stack, pod, "server"), await one(stack, pod, "adapter")
        async with adapter_at(stack.socket("pod-01234567").with_suffix(".http"), HUNG):
            await eventually(lambda: pod.troubled)
        assert pod.view().message == "server was ended: no answer for 16 s"
        await eventually(lambda: len(alive(stack)) == 2)
        assert await one(stack, pod, "server") != server
        assert await one(stack, pod, "adapter") == adapter


async def test_an_adapter_that_hangs_is_started_again(
    start: Start, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server serves on."""
    monkeypatch.setattr("orchestrator.platform.local.pod.LivenessProbe", partial(LivenessProbe, every_s=0.01))
    monkeypatch.setattr("orchestrator.platform.local.liveness._TIMEOUT_S", 0.05)
    async with start() as (pod, _):
        server, adapter = await one(stack, pod, "server"), await one(stack, pod, "adapter")
        async with adapter_at(stack.socket("pod-01234567").with_suffix(".http"), SILENT):
            await eventually(lambda: adapter not in alive(stack))
        await eventually(lambda: len(alive(stack)) == 2)
        assert await one(stack, pod, "server") == server


async def test_a_stolen_port_ends_it(start: Start, stack: Stack) -> None:
    """By itself: another port is another pod."""
    async with start() as (pod, task):
        with socket.socket() as thief:
            thief.bind(("127.0.0.1", pod.ports[0]))
            thief.listen()
            os.kill(await one(stack, pod, "server"), signal.SIGKILL)
            async with asyncio.timeout(10):
                await task
    assert alive(stack) == []


async def test_a_pod_without_room_for_its_directory_is_an_error(settings: PodSettings, stack: Stack) -> None:
    """Nothing of it was started."""
    stack.pods.rmdir()
    stack.pods.touch()
    pod = RuntimePod(TEMPLATE, UID, free_ports(frozenset()), settings, lambda: None)
    with pytest.raises(NotADirectoryError):
        await pod.run()
    assert alive(stack) == []
    assert pod.view().terminating


async def test_files_can_be_named_after_any_pod(settings: PodSettings) -> None:
    """A runtime's name may have 253 characters, a file's 255."""
    template = PodTemplate(runtime="x" * 253, server_type="mlserver", capacity_bytes=1)
    pod = RuntimePod(template, UID, free_ports(frozenset()), settings, lambda: None)
    assert len(f"{pod.name}.log") < 255
    assert pod.view().runtime == "x" * 253


def test_ports() -> None:
    """Two that are free, and none that is taken."""
    first = free_ports(frozenset())
    assert is_free(first[0])
    assert not set(first) & set(free_ports(frozenset(first)))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first[0]))
        taken.listen()
        assert not is_free(first[0])
