"""A pod that leaves has its adapter drain, and waits for that as long as there is somebody who does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from orchestrator.platform.local import hand_over
from orchestrator.platform.local.hand_over import handed_over

Handler = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def adapter(path: Path, drain: Handler) -> AsyncIterator[None]:
    """What answers `/drain` there."""
    app = web.Application()
    app.router.add_get("/drain", drain)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def result(socket: Path) -> str:
    """What the log says of it."""
    with capture_logs() as logs:
        await handed_over(socket, "pod")
    (line,) = logs
    return str(line["result"])


async def test_it_returns_when_the_adapter_says_so(tmp_path: Path) -> None:
    """Not before."""
    asked, done = asyncio.Event(), asyncio.Event()

    async def drain(_: web.Request) -> web.Response:
        asked.set()
        await done.wait()
        return web.Response(text="left: nothing\n")

    async with adapter(tmp_path / "s", drain):
        waiting = asyncio.create_task(result(tmp_path / "s"))
        await asked.wait()
        assert not waiting.done()
        done.set()
        assert await waiting == "left: nothing"


async def test_an_adapter_that_is_not_there_is_not_waited_for(tmp_path: Path) -> None:
    """It died, or had not begun."""
    assert "does not answer" in await result(tmp_path / "none")


async def test_an_adapter_that_hangs_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a clock of its own, and should have ended by it."""
    monkeypatch.setattr(hand_over, "_LONGEST_S", 0.05)
    ended = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await ended.wait()
        return web.Response()

    async with adapter(tmp_path / "s", hang):
        assert "TimeoutError" in await result(tmp_path / "s")
        ended.set()
