"""
A cluster to be used, from nothing: for the tests of this tier, and for what measures.

A node that is up (`make cluster`) is used and left up; otherwise one is brought
up, and it ends with this process, whatever ends that. Where KUBECONFIG is set,
it is that cluster.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.cluster import Cluster, is_external
from tests.cluster.node import __main__ as node
from tests.cluster.node import holder, images, inside, manifests
from tests.cluster.node.place import ROOT
from tests.cluster.product import Product
from tests.cluster.store import Store
from tests.standalone.models import Models
from tests.standalone.waiting import wait_until


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster without the product; its namespace lets only hardened pods in."""
    if is_external():
        yield _prepared(Cluster(manifests.NAMESPACE, external=True))
        return
    images.build()
    if inside.is_ready():
        inside.mend()
        images.load()
        yield _prepared(Cluster(manifests.NAMESPACE))
        return
    with _leashed():
        yield _prepared(Cluster(manifests.NAMESPACE))


@contextmanager
def namespace(bare: Cluster, name: str) -> Iterator[Cluster]:
    """A new one each time: one that is going away takes nothing in, and takes its time."""
    own = bare.within(f"test-{name}-{secrets.token_hex(3)}")
    own.apply(manifests.namespace(own.namespace))
    try:
        wait_until(lambda: own.find("serviceaccount", "default"), "a namespace has no service account", within=60)
        yield own
    finally:
        own.delete("namespace", own.namespace, wait=False)


@contextmanager
def storage(bare: Cluster, models: Models) -> Iterator[Store]:
    """A real S3 server in the cluster that has the models, in a namespace of its own."""
    with namespace(bare, "storage") as own, Store(own).serving() as store:
        models.upload(store)
        yield store


def installed(bare: Cluster, store: Store, models: Models) -> Product:
    """The product, applied as a user applies it, and with credentials for the store that has the models."""
    product = Product(bare, store, models)
    if bare.external:
        product.apply_manifests()
    else:
        # What `make cluster` ends with.
        node.main(["apply"])
    product.upload_samples()
    product.store_credentials()
    for deployment in ("wml-serving-orchestrator", "wml-serving-mesh"):
        bare.rolled_out("deployment", deployment)
    # The leader makes them, a moment after it is ready.
    for runtime in ("triton-2.x", "mlserver-0.x"):
        bare.until("servingruntime", runtime, bool, "was not made")
    return product


def _prepared(cluster: Cluster) -> Cluster:
    cluster.until_it_answers(within=30)
    cluster.apply(manifests.namespace(cluster.namespace))
    wait_until(lambda: cluster.find("serviceaccount", "default"), "the namespace has no service account", within=60)
    return cluster


@contextmanager
def _leashed() -> Iterator[None]:
    """A node that ends with this process: its holder reads from a pipe that the kernel closes."""
    with holder.open_log() as log:
        process = subprocess.Popen(
            (sys.executable, "-m", "tests.cluster.node", "hold", "--leash"),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # An interrupt of the tests is not one of the node: it is still needed to clean up.
            start_new_session=True,
        )
    assert process.stdin is not None
    try:
        node.wait_until_ready()
        yield
    finally:
        process.stdin.close()
        process.wait(60)
