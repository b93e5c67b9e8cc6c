"""What a kubelet is answered."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from orchestrator.activator.health import HealthServer
from orchestrator.domain.addresses import ANYWHERE, host_port, split
from orchestrator.machinery.figures import gauge
from tests.families import LOOPBACKS
from tests.standalone.envoy_stack import free_address


async def _nothing() -> str:
    return ""


async def test_it_lives_while_it_drains() -> None:
    """A drain that blocks does not look like a process that hangs; its answer is how the drain ended."""
    drained: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    host, _, port = free_address().rpartition(":")

    async def drain() -> str:
        return await drained

    drain_port = free_address().rpartition(":")[2]
    server = HealthServer(drain)
    await server.start(host, int(port), int(drain_port))
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            draining = asyncio.create_task(session.get(f"http://{host}:{drain_port}/drain").__aenter__())
            async with session.get("/healthz") as response:
                assert (response.status, await response.text()) == (200, "ok\n")
            assert not draining.done()
            drained.set_result("all gone")
            response = await draining
            assert (response.status, await response.text()) == (200, "all gone\n")
            response.close()
            # Whoever may scrape may not drain, and the other way round.
            for url in ("/drain", f"http://{host}:{drain_port}/metrics"):
                async with session.get(url) as response:
                    assert response.status == 404
    finally:
        await server.close()


async def test_a_taken_port_is_an_error() -> None:
    """Not an activator that no kubelet can ask."""
    host, _, port = free_address().rpartition(":")

    first, second = HealthServer(_nothing), HealthServer(_nothing)
    await first.start(host, int(port))
    try:
        with pytest.raises(OSError):
            await second.start(host, int(port))
        with pytest.raises(OSError):
            await second.start(host, int(free_address().rpartition(":")[2]), int(port))
    finally:
        await second.close()
        await first.close()


async def test_anywhere_is_both_families() -> None:
    """A kubelet asks at the pod's address, of whichever family that is."""
    _, port = split(free_address())
    server = HealthServer(_nothing)
    await server.start(ANYWHERE, int(port))
    try:
        async with aiohttp.ClientSession() as session:
            for host in LOOPBACKS:
                async with session.get(f"http://{host_port(host, port)}/healthz") as response:
                    assert response.status == 200
    finally:
        await server.close()


async def test_it_shows_what_it_holds() -> None:
    """As of the moment of the scrape."""
    held = 1
    host, _, port = free_address().rpartition(":")

    server = HealthServer(_nothing, lambda: [gauge("wml_activator_held_requests", "Held.", held)])
    await server.start(host, int(port))
    try:
        held = 2
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session, session.get("/metrics") as response:
            assert "\nwml_activator_held_requests 2.0\n" in await response.text()
    finally:
        await server.close()
