"""
A store's listing, and the files that its objects become.

A listing is untrusted. Keys become file names only after `files` has checked
each: a key cannot climb out of its directory, hide another, or be a name that a
file system refuses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.domain.copies import Reason
from adapters.domain.errors import LoadFailure

_NAME_BYTES: Final = 255
_PATH_BYTES: Final = 1024
#: Deepest nesting of directories: removing a tree takes a descriptor a level, and a thousand keys could make 500,000.
_DEPTH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object as a store lists it; `etag` without quotes, "" when the store gives none."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The objects of one source. `single`: the path names exactly this object, not a prefix."""

    objects: tuple[StoredObject, ...]
    single: bool

    @property
    def size(self) -> int:
        """The sum of the objects' bytes."""
        return sum(stored.size for stored in self.objects)

    @property
    def fingerprint(self) -> str:
        """Changes when any object does."""
        digest = hashlib.sha256()
        for stored in sorted(self.objects, key=lambda each: each.key):
            digest.update(f"{stored.key}\0{stored.etag}\0{stored.size}\0".encode(errors="surrogatepass"))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """An object and the relative path of the file it becomes."""

    path: str
    stored: StoredObject


def prefix_of(path: str) -> str:
    """The prefix that lists what is below `path`; "" for a whole bucket."""
    stripped = path.rstrip("/")
    return f"{stripped}/" if stripped else ""


def files(listing: Listing, path: str, uri: str) -> tuple[RemoteFile, ...]:
    """
    The files that the objects of `listing` become, sorted by path.

    Raises LoadFailure (InvalidModelLayout) for keys that cannot be files.
    """

    def invalid(key: str, problem: str) -> LoadFailure:
        return LoadFailure.because(
            Reason.INVALID_MODEL_LAYOUT,
            f"{uri}: object key {_shown(key)} {problem}; rename or remove the object",
        )

    prefix = prefix_of(path)
    found: dict[str, RemoteFile] = {}
    for stored in listing.objects:
        key = stored.key
        if listing.single:
            relative = key.rsplit("/", 1)[-1]
        elif key.startswith(prefix):
            relative = key[len(prefix) :]
        else:
            raise invalid(key, f"is not below {prefix!r}")
        problem = _problem(relative)
        if problem:
            raise invalid(key, problem)
        if relative in found:
            raise invalid(key, "is listed twice")
        found[relative] = RemoteFile(path=relative, stored=stored)
    for relative, file in found.items():
        parent = relative
        while "/" in parent:
            parent = parent.rsplit("/", 1)[0]
            if parent in found:
                raise invalid(file.stored.key, f"would be a file below {_shown(parent)}, which is a file itself")
    return tuple(found[relative] for relative in sorted(found))


def _problem(relative: str) -> str:
    """Why `relative` cannot be a path below a directory; "" if it can."""
    try:
        encoded = relative.encode()
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if len(encoded) > _PATH_BYTES:
        return f"is longer than {_PATH_BYTES} bytes"
    if relative.startswith("/"):
        return "would be an absolute path"
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in relative):
        return "has control characters"
    segments = relative.split("/")
    if len(segments) > _DEPTH:
        return f"is nested more than {_DEPTH} deep"
    for segment in segments:
        if segment == "":
            return "has an empty path segment"
        if segment in {".", ".."}:
            return f"has the path segment {segment!r}"
        if len(segment.encode()) > _NAME_BYTES:
            return f"has a name longer than {_NAME_BYTES} bytes"
    return ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:120] + "…")


def paths(found: Sequence[RemoteFile]) -> tuple[str, ...]:
    """Just the relative paths."""
    return tuple(file.path for file in found)
