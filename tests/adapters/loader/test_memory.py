"""What a restarted adapter reads is whole, or nothing."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.domain.copies import Copy, CopyState, Failure, Reason
from adapters.ledger import Ledger
from adapters.loader.memory import Memory, Remembered, read
from tests.adapters.world import kept, key, until


def ready(epoch: int = 1) -> Ledger:
    """A ledger whose server is there."""
    ledger = Ledger(10**9, epoch=epoch)
    ledger.server_ready("boot")
    return ledger


def serve(ledger: Ledger, *models: str, revision: str = "1") -> None:
    """Have these loaded, in the place of other revisions."""
    for model in models:
        _, ticket = ledger.load(key(model, revision))
        assert ledger.reserve(ticket, 3) is None
        ledger.downloaded(ticket, 2, 0.5)
        ledger.loaded(ticket, 0.25, ledger.holder(model))


def drop(ledger: Ledger, *models: str) -> None:
    """Have these unloaded."""
    for model in models:
        held = ledger.holder(model)
        assert held is not None
        ledger.unload(held)
        ledger.gone(held)


def remembered(ledger: Ledger) -> Remembered:
    """What should be read of it."""
    copies = tuple(sorted(kept(ledger), key=lambda copy: copy.key.model))
    return Remembered(epoch=ledger.epoch, boot=ledger.boot, copies=copies)


async def test_what_was_saved_is_read(tmp_path: Path) -> None:
    """Key, bytes and times; nothing of the credentials is even known here, and nothing of what does not serve."""
    ledger = ready(epoch=2**60)
    serve(ledger, "m")
    ledger.load(key("n"))
    await Memory(tmp_path / "ledger.jsonl", ledger.changes).save()
    found = read(tmp_path / "ledger.jsonl")
    assert (found.epoch, found.boot) == (2**60, "boot")
    assert found.copies == (
        Copy(key=key("m"), state=CopyState.LOADED, reserved=3, measured=2, download_s=0.5, load_s=0.25),
    )


async def test_what_could_not_be_saved_is_saved_when_it_can_be(tmp_path: Path) -> None:
    """A disk that was full: without a further change, a restart would otherwise load everything again."""
    ledger = ready()
    serve(ledger, "m")
    path = tmp_path / "missing" / "ledger.jsonl"
    memory = Memory(path, ledger.changes, retry_s=0.01)
    running = asyncio.create_task(memory.run())
    await memory.save()
    assert read(path) == Remembered()
    path.parent.mkdir()
    await until(lambda: read(path) == remembered(ledger))
    running.cancel()
    await asyncio.wait([running])


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
    ledger = ready()
    memory = Memory(tmp_path / "ledger.jsonl", ledger.changes)

    async def save() -> None:
        mine = ledger.epoch + 1
        ledger.hello(mine)
        await memory.save()
        assert read(tmp_path / "ledger.jsonl").epoch >= mine

    await asyncio.gather(*(save() for _ in range(20)))


async def test_a_disk_that_fails_does_not_stop_serving(tmp_path: Path) -> None:
    """It is logged; the next save tries again."""
    ledger = ready()
    serve(ledger, "m")
    memory = Memory(tmp_path / "missing" / "ledger.jsonl", ledger.changes)
    await memory.save()
    (tmp_path / "missing").mkdir()
    await memory.save()
    assert read(tmp_path / "missing" / "ledger.jsonl") == remembered(ledger)


def changes_of_all_kinds(ledger: Ledger) -> Iterator[None]:
    """Copies that come, change, are replaced, renewed, fail and go; another epoch, another boot."""
    serve(ledger, "a")
    yield
    serve(ledger, "b", "c")
    yield
    serve(ledger, "a", revision="2")
    yield
    drop(ledger, "b")
    ledger.hello(5)
    yield
    ticket = ledger.renew(key("c"))
    assert ticket is not None
    yield
    ledger.loaded(ticket, 9.0)
    yield
    ledger.broken(key("c"), Failure(reason=Reason.MODEL_LOAD_FAILED, message="gone bad"))
    yield
    ledger.server_lost()
    yield
    ledger.server_ready("boot 2")
    serve(ledger, "b")
    yield


async def test_every_beginning_of_the_file_is_a_state_that_was_saved(tmp_path: Path) -> None:
    """Wherever a writer is killed: the state of the last whole line, whatever came, changed and went."""
    path, ledger = tmp_path / "ledger.jsonl", ready()
    memory = Memory(path, ledger.changes)
    ends, states = [0], [Remembered()]
    for _ in changes_of_all_kinds(ledger):
        await memory.save()
        ends.append(path.stat().st_size)
        states.append(remembered(ledger))
        assert read(path) == states[-1]
    content = path.read_bytes()
    assert len(content.splitlines()) == len(states) - 1 == ends.index(len(content))
    torn = tmp_path / "torn.jsonl"
    for length in range(len(content) + 1):
        torn.write_bytes(content[:length])
        whole = max(position for position, end in enumerate(ends) if end <= length)
        assert read(torn) == states[whole], length


async def test_nothing_is_appended_to_a_line_that_was_cut_short(tmp_path: Path) -> None:
    """Neither by the next adapter, nor by one whose disk failed."""
    path, ledger = tmp_path / "ledger.jsonl", ready()
    serve(ledger, "a", "b")
    await Memory(path, ledger.changes).save()
    with path.open("ab") as file:
        file.write(b'{"format": 2, "epo')
    assert read(path) == remembered(ledger)
    memory = Memory(path, ledger.changes)
    for model in ("c", "d"):
        serve(ledger, model)
        await memory.save()
        assert read(path) == remembered(ledger)

    path.unlink()
    path.mkdir()
    drop(ledger, "a")
    await memory.save()
    path.rmdir()
    await memory.save()
    assert read(path) == remembered(ledger)


async def test_a_change_costs_a_line_however_many_copies_there_are(tmp_path: Path) -> None:
    """And the file does not grow for ever."""
    path, ledger = tmp_path / "ledger.jsonl", ready()
    memory = Memory(path, ledger.changes)
    serve(ledger, *(f"m{number}" for number in range(1000)))
    await memory.save()
    whole = path.stat().st_size
    serve(ledger, "another")
    await memory.save()
    assert path.stat().st_size - whole < 500

    path, ledger = tmp_path / "few.jsonl", ready()
    memory = Memory(path, ledger.changes)
    for number in range(400):
        serve(ledger, "a", revision=str(number))
        await memory.save()
    assert len(path.read_bytes().splitlines()) < 110
    assert read(path) == remembered(ledger)


_SAVES = """
import asyncio, sys
from pathlib import Path
from adapters.loader.memory import Memory
from tests.adapters.loader.test_memory import drop, ready, serve

async def main():
    ledger = ready()
    memory = Memory(Path(sys.argv[1]), ledger.changes)
    for epoch in range(2, 1_000_000):
        ledger.hello(epoch)
        serve(ledger, f"e{epoch}")
        if epoch > 6:
            drop(ledger, f"e{epoch - 5}")
        await memory.save()
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
    assert {copy.key.model for copy in found.copies} == {
        f"e{epoch}" for epoch in range(max(2, found.epoch - 4), found.epoch + 1)
    }
