"""README's section on clusters, and what docs/operations.md forwards: each command is typed as it stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from tests.cluster.product import KEY, Product
from tests.cluster.terminal import behind, shell, until_it_works
from tests.cluster.warm import RUNTIME, WARM
from tests.documents import section, typed
from tests.standalone.waiting import wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
LINES: Final = typed(section((ROOT / "README.md").read_text(), "In a cluster"))
HEALTH: Final = typed(section((ROOT / "docs" / "operations.md").read_text(), "Health"))
SECRET: Final = "samples/storage-config.yaml"


def test_the_walkthrough_does_what_it_says(product: Product, tmp_path: Path) -> None:
    """
    From the manifests to a prediction.

    The image is built already, from the Containerfile (tests/cluster/node/images.py), and the manifests name it; what
    `make images` asks of the tool is in tests/test_make.py. The Secret has this cluster's store, as README says that it
    should; the namespace is there.
    """
    manifests, secret = tmp_path / "manifests", tmp_path / "storage-config.yaml"
    product.render_manifests(manifests)
    written = yaml.safe_load((ROOT / SECRET).read_text())
    written["stringData"][KEY] = product.store_entry()
    secret.write_text(yaml.safe_dump(written))

    lines = [line.replace(" manifests/ ", f" {manifests}/ ").replace(SECRET, str(secret)) for line in LINES]
    assert lines[:2] == ["make images", "kubectl create namespace wml-serving"]
    forward = next(line for line in lines if line.endswith("&"))
    begun = lines.index(forward)
    said = {line: shell(product.cluster, line) for line in lines[2:begun]}
    describe = next(line for line in said if "kubectl describe" in line)
    # An Event is written a little after the condition that `kubectl wait` has waited for.
    wait_until(lambda: "Loaded" in shell(product.cluster, describe).partition("Events:")[2], "no Event says so", poll=1)
    with behind(product.cluster, forward):
        predict, delete, end = lines[begun + 1 :]
        assert end == "kill %1"
        answer = until_it_works(product.cluster, f"{predict} --digits {product.models.file('digits.npz')}")
        shell(product.cluster, delete)
    predicted, truth = (line.split()[1:] for line in answer.splitlines())
    assert sum(p == t for p, t in zip(predicted, truth, strict=True)) >= 18
    table = next(text for line, text in said.items() if line.startswith("kubectl get trainedmodels"))
    assert table.split()[:7] == ["NAME", "URL", "READY", "AGE", "RUNTIME", "REASON", "UPTODATE"]
    live = next(text for line, text in said.items() if "kubectl exec" in line)
    assert "sklearn-digits" in live


def test_live_state_is_shown_through_a_forwarded_port(warm: Product) -> None:
    """To whoever has the command and no pod to run it in."""
    forward, get = HEALTH
    with behind(warm.cluster, forward):
        header, *rows = (line.split() for line in until_it_works(warm.cluster, get).splitlines())
    assert header[4:] == ["RUNTIME", "REASON", "UPTODATE", "COPIES", "BYTES", "IDLE", "REQ/S"]
    (row,) = (row for row in rows if row[0] == WARM)
    assert (row[2], *row[4:8]) == ("True", RUNTIME, "Loaded", "True", "1")
