"""The server's container, and what of a ServingRuntime counts in it."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.platform.kube.server_container import containers, server_name, server_port
from tests.orchestrator.platform.kube.making import make_kube_runtime

DRAIN = {"httpGet": {"path": "/drain", "port": 8087}}


def server(server_type: str = "triton", **container: Any) -> dict[str, Any]:
    [made] = containers(make_kube_runtime(server_type=server_type, container=container))
    return made


def env(container: dict[str, Any]) -> dict[str, Any]:
    names = [e["name"] for e in container["env"]]
    assert len(names) == len(set(names))
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}


def test_what_is_said_of_the_container_stays() -> None:
    """All fields, known to us or not, in the user's words."""
    said: dict[str, Any] = {
        "image": "mine:1",
        "command": ["a"],
        "args": ["b"],
        "workingDir": "/x",
        "imagePullPolicy": "Always",
        "ports": [{"containerPort": 8001}],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "livenessProbe": {"exec": {"command": ["true"]}},
        "readinessProbe": {"exec": {"command": ["true"]}},
    }
    made = server(**said)
    assert {key: made[key] for key in said} == said


def test_a_container_beside_the_server_is_confined_and_given_nothing() -> None:
    """Which of them is the server is told by its name."""
    runtime = make_kube_runtime(containers=[{"name": "beside", "image": "b:1"}, {"name": "triton", "image": "t:1"}])
    beside, made = containers(runtime)
    assert "lifecycle" not in beside
    assert [m["mountPath"] for m in beside["volumeMounts"]] == ["/tmp"]
    assert beside["securityContext"] == made["securityContext"]
    assert made["lifecycle"] == {"preStop": DRAIN}
    assert server_name(runtime) == "triton"


def test_models_are_read_only_and_tmp_is_writable() -> None:
    """The adapter alone changes models. A user's own mount of a path takes the place of ours."""
    mounts = {m["mountPath"]: m for m in server()["volumeMounts"]}
    assert mounts["/models"] == {"name": "wml-models", "mountPath": "/models", "readOnly": True}
    assert mounts.keys() == {"/models", "/tmp", "/dev/shm"}
    own = {"name": "mine", "mountPath": "/tmp/"}
    assert [m for m in server(volumeMounts=[own])["volumeMounts"] if "/tmp" in m["mountPath"]] == [own]


def test_the_users_environment_counts_before_ours() -> None:
    """Also what comes from elsewhere."""
    secret = {"secretKeyRef": {"name": "s", "key": "k"}}
    said = [{"name": "HOME", "value": "/mine"}, {"name": "TOKEN", "valueFrom": secret}]
    found = env(server(env=said))
    assert (found["HOME"], found["TOKEN"]) == ("/mine", secret)
    assert env(server())["HOME"] == "/tmp"
    parallel = [{"name": "MLSERVER_PARALLEL_WORKERS", "value": "2"}]
    assert env(server("mlserver", env=parallel))["MLSERVER_PARALLEL_WORKERS"] == "2"


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ([], "/opt/wml-serving/mlserver"),
        ([{"name": "PYTHONPATH", "value": "/mine"}], "/opt/wml-serving/mlserver:/mine"),
        ([{"name": "PYTHONPATH"}], "/opt/wml-serving/mlserver"),
        ([{"name": "PYTHONPATH", "valueFrom": {"x": "y"}}], {"x": "y"}),
    ],
)
def test_mlserver_finds_our_repository_class(said: list[dict[str, Any]], path: Any) -> None:
    """Beside the user's own modules."""
    found = env(server("mlserver", env=said))
    assert found["PYTHONPATH"] == path
    assert found["MLSERVER_MODEL_REPOSITORY_IMPLEMENTATION"] == "wml_repository.OneDirectoryEach"


def test_mlserver_writes_nowhere_but_to_tmp() -> None:
    """Its root file system is read-only."""
    found = env(server("mlserver"))
    assert [found["MLSERVER_METRICS_DIR"], found["MLSERVER_ENVIRONMENTS_DIR"]] == [
        "/tmp/mlserver/metrics",
        "/tmp/mlserver/environments",
    ]


def test_models_are_handed_over_before_the_server_ends_whatever_is_said() -> None:
    """A hook of the user's after the start stays."""
    start = {"exec": {"command": ["true"]}}
    assert server()["lifecycle"] == {"preStop": DRAIN}
    assert server(lifecycle={"postStart": start, "preStop": start})["lifecycle"] == {
        "postStart": start,
        "preStop": DRAIN,
    }


def test_a_server_that_hangs_is_restarted_at_once_when_that_is_sure() -> None:
    """By the adapter's word, that tells hanging from loading; a restart of the adapter is no such word."""
    probe = server()["livenessProbe"]
    assert probe["httpGet"] == {"path": "/livez", "port": 8086}
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60
    assert probe["terminationGracePeriodSeconds"] <= 10


def test_what_is_denied_can_be_allowed_field_by_field() -> None:
    """By who writes the ServingRuntime."""
    said = {"readOnlyRootFilesystem": False, "runAsUser": 7}
    assert server(securityContext=said)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": False,
        "runAsUser": 7,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize(("said", "port"), [({}, 8001), ({"runtimeManagementPort": 9000}, 9000)])
def test_the_port_is_the_one_that_the_runtime_names(said: dict[str, int], port: int) -> None:
    """MLServer is told; Triton's command line is the ServingRuntime's own."""
    runtime = make_kube_runtime(server_type="mlserver", adapter=said)
    assert server_port(runtime) == port
    assert env(containers(runtime)[0])["MLSERVER_GRPC_PORT"] == str(port)
