"""
ServingRuntimes of a user's: copies of MLServer's with another name, and with less to ask for.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from tests.cluster.node import images

Object = dict[str, Any]

#: Environment in which no Python starts: its container crashes, and crashes again.
BROKEN: Final = [{"name": "PYTHONHOME", "value": "/nonexistent"}]
_MIB: Final = 1 << 20


def copied(
    builtin: Object,
    name: str,
    *,
    memory_mib: int = 1024,
    for_models_mib: int = 768,
    image: str = "",
    adapter_env: list[dict[str, str]] | None = None,
    server_env: list[dict[str, str]] | None = None,
    **spec: Any,
) -> Object:
    """A copy of `mlserver-0.x` that has to be named, sees sklearn only, and has so much memory; `spec` is added."""
    made: Object = {
        "apiVersion": builtin["apiVersion"],
        "kind": builtin["kind"],
        "metadata": {"name": name},
        "spec": copy.deepcopy(builtin["spec"]),
    }
    given = made["spec"]
    given["supportedModelFormats"] = [{"name": "sklearn", "version": "1", "autoSelect": False}]
    given["builtInAdapter"]["memBufferBytes"] = (memory_mib - for_models_mib) * _MIB
    given["builtInAdapter"]["env"] = adapter_env or []
    server = given["containers"][0]
    server["image"] = image or images.MLSERVER.reference()
    server["resources"] = {"requests": {"cpu": "50m"}, "limits": {"memory": f"{memory_mib}Mi"}}
    server["env"] = [*server.get("env", ()), *(server_env or [])]
    given.update(spec)
    return made
