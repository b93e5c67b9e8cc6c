"""
The cluster tier: the product on a real Kubernetes node, as a user sees it, through kubectl and the port of the mesh.

The tests' own process is outside of the node's namespaces; `Cluster` goes in.
A node that is up (`make cluster`) is used and left up; otherwise one is brought
up for the session, and it ends with this process, whatever ends that. Skipped
as a whole where scripts/check_cluster says that the machine cannot run a node.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import diagnostics
from tests.cluster.cluster import Cluster, is_external
from tests.cluster.node import __main__ as node
from tests.cluster.node import holder, images, inside, manifests
from tests.cluster.product import Product
from tests.cluster.store import Store
from tests.cluster.warm import NUMBER, RUNTIME, WARM
from tests.standalone.models import Models, trained
from tests.standalone.waiting import wait_until
from tests.tiers import claim

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

#: Of nodes and their images, not of a cluster that somebody has.
collect_ignore = ["test_images.py", "test_lifecycle.py", "test_node.py"] if is_external() else []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all of this directory; before -m chooses. They come last, so that their node is no other test's burden."""
    check = () if is_external() else (sys.executable, ROOT / "scripts" / "check_cluster")
    claim(items, HERE, "cluster", *check)
    items.sort(key=lambda item: HERE in item.path.parents)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the cluster looked like when a test failed."""
    report = yield
    if report.failed and (cluster := item.funcargs.get("bare") if hasattr(item, "funcargs") else None):
        report.sections += diagnostics.sections(cluster)
    return report


@pytest.fixture(scope="session", name="bare")
def bare_cluster() -> Iterator[Cluster]:
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


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test has."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:50].strip("-")


@pytest.fixture
def space(bare: Cluster, name: str) -> Iterator[Cluster]:
    """A hardened namespace of a test's own; gone with all in it when the test is over."""
    with _namespace(bare, name) as own:
        yield own


@contextmanager
def _namespace(bare: Cluster, name: str) -> Iterator[Cluster]:
    """A new one each time: one that is going away takes nothing in, and takes its time."""
    own = bare.within(f"test-{name}-{secrets.token_hex(3)}")
    own.apply(manifests.namespace(own.namespace))
    try:
        wait_until(lambda: own.find("serviceaccount", "default"), "a namespace has no service account", within=60)
        yield own
    finally:
        own.delete("namespace", own.namespace, wait=False)


def _prepared(cluster: Cluster) -> Cluster:
    wait_until(lambda: cluster.run("kubectl", "get", "--raw", "/readyz").returncode == 0, "the API server is not ready")
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


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The trained models."""
    return trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def store(bare: Cluster, models: Models) -> Iterator[Store]:
    """A real S3 server in the cluster that has the models, in a namespace of its own."""
    with _namespace(bare, "storage") as own, Store(own).serving() as store:
        models.upload(store)
        yield store


@pytest.fixture(scope="session")
def product(bare: Cluster, store: Store, models: Models) -> Product:
    """The product, applied as a user applies it, and with credentials for the store that has the models."""
    product = Product(bare, store, models)
    product.apply_manifests()
    product.upload_samples()
    product.store_credentials()
    for deployment in ("wml-serving-orchestrator", "wml-serving-mesh"):
        bare.rolled_out("deployment", deployment)
    # The leader makes them, a moment after it is ready.
    for runtime in ("triton-2.x", "mlserver-0.x"):
        bare.until("servingruntime", runtime, bool, "was not made")
    return product


@pytest.fixture(scope="session")
def warm(product: Product, models: Models) -> Iterator[Product]:
    """The product with one model that is loaded, for those that look at what serves."""
    with product.model(WARM, models.uri(f"probe-{NUMBER}.joblib"), "sklearn", runtime=RUNTIME):
        product.until_ready(WARM, within=180)
        yield product
