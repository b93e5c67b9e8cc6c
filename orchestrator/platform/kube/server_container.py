"""
The model server's container in a runtime pod: what its ServingRuntime says, and what makes it one of ours.

Whatever the ServingRuntime says counts; only the preStop hook is always ours,
since it is what hands models over before the server ends. Models are mounted
read-only: they are the adapter's to change. What a server writes it writes to
/tmp, which is its own; a user that has no home has that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from orchestrator.domain.serving_runtime import ServingRuntime, server_container
from orchestrator.platform.kube.adapter_container import MODELS_VOLUME
from orchestrator.platform.kube.hardening import Raw, container_security
from orchestrator.platform.kube.names import ADAPTER_DRAIN_PORT, ADAPTER_HEALTH_PORT, ADAPTER_PORT, MODELS_DIRECTORY
from orchestrator.platform.server_environment import MLSERVER, TRITON, placed_mlserver

TMP_VOLUME: Final = "wml-tmp"
SHM_VOLUME: Final = "wml-shm"
#: What of ours runs inside MLServer, and where it is.
MLSERVER_VOLUME: Final = "wml-mlserver"
MLSERVER_DIRECTORY: Final = "/opt/wml-serving/mlserver"
SHM_DIRECTORY: Final = "/dev/shm"

DEFAULT_PORT: Final = 8001

#: All containers of a pod share its ports.
_ADAPTERS: Final = tuple(map(str, (ADAPTER_PORT, ADAPTER_HEALTH_PORT, ADAPTER_DRAIN_PORT)))

#: Said for every container. A random user has no home, and none can write one.
_EVERYWHERE: Final = {"HOME": "/tmp"}


def server_port(runtime: ServingRuntime) -> int:
    """Where the server takes gRPC."""
    port = _mapping(_mapping(runtime.raw.get("spec")).get("builtInAdapter")).get("runtimeManagementPort")
    return port if isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536 else DEFAULT_PORT


def taken_port(runtime: ServingRuntime) -> str:
    """Which field gives the server a port that is the adapter's, in words; "" if none does."""
    _, _, http = str(_mapping(runtime.raw.get("spec")).get("httpDataEndpoint") or "").rpartition(":")
    said = {"builtInAdapter.runtimeManagementPort": str(server_port(runtime)), "httpDataEndpoint": http}
    for name, port in said.items():
        if port in _ADAPTERS:
            return f"spec.{name}: {port} is the adapter's, which has {', '.join(_ADAPTERS)}: use another port"
    return ""


def server_name(runtime: ServingRuntime) -> str:
    """Of its container."""
    said = runtime.raw["spec"]["containers"]
    return str(said[server_container(said, runtime.server_type)]["name"])


def containers(runtime: ServingRuntime) -> list[Raw]:
    """All of a ServingRuntime's."""
    said = [dict(c) for c in runtime.raw["spec"]["containers"]]
    server = server_container(said, runtime.server_type)
    return [_server(c, runtime) if index == server else _confined(c, _EVERYWHERE, []) for index, c in enumerate(said)]


def _server(said: Raw, runtime: ServingRuntime) -> Raw:
    mounts = [{"name": MODELS_VOLUME, "mountPath": MODELS_DIRECTORY, "readOnly": True}]
    env = dict(_EVERYWHERE)
    if runtime.server_type == "mlserver":
        mounts.append({"name": MLSERVER_VOLUME, "mountPath": MLSERVER_DIRECTORY, "readOnly": True})
        env |= MLSERVER | placed_mlserver(server_port(runtime), "/tmp/mlserver")
    else:
        mounts.append({"name": SHM_VOLUME, "mountPath": SHM_DIRECTORY})
        env |= TRITON
    container = _confined(said, env, mounts)
    health = {"httpGet": {"path": "/livez", "port": ADAPTER_HEALTH_PORT}}
    container["lifecycle"] = {
        **_mapping(said.get("lifecycle")),
        "preStop": {"httpGet": {"path": "/drain", "port": ADAPTER_DRAIN_PORT}},
    }
    # It is the adapter that tells a server which has hung from one that loads; and a minute without an adapter, which
    # is being started again, proves nothing. Nothing is handed over from a server that has hung: it ends at once.
    container.setdefault(
        "livenessProbe",
        {**health, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6, "terminationGracePeriodSeconds": 5},
    )
    if runtime.server_type == "mlserver":
        container["env"] = _with_path(container["env"])
    return container


def _confined(said: Raw, env: Mapping[str, str], mounts: Iterable[Raw]) -> Raw:
    """A container of the ServingRuntime's with what it does not say itself."""
    own = [dict(m) for m in said.get("volumeMounts") or ()]
    taken = {str(m.get("mountPath")).rstrip("/") for m in own}
    wanted = [*mounts, {"name": TMP_VOLUME, "mountPath": "/tmp"}]
    named = {e.get("name") for e in said.get("env") or ()}
    return {
        **said,
        "env": [*({"name": k, "value": v} for k, v in env.items() if k not in named), *(said.get("env") or ())],
        "volumeMounts": [*(m for m in wanted if m["mountPath"] not in taken), *own],
        "securityContext": container_security(said.get("securityContext")),
    }


def _with_path(env: list[Raw]) -> list[Raw]:
    """Ours comes first; one that is not a literal is the user's to complete."""
    for index, entry in enumerate(env):
        if entry.get("name") == "PYTHONPATH":
            if "valueFrom" in entry:
                return env
            path = ":".join(p for p in (MLSERVER_DIRECTORY, entry.get("value")) if p)
            return [*env[:index], {"name": "PYTHONPATH", "value": path}, *env[index + 1 :]]
    return [{"name": "PYTHONPATH", "value": MLSERVER_DIRECTORY}, *env]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
