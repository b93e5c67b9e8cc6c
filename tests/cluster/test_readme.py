"""README's section on clusters: each of its commands is typed as it stands there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml

from tests.cluster.product import KEY, Product
from tests.documents import section, typed
from tests.standalone.waiting import wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
LINES: Final = typed(section((ROOT / "README.md").read_text(), "In a cluster"))
SECRET: Final = "samples/storage-config.yaml"


@contextmanager
def typed_behind(product: Product, line: str) -> Iterator[None]:
    """A command that goes on in the background, until it is taken back."""
    process = product.cluster.start("sh", "-c", f"exec {line.removesuffix('&')}", output=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait(30)


def shell(product: Product, line: str) -> str:
    """What a command printed, that has to succeed."""
    done = product.cluster.run("sh", "-c", f"cd {ROOT} && {line}", timeout=320)
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_walkthrough_does_what_it_says(product: Product, tmp_path: Path) -> None:
    """
    From the manifests to a prediction.

    The image is built already, and the manifests name it; the Secret has this
    cluster's store, as README says that it should; the namespace is there.
    """
    manifests, secret = tmp_path / "manifests", tmp_path / "storage-config.yaml"
    product.render_manifests(manifests)
    written = yaml.safe_load((ROOT / SECRET).read_text())
    written["stringData"][KEY] = product.store_entry()
    secret.write_text(yaml.safe_dump(written))

    lines = [line.replace(" manifests/ ", f" {manifests}/ ").replace(SECRET, str(secret)) for line in LINES]
    assert lines[:2] == ["make images", "kubectl create namespace wml-serving"]
    forward = next(line for line in lines if line.endswith("&"))
    digits = product.models.file("digits.npz")
    said: dict[str, str] = {}
    behind = lines.index(forward)
    for line in lines[2:behind]:
        said[line] = shell(product, line)
    with typed_behind(product, forward):
        predict, delete, end = lines[behind + 1 :]
        assert end == "kill %1"
        answers: list[str] = []

        def answered() -> bool:
            done = product.cluster.run("sh", "-c", f"cd {ROOT} && {predict} --digits {digits}", timeout=90)
            answers.append(done.stdout + done.stderr)
            return done.returncode == 0

        # The forwarding takes a moment to begin.
        wait_until(answered, lambda: answers[-1], within=60, poll=0.5)
        shell(product, delete)
    predicted, truth = (line.split()[1:] for line in answers[-1].splitlines())
    assert sum(p == t for p, t in zip(predicted, truth, strict=True)) >= 18
    table = next(text for line, text in said.items() if line.startswith("kubectl get trainedmodels"))
    assert table.split()[:7] == ["NAME", "URL", "READY", "AGE", "RUNTIME", "REASON", "UPTODATE"]
    live = next(text for line, text in said.items() if "kubectl exec" in line)
    assert "sklearn-digits" in live
    described = next(text for line, text in said.items() if "kubectl describe" in line)
    assert "Loaded" in described.partition("Events:")[2]
