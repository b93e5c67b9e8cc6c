"""
The process that outlives the supervisor, to end what the supervisor cannot end any more.

Each process of a stack carries the stack's mark in its environment, which its
children inherit whatever session or group they move to. The guard waits for
the supervisor's end of a pipe to close, which SIGKILL does as well as an exit,
then kills whatever carries the mark until nothing is left, and removes what
was left behind.

Run as a script by an interpreter without site packages, so that it is there in
milliseconds and depends on nothing that can break: the standard library only.
Not promised: an end to a process that hides its environment, or that hangs in
the kernel.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PROC = Path("/proc")
SHARED_MEMORY = Path("/dev/shm")
#: From a supervisor that has done all of this itself.
DISMISSAL = b"done\n"
#: A process that was between fork and exec carries the mark only a moment later.
_QUIET_LOOKS = 3
_LOOK_S = 0.02


def carriers(mark: str) -> list[int]:
    """The processes with `mark` (`NAME=value`) in the environment that they were started with, but for this one."""
    wanted = b"\0" + mark.encode() + b"\0"
    found = []
    for entry in os.listdir(PROC):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                environment = (PROC / entry / "environ").read_bytes()
            except OSError:
                # It ended, or it is another user's.
                continue
            if wanted in b"\0" + environment:
                found.append(int(entry))
    return found


def sweep(mark: str, timeout_s: float) -> tuple[int, bool]:
    """Kill all carriers of `mark` until none is left: how many there were, and whether none is left."""
    end = time.monotonic() + timeout_s
    killed: set[int] = set()
    quiet = 0
    while quiet < _QUIET_LOOKS:
        if time.monotonic() > end:
            return len(killed), False
        pids = carriers(mark)
        quiet = 0 if pids else quiet + 1
        for pid in pids:
            killed.add(pid)
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                # It ended meanwhile.
                continue
        time.sleep(_LOOK_S)
    return len(killed), True


def remove_leftovers(shm_prefix: str, paths: Sequence[Path]) -> None:
    """Shared memory whose name begins with the prefix, and whole directories. What cannot be removed is left."""
    if shm_prefix and SHARED_MEMORY.is_dir():
        for segment in SHARED_MEMORY.glob(f"{shm_prefix}*"):
            segment.unlink(missing_ok=True)
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def main() -> int:
    """The first line of standard input says what to do; its end, without a dismissal, says when."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    pipe = sys.stdin.buffer
    order = json.loads(pipe.readline())
    while line := pipe.readline():
        if line == DISMISSAL:
            return 0
    killed, clean = sweep(order["mark"], order["timeout_s"])
    remove_leftovers(order["shm_prefix"], [Path(path) for path in order["remove"]])
    if killed:
        line = {"event": "stack_swept", "level": "warning", "process": "guard", "killed": killed, "clean": clean}
        try:
            sys.stderr.write(json.dumps(line) + "\n")
            sys.stderr.flush()
        except OSError:
            # The terminal went with the supervisor.
            pass
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
