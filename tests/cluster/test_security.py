"""
What the pods of the product may do: of the API server, of their node, and of each other.

Everything is compared with what is written here, so that more is a failure as
well as less.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
import pytest

from protos import demand_pb2, fleet_pb2
from tests.cluster.cluster import Cluster, KubectlError
from tests.cluster.node.users import RANDOM_UID
from tests.cluster.product import Product
from tests.standalone.models import Models

#: Of the pods that the warm model keeps.
RUNTIME: Final = "wmlserving.ai.ibm.com/runtime=mlserver-0.x"
OURS: Final = "app.kubernetes.io/name=wml-serving"
BUILT_IN: Final = ("mlserver-0.x", "triton-2.x")
ROLES: Final = ("orchestrator", "mesh", "adapter")

#: What the orchestrator may do in its namespace: group/resource (:name) → verbs.
ORCHESTRATOR_MAY: Final = {
    "serving.kubeflow.org/trainedmodels": "get list watch",
    "serving.kubeflow.org/trainedmodels/status": "patch",
    "serving.kserve.io/servingruntimes": "create get list patch watch",
    "/secrets": "create",
    "/secrets:storage-config": "list watch",
    "/secrets:wml-serving-ca": "get update",
    "/secrets:wml-serving-orchestrator-tls": "get update",
    "/secrets:wml-serving-mesh-tls": "get update",
    "/secrets:wml-serving-adapter-tls": "get update",
    "/configmaps:wml-serving-config": "list watch",
    "/pods": "list watch",
    "/events": "create patch",
    "apps/deployments": "create delete get list patch watch",
    "policy/poddisruptionbudgets": "create delete list patch watch",
    "coordination.k8s.io/leases": "create",
    "coordination.k8s.io/leases:wml-serving-orchestrator": "get update",
}

Rights = frozenset[tuple[str, str]]


def rights(cluster: Cluster, account: str, namespace: str) -> Rights:
    """What and verb, of all that a service account of the product's namespace may do in a namespace."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    who = f"--as=system:serviceaccount:{cluster.namespace}:{account}"
    status = json.loads(cluster.kubectl("create", "--raw", path, who, "-f", "-", stdin=json.dumps(review)))["status"]
    assert not status["incomplete"]
    found = {
        (url, verb) for rule in status["nonResourceRules"] for url in rule["nonResourceURLs"] for verb in rule["verbs"]
    }
    for rule in status["resourceRules"]:
        names = [f":{name}" for name in rule.get("resourceNames") or ()] or [""]
        found |= {
            (f"{group}/{resource}{name}", verb)
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for name in names
            for verb in rule["verbs"]
        }
    return frozenset(found)


def test_the_orchestrator_may_do_what_it_needs_and_no_more(product: Product) -> None:
    """In its namespace, beyond what any service account may; elsewhere nothing."""
    cluster = product.cluster
    anyone = rights(cluster, "default", cluster.namespace)
    mine = rights(cluster, "wml-serving-orchestrator", cluster.namespace) - anyone
    assert mine == {(what, verb) for what, verbs in ORCHESTRATOR_MAY.items() for verb in verbs.split()}
    assert rights(cluster, "wml-serving-orchestrator", "kube-system") == rights(cluster, "default", "kube-system")


@pytest.fixture(scope="module")
def whole(warm: Product, models: Models) -> Iterator[Product]:
    """Both servers run, and go on as long as this is used."""
    with warm.model("secure-onnx", models.uri("probe-1.onnx"), "onnx"):
        warm.until_ready("secure-onnx", within=180)
        yield warm


def lasting(cluster: Cluster) -> list[dict[str, Any]]:
    """Our pods, but for those of other runtimes: nothing keeps them while they are looked at."""
    pods = cluster.pods(OURS)
    return [p for p in pods if p["metadata"]["labels"].get("wmlserving.ai.ibm.com/runtime", BUILT_IN[0]) in BUILT_IN]


@pytest.mark.parametrize("role", ["mesh", "runtime"])
def test_the_others_may_do_nothing(whole: Product, role: str) -> None:
    """Their accounts have no right that not everyone has, and their pods no token to use it with."""
    cluster, account = whole.cluster, f"wml-serving-{role}"
    assert rights(cluster, account, cluster.namespace) == rights(cluster, "default", cluster.namespace)
    pods = [p for p in lasting(cluster) if p["metadata"]["labels"]["app.kubernetes.io/component"] == role]
    assert pods
    for pod in pods:
        assert pod["spec"]["serviceAccountName"] == account
        for container in containers(pod):
            with pytest.raises(KubectlError, match="No such file"):
                inside(cluster, pod, container, "ls", "/var/run/secrets/kubernetes.io")


def test_every_container_is_confined(whole: Product) -> None:
    """As the kernel says: no root, no capability, no new privilege, a filter of system calls, nothing to write to."""
    cluster = whole.cluster
    space = cluster.get("namespace", cluster.namespace)
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = lasting(cluster)
    assert {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods} == {
        *("orchestrator", "mesh", "runtime")
    }
    assert {"triton", "mlserver"} <= {container for pod in pods for container in containers(pod)}
    for pod in pods:
        for container in containers(pod):
            where = f"{pod['metadata']['name']}/{container}"
            lines = inside(cluster, pod, container, "cat", "/proc/self/status").splitlines()
            status = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
            assert "0" not in status["Uid"], where
            # As on OpenShift: nothing relies on a user that an image knows.
            assert cluster.external or set(status["Uid"]) == {str(RANDOM_UID)}, where
            assert {status[f"Cap{which}"][0] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}, where
            assert status["NoNewPrivs"] == ["1"], where
            assert status["Seccomp"] == ["2"], where
            for path in ("/written", "/etc/written", "/usr/local/written", "/var/written"):
                with pytest.raises(KubectlError, match="Read-only file system"):
                    inside(cluster, pod, container, "touch", path)


def containers(pod: dict[str, Any]) -> list[str]:
    """The names of those that run on."""
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers", ()) if c.get("restartPolicy") == "Always"]
    return [c["name"] for c in (*sidecars, *spec["containers"])]


def inside(cluster: Cluster, pod: dict[str, Any], container: str, *argv: str) -> str:
    """What a command in one of its containers prints."""
    return cluster.execute(pod["metadata"]["name"], *argv, container=container)


# Who may call whom.


def credentials(cluster: Cluster, role: str) -> grpc.ChannelCredentials:
    """What a role's own Secret says; "": what anybody could have, the authority's certificate and none of their own."""
    stored = cluster.get("secret", f"wml-serving-{role or 'mesh'}-tls")["data"]
    content = {name: base64.b64decode(value) for name, value in stored.items()}
    if not role:
        return grpc.ssl_channel_credentials(content["ca.crt"])
    return grpc.ssl_channel_credentials(content["ca.crt"], content["tls.key"], content["tls.crt"])


@contextmanager
def channel(cluster: Cluster, pod: dict[str, Any], port: int, server: str, role: str | None) -> Iterator[grpc.Channel]:
    """To a pod's port, as a role; None: without any TLS. No NetworkPolicy is between: what comes from the node is let through."""
    with cluster.reach(pod["status"]["podIP"], port) as address:
        if role is None:
            made = grpc.insecure_channel(address)
        else:
            named = (("grpc.ssl_target_name_override", server),)
            made = grpc.secure_channel(address, credentials(cluster, role), options=named)
        with made:
            yield made


def refusal(role: str | None) -> grpc.StatusCode:
    """How calls end for one who is not let in: who has no certificate is not even connected."""
    return grpc.StatusCode.PERMISSION_DENIED if role else grpc.StatusCode.UNAVAILABLE


def asked_of_adapter(channel: grpc.Channel) -> grpc.StatusCode:
    """How it ends to ask an adapter what it has."""
    watch: Any = channel.unary_stream(
        "/wml.fleet.v1.Adapter/Watch",
        request_serializer=fleet_pb2.Hello.SerializeToString,
        response_deserializer=fleet_pb2.Report.FromString,
    )
    call = watch(fleet_pb2.Hello(protocol=1), timeout=20)
    return first(call)


def told_to_unload(channel: grpc.Channel) -> grpc.StatusCode:
    """How it ends to command an adapter; of a model that there is not, for whoever gets through."""
    unload: Any = channel.unary_unary(
        "/wml.fleet.v1.Adapter/Unload",
        request_serializer=fleet_pb2.UnloadRequest.SerializeToString,
        response_deserializer=fleet_pb2.Accepted.FromString,
    )
    code: grpc.StatusCode = unload.future(fleet_pb2.UnloadRequest(), timeout=20).code()
    return code


def wanted_of_orchestrator(channel: grpc.Channel) -> grpc.StatusCode:
    """How it ends to ask for a model as an activator does."""
    want: Any = channel.stream_stream(
        "/wml.demand.v1.Demand/Want",
        request_serializer=demand_pb2.Wanted.SerializeToString,
        response_deserializer=demand_pb2.Answer.FromString,
    )
    return first(want(iter([demand_pb2.Wanted()]), timeout=20))


def first(call: Any) -> grpc.StatusCode:
    """OK if something is said at all, else how the call ended."""
    try:
        next(call)
    except StopIteration:
        return grpc.StatusCode.OK
    except grpc.RpcError:
        code: grpc.StatusCode = call.code()
        return code
    call.cancel()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("role", [None, "", "mesh", "adapter"])
def test_an_adapter_is_called_by_nobody_but_an_orchestrator(warm: Product, role: str | None) -> None:
    """Without a certificate the connection is refused; with another role's, each call."""
    pod = warm.cluster.pods(RUNTIME)[0]
    with channel(warm.cluster, pod, 8085, "adapter", role) as made:
        assert asked_of_adapter(made) is refusal(role)
        assert told_to_unload(made) is refusal(role)


def test_an_adapter_answers_an_orchestrator(warm: Product) -> None:
    """So the ones before were refused for what they are."""
    pod = warm.cluster.pods(RUNTIME)[0]
    with channel(warm.cluster, pod, 8085, "adapter", "orchestrator") as made:
        assert asked_of_adapter(made) is grpc.StatusCode.OK


@pytest.mark.parametrize("role", [None, "", "adapter"])
def test_the_control_port_is_for_the_mesh(warm: Product, role: str | None) -> None:
    """Who knows the routes knows every model, and who asks for models has them loaded."""
    with channel(warm.cluster, warm.leader(), 8090, "orchestrator", role) as made:
        assert wanted_of_orchestrator(made) is refusal(role)


def test_a_stranger_breaks_no_log(warm: Product) -> None:
    """Each line is still JSON after somebody came without a certificate."""
    for pod, port, server, container in (
        (warm.leader(), 8090, "orchestrator", "orchestrator"),
        (warm.cluster.pods(RUNTIME)[0], 8085, "adapter", "adapter"),
    ):
        with channel(warm.cluster, pod, port, server, None) as made:
            assert wanted_of_orchestrator(made) is refusal(None)
        for line in warm.cluster.logs(pod["metadata"]["name"], "-c", container).splitlines():
            assert json.loads(line)["event"]


# Secrets.


def test_credentials_are_nowhere_but_in_their_secret(whole: Product) -> None:
    """Not in a log, an Event, an object, an environment or a command line of any container of ours."""
    cluster, secret = whole.cluster, whole.store.secret_key
    # Where it is said to be.
    stored = cluster.get("secret", "storage-config")["data"]
    assert any(secret in base64.b64decode(value).decode() for value in stored.values())
    said = {kind: cluster.kubectl("get", kind, "-o", "yaml") for kind in KINDS}
    for pod in lasting(cluster):
        name = pod["metadata"]["name"]
        for container in containers(pod):
            where = f"{name}/{container}"
            said[f"logs of {where}"] = cluster.logs(name, "-c", container)
            processes = said[f"processes of {where}"] = inside(cluster, pod, container, "sh", "-c", PROCESSES)
            assert "PATH=" in processes, where
    for where, text in said.items():
        assert secret not in text, where
        assert base64.b64encode(secret.encode()).decode() not in text, where


KINDS: Final = ("events", "trainedmodels", "servingruntimes", "deployments", "pods", "configmaps", "leases")
PROCESSES: Final = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
