"""
What a failed test's report says about the cluster: pods, events, descriptions and logs of the namespaces of the tests.

Best effort, with bounds: a report of a broken cluster must not fail itself, nor be longer than a reader reads.
"""

from __future__ import annotations

import subprocess
from typing import Final

from tests.cluster.cluster import Cluster, KubectlError
from tests.cluster.node.inside import NotUp

_LINES: Final = 60
_PODS: Final = 12
_SYSTEM: Final = frozenset({"default", "kube-node-lease", "kube-public", "kube-system"})


def sections(cluster: Cluster) -> list[tuple[str, str]]:
    """Titles and texts."""
    spaces = [n for n in _said(cluster, "get", "namespaces", "-o", "name").split() if n.startswith("namespace/")]
    found = [("cluster: pods", _said(cluster, "get", "pods", "--all-namespaces", "-o", "wide"))]
    for space in (cluster.within(name.removeprefix("namespace/")) for name in spaces):
        if space.namespace not in _SYSTEM:
            found += _of_namespace(space)
    return found


def _of_namespace(space: Cluster) -> list[tuple[str, str]]:
    title = f"cluster: {space.namespace}"
    found = [
        (f"{title}: events", _tail(_said(space, "get", "events", "--sort-by=.lastTimestamp"))),
        (f"{title}: models", _said(space, "get", "trainedmodels", "-o", "wide")),
    ]
    pods = [pod for pod in _said(space, "get", "pods", "-o", "name").split() if pod.startswith("pod/")]
    for pod in pods[:_PODS]:
        found.append((f"{title}: {pod}", _tail(_said(space, "describe", pod), 120)))
        logs = ("logs", pod, "--all-containers", "--prefix", f"--tail={_LINES}")
        found.append((f"{title}: logs of {pod}", _said(space, *logs)))
        before = _said(space, *logs, "--previous")
        if before.startswith("[pod/"):
            found.append((f"{title}: logs of {pod} before its restart", before))
    return [(what, text) for what, text in found if text.strip()]


def _said(cluster: Cluster, *argv: str) -> str:
    try:
        return cluster.kubectl(*argv, timeout=15)
    except (KubectlError, NotUp, subprocess.TimeoutExpired) as error:
        return str(error)


def _tail(text: str, lines: int = _LINES) -> str:
    return "\n".join(text.splitlines()[-lines:])
