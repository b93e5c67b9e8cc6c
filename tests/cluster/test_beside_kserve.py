"""
Beside KServe: its own definitions, as it publishes them, in place of ours, and its group for TrainedModels.

They are the cluster's, so what runs already meets them, too. What is edited is what docs/operations.md says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cluster.cluster import Cluster, condition_of
from tests.cluster.product import LEASE, Product, trained_model
from tests.cluster.warm import NUMBER, answered, copies, witnessed
from tests.documents import fences, section
from tests.standalone.waiting import wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
BESIDE: Final = section((ROOT / "docs" / "operations.md").read_text(), "Beside KServe")
OURS: Final = ROOT / "manifests" / "servingruntime-crd.yaml"
BUILT_IN: Final = ROOT / "orchestrator" / "platform" / "runtimes"
#: Out of KServe's module: `make cluster-parts`.
KSERVE: Final = ROOT / ".runtimes" / "kserve"
MODELS: Final = "trainedmodels.serving.kserve.io"


@pytest.fixture
def kserves(warm: Product) -> Iterator[None]:
    """KServe's definitions; ours of ServingRuntimes is away for as long."""
    bare = warm.cluster
    bare.kubectl("replace", "-f", str(KSERVE / "servingruntimes.yaml"))
    try:
        bare.kubectl("create", "-f", str(KSERVE / "trainedmodels.yaml"))
        bare.kubectl("wait", "--for=condition=Established", "crd", MODELS)
        yield
    finally:
        bare.delete("crd", MODELS)
        bare.kubectl("replace", "--save-config", "-f", str(OURS))
        # kubectl remembers for hours what there is, and two kinds would answer to `trainedmodels`.
        bare.kubectl("api-resources")


def for_kserves_models(manifests: Path) -> None:
    """Edit them as the document says."""
    (option,) = set(re.findall(r"--models-api=[\w./]+", BESIDE))
    (rules,) = fences(BESIDE, "")
    for path in manifests.iterdir():
        read: dict[str, Any] = yaml.safe_load(path.read_text())
        for each in read.get("items", [read]):
            if (each["kind"], each["metadata"]["name"]) == ("Role", LEASE):
                each["rules"] += yaml.safe_load(rules)
            if (each["kind"], each["metadata"]["name"]) == ("Deployment", LEASE):
                each["spec"]["template"]["spec"]["containers"][0]["args"].append(option)
        path.write_text(yaml.safe_dump(read))


@pytest.mark.usefixtures("kserves")
def test_kserves_definitions_are_used_as_they_are(warm: Product, space: Cluster, name: str, tmp_path: Path) -> None:
    """
    They drop and refuse nothing of the built-in runtimes, and a model of KServe's group is served.

    In a namespace of its own; the product that was there before serves on.
    """
    loaded = copies(warm)
    with witnessed(warm) as before:
        space.kubectl("create", "--dry-run=server", "--validate=strict", "-f", str(BUILT_IN))

        own, manifests = Product(space, warm.store, warm.models), tmp_path / "manifests"
        own.render_manifests(manifests)
        for_kserves_models(manifests)
        # Their definitions have no such label, and are not applied.
        space.kubectl("apply", "-f", str(manifests), "-l", "app.kubernetes.io/name=wml-serving")
        own.store_credentials()
        model = trained_model(name, own.models.uri(f"probe-{NUMBER}.joblib"), "sklearn")
        space.apply(model | {"apiVersion": "serving.kserve.io/v1alpha1"})
        ready = space.until_condition(MODELS, name, within=180)
        answered(before)
    before.check()
    assert copies(warm) == loaded

    assert condition_of(ready, "Ready")["reason"] == "Loaded"
    assert ready["status"]["annotations"]["wmlserving.ai.ibm.com/runtime"] == "mlserver-0.x"
    header, row = (line.split() for line in space.kubectl("get", MODELS, name).splitlines())
    assert header == ["NAME", "URL", "READY", "AGE"]
    assert row[2] == "True"
    # Written a little after the condition.
    wait_until(
        lambda: "Loaded" in space.kubectl("describe", MODELS, name).partition("Events:")[2], "no Event says so", poll=1
    )
    # READY waits for the Envoys that are ready: the other may be on its way, and no client is sent there.
    space.rolled_out("deployment", "wml-serving-mesh")
    with witnessed(own, name) as witness:
        pass
    witness.check()
    for path in BUILT_IN.glob("*.yaml"):
        ours = yaml.safe_load(path.read_text())
        assert space.get("servingruntime", ours["metadata"]["name"])["spec"] == ours["spec"]
