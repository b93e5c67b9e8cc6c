"""
A pod in a namespace of somebody else's knocks at the ports that are the product's own.

No NetworkPolicy is between, whatever the cluster does: it is mutual TLS that refuses.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from secrets import token_bytes
from typing import Any, Final

import pytest

from orchestrator.platform.kube.certificates import make_authority, make_leaf
from tests.cluster.cluster import Cluster
from tests.cluster.node import images
from tests.cluster.pods import pod
from tests.cluster.product import Product

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


@pytest.fixture
def stranger(space: Cluster) -> Cluster:
    """Where it is."""
    space.apply(pod("stranger", images.PRODUCT.reference(), "import time; time.sleep(600)", command=("python", "-c")))
    space.until_condition("pod", "stranger")
    return space


def shown(cluster: Cluster) -> dict[str, str]:
    """What somebody may show: nothing, one who says that he is the orchestrator, and the orchestrator."""
    now = datetime.now(UTC)
    leaf = make_leaf(make_authority(now, token_bytes), "orchestrator", now, token_bytes)
    stored = cluster.get("secret", "wml-serving-orchestrator-tls")["data"]
    right = "".join(base64.b64decode(stored[name]).decode() for name in ("tls.crt", "tls.key"))
    return {"nothing": "", "of another authority": f"{leaf.certificate.decode()}{leaf.key.decode()}", "right": right}


def test_a_pod_outside_is_refused(warm: Product, stranger: Cluster) -> None:
    """By an adapter and by the orchestrator, unless it has stolen a certificate."""
    cluster = warm.cluster
    called: dict[str, tuple[dict[str, Any], int]] = {
        "adapter": (cluster.pods("app.kubernetes.io/component=runtime")[0], 8085),
        "orchestrator": (warm.leader(), 8090),
    }
    heard = {
        (who, what): knocked(stranger, its["status"]["podIP"], port, certificate)
        for who, (its, port) in called.items()
        for what, certificate in shown(cluster).items()
    }
    assert heard == {(who, what): "answered" if what == "right" else "refused" for who, what in heard}


def knocked(stranger: Cluster, host: str, port: int, certificate: str) -> str:
    """What the pod says of it."""
    return stranger.execute("stranger", "python", "-c", KNOCK, json.dumps([host, port, certificate])).strip()
