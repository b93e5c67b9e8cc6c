"""
On a Kubernetes that gives pods no users: the servers run as one that the product names.

NVIDIA's image of Triton, and that of the tests, would run as root, which Pod
Security `restricted` refuses. All other tests have a cluster like OpenShift.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.cluster.node import users
from tests.cluster.product import ORCHESTRATOR, Product
from tests.cluster.warm import RUNTIME, WARM, witnessed
from tests.standalone.models import Models
from tests.standalone.waiting import wait_until

#: What the product names.
USER: Final = 1000
TRITON: Final = "triton-2.x"
POOLS: Final = (RUNTIME, TRITON)


@pytest.fixture
def plain(warm: Product, models: Models, name: str) -> Iterator[Product]:
    """For the length of a test it is no OpenShift; both servers run."""
    cluster = warm.cluster
    with warm.model(name, models.uri("probe-1.onnx"), "onnx"):
        warm.until_ready(name, within=180)
        cluster.delete("crd", users.SIGN)
        try:
            lead_anew(warm, USER)
            yield warm
        finally:
            cluster.apply(users.sign())
            cluster.kubectl("wait", "--for=condition=Established", "crd", users.SIGN)
            lead_anew(warm, None)


def lead_anew(product: Product, user: int | None) -> None:
    """Have another leader, which names this user, and wait until its pools have rolled out."""
    cluster, known = product.cluster, ("kubectl", "get", "--raw", f"/apis/{users.GROUP}")
    # It is asked for once, by a process that starts; an API server takes a moment to say of a definition what it is.
    wait_until(
        lambda: (cluster.run(*known).returncode == 0) == (user is None),
        "the API server does not say what cluster it is",
    )
    cluster.kubectl("rollout", "restart", "deployment/wml-serving-orchestrator")
    cluster.rolled_out("deployment", "wml-serving-orchestrator")
    for pool in POOLS:
        cluster.until(
            "deployment",
            f"wml-serving-{pool}",
            lambda d: named(d["spec"]["template"]) == user,
            f"does not name {user}",
        )
        cluster.rolled_out("deployment", f"wml-serving-{pool}")


def named(pod: dict[str, Any]) -> int | None:
    """The user whom a pod or its template names."""
    user: int | None = pod["spec"]["securityContext"].get("runAsUser")
    return user


def test_servers_whose_images_are_roots_run_as_somebody_else(plain: Product, name: str) -> None:
    """Server and adapter alike, and they serve; what is not a server's is left to the cluster."""
    cluster = plain.cluster
    for pool in POOLS:
        pods = cluster.pods(f"wmlserving.ai.ibm.com/runtime={pool}")
        assert pods
        for pod in pods:
            for container in (pool.partition("-")[0], "adapter"):
                said = cluster.execute(pod["metadata"]["name"], "cat", "/proc/self/status", container=container)
                (line,) = (line for line in said.splitlines() if line.startswith("Uid:"))
                assert set(line.split()[1:]) == {str(USER)}, (pool, container)
    assert {named(pod) for pod in cluster.pods(ORCHESTRATOR)} == {users.RANDOM_UID}
    with witnessed(plain, WARM, name) as witness:
        pass
    witness.check()
