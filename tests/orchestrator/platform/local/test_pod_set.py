"""As many pods as were asked for: real processes that stand in for servers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import pytest

from orchestrator.platform.local.guard import carriers
from orchestrator.platform.local.pod_set import PodSet, surplus
from orchestrator.platform.local.process import UNIT
from orchestrator.platform.local.stack import Stack
from tests.orchestrator.platform.local.support import TEMPLATE, alive
from tests.orchestrator.waiting import eventually


async def test_up_and_down(pods: PodSet, stack: Stack) -> None:
    """Pods with a server and an adapter each; what ends is listed as ending until it is gone, files and all."""
    pods.scale(TEMPLATE, 2)
    await eventually(lambda: len(alive(stack)) == 4)
    first, second = pods.pods()
    assert first.uid != second.uid
    assert {first.uid, second.uid} == {path.name for path in stack.pods.iterdir()}
    seen: list[bool] = []
    pods.listen(lambda: seen.extend(pod.terminating for pod in pods.pods()))
    pods.scale(TEMPLATE, 1)
    assert pods.replicas() == {"r": 1}
    await eventually(lambda: len(pods.pods()) == 1)
    assert True in seen
    assert first == pods.pods()[0]
    await eventually(lambda: len(alive(stack)) == 2)
    assert [first.uid] == [path.name for path in stack.pods.iterdir()]
    pods.scale(TEMPLATE, 0)
    await eventually(lambda: not pods.pods())
    assert (alive(stack), list(stack.pods.iterdir())) == ([], [])


async def test_a_port_that_was_taken_is_another_pod(pods: PodSet, stack: Stack) -> None:
    """Its endpoint is what the mesh knows it by."""
    pods.scale(TEMPLATE, 1)
    await eventually(lambda: len(alive(stack)) == 2)
    (before,) = pods.pods()
    host, _, port = before.endpoint.partition(":")
    with socket.socket() as thief:
        thief.bind((host, int(port)))
        thief.listen()
        # In the moment of an exec a process has no environment to be told by.
        (server,) = await eventually(lambda: carriers(f"{UNIT}={stack.token}:{before.name}/server"))
        os.kill(server, signal.SIGKILL)
        await eventually(lambda: [pod for pod in pods.pods() if pod.uid != before.uid])
        await eventually(lambda: len(pods.pods()) == 1)
    assert before.endpoint != pods.pods()[0].endpoint


async def test_a_full_disk_is_tried_again(pods: PodSet, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else suffers."""
    monkeypatch.setattr("orchestrator.platform.local.pod_set._RETRY_S", 0.05)
    stack.pods.rmdir()
    stack.pods.write_text("in the way")
    pods.scale(TEMPLATE, 1)
    await asyncio.sleep(0)
    await eventually(lambda: not pods.pods())
    stack.pods.unlink()
    await eventually(lambda: len(alive(stack)) == 2)


def test_surplus() -> None:
    """Those that do not stay up go first, then the youngest."""

    class Pod:
        def __init__(self, troubled: bool) -> None:
            self.troubled = troubled

    old, bad, young = pods = [Pod(False), Pod(True), Pod(False)]
    assert [[], [bad], [bad, young], [old, bad, young]] == [list(surplus(pods, n)) for n in (3, 2, 1, 0)]
