"""What a restarted adapter reads is whole, or nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.domain.copies import Copy, CopyState
from adapters.loader.memory import Memory, Remembered, read
from tests.adapters.world import key

STATE = Remembered(
    epoch=2**60,
    boot="boot",
    copies=(Copy(key=key("m"), state=CopyState.LOADED, reserved=3, measured=2, download_s=0.5, load_s=None),),
)


async def test_what_was_saved_is_read(tmp_path: Path) -> None:
    """Key, bytes and times; nothing of the credentials is even known here."""
    await Memory(tmp_path / "ledger.json", lambda: STATE).save()
    assert read(tmp_path / "ledger.json") == STATE


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 2}', b'{"format": 1, "epoch": "x"}', b"\xff", b'{"format":1,"epoch":1}']
)
def test_a_file_that_is_not_ours_is_nothing(tmp_path: Path, content: bytes) -> None:
    """Then the server is emptied and filled again: slow, never wrong."""
    (tmp_path / "ledger.json").write_bytes(content)
    assert read(tmp_path / "ledger.json") == Remembered()


def test_no_file_is_nothing(tmp_path: Path) -> None:
    """The first start."""
    assert read(tmp_path / "ledger.json") == Remembered()


async def test_savers_at_the_same_time_share_a_write(tmp_path: Path) -> None:
    """Each returns once its own state, or a later one, is there."""
    epoch = 0
    memory = Memory(tmp_path / "ledger.json", lambda: Remembered(epoch=epoch))

    async def save() -> None:
        nonlocal epoch
        epoch += 1
        mine = epoch
        await memory.save()
        assert read(tmp_path / "ledger.json").epoch >= mine

    await asyncio.gather(*(save() for _ in range(20)))


async def test_a_disk_that_fails_does_not_stop_serving(tmp_path: Path) -> None:
    """It is logged; the next save tries again."""
    memory = Memory(tmp_path / "missing" / "ledger.json", lambda: STATE)
    await memory.save()
    (tmp_path / "missing").mkdir()
    await memory.save()
    assert read(tmp_path / "missing" / "ledger.json") == STATE
