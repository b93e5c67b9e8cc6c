"""
The text of one file to the objects that it defines, problems as values.

Each document stands alone, as with `kubectl apply -f`: one that is wrong does
not hold up its neighbours. A syntax error is the whole file's: nobody knows
what follows it, or whether the rest is written yet.

Messages name fields, never values of a Secret.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from orchestrator.domain.config import CONFIG_NAME
from orchestrator.domain.errors import InvalidManifest, surprise
from orchestrator.domain.names import MAX_NAME, is_subdomain
from orchestrator.domain.serving_runtime import API_VERSION as RUNTIME_API
from orchestrator.domain.serving_runtime import parse_serving_runtime
from orchestrator.domain.storage import SECRET_NAME, StorageConfig
from orchestrator.domain.trained_model import API_VERSION as MODEL_API
from orchestrator.domain.trained_model import parse_trained_model
from orchestrator.platform.local.documents import ConfigData, Document, Kind, ObjectId, ParsedFile, Problem
from orchestrator.platform.local.yaml_reader import Path, RawDocument, Unreadable, read_yaml

MAX_FILE_BYTES: Final = 8 << 20

_API: Final = {Kind.MODEL: MODEL_API, Kind.RUNTIME: RUNTIME_API, Kind.SECRET: "v1", Kind.CONFIG: "v1"}
#: Of these kinds one object only is the product's; a cluster's others are nobody's mistake.
_ONLY: Final = {Kind.SECRET: SECRET_NAME, Kind.CONFIG: CONFIG_NAME}
#: What may stand where in a TrainedModel, as the CRD's schema has it.
_KNOWN: Final[Mapping[tuple[str, ...], frozenset[str]]] = {
    ("spec",): frozenset({"inferenceService", "model"}),
    ("spec", "model"): frozenset({"framework", "memory", "storageUri"}),
}
#: So many unknown fields of one mapping are told.
_MOST_UNKNOWN: Final = 5
_STEP: Final = re.compile(r"[^.\[\]]+|\[\d+\]")


def parse_file(file: str, content: bytes, namespace: str) -> ParsedFile:
    """What the file defines in `namespace`. Never raises for what the file says."""
    if len(content) > MAX_FILE_BYTES:
        return ParsedFile.unreadable(file, 0, f"larger than {MAX_FILE_BYTES >> 20} MiB")
    if not content.strip():
        # What a full disk or a writer that was interrupted leaves behind. Who means a deletion removes the file.
        return ParsedFile.unreadable(file, 1, "empty; what it defined before stays until the file is removed")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return ParsedFile.unreadable(file, content.count(b"\n", 0, error.start) + 1, "not UTF-8 text")
    try:
        raws = read_json(text) if file.endswith(".json") else read_yaml(text)
    except Unreadable as error:
        return ParsedFile.unreadable(file, error.line, error.reason)
    reading = _Reading(file, namespace)
    for raw in raws:
        for item, path in _items(raw):
            reading.document(item, raw, path)
    return reading.result()


def read_json(text: str) -> tuple[RawDocument, ...]:
    """One JSON document; an empty file has none. Raises Unreadable."""
    if not text.strip():
        return ()
    try:
        return (RawDocument(json.loads(text, object_pairs_hook=_unique), 1),)
    except json.JSONDecodeError as error:
        raise Unreadable(error.lineno, f"not valid JSON: {error.msg}") from None
    except RecursionError:
        raise Unreadable(1, "nested too deep") from None
    except ValueError as error:
        # A key that comes twice, or a number with thousands of digits: neither quotes a value.
        raise Unreadable(1, str(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)[:80]!r} comes twice")
    return result


def _items(raw: RawDocument) -> Iterator[tuple[Any, Path]]:
    """The document, or the items of a List such as `kubectl get -o json` prints."""
    value = raw.value
    if value is None:
        return
    kind = value.get("kind") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items"), list):
        for index, item in enumerate(value["items"]):
            yield item, ("items", index)
    else:
        yield value, ()


class _Reading:
    """Collects what the documents of one file say."""

    def __init__(self, file: str, namespace: str) -> None:
        self._file = file
        self._namespace = namespace
        self._documents: list[Document] = []
        self._problems: list[Problem] = []
        self._broken: dict[ObjectId, str] = {}
        self._unsure = False

    def result(self) -> ParsedFile:
        return ParsedFile(
            documents=tuple(self._documents),
            problems=tuple(self._problems),
            broken=self._broken,
            unsure=self._unsure,
        )

    def document(self, value: Any, raw: RawDocument, path: Path) -> None:
        """Read one object that stands at `path` of the document `raw`."""
        line = raw.line_of(path)
        if not isinstance(value, dict):
            return self._unidentified(line, "not an object: expected apiVersion, kind, metadata")
        kind_text, api, metadata = value.get("kind"), value.get("apiVersion"), value.get("metadata")
        if not isinstance(kind_text, str) or not isinstance(api, str):
            return self._unidentified(line, "no apiVersion and kind")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if kind_text not in set(Kind):
            if api == _API[Kind.MODEL]:
                return self._unidentified(line, f"{api} has no kind {kind_text[:80]!r}; {Kind.MODEL} is meant?")
            # Without a name it may be the beginning of one of ours.
            self._unsure |= not name
            return self._ignore(line, f"{api} {kind_text[:80]} is not read here")
        kind = Kind(kind_text)
        if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
            # What YAML reads of `name: 123` or `name: true`.
            quotes = ", which this is not without quotes" if isinstance(name, int | float) else ""
            return self._unidentified(line, f"{kind}: metadata.name: required: a string{quotes}")
        if kind in _ONLY and name != _ONLY[kind]:
            return self._ignore(line, f"{kind} {name[:MAX_NAME]!r} is not read here; only {_ONLY[kind]!r} is")
        identity = ObjectId(kind, name)
        namespace = metadata.get("namespace")
        if namespace and namespace != self._namespace:
            return self._ignore(
                raw.line_of((*path, "metadata", "namespace")),
                f"{identity}: namespace {str(namespace)[:63]!r} is not {self._namespace!r}: left alone",
            )
        try:
            if api != _API[kind]:
                raise InvalidManifest("apiVersion", f"{api[:80]!r} is not served here; expected {_API[kind]!r}")
            self._documents.append(_READERS[kind](identity, line, value, self._namespace))
        except InvalidManifest as error:
            self._broken[identity] = str(error)
            where = raw.line_of((*path, *_field_path(error.field)))
            self._problems.append(Problem(self._file, where, f"{identity}: {error}"))
        except Exception as error:
            # This document's trouble, whatever it is, and not the directory's.
            self._broken[identity] = surprise(error)
            self._problems.append(Problem(self._file, line, f"{identity}: {surprise(error)}"))
        if kind is Kind.MODEL and api == MODEL_API:
            for field, reason in _unknown_fields(value):
                self._ignore(raw.line_of((*path, *field)), f"{identity}: {reason}")

    def _unidentified(self, line: int, reason: str) -> None:
        self._unsure = True
        self._problems.append(Problem(self._file, line, reason))

    def _ignore(self, line: int, reason: str) -> None:
        self._problems.append(Problem(self._file, line, reason, ignored=True))


def _unknown_fields(value: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The fields of a TrainedModel that nobody reads, in the words of kubectl, and which may be meant."""
    for where, known in _KNOWN.items():
        written: Any = value
        for step in where:
            written = written.get(step) if isinstance(written, dict) else None
        fields = written if isinstance(written, dict) else ()
        for field in islice((field for field in fields if field not in known), _MOST_UNKNOWN):
            meant = [name for name in known if name.lower() == field.lower()]
            hint = f"; {meant[0]} is meant?" if meant else ""
            yield (*where, field), f"unknown field {'.'.join((*where, field[:80]))!r}{hint}"


def _field_path(field: str) -> Path:
    """`spec.containers[0].name` to its steps; keys with dots are cut short, which costs a line number's precision."""
    return tuple(int(step[1:-1]) if step.startswith("[") else step for step in _STEP.findall(field.split(",")[0]))


def _model(identity: ObjectId, line: int, value: Mapping[str, Any], namespace: str) -> Document:
    metadata = {
        # A key without a value is none, as for kubectl.
        part: {str(key): str(text) for key, text in written.items() if text is not None}
        for part in ("labels", "annotations")
        if isinstance(written := value["metadata"].get(part), dict) and written
    }
    own = {"name": identity.name, "namespace": namespace, **metadata}
    model = parse_trained_model({**value, "metadata": own, "status": None})
    # Unknown fields are dropped, as the CRD's schema has the API server do.
    spec = {
        "inferenceService": model.inference_service,
        "model": {
            "framework": model.framework,
            "memory": str(value["spec"]["model"]["memory"]),
            "storageUri": model.storage_uri,
        },
    }
    return Document(id=identity, line=line, value=model, spec=spec, metadata=metadata)


def _runtime(identity: ObjectId, line: int, value: Mapping[str, Any], namespace: str) -> Document:
    # As the API server does, and for a reason of ours: pods and files are named after it.
    if not is_subdomain(identity.name):
        raise InvalidManifest("metadata.name", f"{identity.name[:MAX_NAME]!r} is not a lower case RFC 1123 subdomain")
    metadata = {"name": identity.name, "namespace": namespace, "uid": f"local-{identity.name}", "generation": 1}
    return Document(id=identity, line=line, value=parse_serving_runtime({**value, "metadata": metadata}))


def _secret(identity: ObjectId, line: int, value: Mapping[str, Any], _namespace: str) -> Document:
    entries = {}
    for key, text in _texts(value, "data").items():
        try:
            entries[key] = base64.b64decode("".join(text.split()), validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidManifest(f"data.{key}", "not base64 of UTF-8 text") from None
    entries |= _texts(value, "stringData")
    return Document(id=identity, line=line, value=StorageConfig(entries))


def _config(identity: ObjectId, line: int, value: Mapping[str, Any], _namespace: str) -> Document:
    return Document(id=identity, line=line, value=ConfigData(_texts(value, "data")))


def _texts(value: Mapping[str, Any], field: str) -> dict[str, str]:
    entries = value.get(field)
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise InvalidManifest(field, "expected a mapping")
    for key, text in entries.items():
        if not isinstance(text, str):
            raise InvalidManifest(f"{field}.{key}", "expected text; put it in quotes, or after '|'")
    return dict(entries)


_READERS: Final[Mapping[Kind, Callable[[ObjectId, int, Mapping[str, Any], str], Document]]] = {
    Kind.MODEL: _model,
    Kind.RUNTIME: _runtime,
    Kind.SECRET: _secret,
    Kind.CONFIG: _config,
}
