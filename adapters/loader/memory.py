"""
What a restarted adapter needs to know: the fence, the boot, the copies that serve.

A small file, replaced as a whole, so that a reader finds the old or the new
one. It holds no credentials and nothing of attempts under way: those are begun
anew. It is not synced: it must survive the adapter, not the machine, whose
restart takes the server along.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from adapters.domain.copies import Copy, CopyKey, CopyState
from adapters.storage.disk import in_thread

log = structlog.get_logger(__name__)

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What is written down."""

    epoch: int = 0
    boot: str = ""
    copies: tuple[Copy, ...] = ()


class Memory:
    """Writes the latest state to one file; callers at the same time share a write."""

    def __init__(self, path: Path, latest: Callable[[], Remembered]) -> None:
        self._path = path
        self._latest = latest
        self._writing = asyncio.Lock()
        self._written = Remembered()

    async def save(self) -> None:
        """Return when the state at the time of the call, or a later one, is in the file."""
        async with self._writing:
            latest = self._latest()
            if latest == self._written:
                return
            try:
                await in_thread(_write, self._path, latest)
            except OSError as error:
                # Serving goes on; a restart of the adapter would load again what it does not find here.
                log.warning("ledger_not_saved", problem=error.strerror)
                return
            self._written = latest


def read(path: Path) -> Remembered:
    """What was written last; nothing if there is no file or it is not one of ours."""
    try:
        content = json.loads(path.read_text())
        if content["format"] != _FORMAT:
            return Remembered()
        return Remembered(
            epoch=int(content["epoch"]),
            boot=str(content["boot"]),
            copies=tuple(_copy(each) for each in content["copies"]),
        )
    except FileNotFoundError:
        return Remembered()
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("ledger_not_read", problem=type(error).__name__)
        return Remembered()


def _write(path: Path, state: Remembered) -> None:
    content = {
        "format": _FORMAT,
        "epoch": state.epoch,
        "boot": state.boot,
        "copies": [
            {
                "model": copy.key.model,
                "uid": copy.key.uid,
                "revision": copy.key.revision,
                "reserved": copy.reserved,
                "measured": copy.measured,
                "download_s": copy.download_s,
                "load_s": copy.load_s,
            }
            for copy in state.copies
        ],
    }
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(content))
    os.replace(draft, path)


def _copy(content: dict[str, Any]) -> Copy:
    return Copy(
        key=CopyKey(str(content["model"]), str(content["uid"]), str(content["revision"])),
        state=CopyState.LOADED,
        reserved=int(content["reserved"]),
        measured=int(content["measured"]),
        download_s=content["download_s"],
        load_s=content["load_s"],
    )
