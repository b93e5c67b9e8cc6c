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
from functools import partial
from pathlib import Path

import grpc
import pytest

from protos import fleet_pb2, fleet_pb2_grpc
from tests.ports import free_port
from tests.standalone.faults import WARM, moves, wait_warm
from tests.standalone.manifests import trained_model
from tests.standalone.models import BUCKET, Models
from tests.standalone.processes import Process
from tests.standalone.servers import adapter, indexed
from tests.standalone.stack import Stack
from tests.standalone.waiting import wait_until
from tests.standalone.watch import watching

#: An idle pool's. The frozen leader's timer for it is due when it thaws: with nothing due, it would have nothing to try.
_GRACE_S = 8.0
#: For how long the leader is frozen: longer than a lease, a keepalive or a patience of anybody's.
_FROZEN_S = 30.0
#: Of the test that freezes one.
_ALL = frozenset({"warm", "leaves", "last", "comes", "beside"})


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
    there, deleted one, and given uids. None of that is undone, nothing is loaded or unloaded, whatever is said in the
    name of the frozen one is refused, and a warm model loses no request.
    """
    with make_stack(pool_grace=_GRACE_S) as stack:
        stack.apply(
            trained_model("warm", models.uri("probe-1.joblib"), "sklearn"),
            trained_model("leaves", models.uri("probe-2.joblib"), "sklearn"),
            trained_model("last", models.uri("probe-3.onnx"), "onnx"),
        )
        stack.wait_ready("warm", "leaves", "last")
        first, triton = stack.process("controller"), stack.process("triton")
        with (
            watching(stack, models, "warm") as watch,
            grpc.insecure_channel(adapter(stack, "mlserver-0.x").option("--listen")) as channel,
        ):
            old = report(channel)
            stack.delete("last")
            wait_until(lambda: not indexed(stack, "onnx"), "the pool's last model does not leave")
            first.send(signal.SIGSTOP)
            frozen_since = time.monotonic()
            with another_leader(stack, first, tmp_path) as (second, seen):
                stack.delete("leaves")
                stack.apply(
                    trained_model("comes", models.uri("probe-4.onnx"), "onnx"),
                    trained_model("beside", models.uri("probe-5.joblib"), "sklearn"),
                )
                # Its route is accepted: Envoy has found the other leader.
                seen.wait_ready("comes", "beside")
                wait_until(lambda: said(stack, "copy_unloaded", "leaves") > 0, "it is not unloaded")
                uids = {name: uid(seen, name) for name in ("warm", "comes", "beside")}
                assert refused(channel, old, "warm")
                wait_until(lambda: time.monotonic() > frozen_since + _FROZEN_S, "time stands still", within=_FROZEN_S)
                moved, loaded = moves(stack, _ALL), indexed(stack, "sklearn") | indexed(stack, "onnx")

                first.send(signal.SIGCONT)
                # All the while that it thaws, as if it were quicker than what tells it.
                wait_until(
                    lambda: refused(channel, old, "warm") and not first.alive,
                    lambda: f"it goes on\n{stack.tail()}",
                    within=10,
                )
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
            assert moves(stack, _ALL) == moved
            assert indexed(stack, "sklearn") | indexed(stack, "onnx") == loaded == uids.keys()
            for name in uids:
                assert said(stack, "copy_loaded", name) == 1
                assert said(stack, "copy_unloaded", name) == 0
        assert watch.witness.phases("warm") == [1]


def test_a_leader_whose_epoch_adapters_refuse_is_followed_by_one_that_they_obey(
    battered: Stack, models: Models
) -> None:
    """
    As after the loss of the record with a clock that is behind: the refusal says above what the next has to begin.

    From then on what the other one says is refused, however late it comes.
    """
    first, moved = battered.process("controller"), moves(battered)
    ahead = int((battered.state / "epoch").read_text()) + 3_600_000
    with (
        watching(battered, models, *WARM) as watch,
        grpc.insecure_channel(adapter(battered, "mlserver-0.x").option("--listen")) as channel,
    ):
        wait_warm(watch)
        assert report(channel, ahead).epoch == ahead
        wait_until(lambda: not first.alive, lambda: f"it goes on\n{battered.tail()}", within=10)
        battered.apply(trained_model("next", models.uri("probe-3.joblib"), "sklearn"))
        wait_until(lambda: leads(battered), lambda: f"nobody leads\n{battered.tail()}", within=20)
        battered.wait_ready("next")
        assert int((battered.state / "epoch").read_text()) > ahead

        before, loaded = report(channel), indexed(battered, "sklearn")
        assert refused(channel, fleet_pb2.Report(epoch=ahead, boot=before.boot, copies=before.copies), "next")
        assert report(channel).copies == before.copies
        assert indexed(battered, "sklearn") == loaded
        # Nothing else was wrong with it: the one who leads may say so.
        fence = fleet_pb2.Fence(epoch=before.epoch, boot=before.boot)
        key = next(copy.key for copy in before.copies if copy.key.model == "next")
        fleet_pb2_grpc.AdapterStub(channel).Unload(fleet_pb2.UnloadRequest(fence=fence, key=key))
        wait_until(lambda: said(battered, "copy_unloaded", "next") > 0, "it is not unloaded")
        wait_warm(watch)
    assert moves(battered) == moved
    battered.delete("next")
    battered.wait_gone("next")


def report(channel: grpc.Channel, epoch: int = 0) -> fleet_pb2.Report:
    """What the adapter says of itself and of all that it has, to a leader of that epoch; to none with 0."""
    watch = fleet_pb2_grpc.AdapterStub(channel).Watch(fleet_pb2.Hello(epoch=epoch, protocol=1))
    told = next(iter(watch))
    watch.cancel()
    return told


def refused(channel: grpc.Channel, then: fleet_pb2.Report, name: str) -> bool:
    """Whether the adapter takes neither an unload of this model nor any load from who led it `then`."""
    stub, late = fleet_pb2_grpc.AdapterStub(channel), fleet_pb2.Fence(epoch=then.epoch, boot=then.boot)
    key = next(copy.key for copy in then.copies if copy.key.model == name)
    never = fleet_pb2.Key(model="never", uid="u", revision="r")
    for command in (
        partial(stub.Unload, fleet_pb2.UnloadRequest(fence=late, key=key)),
        partial(stub.Load, fleet_pb2.LoadRequest(fence=late, key=never, source=fleet_pb2.Source(bucket=BUCKET))),
    ):
        with pytest.raises(grpc.RpcError) as error:
            command(timeout=10)
        assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION, error.value
        assert str(then.epoch) in str(error.value.details()), error.value
    return True
