"""The servers' own logs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.platform.local.log_files import KEPT, MAX_BYTES, trim


def test_logs_stay_small_and_few(tmp_path: Path) -> None:
    """Open logs go on after the cut; those of pods that live are kept, however many ended."""
    with (tmp_path / "live.log").open("ab", buffering=0) as log:
        log.truncate(MAX_BYTES + 1)
        for number in range(KEPT + 3):
            (tmp_path / f"{number}.log").touch()
        (tmp_path / "other").touch()
        trim(tmp_path, {"live.log"})
        log.write(b"more")
    assert (tmp_path / "live.log").read_bytes() == b"more"
    assert len(list(tmp_path.iterdir())) == KEPT + 2


def test_the_newest_of_those_that_ended_are_kept(tmp_path: Path) -> None:
    """They are what somebody looks for after a crash; a pod that lives may have written long ago."""
    for number in range(KEPT + 3):
        path = tmp_path / f"{number}.log"
        path.write_text("last words")
        os.utime(path, (number, number))
    trim(tmp_path, {"0.log"})
    left = {int(path.stem) for path in tmp_path.iterdir()}
    assert left == {0, *range(3, KEPT + 3)}
    assert {path.read_text() for path in tmp_path.iterdir()} == {"last words"}


def test_nothing_is_cut_that_is_not_too_large(tmp_path: Path) -> None:
    """Again and again, and in a directory that is not there yet."""
    trim(tmp_path / "none", set())
    (tmp_path / "a.log").write_bytes(b"\n")
    os.truncate(tmp_path / "a.log", MAX_BYTES)
    for _ in range(2):
        trim(tmp_path, set())
        assert (tmp_path / "a.log").stat().st_size == MAX_BYTES


def test_a_log_that_cannot_be_looked_at_is_an_error(tmp_path: Path) -> None:
    """The caller says so, and tries again later."""
    (tmp_path / "a.log").symlink_to("none")
    with pytest.raises(FileNotFoundError):
        trim(tmp_path, set())
