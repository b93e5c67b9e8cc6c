"""
Certificates as pods have them: a kubelet brings what is in a Secret into their volumes, in its own time.
"""

from __future__ import annotations

import base64
import secrets
import ssl
from typing import Final

from tests.cluster.cluster import Cluster, KubectlError, Object
from tests.cluster.product import MESH, Product
from tests.standalone.waiting import wait_until

_RUNTIME: Final = "app.kubernetes.io/component=runtime"
_ADAPTER_PORT: Final = 8085
_CONTROL_PORT: Final = 8090
_FILES: Final = ("tls.crt", "ca.crt")


def taken_up(product: Product) -> None:
    """Return once every pod of ours goes on with the certificates of now: in its files, and in what it serves with."""
    cluster = product.cluster
    # A kubelet looks after a pod's volumes at once when something of the pod changes, else within a minute or two.
    for selector in (MESH, _RUNTIME):
        cluster.kubectl("annotate", "pods", "-l", selector, "--overwrite", f"example.com/look={secrets.token_hex(4)}")
    for pod in cluster.pods(MESH):
        _until_mounted(cluster, pod, "activator", "mesh")
    for pod in cluster.pods(_RUNTIME):
        _until_mounted(cluster, pod, "adapter", "adapter")
        _until_served(cluster, pod, _ADAPTER_PORT, "adapter")
    _until_served(cluster, product.leader(), _CONTROL_PORT, "orchestrator")


def _stored(cluster: Cluster, role: str) -> dict[str, str]:
    data = cluster.get("secret", f"wml-serving-{role}-tls")["data"]
    return {name: base64.b64decode(data[name]).decode() for name in _FILES}


def _until_mounted(cluster: Cluster, pod: Object, container: str, role: str) -> None:
    """Its volume is as the Secret; a pod that is deleted meanwhile is waited for no longer."""
    name: str = pod["metadata"]["name"]

    def mounted() -> bool:
        try:
            read = {
                file: cluster.execute(name, "cat", f"/etc/wml-serving/tls/{file}", container=container)
                for file in _FILES
            }
        except KubectlError:
            return cluster.find("pod", name) is None
        return read == _stored(cluster, role)

    wait_until(mounted, f"{name} has other files", within=60, poll=0.5)


def _until_served(cluster: Cluster, pod: Object, port: int, role: str) -> None:
    """Who connects is shown the certificate of the Secret; a pod that is deleted meanwhile is waited for no longer."""

    def served() -> bool:
        with cluster.reach(pod["status"]["podIP"], port) as address:
            host, _, here = address.rpartition(":")
            try:
                shown = ssl.get_server_certificate((host, int(here)), timeout=10)
            except OSError:
                return cluster.find("pod", pod["metadata"]["name"]) is None
        return shown.split() == _stored(cluster, role)["tls.crt"].split()

    wait_until(served, f"{pod['metadata']['name']} serves with another certificate", within=60, poll=0.5)
