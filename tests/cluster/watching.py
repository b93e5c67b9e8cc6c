"""
The moments at which an object of the cluster changed, as `kubectl get --watch` shows them.

For what is timed: to ask again and again costs a process each time, and the
machine is the one that is measured.
"""

from __future__ import annotations

import subprocess
import threading
import time
from typing import Final, Self

from tests.cluster.cluster import Cluster
from tests.standalone.waiting import wait_until

#: Of TrainedModels: whether they are ready, and why: `False Loading`.
READY: Final = """.status.conditions[?(@.type=="Ready")]['status','reason']"""
#: Much shorter than what is timed.
_POLL_S: Final = 0.005


class Watching:
    """One field of all objects of a kind, for as long as it is entered."""

    def __init__(self, cluster: Cluster, kind: str, path: str) -> None:
        """`path` is the field's, as kubectl's jsonpath has it: `.spec.holderIdentity`."""
        template = f'jsonpath={{.metadata.name}}={{{path}}}{{"\\n"}}'
        self._process = cluster.start(
            "kubectl", "--namespace", cluster.namespace, "get", kind, "--watch", "-o", template, output=subprocess.PIPE
        )
        self._seen: list[tuple[float, str, str]] = []
        self._thread = threading.Thread(target=self._read, name="watching")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._thread.join()
        self._process.communicate()

    def until(self, name: str, *values: str, since: float, within: float) -> float:
        """The moment (time.monotonic) after `since` when the object was first seen with one of the values."""
        found = wait_until(
            lambda: next((at for at, n, value in self._seen if n == name and value in values and at > since), None),
            lambda: f"{name} is not seen as {values}: {self._seen[-3:]}",
            within=within,
            poll=_POLL_S,
        )
        assert found is not None
        return found

    def values(self, name: str) -> list[str]:
        """All that the object was seen with so far, oldest first."""
        return [value for _, n, value in self._seen if n == name]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            name, _, value = line.rstrip("\n").partition("=")
            self._seen.append((time.monotonic(), name, value))
