"""
The standalone tier: the whole product with the real Triton, MLServer, Envoy and S3, on this machine.

One stack is shared by the tests that leave it as they found it; those that
kill, freeze, restart or fill have their own (`make_stack`). Skipped as a whole
where scripts/check_host says that the machine cannot run it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.standalone import envoy_stack
from tests.standalone.client import Client
from tests.standalone.faults import TURNS, breakable
from tests.standalone.liar import Liar
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models, trained
from tests.standalone.patience import Ending, patience
from tests.standalone.stack import Stack
from tests.standalone.store import Store
from tests.standalone.witness import Witness
from tests.tiers import claim

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all of this directory; before -m chooses."""
    claim(items, HERE, "standalone", ROOT / ".runtimes" / "triton" / "bin" / "python", ROOT / "scripts" / "check_host")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The trained models."""
    return trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[Store]:
    """A real S3 server that has the models, with a key that no text can have by chance."""
    keys = {"access_key": f"AKIA{secrets.token_hex(8).upper()}", "secret_key": f"very-secret-{secrets.token_hex(16)}"}
    store = Store(tmp_path_factory.mktemp("store"), **keys)
    try:
        store.start()
        models.upload(store)
        yield store
    finally:
        store.stop()


@pytest.fixture
def liar() -> Iterator[Liar]:
    """An S3 server that lies."""
    with Liar() as liar:
        yield liar


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[Stack]:
    """The shared stack. Its key `default` is the store's."""
    stack = Stack(tmp_path_factory.mktemp("shared"))
    stack.secret(default=store.entry())
    with stack:
        yield stack


@pytest.fixture(scope="session")
def patient(tmp_path_factory: pytest.TempPathFactory, store: Store, models: Models) -> Iterator[Future[Ending]]:
    """How a request without a deadline ends that nobody answers; it takes two minutes, in a stack of its own."""
    stack = Stack(tmp_path_factory.mktemp("patient"))
    stack.secret(default=store.entry())
    with stack, patience(stack, models.sample("sklearn")) as ending:
        yield ending


@pytest.fixture(scope="session", autouse=True)
def _ahead(request: pytest.FixtureRequest) -> None:
    """Start what takes long and needs no one as soon as the first test of this directory runs."""
    if any("patient" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("patient")


@pytest.fixture(scope="session")
def line(shared: Stack, models: Models) -> dict[str, str]:
    """The four samples, READY in the shared stack: framework → name."""
    names = {framework: f"digits-{framework}" for framework in ("sklearn", "xgboost", "lightgbm", "onnx")}
    shared.apply(*(trained_model(name, models.sample(framework), framework) for framework, name in names.items()))
    shared.wait_ready(*names.values())
    return names


@pytest.fixture
def client(shared: Stack) -> Iterator[Client]:
    """A client of the shared stack."""
    with shared.client() as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest, shared: Stack) -> Iterator[str]:
    """A model's name that no other test has; deleted from the shared stack when the test is over."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
    yield name
    shared.delete(name)


@pytest.fixture(scope="session")
def battered(tmp_path_factory: pytest.TempPathFactory, store: Store, models: Models) -> Iterator[Stack]:
    """The stack of those who kill and freeze, see faults.py; each leaves it whole."""
    with breakable(tmp_path_factory.mktemp("battered"), store, models) as stack:
        yield stack


@pytest.fixture
def turns(battered: Stack, models: Models) -> Iterator[Witness]:
    """Asks its models that take turns, when told to."""
    with Witness(battered.target, TURNS, models.probes, models.probe_labels, rate=0) as witness:
        yield witness


@pytest.fixture
def make_stack(tmp_path: Path, store: Store) -> Iterator[Callable[..., Stack]]:
    """Makes stacks of a test's own, not started; stopped when it is over."""
    with ExitStack() as stacks:

        def make(label: str = "own", **options: Any) -> Stack:
            stack = Stack(tmp_path / label, **options)
            stack.secret(default=store.entry())
            stacks.callback(stack.stop)
            return stack

        yield make


@pytest.fixture(name="stack")
async def mesh(tmp_path: Path) -> AsyncIterator[envoy_stack.Stack]:
    """A real Envoy between the real control plane and servers that answer at once; for tests of the mesh alone."""
    async with envoy_stack.running(tmp_path) as made:
        yield made


@pytest.fixture
async def server() -> AsyncIterator[envoy_stack.FakeServer]:
    """A server for it."""
    async with envoy_stack.FakeServer("server").serve("127.0.0.1:0") as made:
        yield made
