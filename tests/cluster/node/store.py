"""
containerd's store with every image of the tests, from which each node gets a copy of its own.

Importing takes a minute, copying a second: what containerd writes once (blobs,
snapshots that are lower layers for whoever uses them) is hard-linked, and its
databases, which it changes in place, are copied. The store itself is only ever
opened to import, by a containerd that runs nothing.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.cluster.node import units
from tests.cluster.node.place import CACHE, CONTAINERD, CONTAINERD_ROOT, ROOT, STORE

#: Names of images that the store has: a file each.
_STORED: Final = CACHE / "stored"

#: Runs in namespaces of its own, whose end takes containerd with it.
_IMPORT: Final = """
set -eu
mount -t tmpfs none /run
containerd --config {config} >{log} 2>&1 &
until ctr version >/dev/null 2>&1; do kill -0 $!; sleep 0.1; done
for archive in {archives}; do ctr --namespace k8s.io images import "$archive" >/dev/null; done
kill $!
wait $!
"""


@contextmanager
def turn(what: str, *, shared: bool = False) -> Iterator[None]:
    """Nobody changes it while another uses it; checkouts may share a cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{what}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def has(image: str) -> bool:
    """Whether the store has it."""
    return _marker(image).exists()


def add(archives: Mapping[str, Path]) -> None:
    """Import images: name → archive."""
    with turn("store"):
        _add(archives)


def _add(archives: Mapping[str, Path]) -> None:
    STORE.mkdir(parents=True, exist_ok=True)
    config = CACHE / "containerd.toml"
    config.write_text(units.containerd(str(STORE), "/run/containerd"), encoding="utf-8")
    log = CACHE / "containerd.log"
    paths = {"config": str(config), "log": str(log)}
    script = _IMPORT.format(
        **{name: shlex.quote(path) for name, path in paths.items()},
        archives=" ".join(shlex.quote(str(path)) for path in archives.values()),
    )
    apart = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
    done = subprocess.run((*apart, "sh", "-c", script), stdout=sys.stderr, check=False)
    if done.returncode:
        raise RuntimeError(f"the images could not be imported, see {log.relative_to(ROOT)}")
    _STORED.mkdir(exist_ok=True)
    for image in archives:
        _marker(image).touch()


def copy() -> None:
    """A store of the node's own."""
    with turn("store", shared=True):
        if not STORE.is_dir():
            raise RuntimeError("there are no images yet: make cluster builds them")
        subprocess.run(("cp", "--archive", "--link", str(STORE), str(CONTAINERD_ROOT)), check=True)
        for database in CONTAINERD_ROOT.rglob("*.db"):
            own = database.with_suffix(".own")
            shutil.copyfile(database, own)
            os.replace(own, database)


def ctr(*arguments: str) -> tuple[str, ...]:
    """For the containerd of the node, to be run inside."""
    return ("ctr", "--address", CONTAINERD, "--namespace", "k8s.io", *arguments)


def _marker(image: str) -> Path:
    return _STORED / image.replace("/", "_")
