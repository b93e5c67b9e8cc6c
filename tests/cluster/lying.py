"""
The store that lies, in a pod: for keys and delays that no real server produces.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.cluster.node import images
from tests.cluster.pods import pod
from tests.cluster.product import Product
from tests.standalone import liar
from tests.standalone.manifests import s3_entry

#: The key of Secret storage-config that names it.
KEY: Final = "liar"
_PORT: Final = 9000
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Lying:
    """One that runs."""

    def __init__(self, product: Product, address: str) -> None:
        self._cluster = product.cluster
        self._address = address

    def release(self) -> None:
        """Let objects be fetched."""
        with (
            self._cluster.reach(self._address, _PORT) as here,
            _DIRECT.open(f"http://{here}/", data=b"", timeout=10) as answer,
        ):
            assert answer.status == 200


@contextmanager
def lying(product: Product, buckets: Mapping[str, Mapping[str, bytes]]) -> Iterator[Lying]:
    """With these buckets; what is in them is listed, and fetched only once it is released. The product has its key."""
    cluster, said = product.cluster.within(product.store.cluster.namespace), {}
    for bucket, objects in buckets.items():
        said[bucket] = {key: base64.b64encode(content).decode() for key, content in objects.items()}
    files = {"liar.py": Path(liar.__file__).read_text(encoding="utf-8"), "buckets.json": json.dumps(said)}
    made = pod(
        KEY,
        images.PRODUCT.reference(),
        *("/lies/liar.py", "0.0.0.0", str(_PORT), "/lies/buckets.json"),
        command=("python",),
        volumeMounts=[{"name": "lies", "mountPath": "/lies"}],
        readinessProbe={"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
    )
    made["spec"]["volumes"].append({"name": "lies", "configMap": {"name": KEY}})
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": KEY}, "data": files}, made)
    try:
        address = cluster.until_condition("pod", KEY)["status"]["podIP"]
        product.store_credentials(**{KEY: json.dumps(s3_entry(f"http://{address}:{_PORT}", "any", "any"))})
        try:
            yield Lying(product, address)
        finally:
            product.store_credentials()
    finally:
        cluster.delete("pod", KEY)
        cluster.delete("configmap", KEY)
