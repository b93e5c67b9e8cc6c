"""
Pods as tests want them: hardened as the product's own are, under a user that no image knows.
"""

from __future__ import annotations

from typing import Any

from tests.cluster.node.users import RANDOM_UID


def pod(name: str, image: str, *argv: str, command: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
    """A pod of one container `main`; it may write to /tmp and nowhere else. `options` are of the container."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        **options,
    }
    if command:
        container["command"] = list(command)
    if argv:
        container["args"] = list(argv)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": RANDOM_UID,
                "runAsGroup": 0,
                "fsGroup": RANDOM_UID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }
