"""
Raw objects of the API server to values of the domain. Pure.

Each function raises InvalidManifest for an object that its definition let
through and that is not what it claims to be; what is not the product's is None.
Messages name fields, never values of a Secret.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from orchestrator.domain.errors import InvalidManifest
from orchestrator.domain.serving_runtime import ServingRuntime, parse_serving_runtime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.trained_model import API_VERSION, TrainedModel, parse_trained_model
from orchestrator.platform.kube.answers import Raw
from orchestrator.platform.kube.status_form import read_status

#: A second copy of the object, in itself.
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def going(raw: Raw) -> bool:
    """
    Whether it was deleted, and only waits for somebody's finalizer.

    None is ours, and nothing brings it back: it counts as deleted (`read_held`).
    """
    return bool(raw["metadata"].get("deletionTimestamp"))


def identity(raw: Raw) -> tuple[str, str]:
    """Name and uid."""
    return str(raw["metadata"]["name"]), str(raw["metadata"].get("uid") or "")


def version_of(raw: Mapping[str, Any]) -> str:
    """Its resourceVersion; empty if it has none."""
    metadata = raw.get("metadata")
    return str(metadata.get("resourceVersion") or "") if isinstance(metadata, Mapping) else ""


def read_model(raw: Raw, api_version: str = API_VERSION) -> TrainedModel:
    """A TrainedModel of that group. Its `raw` is without what is in it twice."""
    if raw.get("apiVersion") != api_version:
        raise InvalidManifest("apiVersion", f"expected {api_version}")
    model = parse_trained_model({**raw, "apiVersion": API_VERSION, "status": None})
    metadata = dict(raw["metadata"])
    annotations = metadata.get("annotations") or {}
    if _LAST_APPLIED in annotations:
        metadata["annotations"] = {name: text for name, text in annotations.items() if name != _LAST_APPLIED}
    return replace(model, status=read_status(raw.get("status"), api_version), raw={**raw, "metadata": metadata})


def read_held(raw: Raw, api_version: str = API_VERSION) -> TrainedModel:
    """A TrainedModel that is `going`, with the finalizers that it waits for, if any."""
    finalizers = raw["metadata"].get("finalizers")
    names = [str(name) for name in finalizers] if isinstance(finalizers, list) else []
    return replace(read_model(raw, api_version), held_by=", ".join(names))


def read_runtime(raw: Raw) -> ServingRuntime | None:
    """
    A ServingRuntime; None for one that is not meant for this product.

    Those of KServe share the kind: they have no built-in adapter, or hold one model, and are then read as far as they
    can be, for who names one.
    """
    spec = raw.get("spec")
    if not isinstance(spec, dict) or not spec.get("builtInAdapter"):
        return None
    try:
        return parse_serving_runtime(raw)
    except InvalidManifest:
        if spec.get("multiModel") is False:
            return None
        raise


def read_secret(raw: Raw) -> StorageConfig:
    """Its entries as text, and which of them are none."""
    entries, not_text = {}, set()
    for key, text in _entries(raw).items():
        try:
            entries[key] = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, ValueError):
            # Neither the value nor the decoder's words about it: they quote it.
            not_text.add(key)
    return StorageConfig(entries, frozenset(not_text))


def read_config(raw: Raw) -> Mapping[str, str]:
    """A ConfigMap's data."""
    return _entries(raw)


def _entries(raw: Raw) -> dict[str, str]:
    data = raw.get("data")
    if not isinstance(data, dict):
        return {}
    return {str(key): text for key, text in data.items() if isinstance(text, str)}
