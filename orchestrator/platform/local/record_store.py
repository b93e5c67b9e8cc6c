"""
Records on disk: STATE/trainedmodels, a small file a model, each replaced by a rename.

Blocking; the shell calls it from a thread. A file that is no record is left
out with a warning: its model is then a new one. One that cannot be read at all
is no news of its model, and nothing is loaded then.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from orchestrator.domain.errors import InvalidManifest
from orchestrator.platform.local.records import Record, parse_record, record_file, render_record

log = structlog.get_logger(__name__)

_TEMPORARY: Final = ".new-"


class RecordStore:
    """The directory of records. Only one process may write there: `check` raises OSError in any other."""

    def __init__(self, directory: Path, check: Callable[[], None] = lambda: None) -> None:
        self._directory = directory
        self._check = check

    def load(self) -> dict[str, Record]:
        """All records, by name. Raises OSError if the directory or a file in it cannot be read."""
        self._directory.mkdir(parents=True, exist_ok=True)
        records: dict[str, Record] = {}
        for path in sorted(self._directory.iterdir()):
            if path.name.startswith(_TEMPORARY):
                path.unlink(missing_ok=True)
            elif path.suffix == ".json":
                try:
                    record = parse_record(path.read_text(encoding="utf-8"))
                    if path.name != record_file(record.model.name):
                        raise InvalidManifest("record", "filed under another name")
                except (UnicodeDecodeError, InvalidManifest) as error:
                    log.warning("record_unreadable", file=str(path), reason=str(error))
                else:
                    records[record.model.name] = record
        return records

    def save(self, record: Record) -> None:
        """Replace the model's record. Raises OSError, and the old one stays."""
        self._check()
        handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=self._directory)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(render_record(record))
            os.replace(temporary, self._directory / record_file(record.model.name))
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    def delete(self, name: str) -> None:
        """Forget the model. Raises OSError."""
        self._check()
        (self._directory / record_file(name)).unlink(missing_ok=True)
