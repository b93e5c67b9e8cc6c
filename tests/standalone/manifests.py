"""
Objects as a user writes them, as dicts.
"""

from __future__ import annotations

import json
from typing import Any, Final

Document = dict[str, Any]

#: Of the stores of the tests.
REGION: Final = "us-east-1"


def trained_model(
    name: str,
    uri: str,
    framework: str,
    *,
    runtime: str = "",
    key: str = "",
    namespace: str = "",
    annotations: dict[str, str] | None = None,
) -> Document:
    """A TrainedModel; `key` is the one in Secret storage-config."""
    metadata: Document = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    noted = dict(annotations or {})
    if key:
        noted["wmlserving.ai.ibm.com/secret-key"] = key
    if noted:
        metadata["annotations"] = noted
    return {
        "apiVersion": "serving.kubeflow.org/v1alpha1",
        "kind": "TrainedModel",
        "metadata": metadata,
        "spec": {"inferenceService": runtime, "model": {"storageUri": uri, "framework": framework, "memory": "256Mi"}},
    }


def s3_entry(endpoint: str, access_key: str, secret_key: str, **changes: str | None) -> dict[str, str]:
    """A complete entry of Secret storage-config for a store, with changes; None takes a field away."""
    fields: dict[str, str | None] = {
        "type": "s3",
        "access_key_id": access_key,
        "secret_access_key": secret_key,
        "endpoint_url": endpoint,
        "region": REGION,
    }
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def storage_config(entries: dict[str, str | dict[str, str]]) -> Document:
    """Secret storage-config; an entry that is text already is kept as it is."""
    data = {key: value if isinstance(value, str) else json.dumps(value) for key, value in entries.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "storage-config"}, "stringData": data}


def serving_runtime(
    name: str,
    server_type: str,
    formats: list[str],
    *,
    memory: str = "1Gi",
    buffer: int = 0,
    load_s: float = 90.0,
    environment: dict[str, str] | None = None,
) -> Document:
    """A ServingRuntime of the user's, to be named; `buffer` bytes of its memory are not for models."""
    container = {
        "name": server_type,
        "image": "not-used-here",
        "resources": {"limits": {"memory": memory}},
        "env": [{"name": name, "value": value} for name, value in (environment or {}).items()],
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": name},
        "spec": {
            "multiModel": True,
            "supportedModelFormats": [{"name": each, "version": "1"} for each in formats],
            "builtInAdapter": {
                "serverType": server_type,
                "memBufferBytes": buffer,
                "modelLoadingTimeoutMillis": round(1000 * load_s),
            },
            "containers": [container],
        },
    }
