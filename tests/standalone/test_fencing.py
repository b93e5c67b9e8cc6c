"""
Two leaders on one STATE: the one that was frozen can do nothing after it thaws.

The second is the same command with the same settings, but for the admin port:
Envoy, activator, adapters and supervisor find it as they find any leader, at
the control socket that it takes over. Nobody tells the first.
"""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from protos import fleet_pb2, fleet_pb2_grpc
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.processes import Process
from tests.standalone.servers import indexed
from tests.standalone.stack import Stack, free_port
from tests.standalone.traffic import Traffic
from tests.standalone.waiting import wait_until

#: An idle pool's. The frozen leader's timer for it is due when it thaws: with nothing due, it would have nothing to try.
#: That, and time for the other to take over, is what it is frozen for; more of it changes nothing.
_GRACE_S = 8.0


@contextmanager
def another_leader(stack: Stack, first: Process, root: Path) -> Iterator[tuple[subprocess.Popen[bytes], Stack]]:
    """A second controller beside `first`, and the stack as it sees it."""
    seen = copy.copy(stack)
    seen.admin_port = free_port()
    words, told = first.process.cmdline(), Path(first.option("--settings"))
    settings = root / "controller.json"
    settings.write_text(json.dumps(json.loads(told.read_text()) | {"admin_port": seen.admin_port}))
    # Of the stack, so that it ends with it; but not the unit that the supervisor clears up when the first ends.
    environment = {k: v for k, v in first.process.environ().items() if k != "WML_SERVING_UNIT"}
    with (root / "second.log").open("wb") as output:
        second = subprocess.Popen(
            [str(settings) if word == str(told) else word for word in words],
            env=environment,
            cwd=told.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: leads(seen), lambda: (root / "second.log").read_text(), within=20)
        yield second, seen
    finally:
        second.kill()
        second.wait()


def leads(stack: Stack) -> bool:
    """Whether the leader that the stack's admin port is of has started."""
    try:
        with urllib.request.urlopen(f"{stack.admin}/readyz", timeout=2):
            return True
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return False


def uid(stack: Stack, name: str) -> str:
    """The model's uid, "" if there is none."""
    document = stack.get(name)
    return document["metadata"]["uid"] if document is not None else ""


def said(stack: Stack, event: str, name: str) -> int:
    """How often a process of the stack said this of the model."""
    return sum(event in line and name in line for line in stack.text().splitlines())


def test_a_frozen_leader_that_was_succeeded_does_nothing_when_it_thaws(
    make_stack: Callable[..., Stack], models: Models, tmp_path: Path
) -> None:
    """
    It ends, and the next that the supervisor starts leads: the other ends in its turn.

    When it froze, a pool was about to be stopped for want of models; by when it thaws, the other has put a model
    there, deleted one, and given uids. None of that is undone, and a warm model loses no request.
    """
    with make_stack(pool_grace=_GRACE_S) as stack:
        stack.apply(
            trained_model("warm", models.uri("probe-1.joblib"), "sklearn"),
            trained_model("leaves", models.uri("probe-2.joblib"), "sklearn"),
            trained_model("last", models.uri("probe-3.onnx"), "onnx"),
        )
        stack.wait_ready("warm", "leaves", "last")
        first, triton = stack.process("controller"), stack.process("triton")
        with Traffic(stack.target, "warm", models.probes, models.probe_labels + 100) as traffic:
            stack.delete("last")
            wait_until(lambda: not indexed(stack, "onnx"), "the pool's last model does not leave")
            idle_since = time.monotonic()
            first.send(signal.SIGSTOP)
            with another_leader(stack, first, tmp_path) as (second, seen):
                stack.delete("leaves")
                stack.apply(
                    trained_model("comes", models.uri("probe-4.onnx"), "onnx"),
                    trained_model("beside", models.uri("probe-5.joblib"), "sklearn"),
                )
                # Its route is accepted: Envoy has found the other leader.
                seen.wait_ready("comes", "beside")
                wait_until(lambda: "leaves" not in indexed(stack, "sklearn"), "it is not unloaded")
                uids = {name: uid(seen, name) for name in ("warm", "comes", "beside")}
                wait_until(lambda: time.monotonic() > idle_since + _GRACE_S + 1, "time stands still")

                first.send(signal.SIGCONT)
                wait_until(lambda: not first.alive, lambda: f"it goes on\n{stack.tail()}", within=10)
                assert second.wait(20) == 1, (tmp_path / "second.log").read_text()
                assert "another leads" in (tmp_path / "second.log").read_text()
            wait_until(lambda: leads(stack), lambda: f"nobody leads\n{stack.tail()}", within=20)
            assert "deposed" in stack.text()

            stack.wait_ready(*uids)
            assert {name: uid(stack, name) for name in uids} == uids
            assert stack.listed().keys() == uids.keys()
            with stack.client() as client:
                for name, number in (("comes", 400), ("beside", 500)):
                    assert list(client.classes(name, models.probes)) == list(models.probe_labels + number)
            assert stack.process("triton").pid == triton.pid
            for name in uids:
                assert said(stack, "copy_loaded", name) == 1
                assert said(stack, "copy_unloaded", name) == 0
        traffic.check(at_least=100)


def test_a_leader_whose_epoch_adapters_refuse_is_followed_by_one_that_they_obey(
    make_stack: Callable[..., Stack], models: Models
) -> None:
    """As after the loss of the record with a clock that is behind: the refusal says above what the next has to begin."""
    with make_stack() as stack:
        stack.apply(trained_model("warm", models.uri("probe-1.joblib"), "sklearn"))
        stack.wait_ready("warm")
        first = stack.process("controller")
        ahead = int((stack.state / "epoch").read_text()) + 3_600_000
        with (
            Traffic(stack.target, "warm", models.probes, models.probe_labels + 100) as traffic,
            grpc.insecure_channel(stack.process("adapter").option("--listen")) as channel,
        ):
            watch = fleet_pb2_grpc.AdapterStub(channel).Watch(fleet_pb2.Hello(epoch=ahead, protocol=1))
            assert next(iter(watch)).epoch == ahead
            watch.cancel()
            wait_until(lambda: not first.alive, lambda: f"it goes on\n{stack.tail()}", within=10)
            stack.apply(trained_model("next", models.uri("probe-2.joblib"), "sklearn"))
            wait_until(lambda: leads(stack), lambda: f"nobody leads\n{stack.tail()}", within=20)
            stack.wait_ready("next")
        assert int((stack.state / "epoch").read_text()) > ahead
        assert said(stack, "copy_loaded", "warm") == 1
        traffic.check()
