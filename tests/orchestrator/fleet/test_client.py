"""The client of adapters, with a real gRPC server in an adapter's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from orchestrator.domain.errors import FleetError
from orchestrator.domain.fleet import CopyKey, CopyState, Pod
from orchestrator.fleet.client import FleetClient
from orchestrator.fleet.convert import key_to_proto
from orchestrator.fleet.observed import Changes, ObservedFleet, Report
from orchestrator.machinery.term import Term
from protos import fleet_pb2, fleet_pb2_grpc
from tests.orchestrator.builders import make_credentials, make_key, make_order, make_pod
from tests.orchestrator.waiting import eventually

EPOCH = 1_700_000_000_000
KEY = make_key()


class FakeAdapter(fleet_pb2_grpc.AdapterServicer):
    """Says what it is told to say, and remembers what it was asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.hellos: list[fleet_pb2.Hello] = []
        self.commands: list[fleet_pb2.LoadRequest | fleet_pb2.UnloadRequest] = []
        self.refuse: tuple[grpc.StatusCode, str] | None = None
        #: The highest epoch that it has seen, as far as it says.
        self.epoch = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self._says: asyncio.Queue[fleet_pb2.Report] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._says = asyncio.Queue()
        self._server = grpc.aio.server()
        fleet_pb2_grpc.add_AdapterServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    @property
    def unsaid(self) -> int:
        """How many reports nobody has heard yet."""
        return self._says.qsize()

    def say(self, *copies: tuple[CopyKey, fleet_pb2.CopyState.ValueType], full: bool = False, boot: str = "b1") -> None:
        """The next report."""
        made = [fleet_pb2.Copy(key=key_to_proto(k), state=s) for k, s in copies]
        self._says.put_nowait(
            fleet_pb2.Report(boot=boot, full=full, copies=made, server=fleet_pb2.SERVER_STATE_READY, epoch=self.epoch)
        )

    async def Watch(
        self, request: fleet_pb2.Hello, context: grpc.aio.ServicerContext[fleet_pb2.Hello, fleet_pb2.Report]
    ) -> AsyncIterator[fleet_pb2.Report]:
        self.hellos.append(request)
        while True:
            yield await self._says.get()

    async def Load(
        self,
        request: fleet_pb2.LoadRequest,
        context: grpc.aio.ServicerContext[fleet_pb2.LoadRequest, fleet_pb2.Accepted],
    ) -> fleet_pb2.Accepted:
        return await self._take(request, context)

    async def Unload(
        self,
        request: fleet_pb2.UnloadRequest,
        context: grpc.aio.ServicerContext[fleet_pb2.UnloadRequest, fleet_pb2.Accepted],
    ) -> fleet_pb2.Accepted:
        return await self._take(request, context)

    async def _take(
        self, request: fleet_pb2.LoadRequest | fleet_pb2.UnloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> fleet_pb2.Accepted:
        self.commands.append(request)
        await self.hold.wait()
        if self.refuse is not None:
            await context.abort(*self.refuse, (("wml-epoch", str(self.epoch)), ("wml-boot", "b1")))
        return fleet_pb2.Accepted()


class Bench:
    """A client and what it observed, with one adapter."""

    def __init__(self, directory: Path, term: Term | None = None) -> None:
        self.adapter = FakeAdapter(f"unix:{directory}/adapter.sock")
        self.observed = ObservedFleet()
        self.changed: set[str] = set()
        self.term = term or Term(EPOCH)
        self.client = FleetClient(self.observed, term=self.term, on_change=self._on_change)
        self.pod: Pod = make_pod("p1", adapter=self.adapter.address)

    def _on_change(self, models: frozenset[str], runtimes: frozenset[str]) -> None:
        self.changed |= models | runtimes

    def confirm(self) -> bool:
        """The lease is renewed."""
        self.term.confirm()
        return True

    @property
    def known(self) -> bool:
        view = self.observed.pod("p1")
        return view is not None and view.known

    def state(self, key: CopyKey = KEY) -> CopyState | None:
        copy = self.observed.copies_in("p1").get(key)
        return copy.state if copy is not None else None

    async def load(self) -> None:
        credentials = make_credentials(secret_access_key="hunter2hunter2")
        await self.client.load("p1", make_order(key=KEY, credentials=credentials))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """The adapter runs, is listed and has reported that it is empty."""
    bench = Bench(tmp_path)
    await bench.adapter.start()
    bench.adapter.say(full=True)
    bench.client.list_pods([bench.pod])
    await eventually(lambda: bench.known)
    yield bench
    await bench.client.close()
    await bench.adapter.stop()


async def test_a_watch_says_who_is_leader_and_brings_what_there_is(bench: Bench) -> None:
    """The first report makes the pod known, later ones change it, each change is announced."""
    assert bench.adapter.hellos == [fleet_pb2.Hello(epoch=EPOCH, protocol=1)]
    bench.adapter.say((KEY, fleet_pb2.COPY_STATE_LOADED))
    await eventually(lambda: bench.state() is CopyState.LOADED)
    assert bench.changed == {"mlserver-0.x", "digits"}


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
    hearing = asyncio.create_task(bench.client.heard(0.01))
    await asyncio.sleep(0.1)
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


async def test_a_refusal_that_names_a_higher_epoch_ends_the_term(bench: Bench) -> None:
    """Nothing more is commanded, of whatever adapter: one that has not heard of the other leader would obey."""
    bench.adapter.refuse, bench.adapter.epoch = (grpc.StatusCode.FAILED_PRECONDITION, "stale epoch"), EPOCH + 1
    with pytest.raises(FleetError, match="stale epoch"):
        await bench.load()
    assert (bench.term.over, bench.term.successor) == (True, EPOCH + 1)
    bench.adapter.refuse = None
    with pytest.raises(FleetError, match="another leads"):
        await bench.load()
    with pytest.raises(FleetError, match="another leads"):
        await bench.client.unload("p1", KEY)
    assert len(bench.adapter.commands) == 1


async def test_a_refusal_for_another_reason_does_not(bench: Bench) -> None:
    """A boot that is over, a server that is not ready: the epoch in it is this leader's own."""
    bench.adapter.refuse, bench.adapter.epoch = (grpc.StatusCode.FAILED_PRECONDITION, "stale boot"), EPOCH
    with pytest.raises(FleetError, match="stale boot"):
        await bench.load()
    assert not bench.term.over


async def test_a_report_that_names_a_higher_epoch_ends_the_term(bench: Bench) -> None:
    """A frozen leader reads it when it thaws: what its successor's watch did to the fence."""
    bench.adapter.epoch = EPOCH
    bench.adapter.say((KEY, fleet_pb2.COPY_STATE_LOADED))
    await eventually(lambda: bench.state() is not None)
    assert not bench.term.over
    bench.adapter.epoch = EPOCH + 1
    bench.adapter.say()
    await eventually(lambda: bench.term.over)
    with pytest.raises(FleetError, match="another leads"):
        await bench.client.unload("p1", KEY)
    assert bench.adapter.commands == []


@pytest.mark.parametrize("told", [EPOCH + 1, 2**53, 2**64 - 1])
async def test_an_adapter_deposes_nobody_whom_the_lease_knows(tmp_path: Path, told: int) -> None:
    """Its key may be in the wrong hands. It obeys nobody here, so it counts as silent; that is said once."""
    bench, other = Bench(tmp_path, Term(EPOCH, holds=lambda: True)), FakeAdapter(f"unix:{tmp_path}/other.sock")
    for adapter in (bench.adapter, other):
        await adapter.start()
        adapter.epoch = EPOCH
        adapter.say(full=True)
    try:
        bench.client.list_pods([bench.pod, make_pod("p2", adapter=other.address)])
        await bench.client.heard(10.0)
        bench.adapter.epoch = told
        with capture_logs() as lines:
            for _ in range(2):
                bench.adapter.hellos.clear()
                bench.adapter.say((KEY, fleet_pb2.COPY_STATE_LOADED), full=True)
                await eventually(lambda: bench.confirm() and bench.adapter.hellos)
                assert not bench.known
        assert [line["told"] for line in lines if line["event"] == "adapter_not_believed"] == [told]
        assert not bench.term.over
        assert bench.state() is None
        await bench.client.unload("p2", KEY)
        bench.adapter.epoch = EPOCH
        bench.adapter.say(full=True)
        await eventually(lambda: bench.known)
    finally:
        await bench.client.close()
        await bench.adapter.stop()
        await other.stop()


async def test_adapters_that_none_obeys_are_believed_once_the_lease_is_seen_to_stand(tmp_path: Path) -> None:
    """The lease was made anew, with a clock that is behind: the next leader begins above what they tell."""
    bench = Bench(tmp_path, Term(EPOCH, holds=lambda: True))
    await bench.adapter.start()
    bench.adapter.epoch = EPOCH + 1000
    bench.adapter.say(full=True)
    try:
        bench.client.list_pods([bench.pod])
        await eventually(lambda: bench.adapter.unsaid == 0)
        assert not bench.term.over

        await eventually(lambda: bench.confirm() and bench.term.over)
        assert bench.term.successor == EPOCH + 1000
    finally:
        await bench.client.close()
        await bench.adapter.stop()


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
