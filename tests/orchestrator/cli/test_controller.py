"""The command `controller`: what it does itself is to take an epoch; the rest runs in tests/standalone."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.controller import _take_epoch


def test_an_epoch_is_on_disk_before_it_is_used(tmp_path: Path) -> None:
    """The next leader's is higher, also when the clock went back."""
    record = tmp_path / "epoch"
    assert _take_epoch(record, 1000) == 1000
    assert _take_epoch(record, 500) == 1001
    assert _take_epoch(record, 5000) == 5000
    assert record.read_text() == "5000"
    assert [p.name for p in tmp_path.iterdir()] == ["epoch"]


@pytest.mark.parametrize("text", ["", "x", "12 34"])
def test_a_broken_record_counts_as_lost(tmp_path: Path, text: str) -> None:
    """The clock is enough then."""
    record = tmp_path / "epoch"
    record.write_text(text)
    assert _take_epoch(record, 1000) == 1000
