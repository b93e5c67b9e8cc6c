"""
Values for tests: each builder gives a plausible one, and takes by name what the test is about.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from orchestrator.domain.demand import Want
from orchestrator.domain.errors import ModelProblem
from orchestrator.domain.fleet import NO_ROOM, Copy, CopyKey, CopyState, Failure, LoadOrder, Pod, PodView, ServerState
from orchestrator.domain.observation import Memory, Observation
from orchestrator.domain.routes import Route, RouteView
from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import Credentials
from orchestrator.domain.target import Target
from orchestrator.domain.trained_model import Condition, ModelStatus, S3Uri, TrainedModel

MIB = 1 << 20
#: The times of conditions in statuses that a test starts from, and of the look that it takes.
BEFORE = "2026-01-01T00:00:00Z"
NOW = "2026-01-01T01:00:00Z"


def make_credentials(**fields: Any) -> Credentials:
    """Of a store that takes any key."""
    values = {"access_key_id": "the-key-id", "secret_access_key": "the-secret", "endpoint_url": "http://s3:9000"}
    return Credentials(**values | fields)


def make_runtime(name: str = "mlserver-0.x", **fields: Any) -> ServingRuntime:
    """Takes sklearn, named or not."""
    values: dict[str, Any] = {
        "uid": f"uid-{name}",
        "generation": 1,
        "server_type": "mlserver",
        "frameworks": ("sklearn",),
        "auto_select": frozenset({"sklearn"}),
    }
    return ServingRuntime(name=name, **values | fields)


def make_model(name: str = "digits", **fields: Any) -> TrainedModel:
    """An sklearn model that nothing is known of."""
    values: dict[str, Any] = {
        "namespace": "wml-serving",
        "uid": f"uid-{name}",
        "generation": 1,
        "created": BEFORE,
        "storage_uri": f"s3://models/{name}",
        "framework": "sklearn",
    }
    return TrainedModel(name=name, **values | fields)


def make_raw_model(name: str = "digits", **spec: Any) -> dict[str, Any]:
    """The same as a person writes it, with what a platform fills in."""
    model = {"storageUri": f"s3://models/{name}", "framework": "sklearn", "memory": "256Mi"}
    return {
        "apiVersion": "serving.kubeflow.org/v1alpha1",
        "kind": "TrainedModel",
        "metadata": {"name": name, "namespace": "wml-serving", "uid": f"uid-{name}", "generation": 1},
        "spec": {"inferenceService": "", "model": model | spec},
    }


def make_target(revision: str = "r1", **fields: Any) -> Target:
    """What `make_model` resolves to, but for the revision, which is easier to read."""
    values: dict[str, Any] = {
        "source": S3Uri("models", "digits"),
        "uri": "s3://models/digits",
        "framework": "sklearn",
        "runtime": make_runtime(),
        "credentials": make_credentials(),
    }
    return Target(revision=revision, **values | fields)


def make_pod(uid: str = "p1", runtime: str = "mlserver-0.x", **fields: Any) -> Pod:
    """A pod as the platform lists it."""
    values = {"name": f"pod-{uid}", "adapter": f"unix:/run/{uid}.sock", "endpoint": f"127.0.0.1:{_port(uid)}"}
    return Pod(uid=uid, runtime=runtime, **values | fields)


def make_view(
    uid: str = "p1", *, runtime: str = "mlserver-0.x", terminating: bool = False, message: str = "", **fields: Any
) -> PodView:
    """A pod that is known, ready and empty."""
    values: dict[str, Any] = {"known": True, "boot": f"boot-{uid}", "server": ServerState.READY, "total": 100 * MIB}
    return PodView(pod=make_pod(uid, runtime, terminating=terminating, message=message), **values | fields)


def make_key(revision: str = "r1", *, model: str = "digits", uid: str = "") -> CopyKey:
    """The key of a copy of `make_model(model)`."""
    return CopyKey(model, uid or f"uid-{model}", revision)


def make_copy(
    state: CopyState = CopyState.LOADED, *, pod: str = "p1", key: CopyKey | None = None, **fields: Any
) -> Copy:
    """A copy of `make_target()`, of 10 MiB."""
    values: dict[str, Any] = {"reserved": 10 * MIB}
    return Copy(key=key or make_key(), pod=pod, state=state, **values | fields)


def make_order(**fields: Any) -> LoadOrder:
    """To load a copy of `make_target()`."""
    values: dict[str, Any] = {
        "key": make_key(),
        "source": S3Uri("models", "digits"),
        "uri": "s3://models/digits",
        "framework": "sklearn",
        "credentials": make_credentials(),
        "reserve": 5,
        "urgent": True,
        "timeout_s": 90.0,
    }
    return LoadOrder(**values | fields)


def make_failed(reason: str = "StorageUnavailable", *, pod: str = "p1", **failure: Any) -> Copy:
    """A copy that could not be made."""
    values: dict[str, Any] = {"message": "the store does not answer"}
    return make_copy(CopyState.FAILED, pod=pod, reserved=0, failure=Failure(reason=reason, **values | failure))


def make_memory(failure: Failure, **fields: Any) -> Memory:
    """Of a load of `make_target()` that came to this: a failure, or a want of room."""
    values: dict[str, Any] = {"uid": make_key().uid, "revision": "r1", "failed_at": 1.0, "loads": 1}
    outcome = {"room" if failure.reason == NO_ROOM else "failure": failure}
    return Memory(**values | outcome | fields)


def make_route(
    *endpoints: str, model: str = "digits", acked: bool = True, since: float = 0.0, **fields: Any
) -> RouteView:
    """A route as published at `since`, and accepted at once unless told otherwise."""
    return RouteView(
        route=Route(model, endpoints), acked=acked, since=since, acked_at=since if acked else None, **fields
    )


def make_condition(kind: str = "Ready", status: str = "True", reason: str = "Loaded", message: str = "") -> Condition:
    """A condition since `BEFORE`."""
    return Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=BEFORE)


def make_status(*conditions: Condition, active: str = "", **fields: Any) -> ModelStatus:
    """A status; `active` is the last revision that loaded."""
    uri = "s3://models/digits" if active else ""
    return ModelStatus(active_revision=active, active_storage_uri=uri, conditions=conditions, **fields)


def make_observation(
    *,
    model: TrainedModel | str | None = "",
    target: Target | ModelProblem | str | None = "",
    status: ModelStatus | None = None,
    want: Want | None = None,
    memory: Memory | None = None,
    **fields: Any,
) -> Observation:
    """`make_model()` with `make_target()`, nowhere yet; `status` is that of the model."""
    if isinstance(model, str):
        model = make_model(status=status or ModelStatus())
    if isinstance(target, str):
        target = make_target() if model is not None else None
    uid = model.uid if model is not None else ""
    revision = target.revision if isinstance(target, Target) else ""
    values: dict[str, Any] = {"pods": (make_view(),)}
    return Observation(
        name="digits",
        model=model,
        target=target,
        want=want,
        memory=memory or Memory(uid=uid, revision=revision),
        **values | fields,
    )


def endpoint(uid: str = "p1") -> str:
    """Where `make_pod(uid)` is reached."""
    return make_pod(uid).endpoint


def _port(uid: str) -> int:
    return 9000 + sum(ord(c) * (i + 1) for i, c in enumerate(uid)) % 1000


def statuses(texts: st.SearchStrategy[str], conditions: st.SearchStrategy[Condition]) -> st.SearchStrategy[ModelStatus]:
    """Any that can be, each field of these texts."""
    return st.builds(
        ModelStatus,
        url=texts,
        observed_generation=st.integers(0, 9),
        runtime=texts,
        active_revision=texts,
        active_storage_uri=texts,
        active_framework=texts,
        active_runtime=texts,
        active_secret_key=texts,
        active_reload=texts,
        conditions=st.lists(conditions, max_size=3).map(tuple),
    )
