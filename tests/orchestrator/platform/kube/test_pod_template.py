"""From a ServingRuntime to its pods."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.platform.builtin import builtin_runtimes
from orchestrator.platform.kube.adapter_container import REPOSITORY
from orchestrator.platform.kube.names import LABEL_RUNTIME, RUNTIME_ACCOUNT, TLS_SECRETS
from orchestrator.platform.kube.pod_settings import PodSettings
from orchestrator.platform.kube.pod_template import pod_template
from tests.orchestrator.platform.kube.making import SETTINGS, make_kube_runtime
from tests.orchestrator.platform.kube.schema import unknown_fields

SERVERS = ("triton", "mlserver")
#: Of volumes, in Pod Security `restricted`.
ALLOWED = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def template(server_type: str = "triton", settings: PodSettings = SETTINGS, **fields: Any) -> dict[str, Any]:
    return pod_template(make_kube_runtime(server_type=server_type, **fields), settings)


@pytest.mark.parametrize("server_type", SERVERS)
def test_all_of_it_is_known_to_kubernetes(server_type: str) -> None:
    """A misspelt field would be dropped without a word."""
    assert unknown_fields(template(server_type), "V1PodTemplateSpec") == []
    assert unknown_fields({"spec": {"nodeSelektor": {}}}, "V1PodTemplateSpec") == [".spec.nodeSelektor"]


def test_the_built_in_runtimes_serve_where_the_adapter_loads() -> None:
    """Their command lines and ours are in different files."""
    for runtime in builtin_runtimes("ns").values():
        made = pod_template(runtime, SETTINGS)
        [server] = made["spec"]["containers"]
        said = " ".join([*server["command"], *server.get("args", [])])
        assert REPOSITORY in said
        assert unknown_fields(made, "V1PodTemplateSpec") == []


@pytest.mark.parametrize("server_type", SERVERS)
@pytest.mark.parametrize("user", [None, 1001])
def test_it_passes_pod_security_restricted(server_type: str, user: int | None) -> None:
    """Every container of it; and more: no root file system is written, no token is there."""
    settings = PodSettings(namespace="ns", image="x", run_as_user=user)
    beside = {"name": "beside", "image": "x"}
    spec = template(server_type, settings)["spec"]
    spec["containers"] += pod_template(make_kube_runtime(containers=[beside]), settings)["spec"]["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["securityContext"].get("runAsUser") == user
    assert not {"hostIPC", "hostPID", "hostNetwork"} & spec.keys()
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPort" in port for port in container.get("ports", ()))
    for volume in spec["volumes"]:
        assert volume.keys() - {"name"} <= ALLOWED
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == (RUNTIME_ACCOUNT, False)


@pytest.mark.parametrize("server_type", SERVERS)
def test_every_mount_has_its_volume(server_type: str) -> None:
    """And no volume is nobody's."""
    spec = template(server_type)["spec"]
    mounted = {m["name"] for c in (*spec["initContainers"], *spec["containers"]) for m in c["volumeMounts"]}
    assert mounted == {v["name"] for v in spec["volumes"]}
    paths = [[m["mountPath"] for m in c["volumeMounts"]] for c in spec["containers"]]
    assert all(len(each) == len(set(each)) for each in paths)


def test_the_server_has_no_secret_of_the_adapters() -> None:
    """Models are code of users'."""
    spec = template()["spec"]
    holders = [c["name"] for c in (*spec["initContainers"], *spec["containers"]) if "wml-tls" in str(c["volumeMounts"])]
    assert holders == ["adapter"]
    assert {"name": "wml-tls", "secret": {"secretName": TLS_SECRETS["adapter"]}} in spec["volumes"]


def test_what_a_serving_runtime_says_of_its_pod_is_passed_on() -> None:
    """KServe's schema; labels and annotations of ours cannot be replaced."""
    said: dict[str, Any] = {
        "nodeSelector": {"gpu": "a100"},
        "affinity": {"nodeAffinity": {}},
        "imagePullSecrets": [{"name": "registry"}],
        "hostIPC": True,
    }
    made = template(
        **said,
        volumes=[{"name": "cache", "emptyDir": {}}],
        labels={"team": "a", LABEL_RUNTIME: "mine"},
        annotations={"note": "1"},
    )
    assert {key: made["spec"][key] for key in said} == said
    assert {"name": "cache", "emptyDir": {}} in made["spec"]["volumes"]
    assert made["metadata"]["labels"]["team"] == "a"
    assert made["metadata"]["labels"][LABEL_RUNTIME] == "triton-2.x"
    assert made["metadata"]["annotations"]["note"] == "1"
    assert unknown_fields(made, "V1PodTemplateSpec") == []


NODE_AWAY = [
    {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
    for taint in ("not-ready", "unreachable")
]
GPU = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 900}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], NODE_AWAY),
        ([GPU], [GPU, *NODE_AWAY]),
        ([UNREACHABLE], [UNREACHABLE, NODE_AWAY[0]]),
        ([{"operator": "Exists"}], [{"operator": "Exists"}]),
    ],
)
def test_a_node_may_be_away_for_as_long_as_the_serving_runtime_says(
    said: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> None:
    """Half a minute if it does not: Kubernetes would wait five, with requests that nobody answers."""
    assert template(tolerations=said)["spec"]["tolerations"] == expected


def test_tritons_processes_are_seen_by_the_adapter_and_have_memory_to_share() -> None:
    """/dev/shm is memory, of the container that writes it: a part of what that has."""
    spec = template()["spec"]
    assert spec["shareProcessNamespace"]
    [shm] = [v for v in spec["volumes"] if v["name"] == "wml-shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": str((2 << 30) // 4)}
    assert "shareProcessNamespace" not in template("mlserver")["spec"]


@pytest.mark.parametrize("server_type", SERVERS)
def test_a_volume_has_a_limit_where_what_is_in_it_is_ours_and_little(server_type: str) -> None:
    """What is over its limit has its pod evicted: models are bounded by memory, and a server writes what it likes."""
    volumes = {v["name"]: v["emptyDir"] for v in template(server_type)["spec"]["volumes"] if "emptyDir" in v}
    assert volumes["wml-models"] == volumes["wml-tmp"] == {}
    assert {name for name, said in volumes.items() if said == {"sizeLimit": "64Mi"}} == {
        "wml-adapter-tmp",
        *(["wml-mlserver"] if server_type == "mlserver" else []),
    }


def test_mlserver_gets_our_file_before_it_starts() -> None:
    """From our image, into a volume: its own image knows nothing of us. The sidecar comes after."""
    spec = template("mlserver")["spec"]
    first, adapter = spec["initContainers"]
    assert first["command"] == ["python", "-m", "orchestrator.platform.kube.provide", "/opt/wml-serving/mlserver"]
    assert (first["image"], "restartPolicy" in first) == (SETTINGS.image, False)
    assert adapter["name"] == "adapter"
    [server] = spec["containers"]
    assert {"name": "PYTHONPATH", "value": "/opt/wml-serving/mlserver"} in server["env"]


def test_pods_are_spread_and_have_time_to_hand_over() -> None:
    """More than the adapter takes for it."""
    spec = template()["spec"]
    assert spec["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "ScheduleAnyway"
    assert spec["terminationGracePeriodSeconds"] == SETTINGS.grace_s > SETTINGS.drain_s
