"""
A TrainedModel's status as its definition takes it. Pure.

Ours has a field for each value. KServe's definition, as installed with KServe,
drops what it does not know and has room for annotations instead: there it is
where the rest is kept, else the last good revision would be lost with the
process that knew it.
"""

from __future__ import annotations

from typing import Any, Final

from orchestrator.domain.trained_model import GROUP, ModelStatus, parse_status, render_status
from orchestrator.platform.kube.names import PREFIX

#: What KServe's definition has, too.
_COMMON: Final = frozenset({"url", "observedGeneration", "conditions"})


def status_patch(status: ModelStatus, api_version: str) -> dict[str, Any]:
    """A merge patch that makes it exactly this: what is not set is null, so that it goes."""
    fields = {name: value or None for name, value in render_status(status).items()}
    if _ours(api_version):
        return fields
    others = {f"{PREFIX}/{name}": value for name, value in fields.items() if name not in _COMMON}
    return {name: value for name, value in fields.items() if name in _COMMON} | {"annotations": others}


def read_status(raw: Any, api_version: str) -> ModelStatus:
    """Inverse of `status_patch`, applied. What is not there, or of the wrong kind, reads as empty."""
    if _ours(api_version) or not isinstance(raw, dict):
        return parse_status(raw)
    annotations = raw.get("annotations")
    kept = annotations if isinstance(annotations, dict) else {}
    return parse_status(raw | {name.removeprefix(f"{PREFIX}/"): value for name, value in kept.items()})


def _ours(api_version: str) -> bool:
    return api_version.startswith(f"{GROUP}/")
