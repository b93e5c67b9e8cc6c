"""A node comes up once, and whatever ends it, nothing of it is left: no process, mount, cgroup, interface or file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.node import cgroups, units
from tests.cluster.node.place import ROOT
from tests.cluster.pods import pod
from tests.standalone.waiting import wait_until

#: What components of a node like to have on the host.
_FAVOURITES: Final = ("/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/opt/containerd")
_SETTINGS: Final = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
#: A parent that is killed without a word, and says who its child is.
_PARENT: Final = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "tests.cluster.node", "hold", "--leash"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
time.sleep(600)
"""

#: A process that has the lock, as whoever holds a node, and ends well when it is told to.
_HELD: Final = """
import signal, sys
from tests.cluster.node import holder
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
with holder.locked():
    print("held", flush=True)
    signal.pause()
"""


class Node:
    """A node beside the one that the other tests have."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._environment = {**os.environ, "WML_CLUSTER_NODE": str(directory)}

    def run(self, *verb: str, check: bool = True, stdin: str | None = None) -> str:
        """A verb of tests.cluster.node, to its end."""
        command = (sys.executable, "-m", "tests.cluster.node", *verb)
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, input=stdin, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{verb}: {done.stderr}"
        return done.stdout

    def start(self, code: str) -> subprocess.Popen[str]:
        """A process of its own for `code`."""
        command = (sys.executable, "-c", code)
        log = (self.directory / "holder.log").open("w")
        with log:
            return subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
            )

    @property
    def first_process(self) -> str:
        """Its pid; "" if there is no node."""
        path = self.directory / "node" / "pid"
        return path.read_text() if path.exists() else ""

    def is_ready(self) -> bool:
        """It came up."""
        return (self.directory / "node" / "ready").exists()

    def left(self) -> list[str]:
        """What is there of it."""
        found = [f"cgroup {path}" for path in _cgroups(self.directory)]
        found += [f"process {pid}" for pid in _processes(self.directory)]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found += [line for line in mounts if str(self.directory) in line]
        # The lock's file stays, unlocked, and the log of what was.
        found += [str(path) for path in self.directory.iterdir() if path.name not in {"node.lock", "holder.log"}]
        return found


def _cgroups(directory: Path) -> list[Path]:
    code = "from tests.cluster.node.place import CGROUP; print(CGROUP)"
    environment = {**os.environ, "WML_CLUSTER_NODE": str(directory)}
    name = subprocess.run(
        (sys.executable, "-c", code), cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    return [path for hierarchy in cgroups.hierarchies() if (path := hierarchy / name).exists()]


def _processes(directory: Path) -> dict[int, list[str]]:
    """Pid → command line, as it was when it was found: most of a node's processes are there for a moment."""
    found = {}
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if process.environ().get("WML_CLUSTER_NODE") == str(directory) or any(
                str(directory) in word for word in line
            ):
                found[process.pid] = line
        except psutil.Error:
            # It ended meanwhile.
            continue
    return found


def _host() -> dict[str, object]:
    """What of the machine a node might change."""
    return {
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "files": [path for path in _FAVOURITES if os.path.exists(path)],
        "settings": [Path("/proc/sys", name).read_text() for name in _SETTINGS],
    }


@pytest.fixture
def second(bare: Cluster) -> Iterator[Node]:
    """After the session's own, which has built the images."""
    # On the file system of the checkout, where the images can be linked.
    directory = ROOT / ".cache" / "cluster" / "second"
    directory.mkdir(parents=True, exist_ok=True)
    node = Node(directory)
    try:
        yield node
    finally:
        node.run("down")


def _told(node: Node) -> None:
    node.run("down")


def _orphaned(node: Node) -> None:
    """The parent on whose leash it is is killed."""
    [parent] = [pid for pid, line in _processes(node.directory).items() if line[-1:] == [_PARENT]]
    os.kill(parent, signal.SIGKILL)


def _unheld(node: Node) -> None:
    """The process that would clean up is killed itself: the node dies, and `down` clears up."""
    [holder] = [pid for pid, line in _processes(node.directory).items() if line[-2:] == ["hold", "--leash"]]
    first = psutil.Process(int(node.first_process))
    os.kill(holder, signal.SIGKILL)
    wait_until(lambda: not first.is_running(), "the node outlives its holder", within=30)
    node.run("down")


def _forgotten(node: Node) -> None:
    """Its files are removed under it, its lock's too: `down` finds it all the same."""
    for path in node.directory.iterdir():
        # What still runs writes on meanwhile.
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    node.run("down")


@pytest.mark.parametrize("end", [_told, _orphaned, _unheld, _forgotten], ids=lambda end: end.__name__.strip("_"))
def test_it_leaves_nothing(second: Node, end: Callable[[Node], None]) -> None:
    """With a pod in it: whoever is told to end it or dies."""
    before = _host()
    parent = second.start(_PARENT)
    try:
        wait_until(second.is_ready, "the node did not come up", within=120)
        object_ = json.dumps(pod("busy", units.PAUSE))
        wait = "kubectl wait --for=condition=Ready --timeout=120s pod/busy"
        second.run("exec", f"echo '{object_}' | kubectl apply -f - && {wait}")
        assert _cgroups(second.directory)
        end(second)
        wait_until(
            lambda: [what for what in second.left() if not what.startswith(f"process {parent.pid}")] == [],
            lambda: f"left: {second.left()}",
            within=60,
        )
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.communicate()
    assert _host() == before


def test_a_frozen_holder_is_thawed_and_cleans_up_itself(tmp_path: Path) -> None:
    """Rather than killed after a minute: without a node, which ends with its holder."""
    node = Node(tmp_path)
    held = node.start(_HELD)
    try:
        assert held.stdout is not None
        assert held.stdout.readline() == "held\n"
        held.send_signal(signal.SIGSTOP)
        node.run("down")
        assert held.wait(timeout=30) == 0
        assert node.left() == []
    finally:
        held.kill()
        held.communicate()


def test_up_again_changes_nothing(second: Node) -> None:
    """The same node, with what is in it."""
    second.run("up")
    first = second.first_process
    second.run("exec", "kubectl create namespace marked")
    second.run("stop", "scheduler")
    second.run("up")
    assert second.first_process == first
    assert "marked" in second.run("exec", "kubectl get namespaces -o name")
    assert "stopped" not in second.run("units"), "a component that a visitor left stopped is started"


def test_whoever_interrupts_its_start_is_told_that_it_goes_on(second: Node) -> None:
    """In a line; and `up` takes it up where it is."""
    starting = second.start(
        "import runpy, sys; sys.stderr = sys.stdout; sys.argv[1:] = ['up']\n"
        "runpy.run_module('tests.cluster.node', run_name='__main__')"
    )
    wait_until(lambda: second.first_process, "the node does not begin")
    starting.send_signal(signal.SIGINT)
    said, _ = starting.communicate(timeout=30)
    assert starting.returncode == 130
    assert "make cluster-down ends it" in said
    assert len(said.splitlines()) == 1
    first = second.first_process
    second.run("up")
    assert second.first_process == first
