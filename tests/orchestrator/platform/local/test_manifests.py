"""One file's text to objects and problems."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml

from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.trained_model import TrainedModel
from orchestrator.platform.local import manifests
from orchestrator.platform.local.documents import ConfigData, Document, Kind, ObjectId, ParsedFile, Problem
from orchestrator.platform.local.manifests import MAX_FILE_BYTES, parse_file
from tests.orchestrator.platform.local.support import NAMESPACE, model_yaml, runtime_yaml


def parse(text: str, file: str = "f.yaml") -> ParsedFile:
    return parse_file(file, text.encode(), NAMESPACE)


def only(text: str) -> Document:
    parsed = parse(text)
    assert parsed.problems == ()
    (document,) = parsed.documents
    return document


def secret(body: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: storage-config}}\n{body}"


def test_all_kinds_in_one_file() -> None:
    """Many documents a file, empty ones between them."""
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: wml-serving-config}\ndata: {poolGraceSeconds: '5'}\n"
    parsed = parse("---\n".join(["", model_yaml("m"), "", runtime_yaml("r"), secret("stringData: {k: v}\n"), config]))
    assert parsed.problems == ()
    kinds = [type(document.value) for document in parsed.documents]
    assert [TrainedModel, ServingRuntime, StorageConfig, ConfigData] == kinds


def test_a_document_that_nobody_expected_is_its_own_trouble_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's others are read, and it is said which one it is."""

    def read(_: object) -> ServingRuntime:
        raise TypeError("whatever")

    monkeypatch.setattr(manifests, "parse_serving_runtime", read)
    parsed = parse("---\n".join([runtime_yaml("r"), model_yaml("m")]))
    assert [type(document.value) for document in parsed.documents] == [TrainedModel]
    (problem,) = parsed.problems
    assert str(problem).startswith(
        "f.yaml:1: ServingRuntime 'r': internal error of the orchestrator (TypeError in read:"
    )


def test_json() -> None:
    """JSON, with tabs as well, and the List that kubectl prints; a status and uid of elsewhere are not taken."""
    model = {
        "apiVersion": "serving.kubeflow.org/v1alpha1",
        "kind": "TrainedModel",
        "metadata": {"name": "m", "uid": "theirs", "generation": 7, "namespace": NAMESPACE},
        "spec": {"inferenceService": "", "model": {"storageUri": "s3://b/m", "framework": "onnx", "memory": 1}},
        "status": {"url": "theirs"},
    }
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [model]}, indent="\t")
    (document,) = parse(text, "f.json").documents
    assert isinstance(document.value, TrainedModel)
    assert (document.value.uid, document.value.generation, document.value.status.url) == ("", 0, "")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (model_yaml("m").replace("    framework: sklearn\n", ""), 7, "spec.model.framework: required"),
        (model_yaml("m").replace("sklearn", "[1]"), 9, "spec.model.framework"),
        (model_yaml("Bad_Name"), 4, "metadata.name"),
        ("a: 1\n---\n" + model_yaml("m").replace("v1alpha1", "v1beta1"), 3, "expected 'serving.kubeflow.org/v1alpha1'"),
        (model_yaml("m").replace("serving.kubeflow.org", "serving.kserve.io"), 1, "is not served here"),
        (runtime_yaml("r", "torchserve"), 5, "spec.builtInAdapter.serverType"),
        (runtime_yaml("../r"), 3, "metadata.name"),
        (secret("data: {k: '*'}\n"), 4, "not base64"),
        (secret("stringData:\n  k:\n    type: s3\n"), 5, "put it in quotes"),
    ],
)
def test_a_wrong_document_is_broken_not_absent(text: str, line: int, words: str) -> None:
    """It is reported with its line, and known to be there."""
    parsed = parse(text)
    problem = parsed.problems[-1]
    assert (line, True, 1) == (problem.line, words in problem.reason, len(parsed.broken))
    assert not problem.ignored


def test_neighbours_of_a_wrong_document_are_taken() -> None:
    """As with kubectl apply."""
    parsed = parse(model_yaml("a") + "---\n" + model_yaml("b").replace("memory", "mem") + "---\n" + model_yaml("c"))
    assert [document.id.name for document in parsed.documents] == ["a", "c"]
    assert parsed.broken.keys() == {ObjectId(Kind.MODEL, "b")}
    assert not parsed.unsure


@pytest.mark.parametrize(
    "text", ["just text", "kind: TrainedModel", "[]", model_yaml("m").replace("  name: m\n", ""), "a: [", "\x80"]
)
def test_what_cannot_be_identified_makes_the_file_unsure(text: str) -> None:
    """Nothing is proven absent by it."""
    parsed = parse_file("f.yaml", text.encode("latin-1"), NAMESPACE)
    assert (parsed.unsure, parsed.documents, len(parsed.problems)) == (True, (), 1)


@pytest.mark.parametrize(
    ("name", "told"), [("123", True), ("true", True), ("1.5", True), ("null", False), ("[]", False)]
)
def test_a_name_that_yaml_reads_as_something_else_wants_quotes(name: str, told: bool) -> None:
    """And is told so; null is nobody's name."""
    (problem,) = parse(model_yaml("m").replace("name: m", f"name: {name}")).problems
    assert problem.reason.startswith("TrainedModel: metadata.name: required: a string")
    assert ("quotes" in problem.reason) is told


@pytest.mark.parametrize(
    "text",
    [
        model_yaml("m", namespace="other"),
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: another}\n",
    ],
)
def test_what_is_not_ours_is_reported_and_left_alone(text: str) -> None:
    """Other namespaces, kinds, and Secrets: no object, no breakage."""
    parsed = parse(text)
    assert (parsed.documents, parsed.broken, parsed.unsure) == ((), {}, False)
    assert [problem.ignored for problem in parsed.problems] == [True]


def test_own_namespace_may_be_said() -> None:
    """Absent, empty or ours is the same object."""
    assert only(model_yaml("m")) == only(model_yaml("m", namespace=NAMESPACE))


def test_secret_data_and_string_data() -> None:
    """stringData wins, as in the API server."""
    encoded = base64.b64encode(b"from data").decode()
    value = only(secret(f"data: {{a: {encoded}, b: {encoded}}}\nstringData: {{b: plain}}\n")).value
    assert StorageConfig({"a": "from data", "b": "plain"}) == value


@pytest.mark.parametrize(
    "text",
    [
        secret("stringData:\n  k: hunter2\n  k: hunter2\n"),
        secret("stringData:\n  k: [hunter2]\n"),
        secret("data: {k: hunter2!}\n"),
        secret("stringData:\n  k: 'hunter2\n"),
        secret("stringData:\n  k: hunter2: x\n"),
        secret("stringData:\n  k: !hunter hunter2\n"),
    ],
)
def test_secrets_are_in_no_message(text: str) -> None:
    """Neither in problems nor in a repr."""
    parsed = parse(text)
    assert parsed.problems
    assert "hunter2" not in repr(parsed)
    assert "hunter2" not in repr(only(secret("stringData: {k: hunter2}\n")))


def test_only_known_fields_of_a_spec_count() -> None:
    """As under the CRD's schema, which drops others."""
    (document,) = parse(model_yaml("m") + "  unknown: 1\n").documents
    assert only(model_yaml("m")).spec == document.spec
    assert only(model_yaml("m")).spec != only(model_yaml("m").replace("1Gi", "2Gi")).spec


@pytest.mark.parametrize(
    ("written", "line", "told"),
    [
        ("    storageURI: s3://b/m\n", 11, "unknown field 'spec.model.storageURI'; storageUri is meant?"),
        ("    storage: s3://b/m\n", 11, "unknown field 'spec.model.storage'"),
        ("  InferenceService: x\n", 11, "unknown field 'spec.InferenceService'; inferenceService is meant?"),
        ("".join(f"  f{number}: 1\n" for number in range(1000)), 11, "unknown field 'spec.f0'"),
    ],
)
def test_a_field_that_nobody_reads_is_told_and_stops_nothing(written: str, line: int, told: str) -> None:
    """As kubectl tells it; nearly right names the one that is right."""
    parsed = parse(model_yaml("m") + written)
    assert (len(parsed.documents), parsed.broken, len(parsed.problems) <= 5) == (1, {}, True)
    assert Problem("f.yaml", line, f"TrainedModel 'm': {told}", ignored=True) == parsed.problems[0]


def test_a_field_that_is_missing_since_its_name_is_wrong_is_told_with_both() -> None:
    """In a List, too. Of other kinds, and of what is no mapping, nothing is said."""
    text = model_yaml("m").replace("storageUri", "storageURI")
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(text)]})
    for parsed in (parse(text), parse(listed, "f.json")):
        reasons = [problem.reason.removeprefix("TrainedModel 'm': ") for problem in parsed.problems]
        assert reasons == [
            "spec.model.storageUri: required: a string",
            "unknown field 'spec.model.storageURI'; storageUri is meant?",
        ]
    mixed = runtime_yaml("r").replace("serving.kserve.io/v1alpha1", "serving.kubeflow.org/v1alpha1")
    assert [len(parse(text).problems) for text in (runtime_yaml("r") + "  unknown: 1\n", mixed)] == [0, 1]
    assert len(parse(model_yaml("m").split("spec:")[0] + "spec: [1]\n").problems) == 1


def test_the_fields_that_are_known_are_the_schemas() -> None:
    """What an API server keeps is no mistake here."""
    definition = next(yaml.safe_load_all((Path(__file__).parents[4] / "manifests/trainedmodel-crd.yaml").read_text()))
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for where, known in manifests._KNOWN.items():
        here = schema
        for step in where:
            here = here["properties"][step]
        assert known == here["properties"].keys()


def test_bounds() -> None:
    """A huge file is not read."""
    assert "larger than" in parse("a" * (MAX_FILE_BYTES + 1)).problems[0].reason
    assert parse("[" * 200_000, "f.json").unsure


@pytest.mark.parametrize("text", ["", " \n\n", "\t"])
@pytest.mark.parametrize("file", ["f.json", "f.yaml"])
def test_an_empty_file_deletes_nothing(file: str, text: str) -> None:
    """A full disk leaves one behind; one that says in a comment that it has nothing means it."""
    found = parse(text, file)
    assert found.unsure
    assert [problem.line for problem in found.problems] == [1]
    assert ParsedFile() == parse("# none\n", "f.yaml")


def test_a_kind_that_does_not_exist_deletes_nothing() -> None:
    """A slip in an edit, or a file that ends in the middle of the word; a foreign object that has a name is no slip."""
    slip = model_yaml("m").replace("TrainedModel", "TrainedModl")
    assert parse(slip).unsure
    assert "TrainedModl" in parse(slip).problems[0].reason
    assert parse("apiVersion: v1\nkind: Secr").unsure
    assert not parse("apiVersion: v1\nkind: Service\nmetadata: {name: s}\n").unsure
