"""
One stack's claim on the machine: STATE, the fixed ports, a private directory, a mark.

Claiming comes before anything is started, and says in one line what is in the
way. It also ends what an earlier stack in this STATE left behind when even its
guard was killed.

The lock on STATE is shared with the guard, so that STATE is free only when the
last process of the stack is gone.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.errors import ProductError
from orchestrator.platform.local.guard import remove_leftovers, sweep

MARK: Final = "WML_SERVING_STACK"
#: For people: `tr '\0' '\n' </proc/PID/environ` tells which stack a process belongs to.
STATE_VARIABLE: Final = "WML_SERVING_STATE"
#: A guard at work holds the lock for about a second.
_GUARD_S: Final = 10.0
_SWEEP_S: Final = 5.0
#: A Unix socket's path may have 107 bytes: this directory, a slash and a short name.
_LONGEST_PLACE: Final = 60
_PRIVATE_PREFIX: Final = "wml-"


class StackError(ProductError):
    """Something is in the way of a stack. One line that says what, and what to do: exit code 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port that must be free."""

    flag: str
    host: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What a stack holds. All paths are absolute."""

    state: Path
    #: Sockets and settings; short, private, removed with the stack.
    private: Path
    token: str
    lock: int

    @property
    def mark(self) -> str:
        """In the environment of every process of the stack."""
        return f"{MARK}={self.token}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What each process gets beside its own."""
        return {MARK: self.token, STATE_VARIABLE: str(self.state)}

    @property
    def shm_prefix(self) -> str:
        """Of the names of the stack's shared memory."""
        return shm_prefix(self.token)

    @property
    def logs(self) -> Path:
        """The servers' own logs."""
        return self.state / "logs"

    @property
    def pods(self) -> Path:
        """A directory for each runtime pod, as long as it lives."""
        return self.state / "pods"

    @property
    def records(self) -> Path:
        """What the records of TrainedModels are kept in."""
        return self.state / "trainedmodels"

    def socket(self, name: str) -> Path:
        """The path of a Unix socket of the stack's own."""
        return self.private / f"{name}.sock"

    @property
    def leftovers(self) -> tuple[Path, ...]:
        """Directories that end with the stack."""
        return (self.private, self.pods)

    def release(self) -> None:
        """Remove what ends with the stack, and let go of STATE."""
        remove_leftovers(self.shm_prefix, self.leftovers)
        # Nothing is left for the next stack to look for.
        _write(self.lock, {})
        os.close(self.lock)


def shm_prefix(token: str) -> str:
    """As `Stack.shm_prefix`."""
    return f"wml_{token[:12]}_"


def claim(state: Path, ports: Sequence[Port] = ()) -> Stack:
    """Take STATE and see that the ports are free. Raises StackError."""
    state = state.absolute()
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StackError(f"--state-dir {state} cannot be used: {error.strerror}") from None
    private: Path | None = None
    try:
        _lock(lock, state)
        _end_previous(lock, state)
        for port in ports:
            _check(port)
        token = secrets.token_hex(16)
        private = _private_directory()
        _write(lock, {"pid": os.getpid(), "token": token, "private": str(private)})
        stack = Stack(state=state, private=private, token=token, lock=lock)
        for directory in (stack.logs, stack.pods, stack.records):
            directory.mkdir(mode=0o700, exist_ok=True)
    except BaseException as error:
        os.close(lock)
        if private is not None:
            remove_leftovers("", (private,))
        if isinstance(error, OSError):
            raise StackError(f"--state-dir {state} cannot be used: {error.strerror}") from None
        raise
    return stack


def _lock(lock: int, state: Path) -> None:
    end = time.monotonic() + _GUARD_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read(lock).get("pid")
            # A dead owner's guard is still at work; an owner that has no name yet writes it in a moment.
            if (isinstance(owner, int) and _alive(owner)) or time.monotonic() > end:
                by = f" (process {owner})" if isinstance(owner, int) else ""
                raise StackError(f"--state-dir {state} is in use by another stack{by}") from None
            time.sleep(0.05)
        else:
            return


def _end_previous(lock: int, state: Path) -> None:
    previous = _read(lock)
    token, private = previous.get("token"), previous.get("private")
    if isinstance(token, str) and len(token) == 32:
        sweep(f"{MARK}={token}", _SWEEP_S)
        remove_leftovers(shm_prefix(token), ())
    if isinstance(private, str) and Path(private).name.startswith(_PRIVATE_PREFIX):
        remove_leftovers("", (Path(private),))
    remove_leftovers("", (state / "pods",))


def _check(port: Port) -> None:
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger from an earlier stack do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host, port.number))
            probe.listen(1)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "is taken by another process" if taken else f"cannot be used: {error.strerror}"
            raise StackError(f"port {port.number} {reason}; choose another with {port.flag}") from None
        except OverflowError:
            raise StackError(f"{port.flag} {port.number} is not a port") from None


def _private_directory() -> Path:
    for parent in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
        if 0 < len(parent) <= _LONGEST_PLACE and os.access(parent, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix=_PRIVATE_PREFIX, dir=parent))
    return Path(tempfile.mkdtemp(prefix=_PRIVATE_PREFIX, dir="/tmp"))


def _alive(pid: int) -> bool:
    try:
        # After the name, which may hold anything, in parentheses: the state.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    # A zombie holds nothing any more; its parent merely has not asked for it yet.
    return state not in {"Z", "X"}


def _read(lock: int) -> dict[str, Any]:
    try:
        content = json.loads(os.pread(lock, 4096, 0) or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _write(lock: int, content: Mapping[str, Any]) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(content).encode(), 0)
