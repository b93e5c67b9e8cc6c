"""The lead over one STATE."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.platform.local.lease import Lease, LeaseLost
from tests.orchestrator.waiting import eventually


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "epoch"


async def test_an_epoch_is_on_disk_before_it_is_used(record: Path) -> None:
    """The next leader's is higher, also when the clock went back."""
    assert [Lease(record, unix_ms).term.epoch for unix_ms in (1000, 500, 5000)] == [1000, 1001, 5000]
    assert record.read_text() == "5000"
    assert [p.name for p in record.parent.iterdir()] == ["epoch"]


@pytest.mark.parametrize("text", ["", "x", "12 34"])
async def test_a_broken_record_counts_as_lost(record: Path, text: str) -> None:
    """The clock is enough then; and a record that is lost under a leader is no proof of another."""
    record.write_text(text)
    lease = Lease(record, 1000)
    assert lease.term.epoch == 1000
    lease.check()
    record.write_text(text)
    lease.check()
    record.unlink()
    lease.check()
    assert not lease.term.over


async def test_who_finds_a_later_leader_there_writes_nothing_and_ends(record: Path) -> None:
    """From the thread that was about to write."""
    old, new = Lease(record, 1000), Lease(record, 1000)
    with pytest.raises(LeaseLost, match="another leader writes there, of epoch 1001"):
        await asyncio.to_thread(old.check)
    await eventually(lambda: old.term.over)
    assert old.term.successor == new.term.epoch
    new.check()
    assert not new.term.over


async def test_a_term_that_adapters_refused_is_followed_by_one_that_they_obey(record: Path) -> None:
    """The record was lost and the clock is behind: what the refusal said is kept for the next."""
    refused = Lease(record, 1000)
    refused.term.hear(9000, "pod")
    refused.close()
    assert Lease(record, 1000).term.epoch == 9001


async def test_an_end_leaves_a_later_leaders_record_alone(record: Path) -> None:
    """It is higher than what was heard, or there was nothing to hear."""
    old = Lease(record, 1000)
    heard = Lease(record, 2000).term.epoch
    Lease(record, 3000)
    old.term.hear(heard, "pod")
    old.close()
    assert record.read_text() == "3000"
