"""
ServingRuntime: a kind of server, and which of them takes a framework.

Fields follow KServe's published schema of serving.kserve.io/v1alpha1, so that
a cluster which has that CRD needs no second one. Fields that are not read here
are left to the platform, which gets the raw object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from orchestrator.domain.errors import InvalidManifest, ModelProblem, Reason
from orchestrator.domain.quantity import parse_bytes

API_VERSION: Final = "serving.kserve.io/v1alpha1"
KIND: Final = "ServingRuntime"

SERVER_TYPES: Final = ("triton", "mlserver")

#: Memory of a runtime without a memory limit.
DEFAULT_MEMORY_BYTES: Final = 1 << 30
#: Kept free of models: the server's own needs. ModelMesh's default.
DEFAULT_BUFFER_BYTES: Final = 128 << 20
DEFAULT_LOAD_TIMEOUT_S: Final = 90.0
#: Adapters count bytes in 64 bits. Kubernetes reads all that is more as this.
MOST_BYTES: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingRuntime:
    """A kind of server that a pool runs."""

    name: str
    uid: str
    generation: int
    #: "triton" or "mlserver": which of the adapter's drivers speaks to it.
    server_type: str
    #: Frameworks of the models that may name this runtime, in the order of the object.
    frameworks: tuple[str, ...]
    #: Frameworks of the models that get this runtime without naming one.
    auto_select: frozenset[str]
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    buffer_bytes: int = DEFAULT_BUFFER_BYTES
    load_timeout_s: float = DEFAULT_LOAD_TIMEOUT_S
    #: Why no model gets this runtime though it exists; empty if it is used.
    unused: str = ""
    #: The server container's environment, literal values only.
    env: tuple[tuple[str, str], ...] = ()
    #: The object as it came, for the platform that runs pools.
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def capacity_bytes(self) -> int:
        """Bytes of model memory in one pod."""
        return max(0, self.memory_bytes - self.buffer_bytes)

    @property
    def readable(self) -> bool:
        """Whether the object could be read, so that its pods are known."""
        return bool(self.server_type)


def choose_runtime(framework: str, named: str, runtimes: Iterable[ServingRuntime]) -> ServingRuntime:
    """
    The runtime for a model: the named one, else the first by name that auto-selects the framework.

    Raises ModelProblem: RuntimeNotRecognized, NoSupportingRuntime.
    """
    there = sorted(runtimes, key=lambda r: r.name)
    known = [r for r in there if not r.unused]
    if named:
        runtime = next((r for r in there if r.name == named), None)
        if runtime is None or runtime.unused:
            why = f"ServingRuntime {named!r} is not used: {runtime.unused}" if runtime else _no_such(named)
            raise ModelProblem(
                Reason.RUNTIME_NOT_RECOGNIZED,
                f"{why}; known: {_names(known)}. Leave inferenceService empty to let one be chosen",
            )
        if framework not in runtime.frameworks:
            raise ModelProblem(
                Reason.NO_SUPPORTING_RUNTIME,
                f"ServingRuntime {named!r} does not take framework {framework!r}; "
                f"it takes {', '.join(runtime.frameworks) or 'none'}",
            )
        return runtime
    for runtime in known:
        if framework in runtime.auto_select:
            return runtime
    taken = sorted({f for r in known for f in r.auto_select})
    raise ModelProblem(
        Reason.NO_SUPPORTING_RUNTIME,
        f"no ServingRuntime takes framework {framework!r}; frameworks known here: {', '.join(taken) or 'none'}",
    )


def parse_serving_runtime(raw: Mapping[str, Any]) -> ServingRuntime:
    """Read a raw ServingRuntime. Raises InvalidManifest naming the field."""
    if raw.get("apiVersion") != API_VERSION or raw.get("kind") != KIND:
        raise InvalidManifest("apiVersion, kind", f"expected {API_VERSION} {KIND}")
    metadata = raw.get("metadata")
    spec = raw.get("spec")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise InvalidManifest("metadata.name", "required: a string")
    if not isinstance(spec, Mapping):
        raise InvalidManifest("spec", "required: a mapping")
    generation = metadata.get("generation")
    adapter = spec.get("builtInAdapter")
    server_type = adapter.get("serverType") if isinstance(adapter, Mapping) else None
    if server_type not in SERVER_TYPES:
        raise InvalidManifest("spec.builtInAdapter.serverType", f"expected one of {', '.join(SERVER_TYPES)}")
    assert isinstance(adapter, Mapping)
    formats = _list_of_mappings(spec.get("supportedModelFormats"), "spec.supportedModelFormats")
    for index, entry in enumerate(formats):
        if not isinstance(entry.get("name"), str) or not entry["name"]:
            raise InvalidManifest(f"spec.supportedModelFormats[{index}].name", "required: a string")
    containers = _list_of_mappings(spec.get("containers"), "spec.containers")
    if not containers:
        raise InvalidManifest("spec.containers", "required: the server's container")
    container = containers[server_container(containers, server_type)]
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {} if isinstance(resources, Mapping) else {}
    memory = limits.get("memory") if isinstance(limits, Mapping) else None
    return ServingRuntime(
        name=metadata["name"],
        uid=str(metadata.get("uid") or ""),
        generation=generation if isinstance(generation, int) else 0,
        server_type=str(server_type),
        frameworks=tuple(dict.fromkeys(f["name"] for f in formats)),
        auto_select=frozenset(f["name"] for f in formats if f.get("autoSelect") is True),
        memory_bytes=_memory(memory, "spec.containers.resources.limits.memory") if memory else DEFAULT_MEMORY_BYTES,
        buffer_bytes=_non_negative(adapter.get("memBufferBytes", DEFAULT_BUFFER_BYTES), "memBufferBytes"),
        load_timeout_s=_non_negative(adapter.get("modelLoadingTimeoutMillis", 90_000), "modelLoadingTimeoutMillis")
        / 1000,
        unused=_unused(spec),
        env=_literals(_list_of_mappings(container.get("env"), "spec.containers.env")),
        raw=raw,
    )


def unreadable_runtime(name: str, uid: str, problem: str) -> ServingRuntime:
    """A runtime whose object cannot be read: no model gets it, and a model that names it is told why."""
    return ServingRuntime(
        name=name, uid=uid, generation=0, server_type="", frameworks=(), auto_select=frozenset(), unused=problem
    )


def with_image(runtime: ServingRuntime, image: str | None) -> ServingRuntime:
    """The runtime with that image for its server; None: unchanged."""
    if not image or not runtime.readable:
        return runtime
    containers = [dict(container) for container in runtime.raw["spec"]["containers"]]
    containers[server_container(containers, runtime.server_type)]["image"] = image
    return replace(runtime, raw={**runtime.raw, "spec": {**runtime.raw["spec"], "containers": containers}})


def server_container(containers: Sequence[Mapping[str, Any]], server_type: Any) -> int:
    """Upstream's rule: the server's container is named like its type; one container needs no rule."""
    return next((index for index, each in enumerate(containers) if each.get("name") == server_type), 0)


def _unused(spec: Mapping[str, Any]) -> str:
    if spec.get("disabled") is True:
        return "spec.disabled is true"
    # KServe's mark of a runtime whose pods serve one model each.
    return "spec.multiModel is false" if spec.get("multiModel") is False else ""


def _no_such(name: str) -> str:
    return f"there is no ServingRuntime {name!r}"


def _names(runtimes: Iterable[ServingRuntime]) -> str:
    return ", ".join(r.name for r in runtimes) or "none"


def _list_of_mappings(value: Any, where: str) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(v, Mapping) for v in value):
        raise InvalidManifest(where, "expected a list of mappings")
    return value


def _literals(env: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """The variables with a literal value. One that no process can have is refused, and not shown: it may be secret."""
    pairs = []
    for index, entry in enumerate(env):
        name, value = str(entry.get("name") or ""), str(entry.get("value") or "")
        if "=" in name or "\0" in name:
            raise InvalidManifest(f"spec.containers.env[{index}].name", "a name has no '=' and no NUL in it")
        if "\0" in value:
            raise InvalidManifest(f"spec.containers.env[{index}].value", "a value has no NUL in it")
        if name and "valueFrom" not in entry:
            pairs.append((name, value))
    return tuple(pairs)


def _memory(value: Any, name: str) -> int:
    memory = parse_bytes(value, name)
    if memory > MOST_BYTES:
        raise InvalidManifest(name, f"{value!r} is more than {MOST_BYTES} bytes")
    return memory


def _non_negative(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidManifest(f"spec.builtInAdapter.{name}", "expected a whole number, not negative")
    return value
