"""
What a file of the directory says, as values: documents, and what is wrong with them.

A document that is there but cannot be read is `broken`, never absent: what it
defined last stays. Where it does not even say what it is, nothing is proven to
be gone from its file (`unsure`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.trained_model import TrainedModel


class Kind(StrEnum):
    """The kinds that are read."""

    MODEL = "TrainedModel"
    RUNTIME = "ServingRuntime"
    SECRET = "Secret"
    CONFIG = "ConfigMap"


@dataclass(frozen=True, slots=True, order=True)
class ObjectId:
    """Identity within the namespace."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


@dataclass(frozen=True, slots=True)
class ConfigData:
    """A ConfigMap's data."""

    entries: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One object as a file defines it. `uid`, `generation` and `status` are not a file's business and are empty."""

    id: ObjectId
    line: int = field(compare=False)
    value: TrainedModel | ServingRuntime | StorageConfig | ConfigData
    #: A TrainedModel's spec, of known fields only: what `generation` counts the changes of.
    spec: Mapping[str, Any] = field(default_factory=dict)
    #: A TrainedModel's labels and annotations as written, for those who show the object.
    metadata: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something a person should mend. Line 0: the file as a whole."""

    file: str
    line: int
    reason: str
    #: Nothing is broken: the document is simply not for this product, or not for this namespace.
    ignored: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """All that one reading of a file told."""

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()
    #: Documents that cannot be read, and why.
    broken: Mapping[ObjectId, str] = field(default_factory=dict)
    unsure: bool = False

    @classmethod
    def unreadable(cls, file: str, line: int, reason: str) -> ParsedFile:
        """The file is there, and says nothing that can be used."""
        return cls(problems=(Problem(file, line, reason),), unsure=True)
