"""uid, generation, creation and status, as the API server keeps them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import InvalidManifest
from orchestrator.domain.trained_model import Condition, ModelStatus, TrainedModel
from orchestrator.platform.local.records import (
    Record,
    parse_record,
    reconcile,
    render_record,
    with_status,
)
from tests.orchestrator.platform.local.support import model_yaml, owned, record, uids

STATUS = ModelStatus(
    url="grpc://x",
    observed_generation=1,
    active_revision="abc",
    conditions=(Condition(type="Ready", status="True", reason="Loaded", message="", last_transition_time="t"),),
)


def applied(old: Record, text: str, file: str = "a.yaml") -> TrainedModel:
    changes = reconcile({old.model.name: old}, owned(text, file), now="later", new_uid=lambda: "never")
    assert changes.deleted == ()
    (new,) = changes.written or (old,)
    return new.model


def test_a_new_name() -> None:
    """uid, generation 1, creation; then nothing is left to do."""
    first = record(model_yaml("m"))
    assert (first.model.uid, first.model.generation, first.model.created) == ("uid-1", 1, "2026-01-01T00:00:00Z")
    again = reconcile({"m": first}, owned(model_yaml("m")), now="later", new_uid=lambda: "never")
    assert (again.written, again.deleted) == ((), ())


@pytest.mark.parametrize(
    ("text", "generation"),
    [
        (model_yaml("m", uri="s3://b/other"), 2),
        (model_yaml("m").replace("1Gi", "2Gi"), 2),
        (model_yaml("m", extra="  annotations: {wmlserving.ai.ibm.com/reload: '2'}\n"), 1),
        (model_yaml("m", extra="  annotations: {wmlserving.ai.ibm.com/secret-key: k}\n"), 1),
        (model_yaml("m", extra="  labels: {a: b}\n"), 1),
    ],
)
def test_generation_counts_changes_of_the_spec(text: str, generation: int) -> None:
    """Annotations change the model, not the generation; uid, creation and status stay."""
    old = with_status(record(model_yaml("m")), STATUS)
    new = applied(old, text)
    assert (generation, old.model.uid, old.model.created, STATUS) == (
        new.generation,
        new.uid,
        new.created,
        new.status,
    )


def test_another_file_is_the_same_object() -> None:
    """A renamed file changes nothing that users see."""
    old = record(model_yaml("m"))
    assert old.model == applied(old, model_yaml("m"), "z.yaml")


def test_labels_and_annotations_are_kept_and_are_no_new_generation() -> None:
    """`get -o yaml` shows the object as it was written, whatever of it the product reads."""
    old = record(model_yaml("m"))
    extra = "  labels: {team: blue}\n  annotations: {example.org/note: 'x'}\n"
    (new,) = reconcile({"m": old}, owned(model_yaml("m", extra=extra)), now="t", new_uid=uids()).written
    assert new.metadata == {"labels": {"team": "blue"}, "annotations": {"example.org/note": "x"}}
    assert (old.model.uid, old.model.generation) == (new.model.uid, new.model.generation)
    assert parse_record(render_record(new)).metadata == new.metadata


def test_deleted_and_created_again_is_a_new_model() -> None:
    """Whatever its name."""
    new_uid = uids()
    (first,) = reconcile({}, owned(model_yaml("m")), now="t", new_uid=new_uid).written
    assert reconcile({"m": first}, {}, now="t", new_uid=new_uid).deleted == ("m",)
    (second,) = reconcile({}, owned(model_yaml("m")), now="t", new_uid=new_uid).written
    assert first.model.uid != second.model.uid


def test_a_record_survives_its_text() -> None:
    """And gives back what its file defined."""
    extra = "  annotations: {wmlserving.ai.ibm.com/reload: '2', wmlserving.ai.ibm.com/secret-key: k}\n"
    kept = with_status(record(model_yaml("m", extra=extra)), STATUS)
    assert kept == parse_record(render_record(kept))
    assert owned(model_yaml("m", extra=extra))["m"].document == kept.document


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"file": "a", "object": {}}', "\x00", "null", "[" * 100_000])
def test_what_is_no_record_is_refused(text: str) -> None:
    """Whatever a disk may give back."""
    with pytest.raises(InvalidManifest):
        parse_record(text)


def test_an_incomplete_record_is_none() -> None:
    """A uid is what a record is for."""
    kept = record(model_yaml("m"))
    with pytest.raises(InvalidManifest):
        parse_record(render_record(replace(kept, model=replace(kept.model, uid=""))))
