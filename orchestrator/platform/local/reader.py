"""
Keeps the fold in step with the directory: lists, and reads what changed.

Blocking; the shell calls `refresh` from a thread, one call at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.domain.errors import surprise
from orchestrator.platform.local.directory import Directory, Merged
from orchestrator.platform.local.documents import ParsedFile
from orchestrator.platform.local.listing import Listing, Signature, look, read
from orchestrator.platform.local.manifests import MAX_FILE_BYTES, parse_file

#: When to look again at a file that changed a moment ago, seconds.
_FRESH_AGAIN_S: Final = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look gave."""

    merged: Merged
    identity: tuple[int, int]
    #: Whether nothing is missing that may come back.
    settled: bool
    #: Seconds until another look is needed though nothing moves; None if none is.
    again_s: float | None


class Unmounted(OSError):
    """The directory is an empty one on another file system than before: what a mount leaves behind."""


class Reader:
    """The directory, read as little as possible."""

    def __init__(self, path: Path, folded: Directory, namespace: str) -> None:
        self._path = path
        self._folded = folded
        self._namespace = namespace
        #: Signature under which each file was last read; absent: read it at the next look.
        self._read: dict[str, Signature] = {}
        self._device: int | None = None

    def refresh(self, now: float) -> Seen:
        """
        Bring the fold up to date; `now` is a monotonic clock's.

        Raises OSError when the directory cannot be listed, and has then changed nothing.
        """
        listing = look(self._path)
        self._check_mount(listing)
        for name in self._folded.names - listing.files.keys():
            self._read.pop(name, None)
            self._folded.remove(name, now)
        fresh = False
        for name, signature in listing.files.items():
            if isinstance(signature, str):
                self._read.pop(name, None)
                self._folded.update(name, ParsedFile.unreadable(name, 0, signature), now)
            elif self._read.get(name) != signature:
                self._folded.update(name, self._parse(name), now)
                if signature.fresh(listing.at_ns):
                    fresh = True
                    self._read.pop(name, None)
                else:
                    self._read[name] = signature
        self._folded.settle(now)
        due = self._folded.due()
        waits = [_FRESH_AGAIN_S] if fresh else []
        if due is not None:
            waits.append(max(0.0, due - now))
        return Seen(
            merged=self._folded.merged(),
            identity=listing.identity,
            settled=due is None,
            again_s=min(waits) if waits else None,
        )

    def _check_mount(self, listing: Listing) -> None:
        device = listing.identity[0]
        if self._device not in {None, device} and not listing.files and self._folded.names:
            raise Unmounted(0, "an empty directory on another file system; is it still mounted?")
        self._device = device

    def _parse(self, name: str) -> ParsedFile:
        try:
            content = read(self._path / name, MAX_FILE_BYTES)
        except OSError as error:
            return ParsedFile.unreadable(name, 0, error.strerror or type(error).__name__)
        try:
            return parse_file(name, content, self._namespace)
        except Exception as error:
            # This file's trouble, whatever it is: it must not end the controller, which would read it again at its start.
            return ParsedFile.unreadable(name, 0, surprise(error))
