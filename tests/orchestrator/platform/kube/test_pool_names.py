"""Names and labels of a pool."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.platform.kube.names import LABEL_RUNTIME
from orchestrator.platform.kube.pool_names import (
    ANNOTATION_RUNTIME,
    SELECTOR,
    is_pools,
    pool_labels,
    pool_name,
    runtime_of,
    selector_labels,
)

LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
runtimes = st.from_regex(SUBDOMAIN, fullmatch=True).filter(lambda name: len(name) <= 253)


@given(runtimes)
def test_every_name_of_a_runtime_gives_names_that_kubernetes_takes(runtime: str) -> None:
    """However long, with dots wherever they may be."""
    assert SUBDOMAIN.fullmatch(pool_name(runtime))
    # The name of a pod is this, two hashes and two dashes; and a host name.
    assert len(pool_name(runtime)) <= 63 - len("-0123456789-01234")
    assert all(LABEL.fullmatch(value) for value in pool_labels(runtime).values())


@pytest.mark.parametrize("length", [40, 41, 63, 64, 253])
def test_long_names_stay_apart(length: int) -> None:
    """Those that differ at the end only."""
    one, other = "a" * (length - 1) + "1", "a" * (length - 1) + "2"
    assert pool_name(one) != pool_name(other)
    assert selector_labels(one) != selector_labels(other)


def test_short_names_are_readable() -> None:
    """What a user types after `kubectl get deployment`."""
    assert pool_name("triton-2.x") == "wml-serving-triton-2.x"
    assert selector_labels("triton-2.x")[LABEL_RUNTIME] == "triton-2.x"


def test_an_object_says_whose_it_is() -> None:
    """In full by its annotation; labels of others, or none, are not ours."""
    name = "a" * 100
    raw = {"metadata": {"labels": pool_labels(name), "annotations": {ANNOTATION_RUNTIME: name}}}
    assert (runtime_of(raw), is_pools(raw)) == (name, True)
    assert runtime_of({"metadata": {"labels": pool_labels("x")}}) == "x"
    assert (runtime_of({"metadata": {}}), is_pools({"metadata": {"labels": None}})) == ("", False)
    assert SELECTOR.count("=") == 2
    assert all(pair.split("=")[1] == pool_labels("x")[pair.split("=")[0]] for pair in SELECTOR.split(","))


@pytest.mark.parametrize("edited", ["annotation", "label"])
@pytest.mark.parametrize("kind", ["Pod", "Deployment"])
def test_an_object_whose_annotation_or_label_was_edited_is_still_that_pools(edited: str, kind: str) -> None:
    """A name cannot be edited; and a new leader is to see what the one before saw."""
    name = pool_name("mlserver-0.x") + ("-5d4f8c7b9d-x2x7q" if kind == "Pod" else "")
    for said in ("triton-2.x", "mlserver-0.x-5d4f8c7b9d", "mlserver"):
        labels, annotations = pool_labels("mlserver-0.x"), {ANNOTATION_RUNTIME: "mlserver-0.x"}
        (labels if edited == "label" else annotations)[LABEL_RUNTIME] = said
        raw = {"metadata": {"name": name, "labels": labels, "annotations": annotations}}
        assert runtime_of(raw) == "mlserver-0.x"
