"""The conversation with the leader, over real sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import grpc
import pytest

from orchestrator.activator.demand_client import DemandClient, from_message, wanted
from orchestrator.activator.hold import Hold
from orchestrator.activator.waiter import Forward, Waiter
from orchestrator.domain.demand import Answer, OnDemand, ReadyAt, Refused, WaitFor, Want
from protos import demand_pb2
from tests.orchestrator.activator.conftest import Stacks
from tests.orchestrator.activator.fakes import FakeLeader, failed, message, ready, standby, waiting
from tests.orchestrator.waiting import eventually


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (ready("m", "a:1", "b:2"), ReadyAt(("a:1", "b:2"))),
        (failed("m", grpc.StatusCode.NOT_FOUND, "no"), Refused(5, "no")),
        (waiting("m", "loading"), WaitFor("loading")),
        (standby("m"), OnDemand()),
        (demand_pb2.Answer(model="m"), None),
    ],
)
def test_answers_as_values(sent: demand_pb2.Answer, answer: Answer | None) -> None:
    """Each kind of answer, and one of a later protocol."""
    assert from_message(sent) == answer


def test_what_is_wanted_as_a_message() -> None:
    """Flags and names arrive as they are."""
    sent = wanted({"m": Want(load=True), "n": Want(stale=True)}, full=True, release=("o",))
    assert sent.full
    assert {want.model: (want.load, want.stale) for want in sent.want} == {"m": (True, False), "n": (False, True)}
    assert list(sent.release) == ["o"]


async def test_addresses_are_tried_until_one_answers(stacks: Stacks, tmp_path: Path) -> None:
    """A standby's closed port is passed over, and again when the leader moves."""
    other = FakeLeader(f"unix:{tmp_path}/other")
    stack = await stacks.make(leaders=(other.address,))
    held = stack.infer("m", message("m"))
    await stack.wants("m")
    await stack.leader.stop()
    await other.start()
    await eventually(lambda: "m" in other.wanted)
    other.say(ready("m", stack.runtime.endpoint))
    assert await held == message("m")
    await eventually(lambda: "m" in other.released)
    await other.stop()


async def test_an_unknown_kind_of_answer_is_passed_over(stacks: Stacks) -> None:
    """A newer leader may say more than this activator understands."""
    stack = await stacks.make()
    held = stack.infer("m", message("m"))
    await stack.wants("m")
    stack.leader.say(demand_pb2.Answer(model="m"))
    stack.leader.say(ready("m", stack.runtime.endpoint))
    assert await held == message("m")


async def test_a_server_without_the_service_is_no_leader(tmp_path: Path, stacks: Stacks) -> None:
    """What does not speak the protocol does not count as heard, and others are tried."""
    stranger = grpc.aio.server()
    stranger.add_insecure_port(f"unix:{tmp_path}/stranger")
    await stranger.start()
    stack = await stacks.make(leaders=(f"unix:{tmp_path}/stranger",))
    assert await stack.call("ServerReady") is not None
    stack.serve("m")
    assert await stack.infer("m", message("m")) == message("m")
    await stranger.stop(None)


_FROZEN_LEADER = """
import asyncio, sys
from tests.orchestrator.activator.fakes import FakeLeader

async def main():
    leader = FakeLeader(sys.argv[1])
    await leader.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_frozen_leader_is_left(hold: Hold, tmp_path: Path) -> None:
    """Its connection stands, but it does not answer pings: the next address is tried, and told all."""
    script = tmp_path / "leader.py"
    script.write_text(_FROZEN_LEADER)
    socket = tmp_path / "frozen"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), f"unix:{socket}", env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    other = FakeLeader(f"unix:{tmp_path}/other")
    await other.start()
    client: asyncio.Task[None] | None = None
    try:
        await eventually(socket.exists)
        client = asyncio.create_task(DemandClient(hold, (f"unix:{socket}", other.address), ping_s=0.3).run())
        await eventually(lambda: hold.heard)
        assert other.opened == 0
        process.send_signal(signal.SIGSTOP)
        now = asyncio.get_running_loop().time()
        admitted = hold.admit("m", load=True, stale=False, since=now, deadline=now + 60, own_deadline=True)
        assert isinstance(admitted, Waiter)
        await eventually(lambda: "m" in other.wanted)
        other.say(ready("m", "a:1"))
        assert await hold.verdict(admitted) == Forward(("a:1",), 1)
        hold.leave(admitted)
    finally:
        process.kill()
        await process.wait()
        if client is not None:
            client.cancel()
            await asyncio.wait([client])
        await other.stop()


async def test_no_leader_is_an_error(hold: Hold) -> None:
    """An activator that can ask nobody is a mistake in its settings."""
    with pytest.raises(ValueError, match="leader"):
        DemandClient(hold, ())
