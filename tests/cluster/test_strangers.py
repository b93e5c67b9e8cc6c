"""
Pods that are none of the product's knock at its ports: a neighbour in its namespace, a stranger in somebody else's.

NetworkPolicies let through what docs/operations.md says; where they do, or where nobody enforces any, it is mutual TLS
that refuses.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from typing import Any, Final

import pytest
import yaml

from orchestrator.platform.kube.certificates import make_authority, make_leaf
from tests.cluster.cluster import Cluster
from tests.cluster.node import images
from tests.cluster.pods import pod
from tests.cluster.product import MESH, Product
from tests.cluster.warm import RUNTIME
from tests.standalone.waiting import wait_until

MONITORING: Final = Path(__file__).resolve().parents[2] / "manifests" / "monitoring" / "network-policy.yaml"

#: Says whether HTTP/2 is spoken with who shows that certificate; one who shows none hears so after the handshake.
KNOCK: Final = """
import json, socket, ssl, sys, tempfile
host, port, shown = json.loads(sys.argv[1])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["h2"])
if shown:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(shown)
        file.flush()
        context.load_cert_chain(file.name)
try:
    with context.wrap_socket(socket.create_connection((host, port), timeout=10)) as connection:
        connection.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes(3) + b"\\x04" + bytes(5))
        print("answered" if connection.recv(9) else "refused")
except ssl.SSLError as error:
    print("refused" if "alert" in str(error) else error)
except ConnectionResetError:
    print("refused")
"""

#: Says of each address whether a connection is taken.
TRY: Final = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def taken(address):
    try:
        socket.create_connection(address, timeout=4).close()
    except OSError:
        return False
    return True
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(taken, json.loads(sys.argv[1])))))
"""

#: Prints a page.
READ: Final = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"

Door = tuple[str, int]
#: Everything that listens on a pod's address.
DOORS: Final[tuple[Door, ...]] = (
    *(("orchestrator", port) for port in (8080, 8090)),
    *(("mesh", port) for port in (8033, 8034, 8035, 8037)),
    *(("runtime", port) for port in (8001, 8085, 8086, 8087)),
)

#: Where pages of metrics are, and a figure of each.
METRICS: Final[dict[Door, str]] = {
    ("orchestrator", 8080): "wml_trained_models{",
    ("mesh", 8035): "wml_activator_held_requests ",
    ("runtime", 8086): "wml_adapter_copies{",
}


@pytest.fixture
def stranger(space: Cluster) -> Iterator[Cluster]:
    """Where it is."""
    with knocking(space, "stranger"):
        yield space


@pytest.fixture
def neighbour(product: Product) -> Iterator[Cluster]:
    """Where it is."""
    with knocking(product.cluster, "neighbour"):
        yield product.cluster


@contextmanager
def knocking(cluster: Cluster, name: str) -> Iterator[None]:
    """A pod that has Python, for as long as it is used."""
    cluster.apply(pod(name, images.PRODUCT.reference(), "import time; time.sleep(600)", command=("python", "-c")))
    try:
        cluster.until_condition("pod", name)
        yield
    finally:
        cluster.delete("pod", name, wait=False)


def addresses(product: Product) -> dict[Door, tuple[str, int]]:
    """Of the pods that serve the warm model."""
    found = {
        "orchestrator": product.leader(),
        "mesh": product.cluster.pods(MESH)[0],
        "runtime": product.cluster.pods(f"wmlserving.ai.ibm.com/runtime={RUNTIME}")[0],
    }
    return {(component, port): (found[component]["status"]["podIP"], port) for component, port in DOORS}


def open_to(cluster: Cluster, name: str, doors: dict[Door, tuple[str, int]]) -> set[Door]:
    """What takes a pod's connections."""
    return opened(cluster.execute(name, "python", "-c", TRY, json.dumps([*doors.values()])), doors)


def until_open_to(cluster: Cluster, name: str, doors: dict[Door, tuple[str, int]], wanted: Set[Door]) -> None:
    """Wait until just those take a pod's connections: who enforces policies hears of a new one, and of a new pod, a moment later."""
    wait_until(
        lambda: open_to(cluster, name, doors) == wanted,
        lambda: f"{name} is let through to {open_to(cluster, name, doors)}",
    )


def opened(said: str, doors: dict[Door, tuple[str, int]]) -> set[Door]:
    return {door for door, taken in zip(doors, json.loads(said), strict=True) if taken}


def test_other_pods_are_let_through_to_requests_and_what_only_reads(
    warm: Product, neighbour: Cluster, stranger: Cluster
) -> None:
    """To nothing else, though it listens: the node, whose kubelet probes it, is let through to all of it."""
    doors = addresses(warm)
    until_open_to(neighbour, "neighbour", doors, {("mesh", 8033), ("orchestrator", 8080)})
    until_open_to(stranger, "stranger", doors, {("mesh", 8033)})
    if not warm.cluster.external:
        assert opened(warm.cluster.python("-c", TRY, json.dumps([*doors.values()])), doors) == {*DOORS}


def test_prometheus_is_let_through_to_metrics(warm: Product, stranger: Cluster) -> None:
    """By the policy that comes with the monitoring, of all components; not to what changes something."""
    doors, policy = addresses(warm), yaml.safe_load(MONITORING.read_text())
    policy["spec"]["ingress"][0]["from"][0]["namespaceSelector"]["matchExpressions"][0]["values"] = [stranger.namespace]
    with applied(warm.cluster, policy):
        until_open_to(stranger, "stranger", doors, METRICS.keys() | {("mesh", 8033)})
        for door, figure in METRICS.items():
            host, port = doors[door]
            assert figure in stranger.execute("stranger", "python", "-c", READ, f"http://{host}:{port}/metrics"), door


@contextmanager
def applied(cluster: Cluster, policy: dict[str, Any]) -> Iterator[None]:
    """A NetworkPolicy, for as long as it is used."""
    cluster.apply(policy)
    try:
        yield
    finally:
        cluster.delete("networkpolicy", policy["metadata"]["name"])


def letting_in(namespace: str) -> dict[str, Any]:
    """All pods of another namespace, to everything."""
    others = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "letting-in"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [others]}]},
    }


def shown(cluster: Cluster) -> dict[str, str]:
    """What somebody may show: nothing, one who says that he is the orchestrator, and the orchestrator."""
    now = datetime.now(UTC)
    leaf = make_leaf(make_authority(now, token_bytes), "orchestrator", now, token_bytes)
    stored = cluster.get("secret", "wml-serving-orchestrator-tls")["data"]
    right = "".join(base64.b64decode(stored[name]).decode() for name in ("tls.crt", "tls.key"))
    return {"nothing": "", "of another authority": f"{leaf.certificate.decode()}{leaf.key.decode()}", "right": right}


def test_a_pod_outside_is_refused(warm: Product, stranger: Cluster) -> None:
    """By an adapter and by the orchestrator, where a policy lets it in, unless it has stolen a certificate."""
    doors = addresses(warm)
    called = {door: doors[door] for door in (("runtime", 8085), ("orchestrator", 8090))}
    with applied(warm.cluster, letting_in(stranger.namespace)):
        until_open_to(stranger, "stranger", called, {*called})
        heard = {
            (component, what): knocked(stranger, *address, certificate)
            for (component, _), address in called.items()
            for what, certificate in shown(warm.cluster).items()
        }
    assert heard == {(who, what): "answered" if what == "right" else "refused" for who, what in heard}


def knocked(stranger: Cluster, host: str, port: int, certificate: str) -> str:
    """What the pod says of it."""
    return stranger.execute("stranger", "python", "-c", KNOCK, json.dumps([host, port, certificate])).strip()
