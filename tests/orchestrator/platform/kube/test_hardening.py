"""What containers are denied."""

from __future__ import annotations

from orchestrator.platform.kube.hardening import container_security, pod_security


def test_each_field_that_is_said_counts_and_the_others_stay() -> None:
    """To allow one thing is not to allow all."""
    allowed = container_security({"capabilities": {"add": ["IPC_LOCK"]}})
    assert allowed == container_security() | {"capabilities": {"add": ["IPC_LOCK"]}}


def test_a_user_is_named_only_when_asked_for() -> None:
    """OpenShift refuses pods that name one outside of their namespace's range."""
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & pod_security(None).keys()
    assert pod_security(1001) == pod_security(None) | {"runAsUser": 1001, "runAsGroup": 1001, "fsGroup": 1001}
