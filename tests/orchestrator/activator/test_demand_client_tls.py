"""The conversation with the leader over mutual TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestrator.activator.demand_client import DemandClient
from orchestrator.activator.hold import Hold
from orchestrator.activator.run import run
from orchestrator.activator.settings import ActivatorSettings
from orchestrator.activator.waiter import Forward, Waiter
from orchestrator.transport.identity import MESH, ORCHESTRATOR
from orchestrator.transport.server import server_credentials
from tests.identities import Authority, Held, mount
from tests.orchestrator.activator.fakes import FakeLeader, ready
from tests.orchestrator.waiting import eventually

OLD = Authority()
NEW = Authority()


class Bench:
    """A leader that is met with certificates."""

    def __init__(self, directory: Path) -> None:
        self.leader = FakeLeader(f"unix:{directory}/leader")
        self.theirs = Held(OLD.identity(ORCHESTRATOR))
        self.ours = Held(OLD.identity(MESH))

    def told(self, times: int) -> bool:
        """Whether the leader has one stream, and was told of one want on each that it had."""
        return (len(self.leader.wants), self.leader.opened, self.leader.streams) == (times, times, 1)

    def tried(self, times: int) -> bool:
        return self.ours.asked >= times


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.leader.start(server_credentials(made.theirs))
    yield made
    await made.leader.stop()


def wait_for(hold: Hold, model: str) -> Waiter:
    now = asyncio.get_running_loop().time()
    admitted = hold.admit(model, load=True, stale=False, since=now, deadline=now + 60, own_deadline=True)
    assert isinstance(admitted, Waiter)
    return admitted


async def test_who_waits_goes_on_waiting_through_new_certificates(bench: Bench, hold: Hold) -> None:
    """Leaf and authority, on both sides: the leader is told again on the new connection, and its answer arrives."""
    with capture_logs() as logs:
        client = asyncio.create_task(DemandClient(hold, (bench.leader.address,), identities=bench.ours).run())
        waiter = wait_for(hold, "m")
        await eventually(lambda: "m" in bench.leader.wanted and hold.heard)
        for told, (trusted, signs) in enumerate((((OLD, NEW), OLD), ((OLD, NEW), NEW), ((NEW,), NEW)), start=2):
            await bench.theirs.become(signs.identity(ORCHESTRATOR, *trusted))
            await bench.ours.become(signs.identity(MESH, *trusted))
            await bench.ours.taken()
            await eventually(partial(bench.told, told))
            assert hold.heard
        bench.leader.say(ready("m", "a:1"))
        assert await hold.verdict(waiter) == Forward(("a:1",), 1)
        hold.leave(waiter)
        client.cancel()
        await asyncio.wait({client})
    assert "demand_disconnected" not in {line["event"] for line in logs}


async def test_a_leader_of_another_role_or_authority_is_none(bench: Bench, hold: Hold) -> None:
    """It is not told what is wanted; once it is one, it is."""
    client = asyncio.create_task(DemandClient(hold, (bench.leader.address,), identities=bench.ours).run())
    wait_for(hold, "m")
    for identity in (OLD.identity("adapter"), NEW.identity(ORCHESTRATOR, OLD)):
        await bench.theirs.become(identity)
        asked = bench.ours.asked
        # The first of these attempts may have begun before.
        await eventually(partial(bench.tried, asked + 3))
        assert (bench.leader.opened, hold.heard) == (0, False)
    await bench.theirs.become(OLD.identity(ORCHESTRATOR))
    await eventually(lambda: "m" in bench.leader.wanted)
    client.cancel()
    await asyncio.wait({client})


async def test_the_settings_name_a_directory(bench: Bench, tmp_path: Path) -> None:
    """With it the leader is met with its certificate; without an identity in it nothing begins."""
    tls = tmp_path / "tls"
    settings = ActivatorSettings(listen=f"unix:{tmp_path}/a", leader=(bench.leader.address,), tls_dir=str(tls))
    with pytest.raises(OSError):
        await run(settings)
    mount(tls, OLD.identity(MESH))
    running = asyncio.create_task(run(settings))
    await eventually(lambda: bench.leader.streams == 1)
    running.cancel()
    await asyncio.wait({running})
