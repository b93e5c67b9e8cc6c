"""Resolving a TrainedModel: what the load needs, or the first thing that a person has to mend."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.conditions import status_of
from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.target import last_good, resolve
from orchestrator.domain.trained_model import ModelStatus, S3Uri, TrainedModel
from tests.orchestrator.builders import (
    NOW,
    make_copy,
    make_key,
    make_model,
    make_observation,
    make_runtime,
    make_status,
)

FIELDS = {"type": "s3", "access_key_id": "a", "secret_access_key": "hunter2", "endpoint_url": "http://s3:9000"}


def storage(**more: str) -> StorageConfig:
    return StorageConfig({"default": json.dumps(FIELDS | more), "empty": "{}"})


def test_a_target_has_all_that_a_load_needs() -> None:
    """Source, runtime, credentials; the URI as the user wrote it; no secret in sight."""
    target = resolve(make_model(), [make_runtime()], storage())
    assert target.source == S3Uri("models", "digits")
    assert (target.uri, target.framework, target.runtime.name) == ("s3://models/digits", "sklearn", "mlserver-0.x")
    assert target.credentials.secret_access_key == "hunter2"
    assert "hunter2" not in repr(target)


def test_an_empty_bucket_is_the_default_one() -> None:
    """The revision is of what the user wrote: the same as the contract counts."""
    model = make_model(storage_uri="s3:///digits")
    target = resolve(model, [make_runtime()], storage(default_bucket="mine"))
    assert (target.source, target.uri) == (S3Uri("mine", "digits"), "s3:///digits")


@pytest.mark.parametrize(
    ("model", "secret", "reason", "said"),
    [
        (make_model(storage_uri="x", framework="caffe"), None, Reason.INVALID_STORAGE_URI, "storageUri 'x'"),
        (make_model(framework="caffe"), None, Reason.NO_SUPPORTING_RUNTIME, "'caffe'"),
        (make_model(inference_service="zzz"), None, Reason.RUNTIME_NOT_RECOGNIZED, "'zzz'"),
        (make_model(), None, Reason.STORAGE_CONFIG_MISSING, "'storage-config'"),
        (make_model(secret_key="mine"), storage(), Reason.STORAGE_KEY_NOT_FOUND, "'mine'"),
        (make_model(secret_key="empty"), storage(), Reason.STORAGE_CONFIG_INVALID, "'type' is missing"),
        (
            make_model(storage_uri="s3:///x"),
            storage(),
            Reason.STORAGE_CONFIG_INVALID,
            "storageUri 's3:///x' names no bucket, and Secret 'storage-config', key 'default': "
            "field 'default_bucket' is missing",
        ),
    ],
)
def test_the_first_fault_is_told(model: TrainedModel, secret: StorageConfig | None, reason: Reason, said: str) -> None:
    """In the order in which a person would find them: the model, the runtimes, the Secret."""
    with pytest.raises(ModelProblem) as caught:
        resolve(model, [make_runtime()], secret)
    assert caught.value.reason is reason
    assert said in caught.value.message
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("model", "secret", "same"),
    [
        (make_model(), storage(access_key_id="b", secret_access_key="c", region="r", default_bucket="d"), True),
        (make_model(secret_key="default", generation=9), storage(), True),
        (make_model(inference_service="mlserver-0.x"), storage(), True),
        (make_model(), storage(endpoint_url="http://elsewhere"), False),
        (make_model(reload="again"), storage(), False),
        (make_model(storage_uri="s3://models/other"), storage(), False),
    ],
)
def test_the_revision_is_of_what_a_copy_is_made_from(model: TrainedModel, secret: StorageConfig, same: bool) -> None:
    """Rotated credentials reload nothing; another endpoint, URI or reload annotation does."""
    before = resolve(make_model(), [make_runtime()], storage())
    assert (resolve(model, [make_runtime()], secret).revision == before.revision) is same


def loaded(model: TrainedModel) -> ModelStatus:
    """The status once this model has loaded."""
    target = resolve(model, RUNTIMES, storage())
    status = status_of(
        make_observation(model=model, target=target, copies=(make_copy(key=make_key(target.revision)),)), NOW
    )
    assert status is not None
    return status


RUNTIMES = [make_runtime(), make_runtime("triton-2.x", frameworks=("onnx",), auto_select=frozenset({"onnx"}))]
GOOD = make_model(reload="1")


@pytest.mark.parametrize(
    "changes",
    [
        {"storage_uri": "s3://models/next"},
        {"storage_uri": "not a URI"},
        {"framework": "onnx"},
        {"framework": "caffe"},
        {"inference_service": "nowhere"},
        {"secret_key": "missing"},
        {"reload": "2"},
    ],
)
def test_the_last_good_revision_is_made_from_what_the_status_says(changes: dict[str, Any]) -> None:
    """Whatever of the spec was changed since."""
    changed = replace(GOOD, status=loaded(GOOD), **changes)
    assert last_good(changed, RUNTIMES, storage()) == resolve(GOOD, RUNTIMES, storage())


@pytest.mark.parametrize(
    ("runtimes", "secret"),
    [
        ([], storage()),
        ([make_runtime(frameworks=())], storage()),
        (RUNTIMES, None),
        (RUNTIMES, StorageConfig({"empty": "{}"})),
        (RUNTIMES, storage(endpoint_url="http://elsewhere:9000")),
    ],
)
def test_it_cannot_be_made_again_from_something_else(
    runtimes: list[ServingRuntime], secret: StorageConfig | None
) -> None:
    """Its runtime is gone, or its key, or the key is for another store: another model would answer in its name."""
    assert last_good(replace(GOOD, status=loaded(GOOD)), runtimes, secret) is None


def test_a_rotated_key_is_no_hindrance() -> None:
    """Credentials are no part of a revision."""
    found = last_good(replace(GOOD, status=loaded(GOOD)), RUNTIMES, storage(secret_access_key="new"))
    assert found is not None
    assert found.credentials.secret_access_key == "new"


def test_what_never_loaded_has_no_last_good_revision() -> None:
    """Nor what an earlier version of this status tells too little of."""
    assert last_good(GOOD, RUNTIMES, storage()) is None
    assert last_good(replace(GOOD, status=make_status(active="r1")), RUNTIMES, storage()) is None
