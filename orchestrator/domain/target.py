"""
What a TrainedModel asks for, resolved against the runtimes and credentials that exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.serving_runtime import ServingRuntime, choose_runtime
from orchestrator.domain.storage import SECRET_NAME, Credentials, StorageConfig, find_credentials
from orchestrator.domain.trained_model import (
    DEFAULT_SECRET_KEY,
    ModelStatus,
    S3Uri,
    TrainedModel,
    parse_storage_uri,
    revision,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The copy that should serve: everything a load command needs."""

    revision: str
    source: S3Uri
    uri: str
    framework: str
    runtime: ServingRuntime
    credentials: Credentials
    #: Needed to load this revision again after the spec has changed: kept in the status, too.
    secret_key: str = DEFAULT_SECRET_KEY
    reload: str = ""


def resolve(model: TrainedModel, runtimes: Iterable[ServingRuntime], storage: StorageConfig | None) -> Target:
    """The target of a model. Raises ModelProblem with the first thing that a person has to mend."""
    uri = parse_storage_uri(model.storage_uri)
    runtime = choose_runtime(model.framework, model.inference_service, runtimes)
    credentials = find_credentials(storage, model.secret_key)
    bucket = uri.bucket or credentials.default_bucket
    if not bucket:
        raise ModelProblem(
            Reason.STORAGE_CONFIG_INVALID,
            f"storageUri {model.storage_uri!r} names no bucket, and Secret {SECRET_NAME!r}, "
            f"key {model.secret_key!r}: field 'default_bucket' is missing",
        )
    return Target(
        revision=revision(
            storage_uri=model.storage_uri,
            framework=model.framework,
            runtime=runtime.name,
            endpoint=credentials.endpoint_url,
            reload=model.reload,
        ),
        source=S3Uri(bucket, uri.path),
        uri=model.storage_uri,
        framework=model.framework,
        runtime=runtime,
        credentials=credentials,
        secret_key=model.secret_key,
        reload=model.reload,
    )


def as_active(status: ModelStatus, target: Target) -> ModelStatus:
    """The status with all that this target, which has loaded, was made from."""
    return replace(
        status,
        active_revision=target.revision,
        active_storage_uri=target.uri,
        active_framework=target.framework,
        active_runtime=target.runtime.name,
        active_secret_key=target.secret_key,
        active_reload=target.reload,
    )


def last_good(model: TrainedModel, runtimes: Iterable[ServingRuntime], storage: StorageConfig | None) -> Target | None:
    """
    The last revision that loaded, from the model's status; None if it can no longer be loaded.

    It cannot when its runtime or its key in the Secret is gone, or when the key names another store now: the
    revision, a hash of all of these, would differ.
    """
    status = model.status
    if not status.active_revision:
        return None
    before = replace(
        model,
        storage_uri=status.active_storage_uri,
        framework=status.active_framework,
        inference_service=status.active_runtime,
        secret_key=status.active_secret_key,
        reload=status.active_reload,
    )
    try:
        target = resolve(before, runtimes, storage)
    except ModelProblem:
        return None
    return target if target.revision == status.active_revision else None
