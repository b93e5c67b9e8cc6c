"""Threads end before their tasks; stamps grow."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from adapters.storage.disk import empty, in_thread, newest_ns, remove, stamp, tidy


async def test_a_cancelled_task_waits_for_its_thread() -> None:
    """Whoever cancels may clean up behind it."""
    started, release, finished = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait()
        finished.set()

    task = asyncio.create_task(in_thread(work))
    while not started.is_set():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert finished.is_set()


async def test_names_that_do_not_resolve_do_not_stop_the_disk() -> None:
    """The event loop looks names up in threads of its own; a name server that is silent takes all of them."""
    release = threading.Event()
    loop = asyncio.get_running_loop()
    lookups = [loop.run_in_executor(None, release.wait) for _ in range(64)]
    assert await in_thread(int, "7") == 7
    release.set()
    await asyncio.gather(*lookups)


async def test_results_and_errors_come_back() -> None:
    """As from any call."""
    assert await in_thread(int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await in_thread(int, "x")


def test_a_stamp_is_later_than_what_was_before_whatever_the_clock_says(tmp_path: Path) -> None:
    """Of the tree, its directories and its files alike."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").touch()
    far = 4_000_000_000_000_000_000
    stamp(tmp_path, far, 0)
    assert newest_ns(tmp_path) == (tmp_path / "a/b").stat().st_mtime_ns == far
    stamp(tmp_path, 5, far)
    assert newest_ns(tmp_path) == (tmp_path / "a").stat().st_mtime_ns > far
    assert newest_ns(tmp_path / "missing") == 0


def test_removing_is_idempotent_and_does_not_follow_links(tmp_path: Path) -> None:
    """Files, trees, links, nothing."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    inside = tmp_path / "inside"
    (inside / "tree/deep").mkdir(parents=True)
    (inside / "file").touch()
    (inside / "link").symlink_to(outside)
    empty(inside)
    assert list(inside.iterdir()) == []
    assert (outside / "file").exists()
    remove(inside / "never")


async def test_what_cannot_be_removed_is_said_and_raised_to_nobody(tmp_path: Path) -> None:
    """A file that is in use, a disk that fails; what can be removed is, without a word."""
    (tmp_path / "file").touch()
    with capture_logs() as logs:
        await tidy(remove, tmp_path / "file")
        assert logs == []
        await tidy((tmp_path / "nowhere").rmdir)
    assert [(entry["event"], entry["problem"]) for entry in logs] == [
        ("files_not_removed", "No such file or directory")
    ]
    assert list(tmp_path.iterdir()) == []
