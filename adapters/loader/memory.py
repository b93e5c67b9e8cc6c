"""
The file for a restarted adapter: the epoch, the boot and the serving copies.

The file is a journal: the first line holds the whole state, each further line the
changes since the line before. So a load writes one line, however many copies
there are; now and then the file is replaced by one with a single line. A reader
finds the state of some `save`, never a mixture: a last line that was cut short by
the death of its writer does not count, and no line is appended after it.

The file holds no credentials and nothing about attempts under way: those begin
anew. It is not synced: it must survive the adapter, not the machine, whose
restart takes the server along.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from adapters.domain.copies import Copy, CopyKey, CopyState
from adapters.domain.progress import Changes
from adapters.storage.disk import in_thread

log = structlog.get_logger(__name__)

_FORMAT: Final = 2
#: Lines are appended until there are this many more than copies: then replacing the file costs as much as they did.
_SPARE_LINES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """The saved state. A server has one copy under a name: no two of `copies` share a model."""

    epoch: int = 0
    boot: str = ""
    copies: tuple[Copy, ...] = ()


class Memory:
    """Saves the ledger's state to one file; calls at the same time share a write."""

    def __init__(self, path: Path, changes: Callable[[int], Changes], *, retry_s: float = 5.0) -> None:
        """`changes` is the ledger's: the changes since a version."""
        self._path = path
        self._retry_s = retry_s
        #: Set while a save has failed and the file is out of date.
        self._unsaved = asyncio.Event()
        #: Set while no failed save is outstanding.
        self.saved: Final = asyncio.Event()
        self.saved.set()
        self._changes = changes
        self._writing = asyncio.Lock()
        #: The ledger's version that was read last.
        self._seen = 0
        #: Model → the copy that serves, as of that version.
        self._copies: dict[str, Copy] = {}
        #: Lines of the file; 0: there is no file, or its last line may be incomplete.
        self._lines = 0
        #: Epoch and boot in the last line.
        self._fence = (0, "")

    async def run(self) -> None:
        """Repeat saves that failed, for ever: there may never be another change that saves the state."""
        while True:
            await self._unsaved.wait()
            await asyncio.sleep(self._retry_s)
            await self.save()

    async def save(self) -> OSError | None:
        """Return None once the state at the time of the call, or a later one, is in the file; else the error."""
        async with self._writing:
            changes = self._changes(self._seen)
            self._seen = changes.version
            touched = self._take(changes)
            lines, fence = self._lines, (changes.epoch, changes.boot)
            if lines and not touched and fence == self._fence:
                return None
            self._lines = 0  # the file's content is not known until it is written
            try:
                if 0 < lines < len(self._copies) + _SPARE_LINES:
                    changed = [copy for model in touched if (copy := self._copies.get(model)) is not None]
                    await in_thread(_append, self._path, fence, changed, touched - self._copies.keys())
                else:
                    await in_thread(_replace, self._path, fence, tuple(self._copies.values()))
                    lines = 0
            except OSError as error:
                # Serving goes on; a restarted adapter would load copies again that it does not find in the file.
                log.warning("ledger_not_saved", problem=error.strerror)
                self._unsaved.set()
                self.saved.clear()
                return error
            self._unsaved.clear()
            self.saved.set()
            self._lines, self._fence = lines + 1, fence
            return None

    def _take(self, changes: Changes) -> set[str]:
        """Update the serving copies; returns the models for which that may have changed something."""
        gone = [copy.key for copy in self._copies.values()] if changes.full else [*changes.gone]
        gone += [copy.key for copy in changes.copies if copy.state is not CopyState.LOADED]
        touched: set[str] = set()
        for key in gone:
            held = self._copies.get(key.model)
            if held is not None and held.key == key:
                del self._copies[key.model]
                touched.add(key.model)
        for copy in changes.copies:
            if copy.state is CopyState.LOADED:
                self._copies[copy.key.model] = copy
                touched.add(copy.key.model)
        return touched


def read(path: Path) -> Remembered:
    """The state that was saved last; an empty one if there is no file or it is not one of ours."""
    epoch, boot = 0, ""
    copies: dict[str, Copy] = {}
    try:
        # Bytes after the last newline are a line that was not finished.
        for line in path.read_bytes().split(b"\n")[:-1]:
            content = json.loads(line)
            if content["format"] != _FORMAT:
                return Remembered()
            for model in content["gone"]:
                copies.pop(str(model), None)
            for copy in map(_copy, content["copies"]):
                copies[copy.key.model] = copy
            epoch, boot = int(content["epoch"]), str(content["boot"])
    except FileNotFoundError:
        return Remembered()
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("ledger_not_read", problem=type(error).__name__)
        return Remembered()
    return Remembered(epoch=epoch, boot=boot, copies=tuple(copies[model] for model in sorted(copies)))


def _line(fence: tuple[int, str], changed: Iterable[Copy], gone: Iterable[str]) -> bytes:
    content = {
        "format": _FORMAT,
        "epoch": fence[0],
        "boot": fence[1],
        "gone": list(gone),
        "copies": [_content(copy) for copy in changed],
    }
    return json.dumps(content).encode() + b"\n"


def _replace(path: Path, fence: tuple[int, str], copies: Iterable[Copy]) -> None:
    draft = path.with_suffix(".new")
    draft.write_bytes(_line(fence, copies, ()))
    os.replace(draft, path)


def _append(path: Path, fence: tuple[int, str], changed: Iterable[Copy], gone: Iterable[str]) -> None:
    # A missing file is not created: appending to it would lose the lines before.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        view = memoryview(_line(fence, changed, gone))
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def render_copy(copy: Copy) -> str:
    """A copy by itself, as if it were loaded."""
    return json.dumps(_content(copy))


def parse_copy(text: str) -> Copy:
    """Inverse of `render_copy`. Raises ValueError for a text that it did not write, or not completely."""
    try:
        return _copy(json.loads(text))
    except (KeyError, TypeError) as error:
        raise ValueError("not a copy") from error


def _content(copy: Copy) -> dict[str, Any]:
    return {
        "model": copy.key.model,
        "uid": copy.key.uid,
        "revision": copy.key.revision,
        "reserved": copy.reserved,
        "measured": copy.measured,
        "download_s": copy.download_s,
        "load_s": copy.load_s,
    }


def _copy(content: dict[str, Any]) -> Copy:
    return Copy(
        key=CopyKey(str(content["model"]), str(content["uid"]), str(content["revision"])),
        state=CopyState.LOADED,
        reserved=int(content["reserved"]),
        measured=int(content["measured"]),
        download_s=content["download_s"],
        load_s=content["load_s"],
    )
