"""
The fold of a directory's files into one desired set.

Laws:

- A file that is there but cannot be read, or a document in it that cannot,
  keeps what it defined last.
- Something is gone only when it was missing for `settle_s` and is still
  missing at a later successful look: an editor that writes a file anew, or a
  rename, removes it for a moment and deletes nothing.
- Of two that define one name the first by file name keeps it; within a file
  the first. What is on its way out holds a name only while nobody else has it,
  so that a document may move from file to file.

Who cannot read the directory as a whole calls nothing here, and nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.platform.local.documents import Document, ObjectId, ParsedFile, Problem


@dataclass(slots=True)
class _File:
    #: What it defined when each document could last be read; the first of a name only.
    documents: dict[ObjectId, Document]
    problems: tuple[Problem, ...] = ()
    #: What is in it and could not be read at the last look, and why.
    broken: Mapping[ObjectId, str] = field(default_factory=dict)
    #: Documents of the above that a later look did not find, and since when.
    missing: dict[ObjectId, float] = field(default_factory=dict)
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A document of the desired set, and the file that defines it."""

    file: str
    document: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The desired set, and what is wrong with the files."""

    objects: Mapping[ObjectId, Owned]
    problems: frozenset[Problem]
    #: What the files define and nobody could ever read, and why.
    broken: Mapping[ObjectId, str]


class Directory:
    """All files as they were last seen."""

    def __init__(self, settle_s: float, remembered: Mapping[str, Iterable[Document]] | None = None) -> None:
        """`remembered`: what files defined when an earlier process last read them."""
        self._settle_s = settle_s
        self._files = {
            name: _File({document.id: document for document in documents})
            for name, documents in (remembered or {}).items()
        }
        self._merged: Merged | None = None

    @property
    def names(self) -> frozenset[str]:
        """The files that are there, or were at the last look."""
        return frozenset(name for name, file in self._files.items() if not file.gone)

    def update(self, name: str, parsed: ParsedFile, now: float) -> None:
        """The file is there and says this."""
        file = self._files.setdefault(name, _File({}))
        found: dict[ObjectId, Document] = {}
        problems = list(parsed.problems)
        for document in parsed.documents:
            first = found.setdefault(document.id, document)
            if first is not document:
                reason = f"{document.id} is already defined in line {first.line}; that one stays"
                problems.append(Problem(name, document.line, reason))
        missing = {}
        for identity, document in file.documents.items():
            if identity in found:
                continue
            found[identity] = document
            if not (parsed.unsure or identity in parsed.broken):
                missing[identity] = file.missing.get(identity, now)
        self._files[name] = _File(found, tuple(problems), parsed.broken, missing)
        self._merged = None

    def remove(self, name: str, now: float) -> None:
        """The directory could be read, and the file is not there."""
        file = self._files.get(name)
        if file is None or file.gone:
            return
        missing = {identity: file.missing.get(identity, now) for identity in file.documents}
        self._files[name] = _File(file.documents, missing=missing, gone=True)
        self._merged = None

    def settle(self, now: float) -> None:
        """Let go of what is still missing. Call it after a look at the whole directory that succeeded."""
        for name, file in list(self._files.items()):
            over = [i for i, since in file.missing.items() if now - since >= self._settle_s]
            for identity in over:
                del file.documents[identity], file.missing[identity]
            if over:
                self._merged = None
            if file.gone and not file.documents:
                del self._files[name]

    def due(self) -> float | None:
        """When something missing will have been so for long enough; None if nothing is."""
        moments = [since for file in self._files.values() for since in file.missing.values()]
        return min(moments) + self._settle_s if moments else None

    def merged(self) -> Merged:
        """The desired set as of now. The same value until something changes."""
        if self._merged is None:
            self._merged = self._merge()
        return self._merged

    def _merge(self) -> Merged:
        objects: dict[ObjectId, Owned] = {}
        leaving: list[Owned] = []
        problems: set[Problem] = set()
        broken: dict[ObjectId, str] = {}
        for name in sorted(self._files):
            file = self._files[name]
            problems.update(file.problems)
            broken |= file.broken
            for identity, document in file.documents.items():
                if identity in file.missing:
                    leaving.append(Owned(file=name, document=document))
                elif (holder := objects.get(identity)) is not None:
                    reason = f"{identity} is defined in {holder.file}, too: of two files the first by name counts"
                    problems.add(Problem(name, document.line, reason))
                else:
                    objects[identity] = Owned(file=name, document=document)
        for owned in leaving:
            objects.setdefault(owned.document.id, owned)
        broken = {identity: why for identity, why in broken.items() if identity not in objects}
        return Merged(objects=objects, problems=frozenset(problems), broken=broken)
