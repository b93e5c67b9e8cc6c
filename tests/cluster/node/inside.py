"""
Commands inside the node's namespaces: where pods and Services have addresses, names resolve, and kubectl knows its API.

The file system is the host's but for what the node covers (`boot`), so a
command sees the checkout and all tools.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.cluster.node import units
from tests.cluster.node.place import BINARIES, KUBECONFIG, PID, READY, ROOT, UNITS

#: A child that is killed with whoever started it, on either side of the border.
_LEASH: Final = ("setpriv", "--pdeathsig", "KILL")


class NotUp(Exception):
    """There is no node."""


def first_process() -> int:
    """The pid of the node's first process. Raises NotUp."""
    try:
        pid = int(PID.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        raise NotUp("the node is not up: make cluster") from None
    if not Path("/proc", str(pid)).exists():
        raise NotUp("the node is gone: make cluster")
    return pid


def is_ready() -> bool:
    """It came up, and lives."""
    try:
        first_process()
    except NotUp:
        return False
    return READY.exists()


def command(argv: Sequence[str], *, cwd: Path = ROOT) -> tuple[str, ...]:
    """The command line that runs `argv` inside; it ends when the process that runs it ends."""
    environment = (
        f"KUBECONFIG={KUBECONFIG}",
        f"PATH={BINARIES}:/usr/local/sbin:/usr/sbin:/sbin:{os.environ.get('PATH', '/usr/bin:/bin')}",
    )
    enter = ("nsenter", "--target", str(first_process()), "--mount", "--net", "--pid", f"--wd={cwd}")
    return (*_LEASH, *enter, *_LEASH, "env", *environment, *argv)


def run(argv: Sequence[str], *, stdin: str | None = None, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run to the end, whatever it is."""
    return subprocess.run(command(argv), input=stdin, capture_output=True, text=True, check=False, timeout=timeout)


def start_unit(name: str) -> None:
    """Start a component that is not running."""
    _known(name)
    if unit_runs(name):
        return
    done = run(("setsid", "--fork", str(UNITS / name)))
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr}")
    deadline = time.monotonic() + 30
    while not unit_runs(name):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not start")
        time.sleep(0.1)


def mend() -> None:
    """Start what an earlier visitor stopped and left so."""
    for name in units.commands():
        start_unit(name)


def stop_unit(name: str, how: signal.Signals = signal.SIGTERM, *, grace_s: float = 5.0) -> None:
    """End a component and wait until it is gone; at once if it takes its time, as an API server with watchers does."""
    _known(name)
    deadline = time.monotonic() + grace_s
    while unit_runs(name):
        run(("kill", f"-{how.value}", _unit_pid(name)))
        if time.monotonic() > deadline:
            how = signal.SIGKILL
        time.sleep(0.1)


def unit_runs(name: str) -> bool:
    """Whether the component's process is there."""
    pid = _unit_pid(name)
    return bool(pid) and run(("test", "-d", f"/proc/{pid}")).returncode == 0


def _unit_pid(name: str) -> str:
    """As the processes inside know it."""
    try:
        return Path(f"{UNITS / name}.pid").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _known(name: str) -> None:
    if name not in units.commands():
        raise NotUp(f"no component {name!r}; there are {', '.join(units.commands())}")
