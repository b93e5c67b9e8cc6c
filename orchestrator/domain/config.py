"""
ConfigMap `wml-serving-config`: what can be changed while the product runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.errors import InvalidManifest

CONFIG_NAME: Final = "wml-serving-config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Live settings. Defaults are ModelMesh's, but for one pod a runtime on a laptop."""

    #: The most pods that one runtime may have.
    pods_per_runtime: int = 1
    #: How long a pool without models lives on, seconds.
    pool_grace_s: float = 60.0


def parse_config(data: Mapping[str, str], defaults: Config) -> Config:
    """Flat keys, values as text. Raises InvalidManifest naming the key; unknown keys are refused, since they are typos."""
    values = {"podsPerRuntime": defaults.pods_per_runtime, "poolGraceSeconds": defaults.pool_grace_s}
    for key, text in data.items():
        if key not in values:
            raise InvalidManifest(key, f"not a setting; known: {', '.join(values)}")
        try:
            number = float(text) if key == "poolGraceSeconds" else int(text)
        except (TypeError, ValueError):
            raise InvalidManifest(key, f"{text!r} is not a number") from None
        if not 0 <= number < 1e6:
            raise InvalidManifest(key, f"{text!r} is out of range")
        values[key] = number
    return Config(
        pods_per_runtime=max(1, int(values["podsPerRuntime"])), pool_grace_s=float(values["poolGraceSeconds"])
    )
