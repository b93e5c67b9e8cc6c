"""How often each model is asked for, as a real Envoy counts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.orchestrator.waiting import eventually
from tests.standalone.envoy_stack import FakeServer, Stack, model_message, publish


async def reported(stack: Stack, times: int = 3) -> None:
    """Wait for reports that begin and end from now on; an Envoy that found nobody tries again after five seconds."""
    usage = stack.control.usage
    known = usage.reports
    await eventually(lambda: usage.reports >= known + times, within=20)


@asynccontextmanager
async def in_use(stack: Stack, model: str) -> AsyncIterator[None]:
    """It is asked for all the while, and was reported so: one request shows in one report, a tenth of a second long."""

    async def ask() -> None:
        while True:
            await stack.call("ModelInfer", model_message(model))

    asking = asyncio.create_task(ask())
    try:
        await eventually(lambda: asking.done() or stack.control.usage.rate(model) > 0)
        yield
    finally:
        asking.cancel()
        await asyncio.wait({asking})
    assert asking.cancelled(), asking


async def test_what_is_asked_for_is_reported_and_nothing_else(stack: Stack, server: FakeServer) -> None:
    """Warm requests come by nobody of ours: this is what eviction knows of them."""
    await publish(stack, server.address, model="used")
    await publish(stack, server.address, model="idle")
    # The first interval of a new cluster is not reported.
    await reported(stack)
    assert stack.control.used == []
    async with in_use(stack, "used"):
        pass
    await reported(stack)
    assert set(stack.control.used) == {"used"}
    await eventually(lambda: stack.control.usage.rate("used") == 0)


async def test_what_is_under_way_is_use(stack: Stack, server: FakeServer) -> None:
    """A request that takes longer than an interval; at no rate."""
    await publish(stack, server.address)
    await reported(stack)
    server.hold.clear()
    held = asyncio.create_task(stack.call("ModelInfer", model_message("m")))
    await eventually(lambda: stack.control.used.count("m") >= 3)
    assert stack.control.usage.rate("m") == 0
    server.hold.set()
    await held


async def test_an_envoy_reports_to_whoever_leads(stack: Stack, server: FakeServer) -> None:
    """And what it told the last one counts no more."""
    await publish(stack, server.address)
    await reported(stack)
    async with in_use(stack, "m"):
        await stack.control.stop()
        assert stack.control.usage.rate("m") == 0
    await stack.control.start()
    await publish(stack, server.address)
    await reported(stack)
