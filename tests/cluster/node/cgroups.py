"""
The cgroups of the node's pods: a tree of this checkout's own in each hierarchy.

A kubelet makes cgroups and expects to live as long as the machine. They are
all that outlives the node's namespaces, empty, hence removed from outside.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from tests.cluster.node.place import CGROUP

_MOUNTS: Final = Path("/proc/self/mounts")


def hierarchies() -> list[Path]:
    """Where cgroups are: one place with version 2, one for each controller with version 1."""
    mounts = (line.split() for line in _MOUNTS.read_text(encoding="utf-8").splitlines())
    return sorted({Path(place) for _, place, kind, *_ in mounts if kind in {"cgroup", "cgroup2"}})


def trees() -> list[Path]:
    """What of ours is there."""
    return [tree for hierarchy in hierarchies() if (tree := hierarchy / CGROUP).is_dir()]


def make() -> None:
    """The roots; the kubelet refuses to make them itself."""
    for hierarchy in hierarchies():
        root = hierarchy / CGROUP
        root.mkdir(exist_ok=True)
        available = root / "cgroup.controllers"
        if available.exists():
            wanted = " ".join(f"+{name}" for name in available.read_text(encoding="utf-8").split())
            (root / "cgroup.subtree_control").write_text(wanted, encoding="utf-8")
        for inherited in ("cpuset.cpus", "cpuset.mems"):
            # Version 1: empty in a new cgroup, and no process enters an empty set.
            if (root / inherited).exists() and not (root / inherited).read_text(encoding="utf-8").strip():
                (root / inherited).write_text((hierarchy / inherited).read_text(encoding="utf-8"), encoding="utf-8")


def remove(within: float = 10.0) -> None:
    """All of them; the kernel takes a moment to see that the processes in them are gone."""
    deadline = time.monotonic() + within
    while left := trees():
        try:
            for tree in left:
                for directory, _, _ in os.walk(tree, topdown=False):
                    os.rmdir(directory)
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"a process of the node does not end: {error}") from None
            time.sleep(0.05)
