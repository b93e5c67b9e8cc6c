"""
TrainedModel, as the product reads it: the spec's few fields, flat, and the status.

Both platforms hand over the raw object (a dict, as read from YAML or JSON) and
get this value back, so that a laptop and a cluster read objects alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.domain.errors import InvalidManifest, ModelProblem, Reason
from orchestrator.domain.names import MAX_NAME, is_subdomain
from orchestrator.domain.quantity import parse_bytes
from orchestrator.domain.text import is_text

GROUP: Final = "serving.kubeflow.org"
API_VERSION: Final = f"{GROUP}/v1alpha1"
#: Where a cluster may have them. The second is KServe's, whose own controller deletes TrainedModels of
#: InferenceServices that it cannot find. What is read from there is the same value.
API_VERSIONS: Final = (API_VERSION, "serving.kserve.io/v1alpha1")
KIND: Final = "TrainedModel"

SECRET_KEY_ANNOTATION: Final = "wmlserving.ai.ibm.com/secret-key"
RELOAD_ANNOTATION: Final = "wmlserving.ai.ibm.com/reload"
DEFAULT_SECRET_KEY: Final = "default"

#: Longest values, in characters, as in the CRD's schema. S3 allows 63 for a bucket and 1,024 bytes for a key.
MAX_STORAGE_URI: Final = 2048
MAX_FRAMEWORK: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One entry of status.conditions. `status` is "True", "False" or "Unknown"."""

    type: str
    status: str
    reason: str
    message: str
    #: RFC 3339, UTC, of the last change of `status`.
    last_transition_time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """A model's status. Equal values mean that nothing needs to be written."""

    url: str = ""
    observed_generation: int = 0
    runtime: str = ""
    #: The last revision that loaded and all that it was made from (law 4: a good version is never lost).
    active_revision: str = ""
    active_storage_uri: str = ""
    active_framework: str = ""
    active_runtime: str = ""
    active_secret_key: str = ""
    active_reload: str = ""
    conditions: tuple[Condition, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, if any."""
        return next((c for c in self.conditions if c.type == kind), None)

    @property
    def ready(self) -> bool:
        """Whether Ready is True."""
        ready = self.condition("Ready")
        return ready is not None and ready.status == "True"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A TrainedModel object. Identity is `uid`: a name that comes back is another model."""

    name: str
    namespace: str
    uid: str
    generation: int
    #: RFC 3339, UTC.
    created: str
    storage_uri: str
    framework: str
    #: "" = any runtime that takes the framework; else a ServingRuntime's name.
    inference_service: str = ""
    secret_key: str = DEFAULT_SECRET_KEY
    reload: str = ""
    #: Finalizers of somebody else's that keep a deleted object: all that is left to do is to say so in its status.
    held_by: str = ""
    status: ModelStatus = field(default_factory=ModelStatus)
    #: The object as it came, for the verbs that show it.
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class S3Uri:
    """`s3://bucket/path`. An empty bucket stands for the credentials' default_bucket."""

    bucket: str
    path: str


def parse_storage_uri(uri: str) -> S3Uri:
    """Raises ModelProblem(InvalidStorageUri) saying what is wrong with `uri`."""

    def refuse(problem: str) -> ModelProblem:
        return ModelProblem(Reason.INVALID_STORAGE_URI, f"storageUri {uri!r}: {problem}; expected s3://bucket/path")

    scheme, separator, rest = uri.partition("://")
    if not separator:
        raise refuse("no scheme")
    if scheme != "s3":
        raise refuse(f"scheme {scheme!r} is not supported")
    bucket, _, path = rest.partition("/")
    if not path.strip("/"):
        raise refuse("no path to an object or prefix")
    if "\0" in rest or any(part in {".", ".."} for part in path.split("/")):
        raise refuse("'.' and '..' are not allowed in the path")
    return S3Uri(bucket, path.lstrip("/"))


def revision(*, storage_uri: str, framework: str, runtime: str, endpoint: str, reload: str) -> str:
    """
    Hash of what a copy is made from, 12 hex digits.

    Neither credentials nor ETags are part of it: rotating a key reloads nothing.
    """
    parts = (storage_uri, framework, runtime, endpoint, reload)
    text = "".join(f"{len(p)}:{p}" for p in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def url(name: str, *, service: str = "wml-serving", port: int = 8033) -> str:
    """Where clients reach the model, as `kubectl get` prints it."""
    return f"grpc://{service}:{port}?mm-vmodel-id={name}"


def parse_trained_model(raw: Mapping[str, Any]) -> TrainedModel:
    """
    Read a raw TrainedModel (with metadata.uid and generation filled in by the platform).

    Raises InvalidManifest naming the field. Mirrors the CRD's schema, because
    a directory of files has no API server to check it.
    """
    if raw.get("apiVersion") != API_VERSION or raw.get("kind") != KIND:
        raise InvalidManifest("apiVersion, kind", f"expected {API_VERSION} {KIND}")
    metadata = _mapping(raw, "metadata")
    spec = _mapping(raw, "spec")
    model = _mapping(spec, "model", "spec.")
    name = _string(metadata, "name", "metadata.")
    if not is_subdomain(name):
        raise InvalidManifest("metadata.name", f"{name!r} is not a lower case RFC 1123 subdomain")
    memory = model.get("memory")
    if isinstance(memory, bool) or not isinstance(memory, str | int | float) or memory == "":
        raise InvalidManifest("spec.model.memory", "required: a quantity such as 256Mi")
    # Not used, but refused as the CRD's schema refuses it: a file that works here works in a cluster.
    parse_bytes(str(memory) if isinstance(memory, float) else memory, "spec.model.memory")
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, Mapping):
        raise InvalidManifest("metadata.annotations", "expected a mapping")
    return TrainedModel(
        name=name,
        namespace=str(metadata.get("namespace") or ""),
        uid=str(metadata.get("uid") or ""),
        generation=_number(metadata.get("generation")),
        created=str(metadata.get("creationTimestamp") or ""),
        storage_uri=_string(model, "storageUri", "spec.model.", longest=MAX_STORAGE_URI),
        framework=_string(model, "framework", "spec.model.", longest=MAX_FRAMEWORK),
        inference_service=_string(spec, "inferenceService", "spec.", longest=MAX_NAME),
        secret_key=_annotation(annotations, SECRET_KEY_ANNOTATION) or DEFAULT_SECRET_KEY,
        reload=_annotation(annotations, RELOAD_ANNOTATION),
        status=parse_status(raw.get("status")),
        raw=raw,
    )


def parse_status(raw: Any) -> ModelStatus:
    """Read a raw status. Only this product writes it: a field that is missing or of the wrong type reads as empty."""
    if not isinstance(raw, Mapping):
        return ModelStatus()
    conditions = raw.get("conditions")
    return ModelStatus(
        url=str(raw.get("url") or ""),
        observed_generation=_number(raw.get("observedGeneration")),
        runtime=str(raw.get("runtime") or ""),
        active_revision=str(raw.get("activeRevision") or ""),
        active_storage_uri=str(raw.get("activeStorageUri") or ""),
        active_framework=str(raw.get("activeFramework") or ""),
        active_runtime=str(raw.get("activeRuntime") or ""),
        active_secret_key=str(raw.get("activeSecretKey") or ""),
        active_reload=str(raw.get("activeReload") or ""),
        conditions=tuple(
            Condition(
                type=str(c.get("type") or ""),
                status=str(c.get("status") or ""),
                reason=str(c.get("reason") or ""),
                message=str(c.get("message") or ""),
                last_transition_time=str(c.get("lastTransitionTime") or ""),
            )
            for c in (conditions if isinstance(conditions, list) else [])
            if isinstance(c, Mapping)
        ),
    )


def render_status(status: ModelStatus) -> dict[str, Any]:
    """The raw form, as the CRD's status subresource takes it; inverse of `parse_status`."""
    return {
        "url": status.url,
        "observedGeneration": status.observed_generation,
        "runtime": status.runtime,
        "activeRevision": status.active_revision,
        "activeStorageUri": status.active_storage_uri,
        "activeFramework": status.active_framework,
        "activeRuntime": status.active_runtime,
        "activeSecretKey": status.active_secret_key,
        "activeReload": status.active_reload,
        "conditions": [
            {
                "type": c.type,
                "status": c.status,
                "reason": c.reason,
                "message": c.message,
                "lastTransitionTime": c.last_transition_time,
            }
            for c in status.conditions
        ],
    }


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _mapping(raw: Mapping[str, Any], key: str, where: str = "") -> Mapping[str, Any]:
    value = raw.get(key)
    if not isinstance(value, Mapping):
        raise InvalidManifest(f"{where}{key}", "required: a mapping")
    return value


def _string(raw: Mapping[str, Any], key: str, where: str, *, longest: int = MAX_NAME) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        raise InvalidManifest(f"{where}{key}", "required: a string")
    if len(value) > longest:
        raise InvalidManifest(f"{where}{key}", f"{len(value)} characters, at most {longest} are read")
    return _encodable(value, f"{where}{key}")


def _annotation(annotations: Mapping[str, Any], name: str) -> str:
    return _encodable(str(annotations.get(name) or ""), f"metadata.annotations {name}")


def _encodable(value: str, field: str) -> str:
    if not is_text(value):
        raise InvalidManifest(field, "not text: half of a surrogate pair")
    return value
