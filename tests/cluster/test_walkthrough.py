"""The walkthrough of README on a real cluster: command for command, as a person types it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.cluster.node import images
from tests.cluster.node.place import NODE_IP
from tests.cluster.product import ORCHESTRATOR, Product
from tests.cluster.runtimes import copied
from tests.cluster.terminal import behind, until_it_works
from tests.standalone.models import Models

ROOT = Path(__file__).resolve().parents[2]
#: Framework → its runtime, and the image of that.
BUILTIN = {"sklearn": ("mlserver-0.x", images.MLSERVER), "onnx": ("triton-2.x", images.TRITON)}
CLIENT = ".venv/bin/python samples/client.py"


def pods(product: Product, runtime: str) -> set[str]:
    """By uid, all that its pool has, ready or not."""
    return {pod["metadata"]["uid"] for pod in product.cluster.all("pods", f"wmlserving.ai.ibm.com/runtime={runtime}")}


@pytest.mark.parametrize("framework", ["sklearn", "onnx"])
def test_a_model_is_applied_checked_asked_and_deleted(product: Product, framework: str) -> None:
    """The samples' files, kubectl, the client made from the protocol's file, and the stock one."""
    cluster, name = product.cluster, f"{framework}-digits"
    cluster.apply(ROOT / "samples" / f"{framework}.yaml")
    product.until_ready(name, within=180)

    table = cluster.kubectl("get", "trainedmodels", name)
    header, row = (line.split() for line in table.splitlines())
    assert header == ["NAME", "URL", "READY", "AGE"]
    assert row[:3] == [name, f"grpc://wml-serving:8033?mm-vmodel-id={name}", "True"]
    wide = cluster.kubectl("get", "tm", name, "-o", "wide").splitlines()
    assert wide[0].split() == ["NAME", "URL", "READY", "AGE", "RUNTIME", "REASON", "UPTODATE"]
    assert wide[1].split()[-2:] == ["Loaded", "True"]

    # Whoever reaches this machine reaches the models then, not only who is on it.
    host = "127.0.0.1" if cluster.external else NODE_IP
    with behind(cluster, "kubectl port-forward --address 0.0.0.0 service/wml-serving 8033 -n wml-serving"):
        digits = product.models.file("digits.npz")
        said = until_it_works(cluster, f"{CLIENT} {name} --address {host}:8033 --digits {digits}")
    predicted, truth = (line.split()[1:] for line in said.splitlines())
    assert sum(p == t for p, t in zip(predicted, truth, strict=True)) >= 18
    with product.client() as stock:
        for metadata in (True, False):
            labels = stock.classes(name, product.models.images[: len(truth)], metadata=metadata)
            assert [str(label) for label in labels] == predicted

    described = cluster.kubectl("describe", "trainedmodel", name)
    assert "Reason:                Loaded" in described
    assert "Events:" in described

    cluster.kubectl("delete", "trainedmodel", name)
    with product.client() as client:
        product.until_refused(client, name, grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize("framework", sorted(BUILTIN))
def test_the_first_model_brings_a_pod_and_the_second_needs_none(product: Product, name: str, framework: str) -> None:
    """In a pool of a runtime that nobody has used yet."""
    cluster, uri, runtime = product.cluster, product.models.sample(framework), f"unused-{framework}"
    builtin, image = BUILTIN[framework]
    made = copied(cluster.get("servingruntime", builtin), runtime, image=image.reference())
    made["spec"]["supportedModelFormats"][0]["name"] = framework
    cluster.apply(made)
    try:
        assert not pods(product, runtime)
        with product.model(f"{name}-first", uri, framework, runtime=runtime):
            product.until_ready(f"{name}-first", within=180)
            launched = pods(product, runtime)
            assert len(launched) == 1
            with product.model(f"{name}-second", uri, framework, runtime=runtime):
                product.until_ready(f"{name}-second")
                assert pods(product, runtime) == launched
    finally:
        cluster.delete("servingruntime", runtime)


def test_live_state_is_shown_from_inside(product: Product, models: Models, name: str) -> None:
    """`wml-serving get -o wide`, and `-o json`, in either replica: one answers for the other."""
    with product.model(name, models.sample("sklearn"), "sklearn"):
        product.until_ready(name)
        orchestrators = product.cluster.pods(ORCHESTRATOR)
        assert len(orchestrators) == 2
        for pod in orchestrators:
            get = (pod["metadata"]["name"], "wml-serving", "get", "trainedmodels", name, "-o")
            said = [line.split() for line in product.cluster.execute(*get, "wide").splitlines()]
            assert said[0][4:] == ["RUNTIME", "REASON", "UPTODATE", "COPIES", "BYTES", "IDLE", "REQ/S"]
            assert (said[1][2], *said[1][4:8]) == ("True", "mlserver-0.x", "Loaded", "True", "1")
            assert int(said[1][8]) > 0
            copies = json.loads(product.cluster.execute(*get, "json"))["live"]["copies"]
            assert [copy["state"] for copy in copies] == ["Loaded"]


def test_logs_are_lines_of_json(product: Product) -> None:
    """With an event each."""
    for line in product.cluster.logs("deploy/wml-serving-orchestrator").splitlines():
        assert json.loads(line)["event"]


def test_a_second_apply_changes_nothing(product: Product) -> None:
    """`kubectl apply -f manifests/` is the way to upgrade as well: nothing is rolled out that was not changed."""

    def generations() -> dict[str, Any]:
        # Pools are not in the manifests: they come and go with their models.
        with tempfile.TemporaryDirectory() as directory:
            product.render_manifests(Path(directory))
            found = json.loads(product.cluster.kubectl("get", "-f", directory, "-o", "json"))["items"]
        return {
            f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["generation"]
            for o in found
            if "generation" in o["metadata"]
        }

    before = generations()
    assert "Deployment/wml-serving-orchestrator" in before
    product.apply_manifests()
    assert generations() == before
