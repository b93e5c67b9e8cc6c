"""A draining Envoy is told once, and let go when nothing is under way. What the real one says: tests/standalone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from orchestrator.activator.drain import EnvoyDrain, Load, parse_load
from tests.orchestrator.waiting import eventually


def stats(connections: int, requests: int) -> str:
    return f"http.mesh.downstream_cx_active: {connections}\nhttp.mesh.downstream_rq_active: {requests}\n"


@pytest.mark.parametrize(
    ("text", "load"),
    [
        (stats(3, 1), Load(connections=3, requests=1)),
        ("", None),
        ("http.mesh.downstream_cx_active: 3\n", None),
        ("http.other.downstream_cx_active: 3\nhttp.other.downstream_rq_active: 3\n", None),
    ],
)
def test_load_is_what_the_stats_say(text: str, load: Load | None) -> None:
    """And is unknown when they do not."""
    assert parse_load(text) == load


@dataclass
class Envoy:
    """Its admin API: how often it was told to drain, and what it says that it has under way."""

    address: str
    load: str = stats(0, 0)
    told: int = 0
    asked: int = 0
    status: int = 200
    now: float = 0.0
    runner: web.AppRunner | None = field(default=None, repr=False)

    async def fail(self, _: web.Request) -> web.Response:
        return web.Response()

    async def drain(self, request: web.Request) -> web.Response:
        assert "graceful" in request.query
        self.told += 1
        return web.Response(status=self.status)

    async def stats(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(text=self.load)

    def drainer(self) -> EnvoyDrain:
        return EnvoyDrain(self.address, least_s=5.0, idle_s=3.0, most_s=30.0, clock=lambda: self.now)


@pytest.fixture
async def envoy(tmp_path: Path) -> AsyncIterator[Envoy]:
    fake = Envoy(f"unix:{tmp_path}/admin.sock")
    application = web.Application()
    application.add_routes(
        [
            web.post("/healthcheck/fail", fake.fail),
            web.post("/drain_listeners", fake.drain),
            web.get("/stats", fake.stats),
        ]
    )
    fake.runner = web.AppRunner(application)
    await fake.runner.setup()
    await web.UnixSite(fake.runner, f"{tmp_path}/admin.sock").start()
    yield fake
    await fake.runner.cleanup()


async def asked_again(envoy: Envoy) -> None:
    """A look that began after now has come back."""
    before = envoy.asked
    await eventually(lambda: envoy.asked >= before + 2)


async def test_nothing_under_way_is_no_proof_while_somebody_may_connect(envoy: Envoy) -> None:
    """A client that was told to leave dials again, and its request would meet the end of the process."""
    drain = asyncio.create_task(envoy.drainer()())
    await asked_again(envoy)
    assert not drain.done()
    envoy.now = 5.0
    assert await drain == "nothing is under way, 0 idle connections are left"
    assert envoy.told == 1


async def test_requests_are_waited_for(envoy: Envoy) -> None:
    """Longer than for listeners; a late word of nothing ends it."""
    envoy.load = stats(2, 1)
    drain = asyncio.create_task(envoy.drainer()())
    await asked_again(envoy)
    envoy.now = 6.0
    await asked_again(envoy)
    assert not drain.done()
    envoy.load = stats(0, 0)
    assert (await drain).startswith("nothing is under way")


async def test_idle_connections_are_waited_for_until_those_that_were_told_have_left(envoy: Envoy) -> None:
    """One that was made as the listeners closed has yet to ask, and to be told; most clients keep one open for nothing."""
    envoy.load = stats(2, 0)
    drain = asyncio.create_task(envoy.drainer()())
    await asked_again(envoy)
    envoy.now = 7.9
    await asked_again(envoy)
    assert not drain.done()
    envoy.now = 8.0
    assert await drain == "nothing is under way, 2 idle connections are left"


async def test_no_request_is_waited_for_for_ever(envoy: Envoy) -> None:
    """The kubelet would not either."""
    envoy.load = stats(1, 1)
    drain = asyncio.create_task(envoy.drainer()())
    await asked_again(envoy)
    envoy.now = 30.0
    assert (await drain).startswith("given up after 30 s")


async def test_it_is_told_once_whoever_asks(envoy: Envoy) -> None:
    """One that asked and went away ends nothing."""
    envoy.load = stats(1, 1)
    drain = envoy.drainer()
    first, second = asyncio.create_task(drain()), asyncio.create_task(drain())
    await asked_again(envoy)
    first.cancel()
    await asyncio.wait({first})
    envoy.load, envoy.now = stats(0, 0), 5.0
    assert (await second).startswith("nothing is under way")
    assert await drain() == await second
    assert envoy.told == 1


@pytest.mark.parametrize("gone", [True, False])
async def test_one_that_does_not_answer_is_not_waited_for(envoy: Envoy, gone: bool) -> None:
    """Killed, or one that refuses."""
    envoy.status = 500
    if gone:
        envoy.address += ".gone"
    assert (await envoy.drainer()()).startswith("it does not answer")


async def test_closed_it_waits_no_more(envoy: Envoy) -> None:
    """The activator ends, whatever Envoy has under way."""
    envoy.load = stats(1, 1)
    drain = envoy.drainer()
    asking = asyncio.create_task(drain())
    await asked_again(envoy)
    await drain.close()
    await asyncio.wait({asking})
    assert asking.cancelled()
