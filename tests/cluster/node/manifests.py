"""
The product's manifests as the tests apply them: as they are, with the images of this build, on a small machine.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.node import images, inside
from tests.cluster.node.place import ROOT

MANIFESTS: Final = ROOT / "manifests"
NAMESPACE: Final = "wml-serving"
CONFIG: Final = "wml-serving-config"
_LEVELS: Final = ("enforce", "warn", "audit")


def test_images() -> dict[str, str]:
    """Repository of an image in the manifests → the image to have in its place."""
    return {
        "quay.io/wml-serving/wml-serving": images.PRODUCT.reference(),
        "docker.io/envoyproxy/envoy": images.ENVOY.reference(),
        "nvcr.io/nvidia/tritonserver": images.TRITON.reference(),
        "docker.io/seldonio/mlserver": images.MLSERVER.reference(),
    }


def overrides() -> dict[str, str]:
    """Keys of the ConfigMap, for the runtimes that the orchestrator brings along itself."""
    return {"image.triton-2.x": images.TRITON.reference(), "image.mlserver-0.x": images.MLSERVER.reference()}


def with_images(text: str, names: Mapping[str, str]) -> str:
    """Text with each image of `names` replaced, whatever tag or digest it has."""
    for repository, image in names.items():
        text = re.sub(rf"{re.escape(repository)}[:@][\w.:+-]+", image, text)
    return text


def rendered(directory: Path = MANIFESTS, *, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """All objects of the directory, as kubectl would take them: flat, by file name; as a user edits them for a namespace."""
    objects = list(_objects(directory))
    config = next((o for o in objects if (o["kind"], o["metadata"]["name"]) == ("ConfigMap", CONFIG)), None)
    if config is None:
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG}}
        objects.append(config)
    config["data"] = (config.get("data") or {}) | overrides()
    for each in (item for o in objects for item in o.get("items", [o]) if item["kind"] == "Deployment"):
        _fit(each["spec"]["template"]["spec"])
    for subject in (s for o in objects if o["kind"] == "RoleBinding" for s in o["subjects"]):
        subject["namespace"] = namespace
    return objects


def _fit(pod: dict[str, Any]) -> None:
    """Ask for next to no CPU: a machine of two is not to be full before a pool or a rolling update has its pods."""
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        container["resources"]["requests"]["cpu"] = "10m"


def _objects(directory: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(directory.glob("*.yaml")):
        text = with_images(path.read_text(encoding="utf-8"), test_images())
        yield from (o for o in yaml.safe_load_all(text) if o)


def namespace(name: str = NAMESPACE) -> dict[str, Any]:
    """One that lets only hardened pods in."""
    labels = {f"pod-security.kubernetes.io/{level}": "restricted" for level in _LEVELS}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def write(directory: Path, *, namespace: str = NAMESPACE) -> None:
    """All objects as a directory that kubectl takes."""
    directory.mkdir(exist_ok=True)
    for number, each in enumerate(rendered(namespace=namespace)):
        (directory / f"{number:02}.yaml").write_text(yaml.safe_dump(each), encoding="utf-8")


def apply() -> None:
    """Apply all of it to the node, in its namespace, in one command, as a user does."""
    _kubectl("apply", "-f", "-", stdin=yaml.safe_dump(namespace()))
    with tempfile.TemporaryDirectory() as directory:
        write(Path(directory))
        _kubectl("apply", "--namespace", NAMESPACE, "-f", directory)


def _kubectl(*arguments: str, stdin: str | None = None) -> None:
    done = inside.run(("kubectl", *arguments), stdin=stdin, timeout=120)
    changed = [line for line in done.stdout.splitlines() if not line.endswith(" unchanged")]
    sys.stderr.write("".join(f"{line}\n" for line in changed))
    if done.returncode:
        raise RuntimeError(f"kubectl {arguments[0]}: {done.stderr}")
