"""
What every container of a runtime pod is denied, unless its ServingRuntime says otherwise.

Together with the pod's own part this is Pod Security `restricted`, and more: the
root file system is read-only. Which user a pod names, and when, is in runtime_user.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Raw = dict[str, Any]

_CONTAINER: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def container_security(said: Mapping[str, Any] | None = None) -> Raw:
    """A container's securityContext; `said` is the ServingRuntime's own, each field of which counts."""
    return {**_CONTAINER, **(said or {})}


def pod_security(run_as_user: int | None) -> Raw:
    """A pod's securityContext. `run_as_user` None: nobody is named."""
    context: Raw = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if run_as_user is not None:
        # One user for server and adapter: neither leaves files that the other cannot remove.
        context |= {"runAsUser": run_as_user, "runAsGroup": run_as_user, "fsGroup": run_as_user}
    return context
