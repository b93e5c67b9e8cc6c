"""The objects of a pool, and what is told of one that is there."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.serving_runtime import ServingRuntime, parse_serving_runtime, unreadable_runtime, with_image
from orchestrator.platform.kube.deployment import (
    ANNOTATION_DIGEST,
    Applied,
    PoolObjects,
    foreign,
    pool_objects,
    refusal_of,
    replicas_of,
    settled,
)
from tests.orchestrator.platform.kube.making import SETTINGS, Raw, make_kube_runtime, make_raw_runtime
from tests.orchestrator.platform.kube.schema import unknown_fields

NAME = "wml-serving-triton-2.x"


def objects(runtime: ServingRuntime | None = None) -> PoolObjects:
    return pool_objects(runtime or make_kube_runtime(), SETTINGS)


def stored(replicas: int = 1, generation: int = 1, uid: str = "d1") -> Raw:
    """As an API server has it after an apply: with an identity, defaults, and a status."""
    raw = copy.deepcopy(objects().at(replicas))
    raw["metadata"] |= {"uid": uid, "generation": generation}
    raw["spec"]["progressDeadlineSeconds"] = 600
    return raw | {"status": {"observedGeneration": generation}}


def test_both_are_known_to_kubernetes_and_owned_by_the_serving_runtime() -> None:
    """What owns them takes them away with it."""
    made = objects()
    assert unknown_fields(made.at(2), "V1Deployment") == []
    assert unknown_fields(made.budget, "V1PodDisruptionBudget") == []
    for raw in (made.deployment, made.budget):
        assert (raw["metadata"]["name"], raw["metadata"]["namespace"]) == (NAME, "ns")
        [owner] = raw["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
            "ServingRuntime",
            "triton-2.x",
            "runtime-1",
            True,
        )


def test_a_runtime_that_cannot_be_read_has_none() -> None:
    """In the words of who tried: its pods are left as they are."""
    with pytest.raises(ValueError, match=r"^spec\.containers: required$"):
        objects(unreadable_runtime("mine", "u", "spec.containers: required"))


def test_the_selector_selects_its_pods_and_no_other_runtimes() -> None:
    """Of the Deployment and of the budget alike."""
    made, other = objects(), objects(make_kube_runtime("other"))
    labels = made.deployment["spec"]["template"]["metadata"]["labels"]
    for raw in (made.deployment, made.budget):
        assert raw["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert not other.deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_no_pod_goes_before_another_is_there() -> None:
    """In a rolling update; an eviction takes one at a time."""
    spec = objects().at(3)["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    budget = objects().budget["spec"]
    # What is broken anyway never holds a node back.
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_the_digest_is_of_all_but_the_number_of_pods() -> None:
    """Equal objects have one digest, in whatever order they say it; each change has another."""
    raw = make_raw_runtime()
    turned = {key: raw[key] for key in reversed(raw)}
    assert objects(parse_serving_runtime(turned)).digest == objects().digest
    others = [
        objects(with_image(make_kube_runtime(), "other")),
        objects(make_kube_runtime(container={"args": ["x"]})),
        objects(make_kube_runtime(uid="runtime-2")),
        pool_objects(make_kube_runtime(), replace(SETTINGS, image="other")),
    ]
    assert len({objects().digest, *(each.digest for each in others)}) == 5
    assert objects().deployment["metadata"]["annotations"][ANNOTATION_DIGEST] == objects().digest


@pytest.mark.parametrize("spec", [{"volumes": 7}, {"containers": [{"name": "triton", "volumeMounts": ["x"]}]}])
def test_a_runtime_that_cannot_be_read_is_named(spec: dict[str, Any]) -> None:
    """An API server with a schema does not store one; ours keeps what it does not know."""
    with pytest.raises(ValueError, match=r"ServingRuntime triton-2\.x: spec cannot be read"):
        objects(make_kube_runtime(**spec))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"adapter": {"runtimeManagementPort": 8085}},
            "spec.builtInAdapter.runtimeManagementPort: 8085 is the adapter's",
        ),
        ({"httpDataEndpoint": "http://localhost:8086"}, "spec.httpDataEndpoint: 8086 is the adapter's"),
        ({"httpDataEndpoint": "port:8087"}, "spec.httpDataEndpoint: 8087 is the adapter's"),
    ],
)
def test_a_port_of_the_adapters_is_refused_with_words(spec: dict[str, Any], said: str) -> None:
    """The one of the two that comes second would crash again and again."""
    with pytest.raises(ValueError, match=said) as refused:
        objects(make_kube_runtime(**spec))
    assert str(refused.value).startswith("ServingRuntime triton-2.x: spec.")


@pytest.mark.parametrize(
    "spec",
    [
        {"adapter": {"runtimeManagementPort": 8084}},
        {"httpDataEndpoint": "http://localhost:80855"},
        {"httpDataEndpoint": "unix:///tmp/8085"},
        # ModelMesh's own, which names what is no port of the server's.
        {"grpcEndpoint": "port:8085"},
    ],
)
def test_any_other_port_will_do(spec: dict[str, Any]) -> None:
    """Or none."""
    assert objects(make_kube_runtime(**spec)).name


def test_a_deployment_is_ours_by_what_it_says_and_by_who_controls_it() -> None:
    """One that was orphaned is, and one of a ServingRuntime that was made anew."""
    assert foreign(stored(), "triton-2.x") == ""
    orphan, heir, other = stored(), stored(), stored()
    del orphan["metadata"]["ownerReferences"]
    heir["metadata"]["ownerReferences"][0]["uid"] = "before"
    other["metadata"]["ownerReferences"][0] |= {"kind": "Application", "name": "mine"}
    assert (foreign(orphan, "triton-2.x"), foreign(heir, "triton-2.x")) == ("", "")
    assert "controlled by Application mine: it is left alone" in foreign(other, "triton-2.x")


@pytest.mark.parametrize(
    "labels",
    [{}, {"app": "x"}, {"app.kubernetes.io/managed-by": "wml-serving", "app.kubernetes.io/component": "mesh"}],
)
def test_a_deployment_that_neither_its_owner_nor_its_labels_call_ours_is_not(labels: dict[str, str]) -> None:
    """Also not the product's own mesh, should a runtime be called `mesh`. Labels alone may be lost."""
    raw = stored()
    raw["metadata"]["labels"] = labels
    assert foreign(raw, "triton-2.x") == ""
    del raw["metadata"]["ownerReferences"]
    assert (
        foreign(raw, "triton-2.x") == f"Deployment {NAME} is not of this product: it is left alone. Rename or delete it"
    )


def test_a_deployment_is_one_runtimes() -> None:
    """Two whose names are shortened to one, which a digest makes unlikely, do not share it."""
    assert foreign(stored(), "other") != ""


def test_it_is_settled_when_what_was_applied_is_there() -> None:
    """Whatever the server filled in, and whatever others have added that is not ours."""
    there = stored()
    applied = Applied.of(objects(), 1, there)
    there["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    assert settled(there, objects(), 1, applied)
    assert not settled(there, objects(), 1, None)
    assert not settled(there, objects(), 2, applied)
    assert not settled(there, objects(with_image(make_kube_runtime(), "other")), 1, applied)


def test_a_change_by_others_is_seen_and_an_old_word_of_the_watch_is_none() -> None:
    """By generation, in both directions; another Deployment of that name has another uid."""
    applied = Applied.of(objects(), 1, stored(generation=4))
    assert not settled(stored(generation=5), objects(), 1, applied)
    assert settled(stored(generation=3, replicas=7), objects(), 1, applied)
    assert not settled(stored(generation=4, uid="d2"), objects(), 1, applied)


@pytest.mark.parametrize("field", ["labels", "annotations", "ownerReferences"])
def test_a_change_of_metadata_is_seen(field: str) -> None:
    """It has no generation."""
    there = stored()
    applied = Applied.of(objects(), 1, there)
    del there["metadata"][field]
    assert not settled(there, objects(), 1, applied)


def test_what_keeps_pods_from_being_made_is_told_without_their_names() -> None:
    """A quota names another pod each time it refuses: the message would never stay the same."""
    said = 'pods "wml-serving-triton-2.x-5d-abcde" is forbidden: exceeded quota: pods, requested: pods=1'
    raw = stored()
    assert refusal_of(raw) == ""
    raw["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": said}]
    assert refusal_of(raw) == "its pods are refused: pods is forbidden: exceeded quota: pods, requested: pods=1"
    raw["status"]["conditions"][0]["status"] = "False"
    assert refusal_of(raw) == ""


def test_a_number_that_is_not_said_is_the_servers_default() -> None:
    """One."""
    assert replicas_of(stored(replicas=0)) == 0
    assert replicas_of({"spec": {}}) == 1
