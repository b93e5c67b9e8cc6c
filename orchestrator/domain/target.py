"""
What a TrainedModel asks for, resolved against the runtimes and credentials that exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.serving_runtime import ServingRuntime, choose_runtime
from orchestrator.domain.storage import SECRET_NAME, Credentials, StorageConfig, find_credentials
from orchestrator.domain.trained_model import S3Uri, TrainedModel, parse_storage_uri, revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The copy that should serve: everything a load command needs."""

    revision: str
    source: S3Uri
    uri: str
    framework: str
    runtime: ServingRuntime
    credentials: Credentials


def resolve(model: TrainedModel, runtimes: Iterable[ServingRuntime], storage: StorageConfig | None) -> Target:
    """Raises ModelProblem with the first thing that a person has to mend."""
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
    )
