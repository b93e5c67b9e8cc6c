"""
A terminal: one bash that is typed into, line by line, as a reader of the documents does.

Whatever it started is found by the directory that it works in, and ended with it.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from tests.standalone.processes import mentioning
from tests.standalone.waiting import wait_until

_END_S = 10.0


@dataclass(frozen=True, slots=True)
class Typed:
    """What came of one line; `said` is what it printed, on either stream."""

    line: str
    code: int
    said: str


class Terminal:
    """Works in `directory`; job control is on, as where people type."""

    def __init__(self, directory: Path, screen: Path) -> None:
        """`screen` is where all that is printed goes."""
        self._directory = directory
        self._screen = screen
        #: After each line it is told how that ended, in words that nothing else prints.
        self._mark = f"<{secrets.token_hex(8)}>"
        self._bash: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._screen.open("wb") as screen:
            self._bash = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-m"],
                cwd=self._directory,
                stdin=subprocess.PIPE,
                stdout=screen,
                stderr=screen,
                start_new_session=True,
                env={**os.environ, "PWD": str(self._directory)},
            )
        return self

    def __exit__(self, *_exc: object) -> None:
        """Nothing is asked: after a test that went well there is nothing left to end but bash itself."""
        assert self._bash is not None
        assert self._bash.stdin is not None
        for left in mentioning(self._directory):
            with suppress(psutil.NoSuchProcess):
                left.process.kill()
        self._bash.kill()
        self._bash.wait()
        self._bash.stdin.close()
        wait_until(lambda: not self.left(), lambda: f"not to be ended: {self.left()}", within=_END_S)

    def type(self, line: str, *, within: float = 30.0) -> Typed:
        """Type it and wait until bash takes the next one."""
        assert self._bash is not None
        assert self._bash.stdin is not None
        before = self._screen.stat().st_size
        self._bash.stdin.write(f"{line}\necho '{self._mark}' $?\n".encode())
        self._bash.stdin.flush()
        wait_until(lambda: self._ended(before), lambda: f"{line} does not end: {self._since(before)}", within=within)
        said, _, code = self._since(before).partition(self._mark)
        return Typed(line, int(code), said)

    def left(self) -> list[str]:
        """Command lines of the processes that were started here and still run."""
        return [p.command for p in mentioning(self._directory) if p.alive and p.command.split()[0] != "bash"]

    def _since(self, position: int) -> str:
        with self._screen.open("rb") as screen:
            screen.seek(position)
            return screen.read().decode(errors="replace")

    def _ended(self, position: int) -> bool:
        assert self._bash is not None
        assert self._bash.poll() is None, f"bash ended: {self._since(position)}"
        _, mark, code = self._since(position).partition(self._mark)
        return bool(mark) and code.endswith("\n")
