"""
A runtime pod that is taken away on purpose: its models are handed over first, and no request is lost.

First: another pod has a model before the one that goes gives it up.

Two pods, since two of the models do not fit into one. Each that is moved fits
beside those of the other pod.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pytest

from tests.cluster.balanced import Balanced
from tests.cluster.cluster import KubectlError, condition_of
from tests.cluster.handover import handed_over
from tests.cluster.product import Product, trained_model
from tests.cluster.runtimes import copied
from tests.cluster.warm import copies
from tests.standalone.models import Models
from tests.standalone.waiting import wait_until

RUNTIME: Final = "roomy-for-one"
PODS: Final = f"wmlserving.ai.ibm.com/runtime={RUNTIME}"
#: Model → the prober that it is. The first is padded, so that room for two such is in no pod.
MODELS: Final = {"evicted-large": 0, "evicted-small": 5}
EXTRA: Final = "evicted-filler"
#: Where models take each other's place for each request.
RATE: Final = 8.0


@pytest.fixture(scope="module")
def made(models: Models) -> dict[str, Any]:
    """The TrainedModels by name."""
    uris = {"evicted-large": "padded-0.joblib", EXTRA: "padded-1.joblib", "evicted-small": "probe-5.joblib"}
    return {n: trained_model(n, models.uri(u), "sklearn", runtime=RUNTIME) for n, u in uris.items()}


@pytest.fixture(scope="module")
def crowd(product: Product, made: dict[str, Any]) -> Iterator[Product]:
    """Two models for which one pod has no room, in a pool that may have one."""
    cluster = product.cluster
    runtime = copied(cluster.get("servingruntime", "mlserver-0.x"), RUNTIME, for_models_mib=8)
    try:
        with product.setting("podsPerRuntime", "1"):
            cluster.apply(runtime, made["evicted-large"])
            product.until_ready("evicted-large", within=180)
            cluster.apply(made[EXTRA])
            product.until_ready(EXTRA, within=180)
            yield product
    finally:
        cluster.delete("trainedmodel", *made)
        cluster.delete("servingruntime", RUNTIME)


@pytest.fixture(scope="module")
def pool(crowd: Product, made: dict[str, Any]) -> Product:
    """A pool of two pods, a model in each."""
    crowd.cluster.delete("trainedmodel", EXTRA)
    part(crowd, made)
    return crowd


def part(product: Product, made: dict[str, Any]) -> None:
    """Return once each of the two is in a pod of its own."""
    cluster = product.cluster

    def apart() -> bool:
        # The pod that it leaves has the most room, once it has left it: that takes a moment, and shows nowhere.
        cluster.delete("trainedmodel", "evicted-small")
        cluster.apply(made["evicted-small"])
        product.until_ready("evicted-small")
        return place(product, "evicted-large") != place(product, "evicted-small")

    wait_until(apart, "both are in one pod", within=90, poll=2)


def place(product: Product, model: str) -> str:
    """The pod that holds the model, once only one does: what was deleted or moved just now may be seen in another."""

    def only() -> str:
        pods = list(copies(product, model))
        return pods[0] if len(pods) == 1 else ""

    return wait_until(only, lambda: f"{model} is not in one pod: {copies(product, model)}", within=60, poll=1)


def ready_since(product: Product, models: Iterable[str] = MODELS) -> dict[str, str]:
    """Since when each model is READY; another time means that it was not in between."""
    found = {name: condition_of(product.cluster.get("trainedmodel", name), "Ready") for name in models}
    assert {c["status"] for c in found.values()} == {"True"}
    return {name: c["lastTransitionTime"] for name, c in found.items()}


def evict(product: Product, pod: str) -> None:
    """As `kubectl drain` does: through the Eviction API, again while a PodDisruptionBudget does not let it."""
    namespace = product.cluster.namespace
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"

    def accepted() -> bool:
        try:
            product.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
        except KubectlError as error:
            if "disruption budget" not in str(error):
                raise
            return False
        return True

    wait_until(accepted, f"{pod} cannot be evicted", within=120, poll=1)


def test_a_limit_is_live(crowd: Product) -> None:
    """Raised, it lets the pool grow until both models are in. No request is lost on the way."""
    cluster, crowded = crowd.cluster, {"evicted-large": 0, EXTRA: 1}
    since = ready_since(crowd, crowded)
    assert len(cluster.pods(PODS)) == 1

    def homes() -> dict[str, Any]:
        return {name: copies(crowd, name) for name in crowded}

    with Balanced(crowd, *crowded, rate=RATE) as witness:
        for name, number in crowded.items():
            witness.heard(name, number, within=60)
        with crowd.setting("podsPerRuntime", "2"), crowd.setting("podsPerPool", "1"):
            wait_until(
                lambda: len({pod for home in homes().values() for pod in home}) == 2,
                lambda: f"not both have a pod: {homes()}",
                within=180,
                poll=1,
            )
            assert "podsPerPool: not a setting" in cluster.logs(crowd.leader()["metadata"]["name"])
        for name, number in crowded.items():
            witness.heard(name, number, within=60)
    witness.check()
    assert ready_since(crowd, crowded) == since


@pytest.mark.parametrize("model", sorted(MODELS))
def test_an_evicted_pod_hands_its_models_over(pool: Product, model: str) -> None:
    """Whichever of the two it is."""
    pod, since = place(pool, model), ready_since(pool)
    with Balanced(pool, *MODELS) as witness, handed_over(pool, RUNTIME, *MODELS):
        for name, number in MODELS.items():
            witness.heard(name, number, within=60)
        evict(pool, pod)
        wait_until(lambda: pool.cluster.find("pod", pod) is None, f"{pod} is not gone", within=120, poll=1)
        for name, number in MODELS.items():
            witness.heard(name, number, within=60)
    witness.check()
    assert place(pool, model) != pod
    assert ready_since(pool) == since


def test_a_rolling_update_of_a_runtime(pool: Product) -> None:
    """Both pods are replaced, one after the other."""
    cluster, since = pool.cluster, ready_since(pool)
    old = {pod["metadata"]["name"] for pod in cluster.pods(PODS)}
    with Balanced(pool, *MODELS) as witness, handed_over(pool, RUNTIME, *MODELS):
        for name, number in MODELS.items():
            witness.heard(name, number, within=60)
        changed = copied(cluster.get("servingruntime", "mlserver-0.x"), RUNTIME, for_models_mib=8)
        changed["spec"]["containers"][0]["env"].append({"name": "CHANGED", "value": "yes"})
        cluster.apply(changed)
        wait_until(
            lambda: not old & {pod["metadata"]["name"] for pod in cluster.all("pods", PODS)},
            "the pods are not replaced",
            within=240,
            poll=1,
        )
        for name, number in MODELS.items():
            witness.heard(name, number, within=60)
    witness.check()
    assert ready_since(pool) == since


def test_a_lowered_limit_ends_a_pod_once_it_is_empty(pool: Product, made: dict[str, Any]) -> None:
    """What it holds fits into the other, and is there before it goes."""
    # The tests before may have left both in one pod, and the other would have nothing to hand over.
    part(pool, made)
    cluster, since = pool.cluster, ready_since(pool)
    assert len(cluster.pods(PODS)) == 2
    with Balanced(pool, *MODELS) as witness:
        for name, number in MODELS.items():
            witness.heard(name, number, within=60)
        with handed_over(pool, RUNTIME, *MODELS), pool.setting("podsPerRuntime", "1"):
            wait_until(
                lambda: len(cluster.all("pods", PODS)) == 1,
                lambda: f"the pool has {cluster.pods(PODS)}",
                within=120,
                poll=1,
            )
            for name, number in MODELS.items():
                witness.heard(name, number, within=60)
            assert {place(pool, name) for name in MODELS} == {cluster.pods(PODS)[0]["metadata"]["name"]}
    witness.check()
    assert ready_since(pool) == since
