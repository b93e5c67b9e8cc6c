"""Turns are bounded, fair, and survive cancellation; locks leave nothing behind."""

from __future__ import annotations

import asyncio
import random

from adapters.loader.turns import Locks, Turns
from tests.adapters.world import key


async def test_no_more_than_the_limit_hold_a_turn_whoever_is_cancelled() -> None:
    """And nobody starves: in the end everything is free."""
    turns, now, most = Turns(3), 0, 0
    rng = random.Random(7)

    async def work(number: int) -> None:
        nonlocal now, most
        async with turns.turn(key(str(number)), urgent=number % 7 == 0):
            now += 1
            most = max(most, now)
            try:
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                now -= 1

    tasks = [asyncio.create_task(work(number)) for number in range(100)]
    for task in rng.sample(tasks, 40):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (now, most) == (0, 3)
    async with asyncio.timeout(1):
        for name in "abc":
            await turns.turn(key(name), urgent=False).__aenter__()


async def test_holder_and_waiter_may_be_cancelled_in_one_moment() -> None:
    """As when a server dies: the turn goes to who is still there, and is given back once."""
    turns, held = Turns(1), asyncio.Event()

    async def work(name: str) -> None:
        async with turns.turn(key(name), urgent=False):
            held.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(1):
        holder, waiter, last = (asyncio.create_task(work(name)) for name in "abc")
        await held.wait()
        await asyncio.sleep(0)
        held.clear()
        holder.cancel()
        waiter.cancel()
        await asyncio.wait([holder, waiter])
        assert holder.cancelled()
        assert waiter.cancelled()
        await held.wait()
        last.cancel()
        await asyncio.wait([last])
        async with turns.turn(key("d"), urgent=False):
            assert turns._free == 0
        assert turns._free == 1


async def test_who_is_alone_is_alone() -> None:
    """It waits for those before it, and those after it wait for it; a cancelled one holds up nobody."""
    turns, holding = Turns(3), set[str]()

    async def work(name: str, *, alone: bool = False) -> None:
        async with turns.turn(key(name), urgent=False, alone=alone):
            holding.add(name)
            if alone:
                assert holding == {name}
            assert not ({"one", "two"} & holding) or len(holding) == 1
            await asyncio.sleep(0)
            holding.remove(name)

    names = ["a", "b", "one", "c", "d", "two", "e"]
    tasks = {name: asyncio.create_task(work(name, alone=name in {"one", "two", "never"})) for name in ["never", *names]}
    tasks["never"].cancel()
    async with asyncio.timeout(1):
        await asyncio.gather(*(tasks[name] for name in names))


async def test_the_urgent_go_first_then_the_order_of_arrival() -> None:
    """Hurrying is possible while one waits."""
    turns = Turns(1)
    order: list[str] = []

    async def work(name: str, *, urgent: bool) -> None:
        async with turns.turn(key(name), urgent=urgent):
            order.append(name)

    async with turns.turn(key("holder"), urgent=False):
        tasks = [asyncio.create_task(work(name, urgent=name == "c")) for name in "abcd"]
        await asyncio.sleep(0)
        turns.hurry(key("d"))
    await asyncio.gather(*tasks)
    assert order == ["c", "d", "a", "b"]


async def test_the_hurried_passes_one_that_waits_for_all_turns() -> None:
    """A turn that is free is not kept from it for the sake of one that is not urgent."""
    turns = Turns(2)
    order: list[str] = []

    async def work(name: str, *, alone: bool = False) -> None:
        async with turns.turn(key(name), urgent=False, alone=alone):
            order.append(name)

    async with turns.turn(key("holder"), urgent=False):
        tasks = [asyncio.create_task(work("alone", alone=True)), asyncio.create_task(work("hurried"))]
        await asyncio.sleep(0)
        turns.hurry(key("hurried"))
        async with asyncio.timeout(1):
            await tasks[1]
    await asyncio.gather(*tasks)
    assert order == ["hurried", "alone"]


async def test_whose_turns_are_fewest_goes_first() -> None:
    """Many of one store do not keep out one of another; among the urgent, and among the rest."""
    turns = Turns(2)
    order: list[str] = []
    held = [asyncio.Event(), asyncio.Event()]

    async def hold(event: asyncio.Event) -> None:
        async with turns.turn(key("held"), urgent=True, of="slow"):
            await event.wait()

    async def work(name: str, of: str, *, urgent: bool) -> None:
        async with turns.turn(key(name), urgent=urgent, of=of):
            order.append(name)

    tasks = [asyncio.create_task(hold(event)) for event in held]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(work(f"slow-{n}", "slow", urgent=False)) for n in range(3)]
    tasks += [asyncio.create_task(work("slow-urgent", "slow", urgent=True))]
    tasks += [asyncio.create_task(work("fast", "fast", urgent=False))]
    tasks += [asyncio.create_task(work("fast-urgent", "fast", urgent=True))]
    await asyncio.sleep(0)
    held[0].set()
    while len(order) < 6:
        await asyncio.sleep(0)
    assert order == ["fast-urgent", "slow-urgent", "fast", "slow-0", "slow-1", "slow-2"]
    held[1].set()
    await asyncio.gather(*tasks)
    assert not turns._held


async def test_a_turn_that_ends_as_the_next_is_cancelled_goes_to_the_one_after() -> None:
    """The cancelled has not yet noticed; nobody fails, and no turn is lost."""
    turns = Turns(1)
    order: list[str] = []

    async def work(name: str) -> None:
        async with turns.turn(key(name), urgent=False):
            order.append(name)

    async with turns.turn(key("holder"), urgent=False):
        cancelled, after = asyncio.create_task(work("cancelled")), asyncio.create_task(work("after"))
        await asyncio.sleep(0)
        cancelled.cancel()
    await asyncio.wait([cancelled, after])
    assert cancelled.cancelled()
    assert order == ["after"]


async def test_a_lock_is_forgotten_when_nobody_wants_it() -> None:
    """Thousands of names come and go."""
    locks = Locks()
    order: list[int] = []

    async def work(number: int) -> None:
        async with locks.hold("name"):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(5)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 0, 1, 1, 2, 2, 4, 4]
    assert locks._locks == {}
