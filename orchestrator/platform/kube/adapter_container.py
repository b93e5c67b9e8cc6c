"""
The adapter's container in a runtime pod: a native sidecar.

It starts before the server, whose repository it makes, and ends after it, since
the models of a server that ends are handed over first. The pod is ready when
the adapter says so: when the server beside it can be given models and requests.
"""

from __future__ import annotations

from typing import Any, Final

from orchestrator.domain.addresses import ANYWHERE, host_port
from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.platform.kube.hardening import Raw, container_security
from orchestrator.platform.kube.names import (
    ADAPTER_DRAIN_PORT,
    ADAPTER_HEALTH_PORT,
    ADAPTER_PORT,
    MODELS_DIRECTORY,
    TLS_DIRECTORY,
)
from orchestrator.platform.kube.pod_settings import PodSettings

ADAPTER: Final = "adapter"
MODELS_VOLUME: Final = "wml-models"
TLS_VOLUME: Final = "wml-tls"
ADAPTER_TMP_VOLUME: Final = "wml-adapter-tmp"
#: The server's, within what the two share.
REPOSITORY: Final = f"{MODELS_DIRECTORY}/repository"

#: It downloads in pieces of 8 MiB, and hashes nothing: memory is that of the interpreter and of what is in flight.
_RESOURCES: Final = {"requests": {"cpu": "100m", "memory": "192Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}}


def adapter_container(runtime: ServingRuntime, settings: PodSettings, *, server: str, server_port: int) -> Raw:
    """Its entry in `initContainers`; `server` is the name of the server's container."""
    said = (runtime.raw.get("spec") or {}).get("builtInAdapter") or {}
    container: Raw = {
        "name": ADAPTER,
        "image": settings.image,
        # What makes an init container a sidecar.
        "restartPolicy": "Always",
        "command": ["python", "-m", "adapters"],
        "args": [
            f"--listen={host_port(ANYWHERE, ADAPTER_PORT)}",
            f"--server-type={runtime.server_type}",
            # As the mesh dials it: a server that listens on loopback alone serves nobody, and must not be called ready.
            f"--server=$(POD_IP):{server_port}",
            f"--model-dir={REPOSITORY}",
            f"--scratch={MODELS_DIRECTORY}/{ADAPTER}",
            f"--capacity-bytes={max(1, runtime.capacity_bytes)}",
            f"--runtime={runtime.name}",
            "--pod=$(POD_NAME)",
            f"--server-log=kubectl logs $(POD_NAME) -c {server}",
            f"--tls-dir={TLS_DIRECTORY}",
            f"--health-port={ADAPTER_HEALTH_PORT}",
            f"--drain-port={ADAPTER_DRAIN_PORT}",
            f"--drain-seconds={settings.drain_s}",
        ],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "HOME", "value": "/tmp"},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
            *(said.get("env") or ()),
        ],
        "ports": [
            {"name": "fleet", "containerPort": ADAPTER_PORT},
            {"name": "health", "containerPort": ADAPTER_HEALTH_PORT},
            {"name": "drain", "containerPort": ADAPTER_DRAIN_PORT},
        ],
        "resources": _RESOURCES,
        "securityContext": container_security(),
        "startupProbe": {**_get("/healthz"), "periodSeconds": 1, "failureThreshold": 120},
        # Twice in a row: one that is late on a busy node is not gone.
        "readinessProbe": {**_get("/readyz"), "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {**_get("/healthz"), "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "volumeMounts": [
            {"name": MODELS_VOLUME, "mountPath": MODELS_DIRECTORY},
            {"name": ADAPTER_TMP_VOLUME, "mountPath": "/tmp"},
            {"name": TLS_VOLUME, "mountPath": TLS_DIRECTORY, "readOnly": True},
        ],
    }
    if shares_processes(runtime):
        container["args"].append("--conceal")
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    return container


def shares_processes(runtime: ServingRuntime) -> bool:
    """Whether the pod's containers see each other's: the adapter sees when one of Triton's ends, Triton does not."""
    return runtime.server_type == "triton"


def _get(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": ADAPTER_HEALTH_PORT}}
