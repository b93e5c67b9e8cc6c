"""
ConfigMap `wml-serving-config`: what can be changed while the product runs.

Each key stands alone. A key that is no setting, or whose value cannot be read,
is reported: other keys still apply, and the setting keeps its last good value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from orchestrator.domain.errors import InvalidManifest

CONFIG_NAME: Final = "wml-serving-config"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")

PODS_PER_RUNTIME: Final = "podsPerRuntime"

_IMAGE: Final = "image."
_KNOWN: Final = (PODS_PER_RUNTIME, "poolGraceSeconds", "logLevel", f"{_IMAGE}<runtime>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Live settings. The defaults are ModelMesh's, except for one pod per runtime, which suits a laptop."""

    #: The most pods that one runtime may have.
    pods_per_runtime: int = 1
    #: How long a pool without models lives on, seconds.
    pool_grace_s: float = 60.0
    #: One of LOG_LEVELS; empty: the level that the process was started with.
    log_level: str = ""
    #: The server container's image in place of the ServingRuntime's, by the ServingRuntime's name.
    images: Mapping[str, str] = field(default_factory=dict)


def parse_config(
    data: Mapping[str, str], defaults: Config, last: Config | None = None
) -> tuple[Config, tuple[InvalidManifest, ...]]:
    """
    The settings in `data` (flat keys, values as text), and what is wrong with which key. Unknown keys are typos.

    A missing key has its default; a value that cannot be read stays as it was in `last`.
    """
    last = last or defaults
    config, problems, images = replace(defaults, images={}), list[InvalidManifest](), dict(defaults.images)
    for key, text in data.items():
        name = key.removeprefix(_IMAGE)
        try:
            if key == PODS_PER_RUNTIME:
                config = replace(config, pods_per_runtime=last.pods_per_runtime)
                config = replace(config, pods_per_runtime=max(1, int(_number(key, text, int))))
            elif key == "poolGraceSeconds":
                config = replace(config, pool_grace_s=last.pool_grace_s)
                config = replace(config, pool_grace_s=_number(key, text, float))
            elif key == "logLevel":
                config = replace(config, log_level=last.log_level)
                config = replace(config, log_level=_level(key, text))
            elif key.startswith(_IMAGE) and name:
                if name in last.images:
                    images[name] = last.images[name]
                images[name] = _image(key, text)
            else:
                raise InvalidManifest(key, f"not a setting; known: {', '.join(_KNOWN)}")
        except InvalidManifest as problem:
            problems.append(problem.with_traceback(None))
    return replace(config, images=images), tuple(problems)


def _number(key: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        number = kind(text)
    except (TypeError, ValueError):
        raise InvalidManifest(key, f"{text!r} is not a number") from None
    if not 0 <= number < 1e6:
        raise InvalidManifest(key, f"{text!r} is out of range")
    return number


def _level(key: str, text: str) -> str:
    level = str(text).lower()
    if level not in LOG_LEVELS:
        raise InvalidManifest(key, f"{text!r} is none of {', '.join(LOG_LEVELS)}")
    return level


def _image(key: str, text: str) -> str:
    image = str(text).strip()
    if not image or len(image.split()) > 1:
        raise InvalidManifest(key, f"{text!r} is not the name of an image")
    return image
