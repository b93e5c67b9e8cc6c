"""
The processes of a stack, as the kernel knows them.

They are found by descent from the supervisor while it lives, and by the state
directory that their command line, environment or working directory names:
after a SIGKILL of the supervisor its children have another parent.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

#: Role by a word that the command line has; the first that fits counts.
_ROLES: Final = (
    ("stub", "triton_python_backend_stub"),
    ("triton", "bin/tritonserver"),
    ("mlserver", "bin/mlserver"),
    ("envoy", "_bin/envoy"),
    ("supervisor", " standalone "),
    ("controller", " controller "),
    ("activator", " activator "),
    ("adapter", " adapters "),
    ("guard", "guard.py"),
)


@dataclass(frozen=True, slots=True)
class Process:
    """One process; `role` is "" for one that no role fits."""

    pid: int
    role: str
    #: Its command line when it was found: it may be gone by when it is asked.
    words: tuple[str, ...]
    process: psutil.Process

    @property
    def command(self) -> str:
        """The words in a line."""
        return " ".join(self.words)

    def send(self, number: int) -> None:
        """Send a signal; it is an error if the process is gone."""
        self.process.send_signal(number)

    @property
    def alive(self) -> bool:
        """Whether it runs: a zombie does not."""
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    @property
    def peak(self) -> int:
        """The most bytes of memory that it had, ever or since `forget_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def forget_peak(self) -> None:
        """What it has now is the most that it had."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="utf-8")

    def option(self, flag: str) -> str:
        """The value of an option, given as `flag value` or `flag=value`."""
        for position, word in enumerate(self.words):
            if word == flag:
                return self.words[position + 1]
            if word.startswith(f"{flag}="):
                return word.partition("=")[2]
        raise AssertionError(f"{self.role} has no {flag}: {self.command}")

    def variable(self, name: str) -> str:
        """An environment variable; "" if it has none."""
        return self.process.environ().get(name, "")

    def footprint(self) -> frozenset[str]:
        """The shared memory that it has mapped and the Unix sockets that it has bound: files that could outlive it."""
        with suppress(psutil.Error, OSError):
            paths = {line.split(maxsplit=5)[5] for line in _maps(self.pid) if "/dev/shm/" in line}
            sockets = {str(each.laddr) for each in self.process.net_connections("unix")}
            paths = {path.removesuffix(" (deleted)").strip() for path in paths | sockets}
            return frozenset(path for path in paths if path.startswith("/"))
        return frozenset()


@contextmanager
def frozen(*processes: Process) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end."""
    assert processes
    try:
        for each in processes:
            each.send(signal.SIGSTOP)
        yield
    finally:
        for each in processes:
            each.send(signal.SIGCONT)


def descendants(pid: int) -> tuple[Process, ...]:
    """The process and all below it."""
    try:
        root = psutil.Process(pid)
        found = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return ()
    return _described(found)


def mentioning(directory: Path) -> tuple[Process, ...]:
    """All processes, whosever children, that name `directory` in their command line, environment, or work below it."""
    text = str(directory)
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with suppress(psutil.Error, OSError):
            words = [*process.cmdline(), *process.environ().values(), process.cwd()]
            if any(text in word for word in words):
                found.append(process)
    return _described(found)


def _maps(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()


def _described(found: Iterable[psutil.Process]) -> tuple[Process, ...]:
    described = []
    for process in found:
        with suppress(psutil.Error):
            words = tuple(process.cmdline())
            command = " ".join(words)
            if process.status() == psutil.STATUS_ZOMBIE or not command:
                continue
            role = next((name for name, word in _ROLES if word in f"{command} "), "")
            described.append(Process(process.pid, role, words, process))
    return tuple(described)
