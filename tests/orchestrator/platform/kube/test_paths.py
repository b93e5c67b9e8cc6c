"""Paths of the API."""

from __future__ import annotations

import pytest

from orchestrator.platform.kube.paths import core, group


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (core("pods", "ns"), "/api/v1/namespaces/ns/pods"),
        (core("pods", "ns", "a"), "/api/v1/namespaces/ns/pods/a"),
        (core("pods", "ns", "a", "eviction"), "/api/v1/namespaces/ns/pods/a/eviction"),
        (core("pods", None), "/api/v1/pods"),
        (core("namespaces", None, "ns"), "/api/v1/namespaces/ns"),
        (
            group("apps/v1", "deployments", "ns", "a.b-c", "scale"),
            "/apis/apps/v1/namespaces/ns/deployments/a.b-c/scale",
        ),
        (
            group("serving.kubeflow.org/v1alpha1", "trainedmodels", "ns", "m", "status"),
            "/apis/serving.kubeflow.org/v1alpha1/namespaces/ns/trainedmodels/m/status",
        ),
        (
            group("rbac.authorization.k8s.io/v1", "clusterroles", None, "x"),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/x",
        ),
    ],
)
def test_each_kind_of_path(path: str, expected: str) -> None:
    """Collections, objects, subresources; with and without a group and a namespace."""
    assert path == expected


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a?x=1", "a#b", "a b", "a%2fb", "-a", "a-", "ä"])
def test_what_is_no_name_makes_no_path(name: str) -> None:
    """Else it would be the path of another object."""
    with pytest.raises(ValueError, match="is no name"):
        core("pods", "ns", name)
    with pytest.raises(ValueError, match="is no name"):
        core("pods", name, "a")


@pytest.mark.parametrize("version", ["v1", "apps", "apps/v1/x", "apps/../v1", ""])
def test_what_is_no_version_makes_no_path(version: str) -> None:
    """The group without a name has a function of its own."""
    with pytest.raises(ValueError, match="is no apiVersion"):
        group(version, "deployments", "ns")


def test_a_subresource_is_of_an_object() -> None:
    """Not of a collection."""
    with pytest.raises(ValueError, match="status of no object"):
        core("pods", "ns", None, "status")
