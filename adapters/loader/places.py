"""
The adapter's directories, and what may be in them.

    model_dir/<model>      one directory for each model that the server may load
    scratch/staging/<n>    downloads and layouts under way, and files that are being removed
    scratch/aside/<copy>   the files of a copy while its successor is tried, and beside them a note of the successor
    scratch/ledger.jsonl   the serving copies, for a restarted adapter
    scratch/lock           held as long as the adapter lives

A model moves between them by rename only: the server never sees half of one.
Files in `aside` after a restart mean that a switch was not finished. Methods that
touch the disk are blocking.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from adapters.domain.copies import CopyKey
from adapters.storage.disk import empty, newest_ns, remove, stamp


class UnusablePlaces(Exception):
    """The directories cannot be used; the message says what to do."""


class Places:
    """Paths and moves of one adapter's files."""

    def __init__(self, model_dir: Path, scratch: Path) -> None:
        self.models = model_dir.absolute()
        self.scratch = scratch.absolute()
        self._numbers = itertools.count(1)
        self._lock: int | None = None

    @property
    def ledger(self) -> Path:
        """The file that survives the adapter."""
        return self.scratch / "ledger.jsonl"

    def open(self) -> None:
        """Create what is missing and take possession. Raises UnusablePlaces."""
        try:
            for directory in (self.models, self._staging, self._aside):
                directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.scratch / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UnusablePlaces(f"{self.scratch} is in use by another adapter") from None
        except OSError as error:
            raise UnusablePlaces(f"{error.filename or self.scratch}: {error.strerror}") from None
        probe = self._staging / "probe"
        try:
            remove(probe)
            probe.mkdir()
            os.rename(probe, self.models / ".probe")
            remove(self.models / ".probe")
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise UnusablePlaces(f"{error.filename or self.scratch}: {error.strerror}") from None
            raise UnusablePlaces(
                f"{self.scratch} and {self.models} must be on one file system, in one mount: models move by rename"
            ) from None

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def model(self, name: str) -> Path:
        """Where the server finds the model."""
        return self.models / name

    def aside(self, key: CopyKey) -> Path:
        """Where a copy's files wait while its successor is tried."""
        digest = hashlib.sha256("\0".join((key.model, key.uid, key.revision)).encode()).hexdigest()
        return self._aside / digest[:32]

    def stage(self) -> Path:
        """A new directory for one attempt."""
        path = self._free()
        path.mkdir()
        return path

    def successor(self, key: CopyKey) -> Path:
        """The note of the successor that is tried in a copy's place: while it exists, either of the two may serve."""
        return self.aside(key).with_suffix(".successor")

    def put_aside(self, key: CopyKey, successor: str) -> None:
        """Move a serving copy's files out of the repository, and note the successor that is to take their place."""
        remove(self.aside(key))
        self.successor(key).write_text(successor)
        os.rename(self.model(key.model), self.aside(key))

    def put_back(self, key: CopyKey) -> None:
        """Undo `put_aside`, except the note. The files get newer times than any that took their place."""
        latest = max(newest_ns(self.model(key.model)), newest_ns(self.aside(key)))
        self._take_away(self.model(key.model))
        os.rename(self.aside(key), self.model(key.model))
        stamp(self.model(key.model), time.time_ns(), latest)

    def drop_aside(self, key: CopyKey) -> None:
        """It is known now which of the two serves, if any: remove the note and the files that are aside."""
        # The note goes first: a note without files aside would mean that the copy's files are back.
        remove(self.successor(key))
        self._take_away(self.aside(key))

    def place(self, staged: Path, name: str, replaced: CopyKey | None) -> None:
        """Put a complete model into the repository; its files are newer than those that it replaces."""
        latest = max(newest_ns(self.model(name)), newest_ns(self.aside(replaced)) if replaced else 0)
        remove(self.model(name))
        os.rename(staged, self.model(name))
        stamp(self.model(name), time.time_ns(), latest)

    def renew(self, name: str) -> None:
        """Make the model's files newer than they were, so that Triton reloads the model."""
        stamp(self.model(name), time.time_ns(), newest_ns(self.model(name)))

    def sweep(self, keep: frozenset[str], aside: Iterable[CopyKey] = ()) -> None:
        """Remove every file, except those of the models in `keep` and those aside of the copies in `aside`."""
        empty(self._staging)
        kept = {self.models / name for name in keep}
        kept.update(path for key in aside for path in (self.aside(key), self.successor(key)))
        for path in (*self._aside.iterdir(), *self.models.iterdir()):
            if path not in kept:
                remove(path)

    def _take_away(self, tree: Path) -> None:
        """Remove a tree. It is renamed first, so that its place is free at once, even if files cannot be removed."""
        doomed = self._free()
        with suppress(FileNotFoundError):
            os.rename(tree, doomed)
        remove(doomed)

    def _free(self) -> Path:
        """
        A path within staging that does not exist.

        Only a number: a model's name may be so long that nothing can be appended to it in a file's name.
        """
        return next(path for number in self._numbers if not (path := self._staging / str(number)).exists())

    @property
    def _staging(self) -> Path:
        return self.scratch / "staging"

    @property
    def _aside(self) -> Path:
        return self.scratch / "aside"
