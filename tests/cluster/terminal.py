"""
Lines of a document, typed as they stand there into a shell where the cluster is, in the checkout.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.cluster.cluster import Cluster
from tests.cluster.node.place import ROOT
from tests.standalone.waiting import wait_until

_WITHIN_S: Final = 320.0


def shell(cluster: Cluster, line: str) -> str:
    """What a command printed, that has to succeed."""
    done = _run(cluster, line)
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def behind(cluster: Cluster, line: str) -> Iterator[None]:
    """A command that goes on in the background, until it is taken back."""
    process = cluster.start("sh", "-c", f"exec {line.removesuffix('&')}", output=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait(30)


def until_it_works(cluster: Cluster, line: str) -> str:
    """What a command printed once it succeeded: a forwarding behind takes a moment to begin."""
    said: list[str] = []

    def works() -> bool:
        done = _run(cluster, line, timeout=90)
        said.append(done.stdout + done.stderr)
        return done.returncode == 0

    wait_until(works, lambda: f"{line}: {said[-1]}", within=60, poll=0.5)
    return said[-1]


def _run(cluster: Cluster, line: str, timeout: float = _WITHIN_S) -> subprocess.CompletedProcess[str]:
    return cluster.run("sh", "-c", f"cd {ROOT} && {line}", timeout=timeout)
