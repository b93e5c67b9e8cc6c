"""
From a ServingRuntime to the pods of its pool.

What a ServingRuntime may say is KServe's schema; all of it is passed on, and
completed with what makes a pod of ours: the adapter, the volumes that the two
share, and what the pod is denied. Names of ours begin with `wml-`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.platform.kube.adapter_container import (
    ADAPTER,
    ADAPTER_TMP_VOLUME,
    MODELS_VOLUME,
    TLS_VOLUME,
    adapter_container,
    shares_processes,
)
from orchestrator.platform.kube.hardening import Raw, container_security, pod_security
from orchestrator.platform.kube.names import PREFIX, RUNTIME_ACCOUNT, TLS_SECRETS
from orchestrator.platform.kube.pod_settings import PodSettings
from orchestrator.platform.kube.pool_names import ANNOTATION_RUNTIME, pool_labels, selector_labels
from orchestrator.platform.kube.server_container import (
    MLSERVER_DIRECTORY,
    MLSERVER_VOLUME,
    SHM_VOLUME,
    TMP_VOLUME,
    containers,
    server_name,
    server_port,
)

#: On a pod: where its server takes requests.
ANNOTATION_PORT: Final = f"{PREFIX}/server-port"

#: Of a ServingRuntime's pod, as they are.
_PASSED_ON: Final = ("nodeSelector", "affinity", "imagePullSecrets", "hostIPC")
#: A node that has been away for so long has its pods replaced, where Kubernetes' own default is five minutes: what they
#: hold is in memory, and fetched again.
_NODE_PATIENCE_S: Final = 30
_NODE_TAINTS: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
#: Triton's Python backend talks to its processes through /dev/shm. It counts as memory of who writes: not all of it.
_SHM_PART: Final = 4
#: Of volumes to which what is ours writes some files or none. A pod over such a limit is evicted: the models' directory,
#: which grows with them, and the server's own /tmp have none.
_LITTLE: Final = "64Mi"


def pod_template(runtime: ServingRuntime, settings: PodSettings) -> Raw:
    """A PodTemplateSpec. Raises what a misshapen ServingRuntime raises."""
    said: Mapping[str, Any] = runtime.raw["spec"]
    port = server_port(runtime)
    # The server's own files, for its repository: it ends before the sidecar starts.
    first = [_files(settings)] if runtime.server_type == "mlserver" else []
    spec: Raw = {
        "serviceAccountName": RUNTIME_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.grace_s,
        "securityContext": pod_security(settings.run_as_user),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector_labels(runtime.name)},
            }
        ],
        **{key: said[key] for key in _PASSED_ON if said.get(key)},
        "tolerations": _tolerations(said.get("tolerations") or ()),
        "initContainers": [*first, adapter_container(runtime, settings, server=server_name(runtime), server_port=port)],
        "containers": containers(runtime),
        "volumes": [*_volumes(runtime), *(said.get("volumes") or ())],
    }
    if shares_processes(runtime):
        spec["shareProcessNamespace"] = True
    return {
        "metadata": {
            "labels": {**_texts(said.get("labels")), **pool_labels(runtime.name)},
            "annotations": {
                "kubectl.kubernetes.io/default-container": server_name(runtime),
                **_texts(said.get("annotations")),
                ANNOTATION_RUNTIME: runtime.name,
                ANNOTATION_PORT: str(port),
            },
        },
        "spec": spec,
    }


def _tolerations(said: Iterable[Mapping[str, Any]]) -> list[Raw]:
    """What the ServingRuntime says, and for how long a node may be away unless it says that, too."""
    theirs = [dict(each) for each in said]
    # Without a key: of every taint.
    keys = {each.get("key", "") for each in theirs if each.get("effect", "NoExecute") in ("", "NoExecute")}
    ours = [key for key in _NODE_TAINTS if not keys & {key, ""}]
    away: Raw = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _NODE_PATIENCE_S}
    return [*theirs, *({"key": key, **away} for key in ours)]


def _volumes(runtime: ServingRuntime) -> list[Raw]:
    volumes: list[Raw] = [
        {"name": MODELS_VOLUME, "emptyDir": {}},
        {"name": TMP_VOLUME, "emptyDir": {}},
        {"name": ADAPTER_TMP_VOLUME, "emptyDir": {"sizeLimit": _LITTLE}},
        {"name": TLS_VOLUME, "secret": {"secretName": TLS_SECRETS[ADAPTER]}},
    ]
    if runtime.server_type == "mlserver":
        volumes.append({"name": MLSERVER_VOLUME, "emptyDir": {"sizeLimit": _LITTLE}})
    else:
        size = runtime.memory_bytes // _SHM_PART
        volumes.append({"name": SHM_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": str(size)}})
    return volumes


def _files(settings: PodSettings) -> Raw:
    container: Raw = {
        "name": MLSERVER_VOLUME,
        "image": settings.image,
        "command": ["python", "-m", "orchestrator.platform.kube.provide", MLSERVER_DIRECTORY],
        "env": [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [{"name": MLSERVER_VOLUME, "mountPath": MLSERVER_DIRECTORY}],
    }
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    return container


def _texts(value: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, Mapping) else {}
