"""The gate on an event loop: futures, permits, the timer."""

from __future__ import annotations

import asyncio

from orchestrator.activator.budget import Permit
from orchestrator.activator.hold import Hold
from orchestrator.activator.waiter import Reply, Waiter
from orchestrator.domain.demand import Refused
from tests.orchestrator.waiting import eventually


def admit(hold: Hold, seconds: float) -> Waiter:
    """A request that waits so long."""
    now = asyncio.get_running_loop().time()
    waiter = hold.admit("m", load=True, stale=False, since=now, deadline=now + seconds, own_deadline=True)
    assert isinstance(waiter, Waiter)
    return waiter


async def test_time_ends_a_wait(hold: Hold) -> None:
    """The timer is early enough for whoever is due first, in whatever order they came."""
    late, soon = admit(hold, 30), admit(hold, 0.05)
    assert isinstance(await hold.verdict(soon), Reply)
    assert late.verdict is None
    hold.answer("m", Refused(5, "no"))
    assert await hold.verdict(late) == Reply(5, "no")


async def test_a_wait_that_is_cancelled_can_be_left(hold: Hold) -> None:
    """Nothing is kept of it."""
    waiter = admit(hold, 30)
    waiting = asyncio.create_task(hold.verdict(waiter))
    await eventually(hold.news.is_set)
    waiting.cancel()
    await asyncio.wait([waiting])
    hold.leave(waiter)
    assert hold.waiting == 0


async def test_permits_are_granted_in_turn(hold: Hold) -> None:
    """Who waits gets the permit of who is done; who is cancelled, or out of time, gives his place to the next."""
    pool = hold.budget.early
    first = await hold.permit(pool, 100, None, model="")
    assert isinstance(first, Permit)
    cancelled = asyncio.create_task(hold.permit(pool, 100, None, model=""))
    second = asyncio.create_task(hold.permit(pool, 100, None, model=""))
    await eventually(lambda: pool.line == 2)
    assert await hold.permit(pool, 100, None, model="") is None, "the line is full"
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert await hold.permit(pool, 100, asyncio.get_running_loop().time() + 0.01, model="") is None, "out of time"
    assert pool.line == 1
    hold.settle(pool, first, 40)
    assert not second.done()
    hold.release(pool, first)
    granted = await second
    assert granted is not None
    assert granted.granted
    hold.release(pool, granted)
    assert (pool.used, pool.line) == (0, 0)


async def test_who_is_let_by_as_a_stream_takes_its_model_s_share_is_woken(hold: Hold) -> None:
    """A message of the first's model leaves it over its share, and the next in line has room."""
    pool = hold.budget.responses
    other = await hold.permit(pool, 100, None, model="c")
    assert other is not None
    assert hold.charge(pool, 10, "d") is not None
    first = asyncio.create_task(hold.permit(pool, 100, None, model="a"))
    await eventually(lambda: pool.line == 1)
    second = asyncio.create_task(hold.permit(pool, 80, None, model="b"))
    await eventually(lambda: pool.line == 2)
    streamed = hold.charge(pool, 1, "a")
    assert streamed is not None
    async with asyncio.timeout(10):
        granted = await second
    assert granted is not None
    assert not first.done()
    for permit in (other, granted, streamed):
        hold.release(pool, permit)
    async with asyncio.timeout(10):
        assert await first is not None


async def test_a_permit_granted_to_one_who_is_cancelled_goes_on(hold: Hold) -> None:
    """Granting and cancelling may meet in one turn of the loop."""
    pool = hold.budget.early
    first = await hold.permit(pool, 100, None, model="")
    assert first is not None
    waiting = asyncio.create_task(hold.permit(pool, 100, None, model=""))
    await eventually(lambda: pool.line == 1)
    hold.release(pool, first)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert pool.used == 0
