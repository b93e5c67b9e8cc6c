"""
Raw objects of a pool as they would come from an API server, and what a ServingRuntime says.
"""

from __future__ import annotations

from typing import Any

from orchestrator.domain.serving_runtime import ServingRuntime, parse_serving_runtime
from orchestrator.platform.kube.pod_settings import PodSettings
from orchestrator.platform.kube.pool_names import ANNOTATION_RUNTIME, pool_labels

Raw = dict[str, Any]

SETTINGS = PodSettings(namespace="ns", image="registry/wml-serving:1")


def make_raw_runtime(
    name: str = "triton-2.x",
    server_type: str = "triton",
    *,
    container: Raw | None = None,
    adapter: Raw | None = None,
    uid: str = "runtime-1",
    **spec: Any,
) -> Raw:
    """As a user writes it; `container` and `adapter` are added to the server's and to builtInAdapter."""
    server = {
        "name": server_type,
        "image": f"registry/{server_type}:1",
        "command": ["serve"],
        "resources": {"limits": {"cpu": "5", "memory": "2Gi"}},
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": name, "namespace": "ns", "uid": uid, "generation": 1},
        "spec": {
            "supportedModelFormats": [{"name": "onnx", "autoSelect": True}],
            "builtInAdapter": {"serverType": server_type, **(adapter or {})},
            "containers": [server | (container or {})],
            **spec,
        },
    }


def make_kube_runtime(name: str = "triton-2.x", server_type: str = "triton", **fields: Any) -> ServingRuntime:
    """The same, read."""
    return parse_serving_runtime(make_raw_runtime(name, server_type, **fields))


def make_raw_pod(
    name: str = "p1", runtime: str = "triton-2.x", *, annotations: Raw | None = None, **fields: Any
) -> Raw:
    """A pod of a pool; `fields` are of its status, but for `deletionTimestamp`."""
    metadata: Raw = {
        "name": name,
        "uid": f"uid-{name}",
        "labels": pool_labels(runtime),
        "annotations": {ANNOTATION_RUNTIME: runtime, **(annotations or {})},
    }
    if "deletionTimestamp" in fields:
        metadata["deletionTimestamp"] = fields.pop("deletionTimestamp")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Pending", **fields}}
