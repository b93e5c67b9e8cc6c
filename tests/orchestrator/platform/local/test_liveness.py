"""A server that hangs, by the word of its adapter, is ended; and an adapter that says nothing for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from orchestrator.platform.local import liveness
from orchestrator.platform.local.liveness import LivenessProbe, hung
from tests.orchestrator.platform.local.support import running
from tests.orchestrator.waiting import eventually

WELL = (200, "ok\n")
HUNG = (503, "no answer for 16 s\n")
#: It takes the question, and that is all.
SILENT = (0, "")


class Adapter:
    """Answers /livez with `answers`, one after the other, and goes on with the last."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def livez(self, _: web.Request) -> web.Response:
        self.asked += 1
        status, text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not status:
            await asyncio.Event().wait()
        return web.Response(status=status, text=text)


@asynccontextmanager
async def adapter_at(path: Path, *answers: tuple[int, str]) -> AsyncIterator[Adapter]:
    """An adapter's health socket, as long as the context."""
    adapter, app = Adapter(*answers), web.Application()
    app.router.add_get("/livez", adapter.livez)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield adapter
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("answer", "why"), [(WELL, ""), (HUNG, "no answer for 16 s"), ((404, "not found"), ""), ((500, "a bug"), "")]
)
async def test_it_is_what_the_adapter_says(tmp_path: Path, answer: tuple[int, str], why: str) -> None:
    """And only that: an error of the adapter's own is no word about its server."""
    async with adapter_at(tmp_path / "a", answer):
        assert await hung(tmp_path / "a") == why


async def test_an_adapter_that_is_away_says_nothing(tmp_path: Path) -> None:
    """It is being started again, and its server serves on."""
    assert await hung(tmp_path / "a") == ""
    (tmp_path / "a").touch()
    assert await hung(tmp_path / "a") == ""


async def test_an_adapter_that_takes_the_question_and_does_not_answer_is_ended_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is read into its silence about its server. One that answers now and then is left alone."""
    ended: dict[str, list[str]] = {"server": [], "adapter": []}
    answers = [SILENT, SILENT, SILENT, WELL, SILENT, SILENT, SILENT, WELL]

    async def asked(*_: object) -> tuple[int, str]:
        answer = answers.pop(0) if answers else SILENT
        if answer == SILENT:
            raise TimeoutError
        assert ended == {"server": [], "adapter": []}
        return answer

    monkeypatch.setattr(liveness, "asked", asked)
    probe = LivenessProbe(
        tmp_path / "a", end_server=ended["server"].append, end_adapter=ended["adapter"].append, every_s=0.001
    )
    async with running(probe.run()):
        await eventually(lambda: len(ended["adapter"]) >= 2)
    assert answers == []
    assert ended["server"] == []
    assert set(ended["adapter"]) == {"the adapter has not answered for a minute"}


async def test_it_is_a_timeout_that_is_taken_for_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a socket that takes the question."""
    monkeypatch.setattr(liveness, "_TIMEOUT_S", 0.05)
    async with adapter_at(tmp_path / "a", SILENT):
        assert await hung(tmp_path / "a") is None


async def test_it_is_ended_once_that_was_said_three_times_in_a_row(tmp_path: Path) -> None:
    """A server that was frozen for a moment is left alone; and the next one, which hangs too, is ended as well."""
    ended: list[str] = []
    twice = (HUNG, HUNG, WELL, HUNG, HUNG, WELL)
    async with (
        adapter_at(tmp_path / "a", *twice) as adapter,
        running(LivenessProbe(tmp_path / "a", end_server=ended.append, end_adapter=ended.append, every_s=0.001).run()),
    ):
        await eventually(lambda: adapter.asked > len(twice))
        assert ended == []
        adapter.answers = [HUNG]
        await eventually(lambda: len(ended) >= 2)
        assert set(ended) == {"no answer for 16 s"}
