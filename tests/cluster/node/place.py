"""
Where everything of the node is, and how its parts find each other.

All files are below the checkout. What survives a node (binaries, built images)
is apart from what ends with it (`STATE`), so that taking a node down is to end
one process tree and to remove one directory. The addresses are those of the
node's own network namespace: they mean nothing outside of it, and two nodes of
two checkouts do not meet.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
BINARIES: Final = ROOT / ".runtimes" / "kubernetes" / "bin"
#: Built images; several checkouts may share one, what is in it is named by its content.
CACHE: Final = Path(os.environ.get("WML_CLUSTER_CACHE") or ROOT / ".cache" / "cluster").absolute()
#: containerd's store with every image, never run from: a node gets a copy.
STORE: Final = CACHE / "store"

RUN_VARIABLE: Final = "WML_CLUSTER_NODE"
#: A second node of this checkout, say for a test of nodes, has another.
RUN: Final = Path(os.environ.get(RUN_VARIABLE) or ROOT / ".cache" / "cluster").absolute()
#: Held locked, with the pid in it, by the process that holds the node.
LOCK: Final = RUN / "node.lock"
#: What that process said.
HOLDER_LOG: Final = RUN / "holder.log"
#: What a node leaves is all in here.
STATE: Final = RUN / "node"
#: The pid of the node's first process, as the host sees it.
PID: Final = STATE / "pid"
READY: Final = STATE / "ready"
UNITS: Final = STATE / "units"
LOGS: Final = STATE / "log"
PKI: Final = STATE / "pki"
KUBECONFIG: Final = STATE / "admin.kubeconfig"
CONTAINERD_ROOT: Final = STATE / "containerd"

#: In each cgroup hierarchy: all pods of this node, and of no other.
CGROUP: Final = f"wml-serving-{hashlib.sha256(os.fsencode(RUN)).hexdigest()[:8]}"

NODE: Final = "node1"
NODE_IP: Final = "172.31.255.1"
SERVICE_IP: Final = "10.96.0.1"
SERVICES: Final = "10.96.0.0/16"
PODS: Final = "10.244.0.0/24"
API: Final = "https://127.0.0.1:6443"
CONTAINERD: Final = "/run/containerd/containerd.sock"
