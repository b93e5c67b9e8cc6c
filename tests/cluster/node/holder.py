"""
Holds one node: starts its namespaces, waits for the end, and leaves nothing.

The node lives as long as this process, which ends when it is told to, when the
node dies, or, on a leash, when its parent is gone: the parent's end of a pipe
closes, whatever killed it. Where this process itself is killed, the kernel
kills the node; only empty cgroups and files are left then, for the next `down`
or `up`. One checkout has one node: a lock says whose turn it is.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from tests.cluster.node import cgroups, store
from tests.cluster.node.place import HOLDER_LOG, LOCK, PID, ROOT, RUN_VARIABLE, STATE

_NAMESPACES: Final = (
    *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("--propagation", "private"),
)
_PR_SET_PDEATHSIG: Final = 1
#: Who asks for the holder has the lock for an instant: that is waited for, and no holder.
_ASKED_S: Final = 1.0
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Busy(Exception):
    """Another process holds the node."""


def hold(*, leash: bool) -> int:
    """Bring a node up and hold it. With a leash, until standard input ends."""
    with locked():
        clean()
        wake, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told)
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(each, lambda *_: None)
        try:
            STATE.mkdir(parents=True, mode=0o755)
            store.copy()
            cgroups.make()
            node = subprocess.Popen(
                (*_NAMESPACES, sys.executable, "-m", "tests.cluster.node", "boot"),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                preexec_fn=_die_with_parent,
            )
            try:
                PID.write_text(str(_child(node.pid)), encoding="utf-8")
                watched = [wake, sys.stdin.fileno()] if leash else [wake]
                while node.poll() is None:
                    ready, _, _ = select.select(watched, [], [], 5.0)
                    if sys.stdin.fileno() in ready and leash and not os.read(sys.stdin.fileno(), 1024):
                        break
                    if wake in ready and set(os.read(wake, 1024)) - {signal.SIGCHLD}:
                        break
                code = node.poll()
                if code is not None:
                    sys.stderr.write(f"the node ended by itself: {code}\n")
            finally:
                # unshare then kills the first process inside, and that ends all of them.
                node.kill()
                node.wait()
        finally:
            clean()
    return 0 if code is None else 1


@contextmanager
def locked() -> Iterator[None]:
    """Be the one who has the node. Raises Busy."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("a+", encoding="utf-8") as lock:
        deadline = time.monotonic() + _ASKED_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy("the node of this checkout is held by another process") from None
            time.sleep(0.01)
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def holder() -> int | None:
    """The process that has the node; None if nobody has."""
    try:
        with LOCK.open(encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or 0) or None
    except FileNotFoundError:
        pass
    return None


def clean() -> None:
    """Remove what a node leaves. For whoever has the lock; everything in it is dead or about to be."""
    end_processes()
    cgroups.remove()
    shutil.rmtree(STATE, ignore_errors=False) if STATE.exists() else None


def end_processes() -> None:
    """Kill what is left of a node whose holder is gone, or whose files are: nothing but /proc tells of it then."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            descriptor = os.pidfd_open(int(process.name))
        except OSError:
            continue
        try:
            if _is_of_the_node(process):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], 30.0)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            # It ended meanwhile, or is another user's.
            continue
        finally:
            os.close(descriptor)


def _is_of_the_node(process: Path) -> bool:
    """Whether it holds this very node, or is its first process."""
    line = (process / "cmdline").read_bytes()
    if not any(b"tests.cluster.node\0" + verb in line for verb in (b"hold", b"boot")):
        return False
    environment = dict(entry.partition(b"=")[::2] for entry in (process / "environ").read_bytes().split(b"\0"))
    own = os.fsencode(os.environ.get(RUN_VARIABLE, ""))
    return (process / "cwd").resolve() == ROOT and environment.get(os.fsencode(RUN_VARIABLE), b"") == own


def open_log() -> IO[bytes]:
    """For the output of a holder that runs in the background."""
    HOLDER_LOG.parent.mkdir(parents=True, exist_ok=True)
    return HOLDER_LOG.open("wb")


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _child(pid: int) -> int:
    """The one child of `unshare`."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while Path(f"/proc/{pid}").exists():
        found = children.read_text(encoding="utf-8").split()
        if found:
            return int(found[0])
        select.select([], [], [], 0.01)
    raise RuntimeError("the namespaces could not be made")
