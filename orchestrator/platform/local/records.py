"""
What the API server does for an object in a cluster: identity, generation, status.

A record is a TrainedModel with its uid, kept in STATE as the object that
`kubectl get -o json` would print, beside the file that defined it. The file is
kept so that one which breaks while the stack is down still keeps what it
defined last.

Not promised: that a record is as new as the last status after a power cut. It
is whole, and statuses are derived anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from orchestrator.domain.errors import InvalidManifest
from orchestrator.domain.trained_model import (
    API_VERSION,
    KIND,
    ModelStatus,
    TrainedModel,
    parse_trained_model,
    render_status,
)
from orchestrator.platform.local.directory import Owned
from orchestrator.platform.local.documents import Document, Kind, ObjectId

#: A name may have 253 characters, a file's name 255 with its suffix.
_LONG_NAME: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One TrainedModel as it is kept."""

    model: TrainedModel
    #: As in `Document`.
    spec: Mapping[str, Any]
    metadata: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    file: str

    @property
    def document(self) -> Document:
        """What the file defined."""
        bare = replace(self.model, uid="", generation=0, created="", status=ModelStatus())
        return Document(
            id=ObjectId(Kind.MODEL, self.model.name), line=0, value=bare, spec=self.spec, metadata=self.metadata
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a new desired set does to the records."""

    written: tuple[Record, ...] = field(default=())
    deleted: tuple[str, ...] = field(default=())


def reconcile(
    records: Mapping[str, Record], desired: Mapping[str, Owned], *, now: str, new_uid: Callable[[], str]
) -> Changes:
    """
    The changes that make `records` hold exactly `desired`, by name.

    A name that is new gets a uid, generation 1 and `now` as its creation; one
    whose spec changed keeps its uid and is a generation further.
    """
    written = []
    for name, owned in desired.items():
        value = owned.document.value
        assert isinstance(value, TrainedModel)
        old = records.get(name)
        if old is not None and _unchanged(old, owned):
            continue
        if old is None:
            model = replace(value, uid=new_uid(), generation=1, created=now)
        else:
            generation = old.model.generation + (old.spec != owned.document.spec)
            model = replace(
                value, uid=old.model.uid, generation=generation, created=old.model.created, status=old.model.status
            )
        document = owned.document
        written.append(Record(model=model, spec=document.spec, metadata=document.metadata, file=owned.file))
    return Changes(written=tuple(written), deleted=tuple(name for name in records if name not in desired))


def _unchanged(old: Record, owned: Owned) -> bool:
    """Whether the record holds what the file says. Cheap: asked of thousands at each change."""
    document = owned.document
    assert isinstance(document.value, TrainedModel)
    kept = (old.file, old.spec, old.metadata, old.model.namespace)
    return kept == (owned.file, document.spec, document.metadata, document.value.namespace)


def with_status(record: Record, status: ModelStatus) -> Record:
    """The record with another status."""
    return replace(record, model=replace(record.model, status=status))


def record_file(name: str) -> str:
    """The name of the file that keeps the model of that name."""
    if len(name) > _LONG_NAME:
        return f"{name[:_LONG_NAME]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
    return f"{name}.json"


def render_record(record: Record) -> str:
    """JSON; inverse of `parse_record`."""
    model = record.model
    metadata = {
        "name": model.name,
        "namespace": model.namespace,
        "uid": model.uid,
        "generation": model.generation,
        "creationTimestamp": model.created,
        **record.metadata,
    }
    raw = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": record.spec,
        "status": render_status(model.status),
    }
    return json.dumps({"file": record.file, "object": raw}) + "\n"


def parse_record(text: str) -> Record:
    """Raises InvalidManifest for anything that `render_record` did not write."""
    try:
        kept = json.loads(text)
        model = parse_trained_model(kept["object"])
        spec, file = kept["object"]["spec"], kept["file"]
        written = kept["object"]["metadata"]
        metadata = {part: dict(written[part]) for part in ("labels", "annotations") if part in written}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidManifest("record", "not a record of a TrainedModel") from None
    if not (isinstance(file, str) and file and model.uid and model.generation > 0 and model.created):
        raise InvalidManifest("record", "incomplete")
    return Record(model=model, spec=spec, metadata=metadata, file=file)
