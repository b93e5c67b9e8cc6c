"""
What others do to objects that are ours, or have the names of ours: left alone where it is theirs, put right where it is not.
"""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests import log_lines
from tests.cluster.cluster import Cluster, condition_of
from tests.cluster.node import units
from tests.cluster.pods import pod
from tests.cluster.product import ORCHESTRATOR, Product, trained_model
from tests.cluster.runtimes import copied
from tests.cluster.warm import NUMBER, RUNTIME, answered, changes_happen, copies, own_runtime, settled, witnessed
from tests.standalone.waiting import wait_until

POOL: Final = f"wml-serving-{RUNTIME}"
#: As much as an API server reads of an object, less what is around it.
_DEEP: Final = 9_000


def test_a_deployment_that_is_not_ours_is_left_alone(warm: Product) -> None:
    """It has the name of a pool: said in an Event and in the model's words; the model comes once it is gone."""
    # Short: the name of a pool whose runtime has a long one is another.
    name = "squatted"
    cluster, pool = warm.cluster, f"wml-serving-{name}"
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": pool},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "theirs"}},
            "template": {
                "metadata": {"labels": {"app": "theirs"}},
                "spec": pod("theirs", units.PAUSE)["spec"] | {"restartPolicy": "Always"},
            },
        },
    }
    cluster.apply(theirs)
    try:
        before = cluster.get("deployment", pool)
        uri = warm.models.uri(f"probe-{NUMBER}.joblib")
        with own_runtime(warm, name), warm.model(name, uri, "sklearn", runtime=name):
            told = cluster.until(
                "trainedmodel", name, lambda o: pool in condition_of(o, "Ready").get("message", ""), "does not say why"
            )
            assert "left alone" in condition_of(told, "Ready")["message"]
            (event,) = events(cluster, "ServingRuntime", name, cluster.get("servingruntime", name)["metadata"]["uid"])
            assert event["reason"] == "DeploymentNotOurs"
            assert event["type"] == "Warning"
            assert pool in event["message"]
            after = cluster.get("deployment", pool)
            assert after["metadata"]["uid"] == before["metadata"]["uid"]
            assert after["metadata"].get("labels") == before["metadata"].get("labels")
            assert after["spec"] == before["spec"]

            cluster.delete("deployment", pool)
            warm.until_ready(name, within=180)
            with witnessed(warm, name) as witness:
                pass
            witness.check()

            # Ours, deleted by hand, is made again.
            ours = cluster.get("deployment", pool)["metadata"]["uid"]
            cluster.delete("deployment", pool, wait=False)
            cluster.until("deployment", pool, lambda o: o["metadata"]["uid"] != ours, "is not made again")
            with witnessed(warm, name) as witness:
                pass
    finally:
        cluster.delete("deployment", pool)


@pytest.mark.parametrize("what", ["replicas", "image", "env", "labels"])
def test_what_is_edited_by_hand_is_put_right(warm: Product, what: str) -> None:
    """The pool's Deployment becomes what it was; the warm model does not notice."""
    cluster = warm.cluster
    before, loaded = cluster.get("deployment", POOL), copies(warm)
    container = before["spec"]["template"]["spec"]["containers"][0]
    edits: dict[str, tuple[str, ...]] = {
        "replicas": ("scale", f"deployment/{POOL}", "--replicas=3"),
        "image": ("set", "image", f"deployment/{POOL}", f"{container['name']}=localhost/nobody/nothing:0"),
        "env": ("set", "env", f"deployment/{POOL}", f"--containers={container['name']}", "HOME=/nowhere"),
        "labels": ("label", "--overwrite", "deployment", POOL, "app.kubernetes.io/component=nothing"),
    }
    with witnessed(warm) as witness:
        cluster.kubectl(*edits[what])
        cluster.until(
            "deployment",
            POOL,
            lambda o: (o["spec"], o["metadata"]["labels"]) == (before["spec"], before["metadata"]["labels"]),
            "is not put right",
        )
        cluster.rolled_out("deployment", POOL)
        answered(witness)
    witness.check()
    assert copies(warm) == loaded


def test_a_budget_that_is_edited_or_deleted_by_hand_is_put_right(warm: Product) -> None:
    """At once: until then a node could be drained of all pods of the pool, or of none."""
    cluster, kind = warm.cluster, "poddisruptionbudget"
    before = cluster.get(kind, POOL)
    cluster.patch(kind, POOL, {"spec": {"maxUnavailable": 0}})
    cluster.until(kind, POOL, lambda o: o["spec"] == before["spec"], "is not put right")
    cluster.delete(kind, POOL, wait=False)
    made = cluster.until(kind, POOL, lambda o: o["metadata"]["uid"] != before["metadata"]["uid"], "is not made again")
    assert made["spec"] == before["spec"]


def test_what_is_added_by_hand_stays(warm: Product) -> None:
    """A variable and an annotation of somebody's: the pods get them, without a lost request, and nobody fights."""
    runtime = "added-to"
    cluster, pool = warm.cluster, f"wml-serving-{runtime}"
    template = {
        "metadata": {"annotations": {"example.com/added": "yes"}},
        "spec": {"containers": [{"name": "mlserver", "env": [{"name": "ADDED", "value": "yes"}]}]},
    }
    uri = warm.models.uri(f"probe-{NUMBER}.joblib")
    with own_runtime(warm, runtime), warm.model(runtime, uri, "sklearn", runtime=runtime):
        warm.until_ready(runtime, within=180)
        with witnessed(warm, runtime) as witness:
            cluster.kubectl("patch", "deployment", pool, "--patch", json.dumps({"spec": {"template": template}}))
            patched = cluster.get("deployment", pool)["metadata"]["generation"]
            wait_until(lambda: repaired(warm, runtime), "nobody looks at it")
            cluster.rolled_out("deployment", pool)
            answered(witness, runtime)
        witness.check()
        assert cluster.get("deployment", pool)["metadata"]["generation"] == patched
        (found,) = cluster.pods(f"wmlserving.ai.ibm.com/runtime={runtime}")
        assert found["metadata"]["annotations"]["example.com/added"] == "yes"
        (server,) = found["spec"]["containers"]
        assert {"name": "ADDED", "value": "yes"} in server["env"]
        assert repaired(warm, runtime) == 1


def repaired(product: Product, runtime: str) -> int:
    """How often the leader says that it has put the runtime's pool right."""
    said = log_lines.events(product.cluster.logs(product.leader()["metadata"]["name"]))
    return sum(line["event"] == "pool_applied" and line["runtime"] == runtime and line["repair"] for line in said)


def test_what_is_edited_in_a_built_in_runtime_stays_and_so_does_the_rest(warm: Product) -> None:
    """The next leader applies the runtime with what somebody else has set in it."""
    cluster, kind, runtime = warm.cluster, "servingruntime", "triton-2.x"
    before, old = cluster.get(kind, runtime)["spec"], warm.holder()
    usual, mine = before["builtInAdapter"]["modelLoadingTimeoutMillis"], 600_000

    def agreed() -> bool:
        """The leader has applied what is there."""
        raw = json.loads(cluster.kubectl("get", kind, runtime, "-o", "json", "--show-managed-fields"))
        (ours,) = (each for each in raw["metadata"]["managedFields"] if each["operation"] == "Apply")
        return "f:modelLoadingTimeoutMillis" in ours["fieldsV1"]["f:spec"].get("f:builtInAdapter", {})

    assert agreed()
    cluster.patch(kind, runtime, {"spec": {"builtInAdapter": {"modelLoadingTimeoutMillis": mine}}})
    try:
        assert not agreed()
        cluster.delete("pod", warm.leader()["metadata"]["name"], wait=False)
        wait_until(lambda: warm.holder() not in {"", old}, "nobody else leads")
        wait_until(agreed, "it is not applied again")
        expected = {**before, "builtInAdapter": {**before["builtInAdapter"], "modelLoadingTimeoutMillis": mine}}
        assert cluster.get(kind, runtime)["spec"] == expected
    finally:
        cluster.patch(kind, runtime, {"spec": {"builtInAdapter": {"modelLoadingTimeoutMillis": usual}}})
        settled(warm)


def test_models_of_other_namespaces_are_left_alone(warm: Product, space: Cluster, name: str) -> None:
    """Somebody else's orchestrator may serve them: nothing is written to them."""
    uri = warm.models.uri(f"probe-{NUMBER}.joblib")
    space.apply(trained_model(name, uri, "sklearn", runtime=RUNTIME))
    # One that was applied later is served.
    changes_happen(warm, f"{name}-ours"[-60:])
    other = space.get("trainedmodel", name)
    assert "status" not in other
    assert other["metadata"]["generation"] == 1
    assert not events(space, "TrainedModel", name)


def test_an_object_that_is_nested_too_deep_keeps_nobody_from_leading(warm: Product, name: str) -> None:
    """
    An API server takes ten thousand levels where the schema lets it, and has them in each list from then on.

    Leader and standby of before hear of it, those that come list it; the warm model does not notice.
    """
    cluster, loaded = warm.cluster, copies(warm)
    made = copied(cluster.get("servingruntime", RUNTIME), name)
    made["spec"]["anything"] = "DEEP"
    text = json.dumps(made).replace('"DEEP"', "[" * _DEEP + "]" * _DEEP)
    path = f"/apis/{made['apiVersion']}/namespaces/{cluster.namespace}/servingruntimes"
    with witnessed(warm) as witness:
        cluster.kubectl("create", "--raw", path, "-f", "-", stdin=text)
        try:
            wait_until(lambda: events(cluster, "ServingRuntime", name), "nobody says so", within=60)
            (event,) = events(cluster, "ServingRuntime", name)
            assert (event["type"], event["reason"]) == ("Warning", "InvalidManifest")
            assert "nested deeper" in event["message"]
            before = warm.holder()
            cluster.delete("pods", *(each["metadata"]["name"] for each in cluster.pods(ORCHESTRATOR)), wait=False)
            wait_until(lambda: warm.holder() not in {"", before}, "nobody leads", within=120)
            changes_happen(warm, name)
            answered(witness)
        finally:
            cluster.delete("servingruntime", name)
            settled(warm)
    witness.check()
    assert copies(warm) == loaded


def events(cluster: Cluster, kind: str, name: str, uid: str = "") -> list[dict[str, Any]]:
    """Those about an object; with a uid, about no other that had its name."""
    fields = f"involvedObject.kind={kind},involvedObject.name={name}" + (f",involvedObject.uid={uid}" if uid else "")
    listed = json.loads(cluster.kubectl("get", "events", "-o", "json", f"--field-selector={fields}"))
    found: list[dict[str, Any]] = listed["items"]
    return found
