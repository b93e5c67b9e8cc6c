"""
Requests for a model whose pool has no pod yet, of a client that waits as long as the contract lets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tests.cluster.product import MESH, PORT, Product
from tests.cluster.warm import NUMBER, own_runtime
from tests.standalone.verdicts import Outcome
from tests.standalone.witness import Witness

#: A request without a deadline is held that long.
_HELD_S: Final = 120.0


@contextmanager
def cold(product: Product, name: str) -> Iterator[Callable[[], Callable[[], Outcome]]]:
    """A model whose pool was told just now to have a pod. Call what is given to ask it, and what that returns for the end."""
    uri = product.models.uri(f"probe-{NUMBER}.joblib")
    with own_runtime(product, name), product.model(name, uri, "sklearn", runtime=name), asking(product, name) as ask:
        product.cluster.until(
            "deployment", f"wml-serving-{name}", lambda found: found["spec"]["replicas"], "has no pod"
        )
        yield ask


@contextmanager
def asking(product: Product, name: str) -> Iterator[Callable[[], Callable[[], Outcome]]]:
    """The same of any model, there or not."""
    models = product.models
    with (
        product.cluster.reach(product.cluster.pods(MESH)[0]["status"]["podIP"], PORT) as address,
        Witness(address, (name,), models.probes, models.probe_labels, rate=0, deadline=_HELD_S) as witness,
    ):
        yield lambda: witness.ask(name)
