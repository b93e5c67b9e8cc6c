"""
The ServingRuntimes that come with the product: package data, one a file.

They are not among the manifests that a user applies: in one `kubectl apply`
with their own definition they would race it. A laptop takes them as they are,
in a cluster the orchestrator creates them (kube/builtin_keeper.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from orchestrator.domain.errors import InvalidManifest
from orchestrator.domain.serving_runtime import ServingRuntime, parse_serving_runtime

_DIRECTORY: Final = Path(__file__).resolve().parent / "runtimes"


def builtin_manifests() -> Mapping[str, dict[str, Any]]:
    """Raw objects by name, as in their files. Raises OSError or RuntimeError: an installation without them is broken."""
    manifests = {}
    for path in sorted(_DIRECTORY.glob("*.yaml")):
        try:
            raw = yaml.safe_load(path.read_bytes())
            parse_serving_runtime(raw)
        except (yaml.YAMLError, AttributeError, InvalidManifest) as error:
            raise RuntimeError(f"{path}: {error}") from error
        manifests[raw["metadata"]["name"]] = raw
    if not manifests:
        raise RuntimeError(f"no *.yaml in {_DIRECTORY}: the installation is incomplete")
    return manifests


def builtin_runtimes(namespace: str) -> Mapping[str, ServingRuntime]:
    """The same as values, with what nothing but an API server gives filled in. Raises as above."""
    runtimes = {}
    for name, raw in builtin_manifests().items():
        metadata = {"name": name, "namespace": namespace, "uid": f"local-{name}", "generation": 1}
        runtimes[name] = parse_serving_runtime({**raw, "metadata": metadata})
    return runtimes
