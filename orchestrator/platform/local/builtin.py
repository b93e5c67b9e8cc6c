"""
The ServingRuntimes that come with the product: the same files that a cluster takes.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.platform.local.manifests import parse_file

_CHECKOUT: Final = Path(__file__).resolve().parents[3] / "manifests"
_PATTERN: Final = "runtime-*.yaml"


def builtin_manifests() -> Path:
    """The directory of manifests: the checkout's, else the one that an installed wheel brought."""
    if _CHECKOUT.is_dir():
        return _CHECKOUT
    return Path(sysconfig.get_path("data"), "share", "wml-serving", "manifests")


def builtin_runtimes(namespace: str) -> Mapping[str, ServingRuntime]:
    """By name. Raises OSError or RuntimeError: an installation without them is broken."""
    runtimes = {}
    directory = builtin_manifests()
    for path in sorted(directory.glob(_PATTERN)):
        parsed = parse_file(path.name, path.read_bytes(), namespace)
        if parsed.problems:
            raise RuntimeError(f"{directory}: {parsed.problems[0]}")
        for document in parsed.documents:
            if isinstance(document.value, ServingRuntime):
                runtimes[document.id.name] = document.value
    if not runtimes:
        raise RuntimeError(f"no {_PATTERN} in {directory}: the installation is incomplete")
    return runtimes
