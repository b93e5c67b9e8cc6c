"""
What dies without a word comes back by itself, and takes no more with it than the contract names.

Traffic is a round-robin client's over the headless Service. With a server dies
what it had in its hands; with anything else nothing, as long as the client
tries once more what met an Envoy that had gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import grpc
import pytest

from tests.cluster.balanced import Balanced
from tests.cluster.cluster import condition_of
from tests.cluster.node import images, inside, store
from tests.cluster.product import MESH, Product
from tests.cluster.runtimes import copied
from tests.cluster.warm import NUMBER, witnessed
from tests.cluster.watching import READY, Watching
from tests.standalone.models import Models
from tests.standalone.verdicts import Outcome, Window
from tests.standalone.waiting import wait_until

Object = dict[str, Any]

#: A held request waits in the mesh, which has a bound: not more than this a second for as long as a server needs.
RATE: Final = 8.0
#: Model → the prober that it is, and where it is.
MODELS: Final = {"killed-sklearn": 6, "killed-onnx": 7}
RUNTIMES: Final = {"killed-sklearn": "mlserver-0.x", "killed-onnx": "triton-2.x"}
SERVERS: Final = {"killed-sklearn": "mlserver", "killed-onnx": "triton"}
#: A runtime and its model.
HUNG: Final = "hung"
#: Between the command and the death that it asks for.
MARGIN_S: Final = 1.0


@pytest.fixture(scope="module")
def hung(product: Product, models: Models) -> Iterator[Watching]:
    """A server that is frozen before the others die: it has hung when it has been silent for a while."""
    cluster = product.cluster
    formats = [{"name": "onnx", "version": "1", "autoSelect": False}]
    image = images.TRITON.reference()
    made = copied(cluster.get("servingruntime", "triton-2.x"), HUNG, image=image, supportedModelFormats=formats)
    cluster.apply(made)
    try:
        with (
            product.model(HUNG, models.uri(f"probe-{NUMBER}.onnx"), "onnx", runtime=HUNG),
            Watching(cluster, "trainedmodels", READY) as watching,
        ):
            product.until_ready(HUNG, within=180)
            signal(status_of(runtime_pod(product, HUNG), "triton"), "SIGSTOP")
            yield watching
    finally:
        cluster.delete("servingruntime", HUNG)


@pytest.fixture(scope="module")
def loaded(product: Product, models: Models, hung: Watching) -> Iterator[Product]:
    """A model on each server."""
    with (
        product.model("killed-sklearn", models.uri("probe-6.joblib"), "sklearn"),
        product.model("killed-onnx", models.uri("probe-7.onnx"), "onnx"),
    ):
        for name in MODELS:
            product.until_ready(name, within=240)
        yield product


def runtime_pod(product: Product, model: str) -> Object:
    """The pod of the model's runtime."""
    (pod,) = product.cluster.pods(f"wmlserving.ai.ibm.com/runtime={RUNTIMES.get(model, model)}")
    return pod


def status_of(pod: Object, container: str) -> Object:
    """Of a container, whichever kind it is."""
    statuses = [*pod["status"].get("initContainerStatuses", ()), *pod["status"]["containerStatuses"]]
    found: Object = next(s for s in statuses if s["name"] == container)
    return found


def signal(status: Object, which: str) -> None:
    """To the first process of a container, from outside of it."""
    done = inside.run(store.ctr("tasks", "kill", "--signal", which, status["containerID"].partition("://")[2]))
    assert done.returncode == 0, done.stderr


def kill(product: Product, pod: Object, container: str) -> Window:
    """Returns when the kubelet has another. In which time it died."""
    before = status_of(pod, container)
    start = time.monotonic()
    signal(before, "SIGKILL")
    window = Window(start, time.monotonic() + MARGIN_S)

    def again() -> bool:
        now = status_of(product.cluster.get("pod", pod["metadata"]["name"]), container)
        return now["restartCount"] > before["restartCount"] and "running" in now["state"]

    wait_until(again, f"{container} is not started again", within=120, poll=0.5)
    return window


def heard(witness: Balanced) -> None:
    """Both models answer from now on."""
    for name, number in MODELS.items():
        witness.heard(name, number, times=5, within=150)


def since(product: Product, model: str) -> str:
    """Since when it has been READY, which it is."""
    condition = condition_of(product.until_ready(model), "Ready")
    at: str = condition["lastTransitionTime"]
    return at


def in_hand(model: str, window: Window) -> Any:
    """Says of an outcome that it was lost with the model's server."""

    def lost(outcome: Outcome) -> bool:
        return outcome.model == model and outcome.code is grpc.StatusCode.UNAVAILABLE and window.excuses(outcome)

    return lost


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_server_dies(loaded: Product, model: str) -> None:
    """Its requests wait until it is back; the other server's notice nothing, and READY says what is true of each."""
    other = next(name for name in MODELS if name != model)
    before, others = since(loaded, model), since(loaded, other)
    with Balanced(loaded, *MODELS, rate=RATE) as witness:
        heard(witness)
        window = kill(loaded, runtime_pod(loaded, model), SERVERS[model])
        heard(witness)
    witness.check(excused=in_hand(model, window))
    assert since(loaded, model) > before
    assert since(loaded, other) == others


@pytest.mark.parametrize("model", sorted(MODELS))
def test_an_adapter_dies(loaded: Product, model: str) -> None:
    """No request notices, nothing is loaded again, READY stays; the next load into that pod works."""
    before, pod = since(loaded, model), runtime_pod(loaded, model)
    with Balanced(loaded, *MODELS, rate=RATE) as witness:
        heard(witness)
        kill(loaded, pod, "adapter")
        loaded.cluster.until_condition("pod", pod["metadata"]["name"], within=120)
        heard(witness)
    witness.check()
    assert since(loaded, model) == before
    spec = loaded.cluster.get("trainedmodel", model)["spec"]["model"]
    with loaded.model(f"{model}-next", spec["storageUri"], spec["framework"]):
        loaded.until_ready(f"{model}-next")


def test_a_runtime_pod_is_gone_at_once(loaded: Product) -> None:
    """Without a grace: its model comes back in another, and requests wait for it."""
    model = "killed-sklearn"
    pod = runtime_pod(loaded, model)["metadata"]["name"]
    with Balanced(loaded, *MODELS, rate=RATE) as witness:
        heard(witness)
        start = time.monotonic()
        loaded.cluster.delete("pod", pod, now=True)
        window = Window(start, time.monotonic() + MARGIN_S)
        heard(witness)
    witness.check(excused=in_hand(model, window))
    loaded.until_ready(model)


@pytest.mark.parametrize("container", ["envoy", "activator"])
def test_a_container_of_the_mesh_dies(loaded: Product, container: str) -> None:
    """A client that tries once more loses nothing; with the activator warm requests notice nothing anyway."""
    pod = loaded.cluster.pods(MESH)[0]
    with Balanced(loaded, *MODELS, attempts=2 if container == "envoy" else 1) as witness:
        heard(witness)
        kill(loaded, pod, container)
        loaded.cluster.until_condition("pod", pod["metadata"]["name"], within=120)
        heard(witness)
    witness.check()


def test_a_mesh_pod_is_deleted(loaded: Product) -> None:
    """With its grace: clients go to the other one, and none is sent away."""
    pod = loaded.cluster.pods(MESH)[0]["metadata"]["name"]
    with Balanced(loaded, *MODELS) as witness:
        heard(witness)
        loaded.cluster.delete("pod", pod)
        heard(witness)
    witness.check()
    loaded.cluster.rolled_out("deployment", "wml-serving-mesh")


def test_a_server_hangs(loaded: Product, hung: Watching) -> None:
    """Its liveness probe ends it, and its model comes back by itself; READY was False only while no server was there."""
    cluster, pod = loaded.cluster, runtime_pod(loaded, HUNG)["metadata"]["name"]
    wait_until(
        lambda: status_of(cluster.get("pod", pod), "triton")["restartCount"] == 1,
        "it is not ended",
        within=120,
        poll=1,
    )
    told = [e["message"] for e in cluster.all("events") if e["involvedObject"]["name"] == pod]
    assert any("Container triton failed liveness probe" in message for message in told), told
    loaded.until_ready(HUNG)
    with witnessed(loaded, HUNG) as witness:
        pass
    witness.check()

    def said() -> list[str]:
        told = [reason for reason, _ in groupby(hung.values(HUNG))]
        return told[told.index("True Loaded") :]

    # Requests are answered a moment before the last of it is written.
    wait_until(lambda: len(said()) >= 3, lambda: f"{said()} is told")
    assert said() == ["True Loaded", "False RuntimeUnavailable", "True Loaded"]

    def events() -> list[tuple[str, str]]:
        about = [(e, e["involvedObject"]) for e in cluster.all("events")]
        return [(e["type"], e["reason"]) for e, o in about if (o["kind"], o["name"]) == ("TrainedModel", HUNG)]

    # Written a little after the condition.
    wait_until(lambda: ("Warning", "RuntimeUnavailable") in events(), lambda: f"no Event says so: {events()}", poll=1)
