"""
The lead over one STATE: the file `epoch`, which holds the last leader's.

There is nobody to compare and swap for us, and on one machine there need not
be: the supervisor runs one controller. What this is for is the one that was
frozen, or that its supervisor lost, and that goes on beside its successor: it
finds a higher epoch here before it writes anything into STATE.

Not promised: that nothing is written by one that is frozen between the look
and the write. Adapters and the supervisor have fences that leave no such gap.
"""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from pathlib import Path

from orchestrator.machinery.epoch import epoch_of, next_epoch
from orchestrator.machinery.term import Term


class LeaseLost(OSError):
    """STATE is another leader's by now."""

    def __init__(self, successor: int) -> None:
        super().__init__(errno.ESTALE, f"another leader writes there, of epoch {successor}")


class Lease:
    """A term that was taken from STATE. Made in the loop that the term is for."""

    def __init__(self, record: Path, unix_ms: int) -> None:
        """Take the lead: a new epoch, on disk before it is used. Raises OSError."""
        self._record = record
        self._loop = asyncio.get_running_loop()
        self.term = Term(next_epoch(_read(record), unix_ms))
        self._write(self.term.epoch)

    def check(self) -> None:
        """For the thread that writes. Raises LeaseLost, and the term is over, if another has taken the lead."""
        found = _read(self._record)
        if found > self.term.epoch:
            self._loop.call_soon_threadsafe(self.term.hear, found, str(self._record))
            raise LeaseLost(found)

    def close(self) -> None:
        """
        Keep what was heard of a successor, so that the next term begins above it.

        Where the record was lost and the clock is behind, this process had taken an epoch that adapters refuse, and
        the next one would too. Raises OSError.
        """
        if self.term.successor > _read(self._record):
            self._write(self.term.successor)

    def _write(self, epoch: int) -> None:
        # A name of its own: a rival may write at the same moment.
        with tempfile.NamedTemporaryFile("w", dir=self._record.parent, prefix=".epoch-", delete=False) as fresh:
            fresh.write(str(epoch))
        os.replace(fresh.name, self._record)


def _read(record: Path) -> int:
    """What is not a number there counts as lost."""
    try:
        return epoch_of(record.read_text().strip())
    except (FileNotFoundError, UnicodeError):
        return 0
