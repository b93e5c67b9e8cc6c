"""The client of adapters, with a real gRPC server in an adapter's place."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from adapters.ledger import Ledger
from adapters.server import PROTOCOL, AdapterService, Bells, listen
from orchestrator.domain.errors import FleetError
from orchestrator.domain.fleet import CopyState
from orchestrator.fleet import client as client_module
from orchestrator.fleet.convert import key_to_proto
from orchestrator.fleet.observed import Changes, Report
from orchestrator.transport.line import Line
from protos import fleet_pb2
from tests.orchestrator.builders import make_pod
from tests.orchestrator.fleet.bench import EPOCH, KEY, Bench, FakeAdapter
from tests.orchestrator.waiting import eventually


class NoLoader:
    """Beside an adapter of which nothing is wanted but a Watch."""

    async def met(self) -> None:
        """A leader has been heard."""

    async def remember(self) -> None:
        """The epoch is another."""


async def test_a_watch_says_who_is_leader_and_brings_what_there_is(bench: Bench) -> None:
    """The first report makes the pod known, later ones change it, each change is announced."""
    assert bench.adapter.hellos == [fleet_pb2.Hello(epoch=EPOCH, protocol=1)]
    bench.adapter.say((KEY, fleet_pb2.COPY_STATE_LOADED))
    await eventually(lambda: bench.state() is CopyState.LOADED)
    assert bench.changed == {"mlserver-0.x", "digits"}


async def test_an_adapter_of_the_release_before_is_spoken_to_in_its_own_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade has a new orchestrator and old adapters, whose models are to be handed over."""
    bench = Bench(tmp_path)
    ledger = Ledger(100)
    ledger.server_ready("b1")
    loader: Any = NoLoader()
    server = await listen(bench.adapter.address, AdapterService(ledger, loader, Bells()))
    try:
        monkeypatch.setattr(client_module, "PROTOCOL", PROTOCOL + 1)
        bench.client.list_pods([bench.pod])
        await eventually(lambda: bench.known)
        assert ledger.epoch == EPOCH
        await bench.client.close()
        monkeypatch.setattr(client_module, "PROTOCOL", PROTOCOL + 2)
        late = Bench(tmp_path)
        with capture_logs() as lines:
            late.client.list_pods([late.pod])
            await eventually(lambda: any(line["event"] == "adapter_too_old" for line in lines))
        assert not late.known
        await late.client.close()
    finally:
        await server.stop(None)


async def test_silence_is_unknown_and_a_reconnect_tells_the_truth(bench: Bench) -> None:
    """The copies stay until the adapter is back and says otherwise; who is listed is asked until it answers."""
    bench.adapter.say((KEY, fleet_pb2.COPY_STATE_LOADED))
    await eventually(lambda: bench.state() is not None)
    await bench.adapter.stop()
    await eventually(lambda: not bench.known)
    assert bench.state() is CopyState.LOADED
    await bench.adapter.start()
    bench.adapter.say(full=True)
    await eventually(lambda: bench.known)
    assert bench.state() is None
    assert bench.observed.lost("digits")


async def test_a_command_carries_epoch_and_boot(bench: Bench) -> None:
    """The fence; and the copy is under way, or on its way out, at once."""
    bench.adapter.say(full=True, boot="b7")
    await eventually(lambda: (view := bench.observed.pod("p1")) is not None and view.boot == "b7")
    await bench.load()
    assert bench.state() is CopyState.DOWNLOADING
    await bench.client.unload("p1", KEY)
    assert bench.state() is CopyState.UNLOADING
    fence = fleet_pb2.Fence(epoch=EPOCH, boot="b7")
    assert [c.fence for c in bench.adapter.commands] == [fence, fence]
    load = bench.adapter.commands[0]
    assert isinstance(load, fleet_pb2.LoadRequest)
    assert (load.reserve, load.urgent, load.credentials.secret_access_key) == (5, True, "hunter2hunter2")


async def test_a_refused_command_leaves_all_as_it_was_and_tells_no_secret(bench: Bench) -> None:
    """FleetError with the adapter's code and words."""
    bench.adapter.refuse = (grpc.StatusCode.FAILED_PRECONDITION, "stale epoch")
    with pytest.raises(FleetError) as caught:
        await bench.load()
    assert str(caught.value) == "load of digits: FAILED_PRECONDITION: stale epoch"
    assert bench.state() is None
    assert "hunter2hunter2" not in repr(caught.value)
    bench.adapter.say((KEY, fleet_pb2.COPY_STATE_LOADED))
    await eventually(lambda: bench.state() is CopyState.LOADED)
    with pytest.raises(FleetError, match="unload of digits: FAILED_PRECONDITION"):
        await bench.client.unload("p1", KEY)
    assert bench.state() is CopyState.LOADED


async def test_a_failure_reported_before_the_command_is_answered_stands(bench: Bench) -> None:
    """The answer does not turn it into a copy that is under way for ever."""
    bench.adapter.hold.clear()
    loading = asyncio.create_task(bench.load())
    await eventually(lambda: bool(bench.adapter.commands))
    bench.adapter.say((KEY, fleet_pb2.COPY_STATE_FAILED))
    await eventually(lambda: bench.state() is CopyState.FAILED)
    bench.adapter.hold.set()
    await loading
    assert bench.state() is CopyState.FAILED


async def test_a_pod_that_goes_while_it_is_commanded_is_an_error_and_no_cancellation(bench: Bench) -> None:
    """A closing channel cancels its calls: a worker that took that for its own end would be missed for ever."""
    bench.adapter.hold.clear()
    loading = asyncio.create_task(bench.load())
    await eventually(lambda: bool(bench.adapter.commands))
    bench.client.list_pods([])
    with pytest.raises(FleetError, match="the pod is gone"):
        await loading
    with pytest.raises(FleetError, match="pod p1 is gone"):
        await bench.load()


async def test_a_cancelled_worker_is_cancelled(bench: Bench) -> None:
    """Its own cancellation passes through a command."""
    bench.adapter.hold.clear()
    loading = asyncio.create_task(bench.load())
    await eventually(lambda: bool(bench.adapter.commands))
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading


async def test_a_pod_that_is_listed_again_at_once_can_still_be_commanded(bench: Bench) -> None:
    """The end of its first watch does not take the second one's channel away."""
    bench.client.list_pods([])
    bench.client.list_pods([bench.pod])
    bench.adapter.say(full=True)
    # The first stream may have taken that word with it.
    async with asyncio.timeout(10):
        while not bench.known:
            bench.adapter.say(full=True)
            await asyncio.sleep(0.01)
    await bench.load()
    # Not the copy: a report that was said once too often may be read after the command.
    assert [c.key for c in bench.adapter.commands] == [key_to_proto(KEY)]


async def test_hearing_ends_when_all_have_reported(bench: Bench) -> None:
    """It does not wait out its patience."""
    async with asyncio.timeout(5):
        await bench.client.heard(60.0)


async def test_hearing_ends_with_its_patience(tmp_path: Path) -> None:
    """A pod that does not answer is unknown, and the rest goes on."""
    bench = Bench(tmp_path)
    bench.client.list_pods([bench.pod])
    await bench.client.heard(0.01)
    assert not bench.known
    await bench.client.close()


async def test_without_a_list_of_pods_nothing_goes_on(tmp_path: Path) -> None:
    """Whatever the patience with pods: they would be taken for absent, and their routes and READY with them."""
    bench = Bench(tmp_path)
    with capture_logs() as lines:
        hearing = asyncio.create_task(bench.client.heard(0.01))
        await eventually(lambda: bool(lines))
    assert [(line["event"], line["log_level"]) for line in lines] == [("pods_not_listed", "warning")]
    assert not hearing.done()
    bench.client.list_pods([])
    await asyncio.wait_for(hearing, 5)
    await bench.client.close()


async def test_a_report_that_cannot_be_digested_does_not_end_the_watch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod is unknown until the next full report: neither trusted nor forgotten."""

    def refuse(uid: str, report: Report) -> Changes:
        raise ValueError(f"a report of another age: {report.boot} of {uid}")

    with monkeypatch.context() as patch:
        patch.setattr(bench.observed, "report", refuse)
        bench.adapter.say()
        await eventually(lambda: not bench.known)
    async with asyncio.timeout(10):
        while not bench.known:
            bench.adapter.say(full=True)
            await asyncio.sleep(0.01)


async def test_a_pod_is_dialled_once_it_has_an_address(bench: Bench) -> None:
    """Until then it is listed, so that what is wrong with it is told, and nobody waits for its word."""
    pending = make_pod("p2", adapter="", endpoint="", message="unschedulable")
    bench.client.list_pods([bench.pod, pending])
    await asyncio.wait_for(bench.client.heard(10.0), 5.0)
    assert [view.known for view in bench.observed.pods()] == [True, False]
    with pytest.raises(FleetError, match="is gone"):
        await bench.client.unload("p2", KEY)
    await bench.client.close()
    bench.client.list_pods([make_pod("p1", adapter=""), make_pod("p2", adapter=bench.adapter.address)])
    async with asyncio.timeout(10):
        # The stream that was closed may still take a report with it.
        while not all(view.known for view in bench.observed.pods() if view.pod.adapter):
            bench.adapter.say(full=True)
            await asyncio.sleep(0.01)


async def test_a_pod_that_gets_another_address_is_dialled_there(bench: Bench, tmp_path: Path) -> None:
    """Same pod, after its node came back: what it held stays unknown until it is heard there. It may have none between."""
    bench.adapter.say((KEY, fleet_pb2.COPY_STATE_LOADED))
    await eventually(lambda: bench.state() is CopyState.LOADED)
    moved = FakeAdapter(f"unix:{tmp_path}/moved.sock")
    await moved.start()
    try:
        for address in ("", moved.address):
            bench.client.list_pods([make_pod("p1", adapter=address, endpoint=address)])
            assert bench.state() is CopyState.LOADED
            assert [view.known for view in bench.observed.pods()] == [False]
        moved.say(full=True, boot="b2")
        await eventually(lambda: (view := bench.observed.pod("p1")) is not None and view.boot == "b2")
        assert bench.state() is None
    finally:
        await bench.client.close()
        await moved.stop()


async def test_a_pod_that_goes_before_it_was_dialled_leaves_no_channel(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets an address and is gone in one turn of the loop, in which its watch cannot even begin."""
    lines: list[Line] = []

    def make_line(*args: Any, **kwargs: Any) -> Line:
        lines.append(Line(*args, **kwargs))
        return lines[-1]

    def closed() -> bool:
        return all(each.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN for each in lines)

    monkeypatch.setattr(client_module, "Line", make_line)
    bench.client.list_pods([bench.pod, make_pod("p2", adapter="127.0.0.1:1")])
    bench.client.list_pods([bench.pod])
    await eventually(closed)
    with pytest.raises(FleetError, match="pod p2 is gone"):
        await bench.client.unload("p2", KEY)
    bench.client.list_pods([bench.pod, make_pod("p2", adapter="127.0.0.1:1")])
    await eventually(lambda: bool(lines))
    await bench.client.close()
    assert closed()
