"""
README's walkthrough by hand: each of its commands is typed into a shell as it stands there.

The checkout's environments stand in for `make`, and free ports for the
README's: another stack of this machine may have those, or take them meanwhile,
and would answer in this one's place. Nothing else is changed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from samples.demo.stack import ADMIN_PORT, GRPC_PORT
from tests.documents import fences, section, typed
from tests.ports import free_port
from tests.standalone.stack import listens
from tests.standalone.terminal import Terminal, Typed
from tests.standalone.waiting import wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
WALKTHROUGH: Final = section((ROOT / "README.md").read_text(), "By hand")
STORE_PORT: Final = 9000
#: Long enough for any line, on a busy machine too: training takes five seconds alone, and three times that beside others.
_LINE_S: Final = 90.0
#: The contract's bound for an orderly end, and the store's.
_END_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Ports:
    """What takes the place of the README's ports."""

    grpc: int
    admin: int
    store: int

    def put_into(self, line: str) -> str:
        """A command, or a file's text, with these ports; as it is where they are the README's."""
        line = line.replace(f"127.0.0.1:{STORE_PORT}", f"127.0.0.1:{self.store}")
        line = line.replace(f"localhost:{GRPC_PORT}", f"localhost:{self.grpc}")
        if self.admin != ADMIN_PORT:
            line = re.sub(r"wml-serving standalone", rf"\g<0> --admin-port {self.admin}", line)
            line = re.sub(r"wml-serving (get|describe) .*", rf"\g<0> --admin http://127.0.0.1:{self.admin}", line)
        if self.grpc != GRPC_PORT:
            line = re.sub(r"wml-serving standalone", rf"\g<0> --grpc-port {self.grpc}", line)
            line = re.sub(r"samples/client\.py .*", rf"\g<0> --address localhost:{self.grpc}", line)
        return line


@pytest.fixture
def ports() -> Ports:
    return Ports(grpc=free_port(), admin=free_port(), store=free_port())


@pytest.fixture
def checkout(tmp_path: Path, ports: Ports) -> Path:
    """What the walkthrough needs of a checkout, set up, with nothing of an earlier demo."""
    directory = tmp_path / "checkout"
    shutil.copytree(ROOT / "samples", directory / "samples", ignore=shutil.ignore_patterns("__pycache__"))
    for environment in (".venv", ".runtimes"):
        (directory / environment).symlink_to(ROOT / environment)
    secret = directory / "samples" / "storage-config.yaml"
    secret.write_text(ports.put_into(secret.read_text()))
    return directory


@pytest.fixture
def terminal(checkout: Path, tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(checkout, tmp_path / "screen.log") as terminal:
        yield terminal


def table(text: str) -> list[list[str]]:
    """NAME URL READY of each row; AGE is never what a document says."""
    return [row.split()[:3] for row in text.splitlines() if row.strip()]


def right(said: str) -> float:
    """Which share of the predicted digits is the truth."""
    first, _, second = said.partition("truth")
    pairs = list(zip(re.findall(r"\d", first), re.findall(r"\d", second), strict=True))
    return sum(1 for predicted, truth in pairs if predicted == truth) / len(pairs)


def until_prints(terminal: Terminal, line: str, words: str) -> Typed:
    """Type the line again and again, as a waiting reader does, until it prints these words."""
    done = Typed(line, 0, "")

    def prints() -> bool:
        nonlocal done
        done = terminal.type(line)
        return words in done.said

    wait_until(prints, lambda: f"{words!r} from {line}, which says: {done.said}", within=40, poll=0.2)
    return done


def test_the_walkthrough_does_what_it_says(terminal: Terminal, checkout: Path, ports: Ports) -> None:
    """From the models to a prediction, and back to nothing: no process, no port, no file but below .demo."""
    files = set(checkout.iterdir())
    lines = [ports.put_into(line) for line in typed(WALKTHROUGH)]
    assert lines.pop(0) == "make"
    (shown,) = fences(WALKTHROUGH, "")
    (program,) = fences(WALKTHROUGH, "python")
    predict = next(line for line in lines if "samples/client.py" in line)
    said: dict[str, str] = {}
    for line in lines:
        if line.startswith("rm "):
            # What the text between the commands shows works as well.
            python = [str(checkout / ".venv/bin/python"), "-c", ports.put_into(program)]
            done = subprocess.run(python, cwd=checkout, capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == 0, done.stderr
            assert right(done.stdout) >= 0.9
        if line.startswith("kill "):
            gone = until_prints(terminal, predict, "NOT_FOUND")
            assert gone.code == 1
        if line.startswith(".venv/bin/wml-serving get") and "-o" not in line:
            # READY is False, or nobody answers yet, for a few seconds.
            typed_last = until_prints(terminal, line, " True ")
        else:
            typed_last = terminal.type(line, within=_LINE_S)
        assert typed_last.code == 0, typed_last
        said[line] = typed_last.said
    get, wide, describe = (said[line] for line in lines if re.search("wml-serving (get|describe)", line))
    assert table(get) == table(shown)
    assert table(wide)[1] == table(shown)[1]
    assert re.search(r"^Events:$.* Loaded ", describe, re.MULTILINE | re.DOTALL)
    assert right(said[predict]) >= 0.9
    wait_until(lambda: not terminal.left(), lambda: f"still there: {terminal.left()}", within=_END_S)
    served = (ports.grpc, ports.admin, ports.store)
    wait_until(lambda: not any(map(listens, served)), f"somebody listens on one of {served} still", within=2)
    assert set(checkout.iterdir()) - files == {checkout / ".demo"}


def test_nothing_but_ports_is_changed() -> None:
    """With the README's own, what is typed is the README to the letter; with others, every line that has one has it."""
    usual, others = Ports(grpc=GRPC_PORT, admin=ADMIN_PORT, store=STORE_PORT), Ports(grpc=1, admin=2, store=3)
    secret = (ROOT / "samples/storage-config.yaml").read_text()
    for text in (*typed(WALKTHROUGH), secret):
        assert usual.put_into(text) == text
        concerned = re.search(r"127\.0\.0\.1|localhost|wml-serving (standalone|get|describe)|client\.py", text)
        assert (others.put_into(text) != text) is bool(concerned), text
