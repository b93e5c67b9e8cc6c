"""What a kubelet hears, over real sockets; and the same of a real process."""

from __future__ import annotations

import asyncio
import socket as sockets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from adapters.drain import Drain
from adapters.health import PATIENCE_S as PATIENCES
from adapters.health import Health, serve
from adapters.server import AdapterService
from tests.adapters.process import adapter
from tests.adapters.runtimes.inference_server import inference_server
from tests.adapters.world import FakeServer, World, until
from tests.families import LOOPBACKS
from tests.ports import reserved

PATIENCE_S = 120.0
LOAD_S = 90.0
#: As the settings have it.
UNLOAD_S = 60.0


@dataclass
class Pulse:
    """As told."""

    silent_s: float = 0.0


class Probe:
    """Asks as a kubelet does: the status, and the line."""

    def __init__(self, session: aiohttp.ClientSession, base: str = "http://pod") -> None:
        self._session = session
        self._base = base

    async def get(self, path: str) -> tuple[int, str]:
        async with self._session.get(self._base + path) as response:
            return response.status, (await response.text()).strip()


@pytest.fixture
def pulse() -> Pulse:
    return Pulse()


@pytest.fixture
def service(world: World) -> AdapterService:
    return AdapterService(world.ledger, world.loader, world.bells)


@pytest.fixture
async def probe(world: World, service: AdapterService, pulse: Pulse, tmp_path: Path) -> AsyncIterator[Probe]:
    drain = Drain(world.ledger, world.bells, 600.0)
    health = Health(
        ledger=world.ledger,
        service=service,
        pulse=pulse,
        drain=drain,
        patience_s=PATIENCE_S,
        busy_s=world.loader.busy_s,
    )
    path = f"{tmp_path}/h.sock"
    served = await serve(health, socket=path)
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
        yield Probe(session)
    await served.aclose()


async def test_ready_is_the_server_and_not_the_adapter(probe: Probe, world: World, server: FakeServer) -> None:
    """Lost: not ready, but this process lives, and it is not for the liveness probe to restart what is restarted anyway."""
    assert await probe.get("/readyz") == (200, "ok")
    server.die()
    await world.until(lambda: world.ledger.server == "Lost")
    assert await probe.get("/readyz") == (503, "the model server is not ready: Lost")
    assert await probe.get("/healthz") == (200, "ok")
    assert await probe.get("/livez") == (200, "ok")
    server.start()
    await world.until_ready()
    assert await probe.get("/readyz") == (200, "ok")


async def test_a_scrape_shows_the_ledger(probe: Probe, world: World) -> None:
    """As it is now."""
    world.load("a")
    await world.until(lambda: world.state("a") == "Loaded")
    status, page = await probe.get("/metrics")
    assert status == 200
    assert 'wml_adapter_copies{state="Loaded"} 1.0' in page.splitlines()


async def test_a_stopping_adapter_is_not_ready(probe: Probe, service: AdapterService) -> None:
    """Requests would be served; but nobody is there to say so."""
    service.stop()
    assert await probe.get("/readyz") == (503, "the adapter is stopping")


async def test_a_drain_answers_when_the_models_are_gone(probe: Probe, world: World) -> None:
    """Not ready from the moment it is asked; asked twice, both are answered."""
    world.load("a")
    await world.until(lambda: world.state("a") == "Loaded")
    drains = [asyncio.create_task(probe.get("/drain")) for _ in range(2)]
    await world.until(lambda: world.ledger.draining)
    assert await probe.get("/readyz") == (503, "the pod drains")
    assert not any(drain.done() for drain in drains)
    world.unload("a")
    assert await asyncio.gather(*drains) == [(200, "left: nothing")] * 2
    assert await probe.get("/readyz") == (503, "the pod drains")


def test_patience_is_by_what_may_keep_a_server_from_answering() -> None:
    """MLServer's predictions do; whoever asks for one without a deadline is held for two minutes."""
    assert 10 <= PATIENCES["triton"] <= 20
    assert PATIENCES["mlserver"] >= 120


async def test_a_server_that_hangs_is_not_alive_but_one_that_loads_is(
    probe: Probe, world: World, server: FakeServer, pulse: Pulse
) -> None:
    """MLServer answers nothing while it loads a model in its only thread; but no load takes longer than it may."""
    pulse.silent_s = PATIENCE_S - 1
    assert (await probe.get("/livez"))[0] == 200
    pulse.silent_s = PATIENCE_S + 1
    assert await probe.get("/livez") == (503, "the model server is connected and has not answered for 121 s")
    server.may_load.clear()
    world.load("a", timeout_s=LOAD_S)
    await world.until(lambda: world.state("a") == "Loading")
    pulse.silent_s = PATIENCE_S + LOAD_S + UNLOAD_S - 1
    assert await probe.get("/livez") == (200, "ok")
    pulse.silent_s = PATIENCE_S + LOAD_S + UNLOAD_S
    assert (await probe.get("/livez"))[0] == 503
    pulse.silent_s = PATIENCE_S + 1
    server.may_load.set()
    await world.until(lambda: world.state("a") == "Loaded")
    assert (await probe.get("/livez"))[0] == 503
    server.unload_refusals = 1_000_000
    world.unload("a")
    await until(lambda: world.state("a") == "Unloading" and world.loader.busy_s() > 0)
    assert await probe.get("/livez") == (200, "ok")
    pulse.silent_s = PATIENCE_S + UNLOAD_S
    assert (await probe.get("/livez"))[0] == 503


async def test_a_port_that_is_taken_ends_a_process(tmp_path: Path) -> None:
    """With exit code 1."""
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        for option in ("--health-port", "--drain-port"):
            with adapter(tmp_path, "127.0.0.1:9", options=(option, str(taken.getsockname()[1]))) as refused:
                assert await asyncio.to_thread(refused.process.wait, 30) == 1


async def test_a_process_answers_at_its_ports_and_its_socket(tmp_path: Path) -> None:
    """Whoever scrapes cannot drain, and whoever drains asks for nothing else."""
    with reserved() as port, reserved() as drain_port:
        ports = ("--health-port", str(port), "--drain-port", str(drain_port))
        options = (*ports, "--health-socket", f"{tmp_path}/h.sock", "--drain-seconds", "0.2")
        async with inference_server() as server:
            with adapter(tmp_path, server.target, options=options) as process:
                await until(lambda: listens(f"{tmp_path}/h.sock"))
                async with (
                    aiohttp.ClientSession() as tcp,
                    aiohttp.ClientSession(connector=aiohttp.UnixConnector(f"{tmp_path}/h.sock")) as unix,
                ):
                    probes = [Probe(tcp, f"http://127.0.0.1:{port}"), Probe(unix)]
                    for probe in probes:
                        assert await probe.get("/healthz") == (200, "ok")
                        assert await probe.get("/livez") == (200, "ok")
                    async with asyncio.timeout(30):
                        while (await probes[0].get("/readyz"))[0] != 200:
                            await asyncio.sleep(0.02)
                    kubelet = Probe(tcp, f"http://127.0.0.1:{drain_port}")
                    assert (await probes[0].get("/drain"))[0] == 404
                    for path in ("/healthz", "/readyz", "/livez", "/metrics"):
                        assert (await kubelet.get(path))[0] == 404
                    assert (await probes[0].get("/readyz"))[0] == 200
                    for probe in (kubelet, probes[1]):
                        assert await probe.get("/drain") == (200, "left: nothing")
                    assert [(await probe.get("/readyz"))[0] for probe in probes] == [503, 503]
                assert process.process.poll() is None


async def test_a_process_listens_for_both_families(tmp_path: Path) -> None:
    """For leaders and kubelets alike: a pod has an address of either family, or of both."""
    with reserved() as fleet, reserved() as health:
        # The last that is said counts.
        options = ("--listen", f"[::]:{fleet}", "--health-port", str(health))
        with adapter(tmp_path, "127.0.0.1:9", options=options):
            await until(lambda: all(accepts(host, port) for port in (fleet, health) for host in LOOPBACKS))


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens at that port."""
    try:
        sockets.create_connection((host, port), 5).close()
    except OSError:
        return False
    return True


def listens(path: str) -> bool:
    """The same of a socket, which is there a moment before."""
    with sockets.socket(sockets.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


async def test_a_process_tells_a_server_that_hangs_from_one_that_is_gone(tmp_path: Path) -> None:
    """Its connection stands and nothing is answered; once it is gone, whoever starts it again knows as much."""
    path = f"{tmp_path}/h.sock"
    async with inference_server() as server:
        with adapter(tmp_path, server.target, options=("--health-socket", path, "--silent-seconds", "0.5")):
            await until(lambda: listens(path))
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
                probe = Probe(session)

                async def until_said(route: str, status: int) -> None:
                    async with asyncio.timeout(30):
                        while (await probe.get(route))[0] != status:
                            await asyncio.sleep(0.02)

                await until_said("/readyz", 200)
                server.answers.clear()
                await until_said("/livez", 503)
                assert (await probe.get("/healthz"))[0] == 200
                server.answers.set()
                await until_said("/livez", 200)
                server.answers.clear()
                await until_said("/livez", 503)
                await server.stop()
                await until_said("/livez", 200)
                assert (await probe.get("/readyz"))[0] == 503
