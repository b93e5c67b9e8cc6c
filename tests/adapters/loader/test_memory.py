"""What a restarted adapter reads is whole, or nothing."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.domain.copies import Copy, CopyState
from adapters.loader.memory import Memory, Remembered, read
from tests.adapters.world import key, until

STATE = Remembered(
    epoch=2**60,
    boot="boot",
    copies=(Copy(key=key("m"), state=CopyState.LOADED, reserved=3, measured=2, download_s=0.5, load_s=None),),
)


async def test_what_was_saved_is_read(tmp_path: Path) -> None:
    """Key, bytes and times; nothing of the credentials is even known here."""
    await Memory(tmp_path / "ledger.jsonl", lambda: STATE).save()
    assert read(tmp_path / "ledger.jsonl") == STATE


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{\n",
        b"[]\n",
        b'{"format": 1}\n',
        b'{"format": 2, "epoch": "x"}\n',
        b"\xff\n",
        b'{"format": 2, "epoch": 1, "boot": "b", "gone": [], "copies": []}\nnonsense\n',
    ],
)
def test_a_file_that_is_not_ours_is_nothing(tmp_path: Path, content: bytes) -> None:
    """Then the server is emptied and filled again: slow, never wrong."""
    (tmp_path / "ledger.jsonl").write_bytes(content)
    assert read(tmp_path / "ledger.jsonl") == Remembered()


def test_no_file_is_nothing(tmp_path: Path) -> None:
    """The first start."""
    assert read(tmp_path / "ledger.jsonl") == Remembered()


async def test_savers_at_the_same_time_share_a_write(tmp_path: Path) -> None:
    """Each returns once its own state, or a later one, is there."""
    epoch = 0
    memory = Memory(tmp_path / "ledger.jsonl", lambda: Remembered(epoch=epoch))

    async def save() -> None:
        nonlocal epoch
        epoch += 1
        mine = epoch
        await memory.save()
        assert read(tmp_path / "ledger.jsonl").epoch >= mine

    await asyncio.gather(*(save() for _ in range(20)))


async def test_a_disk_that_fails_does_not_stop_serving(tmp_path: Path) -> None:
    """It is logged; the next save tries again."""
    memory = Memory(tmp_path / "missing" / "ledger.jsonl", lambda: STATE)
    await memory.save()
    (tmp_path / "missing").mkdir()
    await memory.save()
    assert read(tmp_path / "missing" / "ledger.jsonl") == STATE


def state(epoch: int, *models: str) -> Remembered:
    """A state with these copies."""
    copies = tuple(Copy(key=key(model), state=CopyState.LOADED, reserved=epoch, measured=1) for model in models)
    return Remembered(epoch=epoch, boot="boot", copies=copies)


class Writer:
    """A memory, and the state that it writes next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = Remembered()
        self._memory = Memory(path, lambda: self.state)

    async def save(self, *states: Remembered) -> None:
        for each in states:
            # What stays is the same value, as it is in the ledger.
            known = {copy.key: copy for copy in self.state.copies}
            copies = tuple(known.get(copy.key, copy) for copy in each.copies)
            self.state = Remembered(epoch=each.epoch, boot=each.boot, copies=copies)
            await self._memory.save()


async def test_every_beginning_of_the_file_is_a_state_that_was_saved(tmp_path: Path) -> None:
    """Wherever a writer is killed: the state of the last whole line, whatever came, changed and went."""
    writer = Writer(tmp_path / "ledger.jsonl")
    history = [state(1, "a"), state(2, "a", "b"), state(3, "b"), state(4), state(5, "a", "b", "c"), state(6, "c")]
    ends, expected = [0], [Remembered()]
    for each in history:
        await writer.save(each)
        ends.append(writer.path.stat().st_size)
        expected.append(read(writer.path))
        assert (expected[-1].epoch, _models(expected[-1])) == (each.epoch, _models(each))
    content = writer.path.read_bytes()
    assert ends[-1] == len(content)
    torn = tmp_path / "torn.jsonl"
    for length in range(len(content) + 1):
        torn.write_bytes(content[:length])
        whole = max(position for position, end in enumerate(ends) if end <= length)
        assert read(torn) == expected[whole], length


async def test_nothing_is_appended_to_a_line_that_was_cut_short(tmp_path: Path) -> None:
    """Neither by a writer whose disk was full, nor by the next adapter."""
    first = Writer(tmp_path / "ledger.jsonl")
    await first.save(state(1, "a"), state(2, "a", "b"))
    with first.path.open("ab") as file:
        file.write(b'{"format": 2, "epo')
    assert _models(read(first.path)) == ["a", "b"]
    second = Writer(first.path)
    await second.save(state(3, "b"), state(4, "b", "c"))
    assert (read(first.path).epoch, _models(read(first.path))) == (4, ["b", "c"])

    second.path.rename(tmp_path / "aside")
    second.path.mkdir()
    await second.save(state(5, "d"))
    second.path.rmdir()
    await second.save(state(5, "d"))
    assert (read(first.path).epoch, _models(read(first.path))) == (5, ["d"])


async def test_a_change_costs_a_line_however_many_copies_there_are(tmp_path: Path) -> None:
    """And the file does not grow for ever."""
    writer = Writer(tmp_path / "ledger.jsonl")
    many = [f"m{number}" for number in range(1000)]
    await writer.save(state(1, *many))
    whole = writer.path.stat().st_size
    await writer.save(state(1, *many, "another"))
    assert writer.path.stat().st_size - whole < 500
    few = Writer(tmp_path / "few.jsonl")
    for epoch in range(1, 400):
        await few.save(state(epoch, "a", f"b{epoch}"))
    assert few.path.stat().st_size < 110 * 500
    assert _models(read(few.path)) == ["a", "b399"]


_SAVES = """
import asyncio, sys
from pathlib import Path
from tests.adapters.loader.test_memory import Writer, state

async def main():
    writer = Writer(Path(sys.argv[1]))
    for epoch in range(1, 1_000_000):
        await writer.save(state(epoch, *(f"m{n}" for n in range(epoch % 7)), f"e{epoch}"))
        print(epoch, flush=True)

asyncio.run(main())
"""


@pytest.mark.contract
@pytest.mark.parametrize("least", [1, 50, 150])
async def test_what_was_saved_survives_the_death_of_its_writer(tmp_path: Path, least: int) -> None:
    """Killed at any moment: what is read is one whole state, and none that is older than the last `save` that returned."""
    root = Path(__file__).resolve().parents[3]
    path, said = tmp_path / "ledger.jsonl", tmp_path / "said"
    with said.open("wb") as output:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", _SAVES, str(path), stdout=output, cwd=root)
    try:
        await until(lambda: len(said.read_bytes().splitlines()) >= least)
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()
    last = int(said.read_bytes().rpartition(b"\n")[0].splitlines()[-1])
    found = read(path)
    assert found.epoch >= last
    assert _models(found) == sorted([*(f"m{n}" for n in range(found.epoch % 7)), f"e{found.epoch}"])


def _models(found: Remembered) -> Sequence[str]:
    return sorted(copy.key.model for copy in found.copies)
