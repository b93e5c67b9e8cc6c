"""Who leads, as the client of adapters learns it: from the lease, and from adapters only where it says nothing."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from orchestrator.domain.errors import FleetError
from orchestrator.machinery.term import Term
from protos import fleet_pb2
from tests.orchestrator.builders import make_pod
from tests.orchestrator.fleet.bench import EPOCH, KEY, Bench, FakeAdapter
from tests.orchestrator.waiting import eventually


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
