"""The end of a pod, announced: who waits for what, and for how long."""

from __future__ import annotations

import asyncio

from adapters.drain import Drain
from tests.adapters.world import FakeServer, World

#: Longer than any test takes.
LONG_S = 600.0


async def test_it_ends_when_nothing_is_left(world: World) -> None:
    """Whatever is loaded, on its way in or out is waited for; what failed is not there."""
    world.load("a")
    world.load("bad")
    await world.until(lambda: world.state("a") == "Loaded" and world.state("bad") == "Failed")
    drain = Drain(world.ledger, world.bells, LONG_S)
    waiting = [asyncio.create_task(drain.wait()) for _ in range(3)]
    await world.until(lambda: world.ledger.draining)
    assert not world.ledger.closing
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    world.unload("a")
    assert await asyncio.gather(*waiting) == ["nothing"] * 3
    assert await drain.wait() == "nothing"
    assert world.ledger.draining


async def test_when_the_time_is_up_it_says_what_is_left(world: World) -> None:
    """The leader has been told before that it ends; nothing is done to what is left."""
    world.load("a")
    await world.until(lambda: world.state("a") == "Loaded")
    drain = Drain(world.ledger, world.bells, 0.05)
    assert await drain.wait() == "1 Loaded"
    assert world.ledger.closing
    assert world.state("a") == "Loaded"
    assert await drain.wait() == "1 Loaded"


async def test_one_drain_has_one_end(world: World) -> None:
    """Who asks later does not get more time."""
    world.load("a")
    await world.until(lambda: world.state("a") == "Loaded")
    now = 100.0
    drain = Drain(world.ledger, world.bells, 30.0, clock=lambda: now)
    first = asyncio.create_task(drain.wait())
    await world.until(lambda: world.ledger.draining)
    now += 20.5
    second = asyncio.create_task(drain.wait())
    await world.until(lambda: world.ledger.closing)
    assert not second.done()
    now += 10.0
    world.bells.ring()
    assert set(await asyncio.gather(first, second)) == {"1 Loaded"}


async def test_a_server_that_is_gone_has_nothing_to_move(world: World, server: FakeServer) -> None:
    """It died while it was waited for."""
    world.load("a")
    await world.until(lambda: world.state("a") == "Loaded")
    waiting = asyncio.create_task(Drain(world.ledger, world.bells, LONG_S).wait())
    await world.until(lambda: world.ledger.draining)
    server.die()
    assert await waiting == "nothing"


async def test_a_server_that_was_started_again_is_used_again(world: World, server: FakeServer) -> None:
    """It had hung, and the kubelet asks before it ends one; the pod stays. Its own end has a drain of its own."""
    world.load("a")
    await world.until(lambda: world.state("a") == "Loaded")
    now = 100.0
    drain = Drain(world.ledger, world.bells, 30.0, clock=lambda: now)
    first = asyncio.create_task(drain.wait())
    await world.until(lambda: world.ledger.draining)
    server.die()
    assert await first == "nothing"
    server.start()
    await world.until_ready()
    assert not world.ledger.draining
    world.load("a")
    await world.until(lambda: world.state("a") == "Loaded")
    now += 60.0
    second = asyncio.create_task(drain.wait())
    await world.until(lambda: world.ledger.draining)
    await asyncio.sleep(0)
    assert not second.done()
    world.unload("a")
    assert await second == "nothing"
