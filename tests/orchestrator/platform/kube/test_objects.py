"""Raw objects to values: what is read, what is refused, what is somebody else's."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from orchestrator.domain.errors import InvalidManifest
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.trained_model import API_VERSIONS
from orchestrator.platform.builtin import builtin_manifests
from orchestrator.platform.kube.objects import (
    going,
    identity,
    read_config,
    read_model,
    read_runtime,
    read_secret,
    version_of,
)
from tests.orchestrator.builders import make_raw_model


@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_model_of_either_group(version: str) -> None:
    """And of the configured one alone."""
    raw = make_raw_model("a") | {"apiVersion": version, "status": {"url": "grpc://x"}}
    model = read_model(raw, version)
    assert (model.name, model.uid, model.status.url) == ("a", "uid-a", "grpc://x")
    assert model.raw["apiVersion"] == version
    (other,) = set(API_VERSIONS) - {version}
    with pytest.raises(InvalidManifest, match="apiVersion"):
        read_model(raw, other)


def test_what_kubectl_keeps_in_an_object_is_not_kept_twice() -> None:
    """Thousands of objects are held; other annotations are shown as they are."""
    raw = make_raw_model("a")
    raw["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "x": "y"}
    assert read_model(raw).raw["metadata"]["annotations"] == {"x": "y"}
    assert len(raw["metadata"]["annotations"]) == 2


@pytest.mark.parametrize("memory", ["-1Gi", "1x", ""])
def test_what_the_definition_lets_through_may_still_be_none(memory: str) -> None:
    """The field is named."""
    with pytest.raises(InvalidManifest, match=r"spec\.model\.memory"):
        read_model(make_raw_model("a", memory=memory))


@pytest.mark.parametrize(
    "spec",
    [
        {"builtInAdapter": None},
        {"builtInAdapter": {}},
        {"multiModel": False, "containers": None},
    ],
)
def test_kserves_own_runtimes_are_not_ours(spec: dict[str, Any]) -> None:
    """They share the kind and the namespace."""
    raw = dict(builtin_manifests()["triton-2.x"])
    assert read_runtime(raw) is not None
    assert read_runtime(raw | {"spec": raw["spec"] | spec}) is None
    assert read_runtime({"metadata": {"name": "x"}}) is None


def test_a_runtime_that_is_meant_for_us_and_wrong_is_refused() -> None:
    """Of a server that there is no driver for."""
    raw = builtin_manifests()["triton-2.x"]
    with pytest.raises(InvalidManifest, match="serverType"):
        read_runtime({**raw, "spec": raw["spec"] | {"builtInAdapter": {"serverType": "ovms"}}})


def test_a_secrets_entries_are_text() -> None:
    """One that is not is named, and not said."""
    data = {"good": base64.b64encode(b"{}").decode(), "bytes": base64.b64encode(b"\xff").decode(), "bad": "?", "n": 1}
    assert read_secret({"metadata": {}, "data": data}) == StorageConfig({"good": "{}"}, frozenset({"bytes", "bad"}))
    assert read_secret({"metadata": {}, "data": None}).entries == {}
    assert read_secret({"metadata": {}}).entries == {}


def test_a_configmaps_data() -> None:
    """As it is."""
    assert read_config({"metadata": {}, "data": {"a": "1", "b": 2}}) == {"a": "1"}


def test_identity_version_and_end() -> None:
    """An object that only waits for a finalizer is going."""
    raw = {"metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}}
    assert (identity(raw), version_of(raw), going(raw)) == (("a", "u"), "7", False)
    assert going({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    assert (version_of({}), identity({"metadata": {"name": "a"}})) == ("", ("a", ""))
