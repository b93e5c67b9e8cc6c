"""ServingRuntime: reading it, and which of them takes a model."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from orchestrator.domain.errors import InvalidManifest, ModelProblem, Reason
from orchestrator.domain.serving_runtime import (
    DEFAULT_MEMORY_BYTES,
    choose_runtime,
    parse_serving_runtime,
    unreadable_runtime,
    with_image,
)
from tests.orchestrator.builders import make_runtime

RAW: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "ServingRuntime",
    "metadata": {"name": "mine", "uid": "u", "generation": 3},
    "spec": {
        "supportedModelFormats": [
            {"name": "sklearn", "version": "1", "autoSelect": True},
            {"name": "sklearn", "version": "0"},
            {"name": "xgboost"},
        ],
        "builtInAdapter": {"serverType": "mlserver", "memBufferBytes": 1024, "modelLoadingTimeoutMillis": 1500},
        "containers": [
            {"name": "proxy", "resources": {"limits": {"memory": "1Ki"}}},
            {
                "name": "mlserver",
                "resources": {"limits": {"memory": "1Gi"}},
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "B"},
                    {"name": "C", "valueFrom": {"secretKeyRef": {}}},
                ],
            },
        ],
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The raw runtime with one value changed; `...` = taken away."""
    raw = deepcopy(RAW)
    *parents, last = path.split("/")
    place: dict[str, Any] = raw
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return raw


def test_a_runtime_is_read() -> None:
    """The server's container is the one that is named like its type; a version makes no second framework."""
    runtime = parse_serving_runtime(RAW)
    assert runtime == make_runtime(
        "mine",
        uid="u",
        generation=3,
        frameworks=("sklearn", "xgboost"),
        auto_select=frozenset({"sklearn"}),
        memory_bytes=1 << 30,
        buffer_bytes=1024,
        load_timeout_s=1.5,
        env=(("A", "1"), ("B", "")),
    )
    assert runtime.capacity_bytes == (1 << 30) - 1024
    assert runtime.raw is RAW


def test_defaults_are_for_what_is_not_said() -> None:
    """One container needs no name; no limit is a limit of 1 GiB; no formats is none."""
    raw = changed("spec", {"builtInAdapter": {"serverType": "triton"}, "containers": [{"name": "any"}]})
    runtime = parse_serving_runtime(raw)
    assert runtime.memory_bytes == DEFAULT_MEMORY_BYTES
    assert (runtime.frameworks, runtime.load_timeout_s, runtime.unused) == ((), 90.0, "")


@pytest.mark.parametrize(
    ("spec", "unused"),
    [
        ({}, ""),
        ({"disabled": True}, "spec.disabled is true"),
        ({"multiModel": False}, "spec.multiModel is false"),
        ({"disabled": False, "multiModel": True}, ""),
    ],
)
def test_a_runtime_says_why_it_is_not_used(spec: dict[str, bool], unused: str) -> None:
    """It exists all the same: who names it is told that."""
    assert parse_serving_runtime(changed("spec", RAW["spec"] | spec)).unused == unused


def test_one_that_cannot_be_read_exists_and_takes_nothing() -> None:
    """Who names it is told what is wrong with it; nobody else hears of it."""
    bad = unreadable_runtime("mine", "u", "spec.builtInAdapter.serverType: expected one of triton, mlserver")
    assert (bad.readable, TRITON.readable, with_image(bad, "x")) == (False, True, bad)
    with pytest.raises(ModelProblem) as caught:
        choose_runtime("onnx", "mine", (*KNOWN, bad))
    assert caught.value.reason is Reason.RUNTIME_NOT_RECOGNIZED
    assert caught.value.message.startswith(
        "ServingRuntime 'mine' is not used: spec.builtInAdapter.serverType: expected one of triton, mlserver; "
        "known: mlserver-0.x, triton-2.x. "
    )
    assert choose_runtime("onnx", "", (*KNOWN, bad)) is TRITON


def test_a_buffer_larger_than_the_limit_leaves_no_room() -> None:
    """And not less than none."""
    assert make_runtime(memory_bytes=10, buffer_bytes=20).capacity_bytes == 0


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("apiVersion", "v1", "apiVersion, kind"),
        ("kind", "ClusterServingRuntime", "apiVersion, kind"),
        ("metadata", None, "metadata.name"),
        ("metadata/name", "", "metadata.name"),
        ("metadata/name", 5, "metadata.name"),
        ("spec", [], "spec"),
        ("spec/builtInAdapter", ..., "spec.builtInAdapter.serverType"),
        ("spec/builtInAdapter/serverType", "torchserve", "spec.builtInAdapter.serverType"),
        ("spec/builtInAdapter/memBufferBytes", -1, "spec.builtInAdapter.memBufferBytes"),
        ("spec/builtInAdapter/memBufferBytes", None, "spec.builtInAdapter.memBufferBytes"),
        ("spec/builtInAdapter/modelLoadingTimeoutMillis", True, "spec.builtInAdapter.modelLoadingTimeoutMillis"),
        ("spec/supportedModelFormats", {"name": "x"}, "spec.supportedModelFormats"),
        ("spec/supportedModelFormats", ["sklearn"], "spec.supportedModelFormats"),
        ("spec/supportedModelFormats", [{"autoSelect": True}], "spec.supportedModelFormats[0].name"),
        ("spec/containers", [], "spec.containers"),
        ("spec/containers", ..., "spec.containers"),
        ("spec/containers", [{"resources": {"limits": {"memory": "x"}}}], "spec.containers.resources.limits.memory"),
        ("spec/containers", [{"env": ["A=1"]}], "spec.containers.env"),
        ("spec/containers", [{"env": [{"name": "A"}, {"name": "A=hidden"}]}], "spec.containers.env[1].name"),
        ("spec/containers", [{"env": [{"name": "hidden\0"}]}], "spec.containers.env[0].name"),
        ("spec/containers", [{"env": [{"name": "A", "value": "hidden\0"}]}], "spec.containers.env[0].value"),
    ],
)
def test_what_is_no_runtime_is_refused_by_its_field(path: str, value: object, field: str) -> None:
    """InvalidManifest names the field as a person finds it."""
    with pytest.raises(InvalidManifest) as caught:
        parse_serving_runtime(changed(path, value))
    assert caught.value.field == field
    assert "hidden" not in str(caught.value)


def test_a_memory_limit_that_an_adapter_cannot_tell_of_is_refused() -> None:
    """It counts bytes in 64 bits. One less is read."""
    limit = "spec.containers.resources.limits.memory"
    for memory in ("8Ei", "9e30", 1 << 63):
        with pytest.raises(InvalidManifest) as caught:
            parse_serving_runtime(changed("spec/containers", [{"resources": {"limits": {"memory": memory}}}]))
        assert str(caught.value) == f"{limit}: {memory!r} is more than 9223372036854775807 bytes"
    raw = changed("spec/containers", [{"resources": {"limits": {"memory": "9223372036854775807"}}}])
    assert parse_serving_runtime(raw).memory_bytes == (1 << 63) - 1


TRITON = make_runtime("triton-2.x", frameworks=("onnx", "sklearn"), auto_select=frozenset({"onnx"}))
MLSERVER = make_runtime("mlserver-0.x", frameworks=("sklearn",), auto_select=frozenset({"sklearn"}))
OFF = make_runtime("a-off", frameworks=("onnx",), auto_select=frozenset({"onnx"}), unused="spec.disabled is true")
KNOWN = (TRITON, OFF, MLSERVER)


@pytest.mark.parametrize(
    ("framework", "named", "expected"),
    [
        ("onnx", "", TRITON),
        ("sklearn", "", MLSERVER),
        ("sklearn", "triton-2.x", TRITON),
        ("sklearn", "mlserver-0.x", MLSERVER),
    ],
)
def test_the_named_runtime_or_one_that_selects_itself(framework: str, named: str, expected: object) -> None:
    """Never a disabled one; a named one need not select itself."""
    assert choose_runtime(framework, named, KNOWN) is expected
    assert choose_runtime(framework, named, reversed(KNOWN)) is expected


def test_of_two_that_select_themselves_the_first_by_name() -> None:
    """Whatever the order in which they were listed."""
    one, two = make_runtime("b"), make_runtime("a")
    assert choose_runtime("sklearn", "", (one, two)) is choose_runtime("sklearn", "", (two, one)) is two


@pytest.mark.parametrize(
    ("framework", "named", "reason", "said"),
    [
        (
            "sklearn",
            "mlserver",
            Reason.RUNTIME_NOT_RECOGNIZED,
            "there is no ServingRuntime 'mlserver'; known: mlserver-0.x, triton-2.x. "
            "Leave inferenceService empty to let one be chosen",
        ),
        (
            "onnx",
            "a-off",
            Reason.RUNTIME_NOT_RECOGNIZED,
            "ServingRuntime 'a-off' is not used: spec.disabled is true; known: mlserver-0.x, triton-2.x. "
            "Leave inferenceService empty to let one be chosen",
        ),
        (
            "onnx",
            "mlserver-0.x",
            Reason.NO_SUPPORTING_RUNTIME,
            "ServingRuntime 'mlserver-0.x' does not take framework 'onnx'; it takes sklearn",
        ),
        (
            "caffe",
            "",
            Reason.NO_SUPPORTING_RUNTIME,
            "no ServingRuntime takes framework 'caffe'; frameworks known here: onnx, sklearn",
        ),
    ],
)
def test_a_model_that_no_runtime_takes_is_told_what_there_is(
    framework: str, named: str, reason: Reason, said: str
) -> None:
    """The message lists what could be written instead."""
    with pytest.raises(ModelProblem) as caught:
        choose_runtime(framework, named, KNOWN)
    assert (caught.value.reason, caught.value.message) == (reason, said)


def test_with_no_runtime_at_all_the_message_says_none() -> None:
    """Not an empty list after a colon."""
    with pytest.raises(ModelProblem, match="known here: none"):
        choose_runtime("onnx", "", ())
    with pytest.raises(ModelProblem, match="known: none"):
        choose_runtime("onnx", "x", ())


def test_another_image_is_the_servers() -> None:
    """Not that of what is beside it; the runtime is the same in all else, and what it was made from is not touched."""
    before = deepcopy(RAW)
    runtime = parse_serving_runtime(RAW)
    other = with_image(runtime, "mine:2")
    assert other == runtime
    proxy, server = other.raw["spec"]["containers"]
    assert (proxy, server) == (RAW["spec"]["containers"][0], RAW["spec"]["containers"][1] | {"image": "mine:2"})
    assert before == RAW
    assert with_image(runtime, None) is runtime
