"""An Envoy without its listener is ended; one that is well, silent or away is left alone. What the real one says: tests/standalone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.platform.local.listener import ListenerWatch, gave_up_listener
from tests.orchestrator.platform.local.support import running
from tests.orchestrator.waiting import eventually

WELL = b"HTTP/1.1 200 OK\r\n\r\nlistener_manager.listener_create_failure: 0\n"
GIVEN_UP = b"HTTP/1.1 200 OK\r\n\r\nlistener_manager.listener_create_failure: 1\n"


class Admin:
    """Answers what it is told to, in two parts; None: not at all."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.asked = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        if self.answer is None:
            await reader.read()
        else:
            writer.write(self.answer[:20])
            await writer.drain()
            writer.write(self.answer[20:])
        writer.close()


@asynccontextmanager
async def admin_at(path: Path, answer: bytes | None) -> AsyncIterator[Admin]:
    admin = Admin(answer)
    server = await asyncio.start_unix_server(admin.serve, path)
    try:
        yield admin
    finally:
        server.close()
        for writer in admin.writers:
            writer.close()
            await asyncio.wait({asyncio.ensure_future(writer.wait_closed())})


@pytest.mark.parametrize(
    ("answer", "given_up"), [(WELL, False), (GIVEN_UP, True), (b"", False), (b"HTTP/1.1 503 no\r\n\r\n", False)]
)
async def test_it_is_what_envoy_says(tmp_path: Path, answer: bytes, given_up: bool) -> None:
    """And nothing is read into an answer that says nothing."""
    async with admin_at(tmp_path / "a", answer):
        assert await gave_up_listener(tmp_path / "a") is given_up


async def test_one_that_is_away_or_frozen_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not given up anything that is known of."""
    monkeypatch.setattr("orchestrator.platform.local.listener._PATIENCE_S", 0.1)
    assert not await gave_up_listener(tmp_path / "a")
    (tmp_path / "a").touch()
    assert not await gave_up_listener(tmp_path / "a")
    async with admin_at(tmp_path / "b", None) as admin:
        assert not await gave_up_listener(tmp_path / "b")
        # It may be given up before it has taken the connection.
        await eventually(lambda: len(admin.writers) == 1)


async def test_it_is_ended_and_the_next_one_is_watched(tmp_path: Path) -> None:
    """Each that gives up is, and none else."""
    ended: list[str] = []
    async with (
        admin_at(tmp_path / "a", WELL) as admin,
        running(ListenerWatch(tmp_path / "a", ended.append, every_s=0.01).run()),
    ):
        await eventually(lambda: admin.asked > 5)
        assert ended == []
        admin.answer = GIVEN_UP
        await eventually(lambda: len(ended) >= 2)
        assert set(ended) == {"it ran without its listener"}
