"""As many pods as were asked for: real processes that stand in for servers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.platform.local.guard import carriers
from orchestrator.platform.local.installation import Installation
from orchestrator.platform.local.launch import PodTemplate
from orchestrator.platform.local.pod import PodSettings, free_ports, is_free
from orchestrator.platform.local.pod_set import PodSet, surplus
from orchestrator.platform.local.pool_server import PoolServer
from orchestrator.platform.local.pools import SupervisorPools
from orchestrator.platform.local.process import UNIT
from orchestrator.platform.local.stack import Stack
from orchestrator.platform.local.wire import Scale, WireError, parse_pods, pods_line
from tests.orchestrator.platform.local.support import alive, claimed, environment, half, until

TEMPLATE = PodTemplate(runtime="r", server_type="mlserver", capacity_bytes=10, env=(("A", "b"),))


@pytest.fixture
def stack(tmp_path: Path) -> object:
    with claimed(tmp_path / "state") as stack:
        yield stack


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> PodSettings:
    """`mlserver` and the adapter are a script that says what it was given and sleeps."""
    script = tmp_path / "server"
    script.write_text('#!/bin/sh\necho "started $@"\nexec sleep 100\n')
    script.chmod(0o755)
    none = tmp_path / "none"
    found = Installation(
        envoy=none, mlserver=script, triton=none, triton_backends=none, triton_host=none, triton_python="3.11"
    )
    return PodSettings(stack=stack, found=found, environment=environment(), random=half, python=str(script))


@pytest.fixture
async def pods(settings: PodSettings) -> AsyncIterator[PodSet]:
    pods = PodSet.on_this_machine(settings)
    task = asyncio.create_task(pods.run())
    yield pods
    pods.end(0.5)
    async with asyncio.timeout(10):
        await task
    assert pods.pods() == ()


async def test_up_and_down(pods: PodSet, stack: Stack) -> None:
    """Pods with a server and an adapter each; what ends is listed as ending until it is gone, files and all."""
    pods.scale(TEMPLATE, 2)
    await until(lambda: len(alive(stack)) == 4)
    first, second = pods.pods()
    assert first.uid != second.uid
    assert {first.uid, second.uid} == {path.name for path in stack.pods.iterdir()}
    seen: list[bool] = []
    pods.listen(lambda: seen.extend(pod.terminating for pod in pods.pods()))
    pods.scale(TEMPLATE, 1)
    await until(lambda: len(pods.pods()) == 1)
    assert True in seen
    assert first == pods.pods()[0]
    await until(lambda: len(alive(stack)) == 2)
    assert [first.uid] == [path.name for path in stack.pods.iterdir()]
    pods.scale(TEMPLATE, 0)
    await until(lambda: not pods.pods())
    assert (alive(stack), list(stack.pods.iterdir())) == ([], [])


async def test_a_dead_server_comes_back_in_the_same_pod(pods: PodSet, stack: Stack) -> None:
    """Same uid and endpoint, with a message that says what happened; the adapter is not disturbed."""
    pods.scale(TEMPLATE, 1)
    await until(lambda: len(alive(stack)) == 2)
    (before,) = pods.pods()
    (adapter,) = carriers(f"{UNIT}={stack.token}:{before.name}/adapter")
    (server,) = carriers(f"{UNIT}={stack.token}:{before.name}/server")
    os.kill(server, signal.SIGKILL)
    await until(lambda: pods.pods()[0].message)
    assert "server was killed by signal 9; its last words: started start" in pods.pods()[0].message
    await until(lambda: len(alive(stack)) == 2)
    (after,) = pods.pods()
    assert (before.uid, before.endpoint) == (after.uid, after.endpoint)
    assert [adapter] == carriers(f"{UNIT}={stack.token}:{before.name}/adapter")


async def test_a_port_that_was_taken_is_another_pod(pods: PodSet, stack: Stack) -> None:
    """Its endpoint is what the mesh knows it by."""
    pods.scale(TEMPLATE, 1)
    await until(lambda: len(alive(stack)) == 2)
    (before,) = pods.pods()
    host, _, port = before.endpoint.partition(":")
    with socket.socket() as thief:
        thief.bind((host, int(port)))
        thief.listen()
        (server,) = carriers(f"{UNIT}={stack.token}:{before.name}/server")
        os.kill(server, signal.SIGKILL)
        await until(lambda: [pod for pod in pods.pods() if pod.uid != before.uid])
        await until(lambda: len(pods.pods()) == 1)
    assert before.endpoint != pods.pods()[0].endpoint


async def test_a_full_disk_is_tried_again(pods: PodSet, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else suffers."""
    monkeypatch.setattr("orchestrator.platform.local.pod_set._RETRY_S", 0.05)
    stack.pods.rmdir()
    stack.pods.write_text("in the way")
    pods.scale(TEMPLATE, 1)
    await asyncio.sleep(0)
    await until(lambda: not pods.pods())
    stack.pods.unlink()
    await until(lambda: len(alive(stack)) == 2)


def test_surplus() -> None:
    """Those that do not stay up go first, then the youngest."""

    class Pod:
        def __init__(self, troubled: bool) -> None:
            self.troubled = troubled

    old, bad, young = pods = [Pod(False), Pod(True), Pod(False)]
    assert [[], [bad], [bad, young], [old, bad, young]] == [list(surplus(pods, n)) for n in (3, 2, 1, 0)]


def test_ports() -> None:
    """Two that are free, and none that is taken."""
    first = free_ports(frozenset())
    assert is_free(first[0])
    assert not set(first) & set(free_ports(frozenset(first)))


def test_the_wire_survives_itself(settings: PodSettings) -> None:
    """What is written is read; what is not ours is refused."""
    assert Scale(TEMPLATE, 3) == Scale.parse(Scale(TEMPLATE, 3).line())
    assert parse_pods(pods_line(())) == ()
    for line in (b"", b"{}", b"[]", b'{"scale": 1, "replicas": 1}', Scale(TEMPLATE, 65).line()):
        with pytest.raises(WireError):
            Scale.parse(line)
    for line in (b"x", b"{}", b'{"pods": [{"uid": 1}]}', b'{"pods": 1}'):
        with pytest.raises(WireError):
            parse_pods(line)
    secret = PodTemplate(runtime="r", server_type="triton", capacity_bytes=1, env=(("TOKEN", "hunter2"),))
    assert "hunter2" not in repr(secret)


async def test_a_controller_that_comes_and_goes(pods: PodSet, stack: Stack, tmp_path: Path) -> None:
    """Going changes nothing; the next one sees the whole list; a number asked for too early is sent later."""
    path = stack.socket("supervisor")
    runtime = ServingRuntime(
        name="r", uid="", generation=1, server_type="mlserver", frameworks=(), auto_select=frozenset()
    )
    seen: list[tuple[str, ...]] = []
    first = SupervisorPools(path, half)
    await first.scale(runtime, 1)
    client = asyncio.create_task(first.run(lambda pods: seen.append(tuple(pod.uid for pod in pods))))
    server = asyncio.create_task(PoolServer(pods, path).run())
    await until(lambda: seen and len(seen[-1]) == 1)
    client.cancel()
    await asyncio.wait({client})
    # A stranger's nonsense ends its connection and nothing else.
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"nonsense\n")
    while await reader.read(4096):
        pass
    writer.close()
    again: list[tuple[str, ...]] = []
    second = SupervisorPools(path, half)
    client = asyncio.create_task(second.run(lambda pods: again.append(tuple(pod.uid for pod in pods))))
    await until(lambda: again)
    assert seen[-1] == again[0]
    # The supervisor's end goes and comes: no list, no call, and the pods live on.
    server.cancel()
    await asyncio.wait({server})
    told = len(again)
    await second.scale(runtime, 2)
    assert told == len(again)
    server = asyncio.create_task(PoolServer(pods, path).run())
    await until(lambda: len(again[-1]) == 2)
    assert seen[-1][0] == again[-1][0]
    for task in (client, server):
        task.cancel()
    await asyncio.wait({client, server})
