"""The asyncio shell of the work queue, on the loop's own fake time."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.machinery.figures import Spread
from orchestrator.machinery.work_queue import WorkQueue

pytestmark = pytest.mark.looptime


def make_queue() -> WorkQueue[str]:
    return WorkQueue(asyncio.get_running_loop().time)


async def take(queue: WorkQueue[str]) -> tuple[str | None, float]:
    """The next key, and when it came."""
    key = await queue.get()
    return key, asyncio.get_running_loop().time()


async def test_a_waiting_worker_is_woken_by_an_add() -> None:
    """No polling: the add is enough."""
    queue = make_queue()
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(queue.get())
        await asyncio.sleep(100)
        queue.add("a")
    assert worker.result() == "a"


async def test_each_of_many_workers_gets_a_key_of_its_own() -> None:
    """Two keys, two workers: nobody sleeps on, and no key is held twice."""
    queue = make_queue()
    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(1)
        queue.add("a")
        queue.add("b")
        queue.add("a")
        await asyncio.sleep(1)
        assert sorted(w.result() or "" for w in workers if w.done()) == ["a", "b"]
        queue.done("a")
        queue.done("b")
        await asyncio.sleep(1)
        assert not all(w.done() for w in workers)
        queue.shut_down()


async def test_an_add_while_a_key_is_held_gives_exactly_one_more() -> None:
    """Level-based: three events during a reconcile are one reason to look again."""
    queue = make_queue()
    queue.add("a")
    assert await queue.get() == "a"
    for _ in range(3):
        queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_delayed_key_comes_at_its_time_and_the_earliest_counts() -> None:
    """A later delay does not put off an earlier one, and an earlier one wakes who waits for a later."""
    queue = make_queue()
    start = asyncio.get_running_loop().time()
    queue.add_after("a", 30.0)
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(take(queue))
        await asyncio.sleep(1)
        queue.add_after("a", 4.0)
        queue.add_after("a", 60.0)
    key, at = worker.result()
    assert key == "a"
    assert at - start == pytest.approx(5.0, abs=0.002)


async def test_errors_of_one_key_come_back_ever_later_until_it_does_well() -> None:
    """5 ms, doubled with each error up to 30 s; `forget` starts again; other keys are not slowed."""
    queue = make_queue()
    waits = []
    for _ in range(15):
        before = asyncio.get_running_loop().time()
        queue.add_rate_limited("a")
        key, at = await take(queue)
        assert key == "a"
        queue.done("a")
        waits.append(at - before)
    assert waits == pytest.approx([min(30.0, 0.005 * 2**n) for n in range(15)], abs=0.002)
    queue.forget("a")
    for key in ("a", "b"):
        before = asyncio.get_running_loop().time()
        queue.add_rate_limited(key)
        _, at = await take(queue)
        queue.done(key)
        assert at - before == pytest.approx(0.005, abs=0.002)


@pytest.mark.parametrize(("at_least", "waits"), [(3.0, 3.0), (0.001, 0.005)])
async def test_an_error_may_say_how_long_to_wait(at_least: float, waits: float) -> None:
    """Never less than without."""
    queue = make_queue()
    before = asyncio.get_running_loop().time()
    queue.add_rate_limited("a", at_least=at_least)
    _, at = await take(queue)
    assert at - before == pytest.approx(waits, abs=0.002)


async def test_a_key_that_fails_for_days_does_not_overflow() -> None:
    """The exponent is bounded, not only the delay."""
    queue = make_queue()
    for _ in range(3000):
        queue.add_rate_limited("a")
    _, at = await take(queue)
    assert at >= 0


async def test_a_shutdown_serves_what_is_queued_and_then_ends_all_workers() -> None:
    """Delayed keys die; queued ones do not; nothing is accepted any more; every worker gets its None."""
    queue = make_queue()
    queue.add("a")
    queue.add_after("late", 10.0)
    queue.shut_down()
    queue.add("b")
    queue.add_after("c", 1.0)
    assert await queue.get() == "a"
    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(queue.get()) for _ in range(3)]
    assert [w.result() for w in workers] == [None, None, None]
    queue.done("a")


async def test_a_shutdown_wakes_workers_that_sleep() -> None:
    """They wait for a key that is due in an hour."""
    queue = make_queue()
    queue.add_after("late", 3600.0)
    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(take(queue)) for _ in range(2)]
        await asyncio.sleep(1)
        queue.shut_down()
    assert [w.result()[0] for w in workers] == [None, None]


async def test_a_cancelled_worker_takes_no_key_with_it() -> None:
    """A worker that is cancelled while it waits holds nothing; the next one gets the key."""
    queue = make_queue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    queue.add("a")
    assert await queue.get() == "a"


async def test_every_way_into_the_queue_is_measured() -> None:
    """At once, after a while and after an error; waiting is not being in the queue."""
    queue = make_queue()
    queue.add("a")
    queue.add("a")
    queue.add_after("b", 10.0)
    queue.add_rate_limited("c")
    await asyncio.sleep(1)
    for key in ("a", "c", "b"):
        assert await queue.get() == key
        await asyncio.sleep(1)
        queue.done(key)
    shown = {figure.name: sample for figure in queue.figures() for sample in figure.samples.values()}
    queued, worked = shown["workqueue_queue_duration_seconds"], shown["workqueue_work_duration_seconds"]
    assert isinstance(queued, Spread)
    assert isinstance(worked, Spread)
    assert (shown["workqueue_adds"], shown["workqueue_retries"], shown["workqueue_depth"]) == (3, 2, 0)
    assert (worked.cumulative[-1], worked.total) == (3, 3.0)
    # "a" waited a second, "c" from when it was due until "a" was done, "b" not at all once its delay was over.
    assert queued.total == pytest.approx(1.0 + 1.995)
