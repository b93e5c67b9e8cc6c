"""The manifests say what the code relies on, and nothing that a restricted namespace or a foreign cluster refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from orchestrator.activator.settings import ActivatorSettings
from orchestrator.mesh import readiness
from orchestrator.platform.kube import names

MANIFESTS: Final = Path(__file__).resolve().parents[4] / "manifests"
#: The Deployment of the mesh pods.
MESH_NAME: Final = f"{names.PRODUCT}-{names.MESH}"

Object = dict[str, Any]


def read(path: Path) -> list[Object]:
    """All objects of a file, those of a List one by one."""
    documents = yaml.safe_load_all(path.read_text())
    return [found for document in documents for found in document.get("items", [document])]


#: All that `kubectl apply -f manifests/` applies.
OBJECTS: Final = [found for path in sorted(MANIFESTS.glob("*.yaml")) for found in read(path)]
BY_ID: Final = {(o["kind"], o["metadata"]["name"]): o for o in OBJECTS}


def pod_spec(name: str) -> Object:
    """Of a Deployment."""
    spec: Object = BY_ID["Deployment", name]["spec"]["template"]["spec"]
    return spec


def containers() -> Iterator[Any]:
    """Every container of ours, with its pod's name."""
    for name in (names.ORCHESTRATOR_NAME, MESH_NAME):
        spec = pod_spec(name)
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            yield pytest.param(container, id=f"{name}/{container['name']}")


def container(deployment: str, name: str) -> Object:
    spec = pod_spec(deployment)
    return next(c for c in [*spec.get("initContainers", ()), *spec["containers"]] if c["name"] == name)


def ports(found: Object) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in found["ports"]}


def test_ports_are_where_others_look() -> None:
    """Containers listen where Services, probes and the code say."""
    assert ports(container(names.ORCHESTRATOR_NAME, "orchestrator")) == {
        "control": names.CONTROL_PORT,
        "admin": names.ADMIN_PORT,
    }
    assert ports(container(MESH_NAME, "envoy")) == {"grpc": names.MESH_PORT, "ready": names.MESH_READY_PORT}
    assert ports(container(MESH_NAME, "activator")) == {
        "activator": names.ACTIVATOR_HEALTH_PORT,
        "drain": names.ACTIVATOR_DRAIN_PORT,
    }
    drain = container(MESH_NAME, "envoy")["lifecycle"]["preStop"]["httpGet"]
    assert drain == {"path": "/drain", "port": names.ACTIVATOR_DRAIN_PORT}


def probed(found: Object) -> dict[str, tuple[str, int]]:
    """By kind, what a kubelet asks of the container; it knows ports by their names in that container alone."""
    asked = {
        kind: found[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe") if kind in found
    }
    return {kind: (get["path"], ports(found)[get["port"]]) for kind, get in asked.items()}


def test_each_container_is_probed_where_it_answers() -> None:
    """Whether it has started, lives, and may be given work; of a mesh pod Envoy alone says the last."""
    lives = ("/healthz", names.ADMIN_PORT)
    assert probed(container(names.ORCHESTRATOR_NAME, "orchestrator")) == {
        "startupProbe": lives,
        "livenessProbe": lives,
        "readinessProbe": ("/readyz", names.ADMIN_PORT),
    }
    lives = ("/healthz", names.ACTIVATOR_HEALTH_PORT)
    assert probed(container(MESH_NAME, "activator")) == {"startupProbe": lives, "livenessProbe": lives}
    assert probed(container(MESH_NAME, "envoy")) == {"readinessProbe": (readiness.PATH, names.MESH_READY_PORT)}


MESH_ALONE: Final = [
    {"podSelector": {"matchLabels": {names.LABEL_NAME: names.PRODUCT, names.LABEL_COMPONENT: names.MESH}}}
]


def open_ports(component: str) -> set[int]:
    """Of a pod of that kind, for others than the mesh: by the policies of the installation and of the monitoring."""
    opened: set[int] = set()
    for policy in [*OBJECTS, *monitoring()]:
        if policy["kind"] != "NetworkPolicy":
            continue
        if policy["spec"]["podSelector"]["matchLabels"].get(names.LABEL_COMPONENT, component) != component:
            continue
        for rule in policy["spec"]["ingress"]:
            if rule.get("from") != MESH_ALONE:
                assert all("endPort" not in port for port in rule["ports"])
                opened |= {port["port"] for port in rule["ports"]}
    return opened


def monitoring() -> Iterator[Object]:
    for path in sorted((MANIFESTS / "monitoring").glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def test_nobody_may_drain_a_pod_but_its_kubelet() -> None:
    """It takes the pod out of service: its port is nobody's by any policy, while scrapes are let in."""
    assert names.ACTIVATOR_DRAIN_PORT not in open_ports(names.MESH)
    assert {names.MESH_PORT, names.ACTIVATOR_HEALTH_PORT} <= open_ports(names.MESH)
    assert names.ADAPTER_DRAIN_PORT not in open_ports(names.RUNTIME)
    assert {names.ADAPTER_PORT, names.ADAPTER_HEALTH_PORT} <= open_ports(names.RUNTIME)
    policy = BY_ID["NetworkPolicy", f"{names.PRODUCT}-{names.RUNTIME}"]["spec"]
    assert [rule.get("ports") for rule in policy["ingress"]] == [
        None,
        [{"protocol": "TCP", "port": names.ADAPTER_PORT}],
    ]


def test_services_are_headless_and_find_their_pods() -> None:
    """A balanced client, and an Envoy that looks for the leader, need every address."""
    for name, component in ((names.PRODUCT, names.MESH), (names.ORCHESTRATOR_NAME, names.ORCHESTRATOR)):
        spec = BY_ID["Service", name]["spec"]
        assert spec["clusterIP"] == "None"
        assert spec["selector"] == {names.LABEL_NAME: names.PRODUCT, names.LABEL_COMPONENT: component}
    assert BY_ID["Service", names.PRODUCT]["spec"]["ports"][0]["port"] == names.MESH_PORT
    assert {p["name"]: p["port"] for p in BY_ID["Service", names.ORCHESTRATOR_NAME]["spec"]["ports"]} == {
        "control": names.CONTROL_PORT,
        "admin": names.ADMIN_PORT,
    }
    leader = f"--leader={names.ORCHESTRATOR_NAME}:{names.CONTROL_PORT}"
    assert leader in container(MESH_NAME, "bootstrap")["args"]


def test_certificates_are_mounted_where_they_are_read() -> None:
    """The mesh's own, not another role's."""
    [volume] = [v for v in pod_spec(MESH_NAME)["volumes"] if v["name"] == "tls"]
    assert volume["secret"]["secretName"] == names.TLS_SECRETS[names.MESH]
    for name in ("envoy", "activator"):
        mounts = {m["name"]: m["mountPath"] for m in container(MESH_NAME, name)["volumeMounts"]}
        assert mounts["tls"] == names.TLS_DIRECTORY


def test_secrets_are_named() -> None:
    """Nothing of other Secrets can be read."""
    rules = [r for r in BY_ID["Role", names.ORCHESTRATOR_NAME]["rules"] if "secrets" in r["resources"]]
    named = {name for rule in rules for name in rule.get("resourceNames", ())}
    assert named == {"storage-config", names.CA_SECRET, *names.TLS_SECRETS.values()}
    assert [rule["verbs"] for rule in rules if "resourceNames" not in rule] == [["create"]]


def test_nothing_is_wild() -> None:
    """Whatever has a right has it to kinds and verbs that are named."""
    for found in OBJECTS:
        for rule in found.get("rules", ()):
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]


def test_only_the_definitions_files_need_an_administrator() -> None:
    """Each has the CRD and what of its kind a namespace's own roles get; whatever else there is has the label to pick it by."""
    definitions = [document for path in sorted(MANIFESTS.glob("*-crd.yaml")) for document in read(path)]
    clusters = {"CustomResourceDefinition", "ClusterRole"}
    assert {o["kind"] for o in definitions} == clusters
    rest = [o for o in OBJECTS if o not in definitions]
    assert {o["kind"] for o in rest} & {*clusters, "ClusterRoleBinding", "Namespace"} == set()
    assert {o["metadata"]["labels"][names.LABEL_NAME] for o in rest} == {names.PRODUCT}
    assert all(names.LABEL_NAME not in o["metadata"].get("labels", {}) for o in definitions)
    assert {o["roleRef"]["kind"] for o in rest if o["kind"] == "RoleBinding"} == {"Role"}


def test_a_namespaces_roles_include_the_models() -> None:
    """What each of them has, wherever our definition of ServingRuntime is applied."""
    models, runtimes, status = "trainedmodels", "servingruntimes", "trainedmodels/status"
    view = {(kind, verb) for kind in (models, runtimes) for verb in ("get", "list", "watch")}
    changes = ("create", "update", "patch", "delete", "deletecollection")
    edit = view | {(kind, verb) for kind in (models, runtimes) for verb in changes}
    assert aggregated("view", OBJECTS) == view
    assert aggregated("edit", OBJECTS) == edit
    assert aggregated("admin", OBJECTS) == edit | {(status, "patch")}


def test_a_namespaces_admin_may_grant_the_role_beside_kserve() -> None:
    """Nobody grants what he has not, and KServe's own definition gives nobody a right to ServingRuntimes."""
    needed = {
        (resource, verb)
        for rule in BY_ID["Role", names.ORCHESTRATOR_NAME]["rules"]
        if {*rule["apiGroups"]} <= {"serving.kubeflow.org", "serving.kserve.io"}
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert needed <= aggregated("admin", read(MANIFESTS / "trainedmodel-crd.yaml"))


def aggregated(role: str, found: list[Object]) -> set[tuple[str, str]]:
    """What these objects add to a role that Kubernetes brings along: resource and verb."""
    label = f"rbac.authorization.k8s.io/aggregate-to-{role}"
    return {
        (resource, verb)
        for each in found
        if each["kind"] == "ClusterRole" and each["metadata"].get("labels", {}).get(label) == "true"
        for rule in each["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("found", list(containers()))
def test_containers_are_restricted(found: Object) -> None:
    """As Pod Security's strictest level asks, with a root file system that cannot be written; no user is chosen."""
    assert found["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert found["resources"]["limits"].keys() == {"memory"}
    assert found["resources"]["requests"].keys() == {"cpu", "memory"}


def test_pods_are_restricted() -> None:
    """In what is said of all containers at once."""
    for name in (names.ORCHESTRATOR_NAME, MESH_NAME):
        security = pod_spec(name)["securityContext"]
        assert security == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod_spec(MESH_NAME)["automountServiceAccountToken"] is False


def test_each_image_is_written_once() -> None:
    """Whoever mirrors images edits one file, and no image is forgotten."""
    texts = {path.name: path.read_text() for path in MANIFESTS.glob("*.yaml")}
    written = re.findall(r"^\s*image:\s*(?:&\w+\s+)?([\w.-]+[./][^\s*]+)$", texts["workloads.yaml"], re.MULTILINE)
    used = {c.values[0]["image"] for c in containers()}
    assert len(written) == len(set(written))
    assert set(written) == used
    environment = container(names.ORCHESTRATOR_NAME, "orchestrator")["env"]
    product = container(names.ORCHESTRATOR_NAME, "orchestrator")["image"]
    assert {"name": "IMAGE", "value": product} in environment
    for file, text in texts.items():
        assert file == "workloads.yaml" or not any(image in text for image in used), file


def test_objects_go_where_they_are_applied() -> None:
    """`-n` decides; an object that names a namespace would be refused in another."""
    assert len(BY_ID) == len(OBJECTS)
    assert [o["metadata"]["name"] for o in OBJECTS if "namespace" in o["metadata"]] == []


def test_no_object_needs_another_of_them_first() -> None:
    """A custom object in the same apply as its CRD would race it."""
    own = {
        (crd["spec"]["group"], crd["spec"]["names"]["kind"])
        for crd in OBJECTS
        if crd["kind"] == "CustomResourceDefinition"
    }
    assert {(o["apiVersion"].split("/")[0], o["kind"]) for o in OBJECTS} & own == set()
    files = [p.name for p in MANIFESTS.glob("*.yaml") if "kind: CustomResourceDefinition" in p.read_text()]
    assert sorted(files) == ["servingruntime-crd.yaml", "trainedmodel-crd.yaml"]


def test_a_mesh_pod_ends_after_its_listeners_and_before_its_grace_is_over() -> None:
    """What connects while they are open would meet the end of the process."""
    arguments = container(MESH_NAME, "envoy")["args"]
    listens_s = float(arguments[arguments.index("--drain-time-s") + 1])
    settings = ActivatorSettings(listen="unix:/a", leader=("unix:/b",))
    grace_s = pod_spec(MESH_NAME)["terminationGracePeriodSeconds"]
    assert listens_s < settings.drain_least_s < settings.drain_most_s < grace_s
