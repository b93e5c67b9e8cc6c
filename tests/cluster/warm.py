"""
A model that is asked all the time while something else happens, through an Envoy itself.

`kubectl port-forward` goes through the API server and the kubelet: what is
under way on it is lost with either. So these requests go to a mesh pod's own
address. They say which revision answered, and each that is lost is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.cluster.product import MESH, PORT, Product
from tests.cluster.runtimes import copied
from tests.standalone.witness import Witness

#: The name of the model that the session keeps warm, and the prober that it is.
WARM: Final = "warm"
NUMBER: Final = 1
#: Requests a second: a witness, on a machine that has other things to do.
_RATE: Final = 20.0

RUNTIME: Final = "mlserver-0.x"


@contextmanager
def witnessed(product: Product, *models: str) -> Iterator[Witness]:
    """A witness of `models` (else of the one that is kept warm) that was answered before it is given."""
    asked = models or (WARM,)
    mesh = product.cluster.pods(MESH)[0]
    probes, labels = product.models.probes, product.models.probe_labels
    with (
        product.cluster.reach(mesh["status"]["podIP"], PORT) as address,
        Witness(address, asked, probes, labels, rate=_RATE) as witness,
    ):
        for model in asked:
            answered(witness, model)
        yield witness


def answered(witness: Witness, model: str = WARM) -> None:
    """Wait until it has been answered a few times from now on."""
    witness.heard(model, NUMBER, times=5, within=60)


def copies(product: Product, model: str = WARM) -> dict[str, Any]:
    """Pod → revision and measured duration of its load, of all copies that serve: another load has another."""
    said = product.live(model)
    return {c["pod"]: (c["revision"], c["loadSeconds"]) for c in said["live"]["copies"] if c["state"] == "Loaded"}


def changes_happen(product: Product, name: str, *, within: float = 120.0) -> None:
    """A model that is applied is loaded, and answers."""
    uri = product.models.uri(f"probe-{NUMBER}.joblib")
    with product.model(name, uri, "sklearn", runtime=RUNTIME):
        product.until_ready(name, within=within)
        with witnessed(product, name) as witness:
            pass
        witness.check()


def settled(product: Product) -> None:
    """Wait until there are a leader and a standby again."""
    product.cluster.rolled_out("deployment", "wml-serving-orchestrator")


@contextmanager
def own_runtime(product: Product, name: str, *, for_models_mib: int = 768, **server: Any) -> Iterator[None]:
    """A ServingRuntime that no other model has; `server` is said of its container."""
    made = copied(product.cluster.get("servingruntime", RUNTIME), name, for_models_mib=for_models_mib)
    made["spec"]["containers"][0].update(server)
    product.cluster.apply(made)
    try:
        yield
    finally:
        product.cluster.delete("servingruntime", name)
