"""TrainedModel: reading it, refusing what is none, its revision, its status."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.domain.errors import InvalidManifest, ModelProblem, Reason
from orchestrator.domain.trained_model import (
    RELOAD_ANNOTATION,
    SECRET_KEY_ANNOTATION,
    Condition,
    ModelStatus,
    S3Uri,
    parse_status,
    parse_storage_uri,
    parse_trained_model,
    render_status,
    revision,
    url,
)
from tests.orchestrator.builders import make_condition, make_model, make_raw_model, statuses

CRD: Final = Path(__file__).resolve().parents[3] / "manifests/trainedmodel-crd.yaml"
SCHEMA: Final = next(yaml.safe_load_all(CRD.read_text()))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
#: What the definition takes for spec.model.memory.
MEMORY: Final[str] = SCHEMA["properties"]["spec"]["properties"]["model"]["properties"]["memory"]["pattern"]


def changed(path: str, value: Any) -> dict[str, Any]:
    """A raw model with one value changed; `...` = taken away."""
    raw = deepcopy(make_raw_model())
    *parents, last = path.split("/")
    place: dict[str, Any] = raw
    for parent in parents:
        place = place.setdefault(parent, {})
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return raw


def test_a_model_is_read() -> None:
    """Every field that counts, with defaults for the annotations; the raw object is kept, and is no part of equality."""
    raw = make_raw_model()
    model = parse_trained_model(raw)
    assert model == make_model(created="")
    assert model.raw is raw
    assert "raw" not in repr(model)


def test_annotations_name_the_secret_key_and_ask_for_reloads() -> None:
    """Both are text whatever YAML made of them."""
    annotations = {"wmlserving.ai.ibm.com/secret-key": 7, "wmlserving.ai.ibm.com/reload": "again"}
    model = parse_trained_model(changed("metadata/annotations", annotations))
    assert (model.secret_key, model.reload) == ("7", "again")


@pytest.mark.parametrize("memory", ["256Mi", 1000, 0, 1.5])
def test_any_quantity_will_do_for_memory(memory: object) -> None:
    """It is required by the CRD and used by nobody."""
    assert parse_trained_model(changed("spec/model/memory", memory)).name == "digits"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("apiVersion", "serving.kserve.io/v1alpha1", "apiVersion, kind"),
        ("kind", "InferenceService", "apiVersion, kind"),
        ("metadata", ..., "metadata"),
        ("metadata", [], "metadata"),
        ("metadata/name", ..., "metadata.name"),
        ("metadata/name", 5, "metadata.name"),
        *(
            ("metadata/name", name, "metadata.name")
            for name in ["", "Digits", "a_b", "-a", "a-", "a/b", "../a", "a..b", "a.-b", "a\n", "a" * 254]
        ),
        ("metadata/annotations", ["x"], "metadata.annotations"),
        ("spec", ..., "spec"),
        ("spec", None, "spec"),
        ("spec/inferenceService", ..., "spec.inferenceService"),
        ("spec/inferenceService", None, "spec.inferenceService"),
        ("spec/model", "x", "spec.model"),
        ("spec/model/storageUri", ..., "spec.model.storageUri"),
        ("spec/model/storageUri", 1, "spec.model.storageUri"),
        ("spec/model/framework", ..., "spec.model.framework"),
        ("spec/model/memory", ..., "spec.model.memory"),
        ("spec/model/memory", "", "spec.model.memory"),
        ("spec/model/memory", True, "spec.model.memory"),
        ("spec/model/memory", ["256Mi"], "spec.model.memory"),
        ("spec/model/memory", "lots", "spec.model.memory"),
        pytest.param("spec/model/memory", "9" * 900_000, "spec.model.memory", id="a megabyte of digits"),
        pytest.param("spec/model/memory", 1 << 4_000_000, "spec.model.memory", id="a number with a million digits"),
        ("spec/model/storageUri", "s3://b/" + "x" * 2042, "spec.model.storageUri"),
        ("spec/model/framework", "x" * 64, "spec.model.framework"),
        ("spec/inferenceService", "x" * 254, "spec.inferenceService"),
        ("spec/model/storageUri", "s3://b/\ud800", "spec.model.storageUri"),
        ("metadata/annotations", {RELOAD_ANNOTATION: "\ud800"}, f"metadata.annotations {RELOAD_ANNOTATION}"),
        ("metadata/annotations", {SECRET_KEY_ANNOTATION: "\udc00"}, f"metadata.annotations {SECRET_KEY_ANNOTATION}"),
    ],
)
def test_what_the_crd_would_refuse_is_refused_by_its_field(path: str, value: object, field: str) -> None:
    """A directory of files has no API server to check it."""
    with pytest.raises(InvalidManifest) as caught:
        parse_trained_model(changed(path, value))
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


@given(st.from_regex(r"[-+.0-9eEnumkKMGTPi]{1,6}", fullmatch=True))
@example("256Mi").via("the usual")
@example("1e3").via("an exponent")
def test_what_the_crd_lets_through_can_be_read(memory: str) -> None:
    """Else it would be told by an Event what could have been told by `kubectl apply`."""
    if re.search(MEMORY, memory):
        assert parse_trained_model(changed("spec/model/memory", memory)).name == "digits"


def test_the_crd_lets_quantities_through() -> None:
    """All of the kinds that there are, and nothing that is less than nothing."""
    for memory in (
        "0",
        "+1",
        "1.5",
        ".5",
        "1.",
        "100m",
        "1k",
        "1M",
        "1G",
        "1T",
        "1P",
        "1E",
        "1Ki",
        "1Mi",
        "1Ei",
        "1E-3",
    ):
        assert re.search(MEMORY, memory), memory
    for memory in ("", "-1", "lots", "1..2", "1KB", "Mi", "1 Gi", "1e1000"):
        assert not re.search(MEMORY, memory), memory


@pytest.mark.parametrize("name", ["a", "0", "a.b-c.d", "a" * 253])
def test_names_are_rfc_1123_subdomains(name: str) -> None:
    """As the API server takes them."""
    assert parse_trained_model(changed("metadata/name", name)).name == name


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    path=st.sampled_from(
        [
            *("metadata", "metadata/name", "metadata/generation", "metadata/annotations", "metadata/uid"),
            *("spec", "spec/model", "spec/model/storageUri", "spec/inferenceService"),
            *("status", "status/conditions", "status/observedGeneration", "status/url"),
        ]
    ),
    value=json_values,
)
def test_no_document_does_more_harm_than_being_refused(path: str, value: object) -> None:
    """Whatever stands in a field: a model, or InvalidManifest."""
    try:
        model = parse_trained_model(changed(path, value))
    except InvalidManifest:
        return
    assert model.name


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://models/digits", S3Uri("models", "digits")),
        ("s3://models/a/b/", S3Uri("models", "a/b/")),
        ("s3://models//a", S3Uri("models", "a")),
        ("s3:///digits", S3Uri("", "digits")),
        ("s3://models/ä ö", S3Uri("models", "ä ö")),
        ("s3://models/..a/b..", S3Uri("models", "..a/b..")),
    ],
)
def test_a_storage_uri_names_a_bucket_and_a_path(uri: str, expected: S3Uri) -> None:
    """An empty bucket stands for the credentials' default."""
    assert parse_storage_uri(uri) == expected


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("", "no scheme"),
        ("models/digits", "no scheme"),
        ("gs://models/digits", "scheme 'gs' is not supported"),
        ("https://s3.example/x", "scheme 'https' is not supported"),
        ("s3://", "no path to an object or prefix"),
        ("s3://models", "no path to an object or prefix"),
        ("s3://models///", "no path to an object or prefix"),
        ("s3://models/../x", "'.' and '..' are not allowed in the path"),
        ("s3://models/a/./b", "'.' and '..' are not allowed in the path"),
        ("s3://models/a\0b", "'.' and '..' are not allowed in the path"),
    ],
)
def test_a_storage_uri_that_is_none_says_why(uri: str, problem: str) -> None:
    """InvalidStorageUri shows the URI, what is wrong with it, and what is expected."""
    with pytest.raises(ModelProblem) as caught:
        parse_storage_uri(uri)
    assert caught.value.reason is Reason.INVALID_STORAGE_URI
    assert caught.value.message == f"storageUri {uri!r}: {problem}; expected s3://bucket/path"


PARTS = {"storage_uri": "s3://m/d", "framework": "sklearn", "runtime": "r", "endpoint": "http://e", "reload": ""}


@pytest.mark.parametrize("part", PARTS)
def test_the_revision_changes_with_each_of_its_parts(part: str) -> None:
    """And with nothing else: it is the same at each run, on each machine."""
    assert revision(**PARTS) == "c521fe78922f"
    assert revision(**PARTS | {part: "x"}) != revision(**PARTS)


@given(st.permutations(["a", "b", "ab", "", "1:a"]))
def test_parts_do_not_run_into_each_other(parts: list[str]) -> None:
    """`ab` + `c` is not `a` + `bc`."""
    names = list(PARTS)
    one, other = dict(zip(names, parts, strict=True)), dict(zip(names, sorted(parts), strict=True))
    assert (revision(**one) == revision(**other)) == (one == other)


def test_the_url_names_the_model() -> None:
    """As the contract spells it."""
    assert url("digits") == "grpc://wml-serving:8033?mm-vmodel-id=digits"


texts = st.text(max_size=8)
conditions = st.builds(Condition, type=texts, status=texts, reason=texts, message=texts, last_transition_time=texts)


@given(statuses(texts, conditions))
def test_a_status_survives_being_stored(status: ModelStatus) -> None:
    """`parse_status` is the inverse of `render_status`."""
    assert parse_status(render_status(status)) == status


@pytest.mark.parametrize(
    "raw", [None, "text", [], {"conditions": "x"}, {"conditions": [5]}, {"observedGeneration": "9", "url": None}]
)
def test_a_status_that_is_none_reads_as_empty(raw: object) -> None:
    """A file may have anything under `status`; it is only ever our own words that count."""
    assert parse_status(raw) == ModelStatus()


def test_ready_is_the_ready_condition() -> None:
    """No condition, no readiness."""
    assert not ModelStatus().ready
    assert not ModelStatus(conditions=(make_condition("UpToDate"),)).ready
    assert not ModelStatus(conditions=(make_condition(status="Unknown"),)).ready
    assert ModelStatus(conditions=(make_condition("UpToDate", "False"), make_condition())).ready
