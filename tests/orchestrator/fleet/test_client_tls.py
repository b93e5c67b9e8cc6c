"""The client of adapters over mutual TLS, with the real adapter's server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from adapters.server import AdapterService, listen
from adapters.transport import IdentityFiles
from orchestrator.fleet.client import FleetClient
from orchestrator.fleet.observed import ObservedFleet
from orchestrator.machinery.term import Term
from orchestrator.transport.identity import ADAPTER, ORCHESTRATOR
from tests.adapters.world import FakeServer, FakeStore, World, running
from tests.identities import Authority, Held, mount
from tests.orchestrator.builders import make_key, make_pod
from tests.orchestrator.waiting import eventually

OLD = Authority()
NEW = Authority()


class Bench:
    """An adapter whose files a test swaps, and a client whose identity it changes."""

    def __init__(self, directory: Path, world: World) -> None:
        self.world = world
        self.tls = directory / "tls"
        mount(self.tls, OLD.identity(ADAPTER))
        self.identities = Held(OLD.identity(ORCHESTRATOR))
        self.observed = ObservedFleet()
        #: Whether the pod was known, at each change of anything.
        self.known: list[bool] = []
        self.pod = make_pod("p1", adapter=f"unix:{directory}/adapter.sock")
        self.client = FleetClient(
            self.observed, term=Term(5), on_change=lambda *_: self.known.append(self.knows), identities=self.identities
        )

    @property
    def knows(self) -> bool:
        view = self.observed.pod("p1")
        return view is not None and view.known


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    server = FakeServer(tmp_path / "repository")
    server.start()
    async with running(World(tmp_path, server, FakeStore())) as world:
        await world.until_ready()
        bench = Bench(tmp_path, world)
        service = AdapterService(world.ledger, world.loader, world.bells)
        listening = await listen(bench.pod.adapter, service, tls=IdentityFiles(bench.tls))
        yield bench
        await bench.client.close()
        service.stop()
        await listening.stop(None)


async def test_nothing_fails_through_new_certificates(bench: Bench) -> None:
    """Leaf and authority, on both sides, in the order of the Secrets: every command is taken, no pod becomes unknown."""
    bench.client.list_pods([bench.pod])
    await eventually(lambda: bench.knows)
    bench.known.clear()
    commands = 0
    done = False

    async def command() -> None:
        nonlocal commands
        while not done:
            await bench.client.unload("p1", make_key())
            commands += 1

    with capture_logs() as logs:
        commanding = asyncio.create_task(command())
        for trusted, signs in (((OLD,), OLD), ((OLD, NEW), OLD), ((OLD, NEW), NEW), ((NEW,), NEW)):
            mount(bench.tls, signs.identity(ADAPTER, *trusted))
            await bench.identities.become(signs.identity(ORCHESTRATOR, *trusted))
            await bench.identities.taken()
        seen = commands
        await eventually(lambda: commands > seen or commanding.done())
        done = True
        await commanding
    assert bench.knows
    assert all(bench.known)
    assert [line for line in logs if line["log_level"] != "info"] == []


async def test_an_adapter_of_another_authority_is_not_heard(bench: Bench) -> None:
    """Whoever took over a pod's address; its credentials for storage are for adapters alone."""
    mount(bench.tls, NEW.identity(ADAPTER, OLD))
    bench.client.list_pods([bench.pod])
    await eventually(lambda: bench.identities.asked > 4)
    assert not bench.knows
    mount(bench.tls, OLD.identity(ADAPTER))
    await eventually(lambda: bench.knows)


async def test_an_orchestrator_of_another_authority_is_not_heard_until_it_has_another_identity(bench: Bench) -> None:
    """A watch that failed is begun anew with the identity of then."""
    await bench.identities.become(NEW.identity(ORCHESTRATOR, OLD))
    bench.client.list_pods([bench.pod])
    await eventually(lambda: bench.identities.asked > 4)
    assert not bench.knows
    await bench.identities.become(OLD.identity(ORCHESTRATOR))
    await eventually(lambda: bench.knows)
