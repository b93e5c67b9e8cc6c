"""
The cluster tier: the product on a real Kubernetes node, as a user sees it, through kubectl and the port of the mesh.

The tests' own process is outside of the node's namespaces; `Cluster` goes in.
Skipped as a whole where scripts/check_cluster says that the machine cannot run
a node.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.cluster import diagnostics, opening
from tests.cluster.cluster import Cluster, is_external
from tests.cluster.product import Product
from tests.cluster.store import Store
from tests.cluster.warm import NUMBER, RUNTIME, WARM
from tests.standalone.models import Models, trained
from tests.tiers import claim

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

#: Of nodes, their images and components, not of a cluster that somebody has.
_OF_NODES = (
    "bench",
    "beside_kserve",
    "images",
    "kills",
    "lifecycle",
    "node",
    "outages",
    "plain",
    "readme_node",
    "store",
)
collect_ignore = [f"test_{name}.py" for name in _OF_NODES] if is_external() else []


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
    with opening.cluster() as bare:
        yield bare


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test has."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:50].strip("-")


@pytest.fixture
def space(bare: Cluster, name: str) -> Iterator[Cluster]:
    """A hardened namespace of a test's own; gone with all in it when the test is over."""
    with opening.namespace(bare, name) as own:
        yield own


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The trained models."""
    return trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def store(bare: Cluster, models: Models) -> Iterator[Store]:
    """A real S3 server in the cluster that has the models, in a namespace of its own."""
    with opening.storage(bare, models) as store:
        yield store


@pytest.fixture(scope="session")
def product(bare: Cluster, store: Store, models: Models) -> Product:
    """The product, applied as a user applies it, and with credentials for the store that has the models."""
    return opening.installed(bare, store, models)


@pytest.fixture(scope="session")
def warm(product: Product, models: Models) -> Iterator[Product]:
    """The product with one model that is loaded, for those that look at what serves."""
    with product.model(WARM, models.uri(f"probe-{NUMBER}.joblib"), "sklearn", runtime=RUNTIME):
        product.until_ready(WARM, within=180)
        yield product
